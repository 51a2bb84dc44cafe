package compat

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

// Tree is the content of an ensemble: data by path. It can be decoded as it is
// (schema.Tree); the version of a znode is its rank by path, so that two never agree.
type Tree map[string]string

// ReadTree reads a tree from a file, see [ParseTree].
func ReadTree(file string) (Tree, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read tree: %w", err)
	}
	defer f.Close()
	t, err := ParseTree(f)
	if err != nil {
		return nil, fmt.Errorf("read tree %s: %w", file, err)
	}
	return t, nil
}

// ParseTree reads the text form of a tree: a line "PATH = DATA" per znode, DATA taken as
// it stands and possibly empty; lines that begin with "| " continue it on a new line.
// Empty lines and those that begin with '#' say nothing.
func ParseTree(r io.Reader) (Tree, error) {
	t, last := Tree{}, ""
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for n := 1; lines.Scan(); n++ {
		line := lines.Text()
		if line == "" || line[0] == '#' {
			continue
		}
		if more, ok := strings.CutPrefix(line, "| "); ok && last != "" {
			t[last] += "\n" + more
			continue
		}
		path, data, ok := strings.Cut(line, " =")
		if _, twice := t[path]; !ok || twice || !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("line %d: %q: PATH = DATA was expected, each path once", n, line)
		}
		t[path], last = strings.TrimPrefix(data, " "), path
	}
	return t, lines.Err()
}

// Paths are all paths, sorted: parents come before their children.
func (t Tree) Paths() []string { return slices.Sorted(maps.Keys(t)) }

// Below returns the part of the tree at and below a path.
func (t Tree) Below(path string) Tree {
	out := Tree{}
	for p, data := range t {
		if p == path || strings.HasPrefix(p, path+"/") {
			out[p] = data
		}
	}
	return out
}

// Data returns the data and the version of a znode.
func (t Tree) Data(path string) (data string, version int32, ok bool) {
	data, ok = t[path]
	if !ok {
		return "", 0, false
	}
	for p := range t {
		if p < path {
			version++
		}
	}
	return data, version, true
}

// Children returns the names below a znode, sorted.
func (t Tree) Children(path string) []string {
	var out []string
	for p := range t {
		if name, ok := strings.CutPrefix(p, path+"/"); ok && !strings.Contains(name, "/") {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}
