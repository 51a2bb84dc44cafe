package project

import (
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

func TestEveryPackageSaysWhatItIs(t *testing.T) {
	for dir, p := range tree(t) {
		if !p.comment && len(p.imports) > 0 {
			t.Errorf("%s has no package comment", dir)
		}
	}
}

var (
	link  = regexp.MustCompile(`\]\(([^()\s]+)\)|^\[[^\]]+\]:\s+(\S+)`)
	fence = regexp.MustCompile("(?ms)^```.*?^```|`[^`\n]*`")
)

func TestRelativeLinksInDocumentsResolve(t *testing.T) {
	documents := 0
	walk(t, func(file string) {
		if !strings.HasSuffix(file, ".md") {
			return
		}
		documents++
		for _, target := range links(readFile(t, file)) {
			if _, err := os.Stat(filepath.Join(root, path.Dir(file), target)); err != nil {
				t.Errorf("%s: the link %s leads nowhere", file, target)
			}
		}
	})
	if documents < 2 {
		t.Errorf("only %d documents were found", documents)
	}
}

// links are the relative link targets in a Markdown text, without fragments; code is
// left out.
func links(text string) []string {
	var out []string
	for _, line := range strings.Split(fence.ReplaceAllString(text, ""), "\n") {
		for _, m := range link.FindAllStringSubmatch(line, -1) {
			u, err := url.Parse(m[1] + m[2])
			if err == nil && u.Scheme == "" && u.Host == "" && u.Path != "" {
				out = append(out, u.Path)
			}
		}
	}
	return out
}

func TestLinksAreFoundOutsideOfCode(t *testing.T) {
	text := "a [b](c.md) and [d](e/f.md#g), [h](https://example.net/i) [j](#k)\n" +
		"`[l](m)`\n```\n[n](o)\n```\n[p]: q.md\n![r](s%20t.png)\n"
	want := "c.md e/f.md q.md s t.png"
	if got := strings.Join(links(text), " "); got != want {
		t.Errorf("links %q, want %q", got, want)
	}
}

var (
	requirement = regexp.MustCompile(`(?m)^(?:require)?\s+(\S+\.\S+/\S+|\S+\.\S+) v\S+( // indirect)?$`)
	reason      = regexp.MustCompile("(?m)^\\| `([^` ]+)` \\| (.*?) *\\|$")
)

func TestEveryDirectModuleHasAReasonAndTheReverse(t *testing.T) {
	required := map[string]bool{}
	for _, m := range requirement.FindAllStringSubmatch(readFile(t, "go.mod"), -1) {
		if m[2] == "" {
			required[m[1]] = true
		}
	}
	modules, _, ok := strings.Cut(readFile(t, "DEPENDENCIES.md"), "## Debian packages")
	if !ok || len(required) < 5 {
		t.Fatalf("%d requirements, section on Debian packages: %v", len(required), ok)
	}
	reasons := map[string]bool{}
	for _, m := range reason.FindAllStringSubmatch(modules, -1) {
		if reasons[m[1]] {
			t.Errorf("DEPENDENCIES.md names %s twice", m[1])
		}
		reasons[m[1]] = true
		if len(strings.Fields(m[2])) < 3 {
			t.Errorf("DEPENDENCIES.md gives no reason for %s", m[1])
		}
		if !required[m[1]] {
			t.Errorf("DEPENDENCIES.md names %s, which go.mod does not require directly", m[1])
		}
	}
	for m := range required {
		if !reasons[m] {
			t.Errorf("go.mod requires %s, for which DEPENDENCIES.md has no reason", m)
		}
	}
}
