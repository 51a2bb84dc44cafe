package project

import (
	"regexp"
	"strings"
	"testing"
)

var (
	decided = regexp.MustCompile(`(?m)^\| (.+?) \| .+ \|$`)
	pinned  = regexp.MustCompile(`(?m)^// decision: (.+)$`)
)

// TestEveryDecisionIsNamedByATestAndTheReverse: a test names the row of the document
// that it pins in a comment of its own.
func TestEveryDecisionIsNamedByATestAndTheReverse(t *testing.T) {
	const document = "docs/decisions.md"
	named := map[string]bool{}
	for _, m := range decided.FindAllStringSubmatch(readFile(t, document), -1) {
		if row := m[1]; row != "point" && strings.Trim(row, "-| ") != "" {
			named[row] = false
		}
	}
	if len(named) < 50 {
		t.Fatalf("only %d rows were found in %s", len(named), document)
	}
	walk(t, func(file string) {
		if !strings.HasSuffix(file, "_test.go") {
			return
		}
		for _, m := range pinned.FindAllStringSubmatch(readFile(t, file), -1) {
			if _, ok := named[m[1]]; !ok {
				t.Errorf("%s names the decision %q, which %s does not have", file, m[1], document)
			}
			named[m[1]] = true
		}
	})
	for row, ok := range named {
		if !ok {
			t.Errorf("%s: no test names the row %q", document, row)
		}
	}
}
