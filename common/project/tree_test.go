package project

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const (
	root   = "../.."
	module = "github.com/parallelvirtualcluster/pvc"
)

// pkg is a package of the tree: a directory with Go files.
type pkg struct {
	dir         string              // from the top of the tree, with slashes
	imports     map[string][]string // path: the files that import it, tests left out
	testImports map[string][]string
	comment     bool // says what it is
	command     bool
}

// own is the import path as a directory of the tree; ok is false for foreign ones.
func own(importPath string) (dir string, ok bool) {
	if importPath == module {
		return ".", true
	}
	return strings.CutPrefix(importPath, module+"/")
}

// walk calls f for every file that belongs to the project's sources and documents.
func walk(t *testing.T, f func(file string)) {
	t.Helper()
	err := filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && file != root && (strings.HasPrefix(name, ".") || name == "bin" || name == "testdata") {
			return fs.SkipDir
		}
		if d.Type().IsRegular() {
			rel, err := filepath.Rel(root, file)
			if err != nil {
				return err
			}
			f(filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// tree reads the import clauses and comments of every Go file.
func tree(t *testing.T) map[string]*pkg {
	t.Helper()
	pkgs := map[string]*pkg{}
	walk(t, func(file string) {
		if !strings.HasSuffix(file, ".go") {
			return
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), filepath.Join(root, file), nil, parser.ImportsOnly|parser.ParseComments)
		if err != nil {
			t.Errorf("%s: %v", file, err)
			return
		}
		dir := path.Dir(file)
		if pkgs[dir] == nil {
			pkgs[dir] = &pkg{dir: dir, imports: map[string][]string{}, testImports: map[string][]string{}}
		}
		pkgs[dir].add(file, syntax)
	})
	if len(pkgs) < 10 || pkgs["common/errs"] == nil {
		t.Fatalf("only %d packages were found", len(pkgs))
	}
	return pkgs
}

func (p *pkg) add(file string, syntax *ast.File) {
	to := p.imports
	if strings.HasSuffix(file, "_test.go") {
		to = p.testImports
	} else {
		p.comment = p.comment || syntax.Doc != nil
		p.command = syntax.Name.Name == "main"
	}
	for _, spec := range syntax.Imports {
		if name, err := strconv.Unquote(spec.Path.Value); err == nil {
			to[name] = append(to[name], file)
		}
	}
}

// reaches is every package of the tree that dir needs, with the way to it.
func reaches(pkgs map[string]*pkg, dir string) map[string]string {
	ways := map[string]string{dir: dir}
	queue := []string{dir}
	for len(queue) > 0 {
		at := queue[0]
		queue = queue[1:]
		if pkgs[at] == nil {
			continue
		}
		for name := range pkgs[at].imports {
			if next, ok := own(name); ok && ways[next] == "" {
				ways[next] = ways[at] + " → " + next
				queue = append(queue, next)
			}
		}
	}
	delete(ways, dir)
	return ways
}

// within reports whether dir is one of the roots or below one.
func within(dir string, roots ...string) bool {
	return slices.ContainsFunc(roots, func(r string) bool { return dir == r || strings.HasPrefix(dir, r+"/") })
}

func readFile(t *testing.T, file string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(root, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
