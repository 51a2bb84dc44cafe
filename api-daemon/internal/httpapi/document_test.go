package httpapi

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

const document = "../../../docs/api.md"

var (
	methodOrPath = regexp.MustCompile("\\b[A-Z]{3,}\\b|`(/[^`]*)`")
	element      = regexp.MustCompile(`\{(\w+)\}`)
)

// documented are the rows of the document's tables by route, as "GET /vm/<vm>".
func documented(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for line := range strings.Lines(string(text)) {
		first, _, ok := strings.Cut(strings.TrimPrefix(line, "| "), " |")
		if !ok || !strings.HasPrefix(line, "| ") {
			continue
		}
		var methods []string
		named := false // a path was seen: the next method begins anew
		for _, m := range methodOrPath.FindAllStringSubmatch(first, -1) {
			if m[1] == "" {
				if named {
					methods, named = nil, false
				}
				methods = append(methods, m[0])
				continue
			}
			named = true
			for _, method := range methods {
				rows[method+" "+m[1]] = line
			}
		}
	}
	return rows
}

func routeInDocument(r *route) string {
	path := element.ReplaceAllString(r.path, "<$1>")
	if short := strings.TrimPrefix(path, "/api/v1"); len(short) > 1 && short != "/metrics" {
		path = short
	}
	return r.method + " " + path
}

func TestTheDocumentHasEveryRouteWithItsValuesAndNoOther(t *testing.T) {
	rows := documented(t)
	known := map[string]bool{}
	for i := range table {
		name := routeInDocument(&table[i])
		known[name] = true
		row, ok := rows[name]
		if !ok {
			t.Errorf("%s has no row for %s", document, name)
			continue
		}
		for _, v := range table[i].values {
			if v.kind == idle {
				continue
			}
			found := false
			for _, spelling := range v.spellings() {
				found = found || strings.Contains(row, "`"+spelling+"`")
			}
			if !found {
				t.Errorf("%s: the row of %s does not name the value %s", document, name, v.name)
			}
			if bold := strings.Contains(row, "**`"+v.name+"`**"); v.need && !bold && len(v.also) == 0 {
				t.Errorf("%s: %s needs the value %s, which is not bold", document, name, v.name)
			}
		}
	}
	for name := range rows {
		if !known[name] {
			t.Errorf("%s tells of %s, which the table does not have", document, name)
		}
	}
}
