package config

import (
	"fmt"
	"slices"
	"sort"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// entry is a key that a file may have.
type entry struct {
	key    string // dotted, from the top of the document
	decode func(*yaml.Node) error
	needed func() bool // whether the key must be there; nil: never
	expect string      // what a missing key should have held
	inert  string      // why the key has no effect; such an entry is not decoded
	// literal values are decoded even if they are a word for "not set".
	literal bool
}

func (e entry) required() entry {
	return e.requiredIf(func() bool { return true })
}

func (e entry) requiredIf(cond func() bool) entry {
	e.needed = cond
	return e
}

// asIs has the words for "not set" taken as text.
func (e entry) asIs() entry {
	e.literal = true
	return e
}

// inert is a key of PVC 0.5 that means nothing to this system.
func inert(key, why string) entry { return entry{key: key, inert: why} }

// loader applies a table to a document and collects what there is to say.
type loader struct {
	file     string
	entries  map[string]entry
	sections map[string][]string // dotted path of a section: the keys in it
	lines    map[string]int      // of every known key that the file has
	set      map[string]bool     // entries that hold a value
	problems []Problem
	warnings []Warning
}

// load reads top by the table; what it finds is in the loader.
func load(file string, top *yaml.Node, table []entry) *loader {
	l := &loader{
		file: file, entries: map[string]entry{}, sections: map[string][]string{},
		lines: map[string]int{}, set: map[string]bool{},
	}
	for _, e := range table {
		l.entries[e.key] = e
		l.addSections(e.key)
	}
	l.section("", top)
	for _, e := range table {
		if e.needed != nil && !l.set[e.key] && e.needed() {
			l.fail(e.key, "missing; %s was expected", e.expect)
		}
	}
	return l
}

func (l *loader) addSections(key string) {
	for key != "" {
		parent, name := "", key
		if i := strings.LastIndexByte(key, '.'); i >= 0 {
			parent, name = key[:i], key[i+1:]
		}
		if !slices.Contains(l.sections[parent], name) {
			l.sections[parent] = append(l.sections[parent], name)
		}
		key = parent
	}
}

// section reads the mapping at path; "" is the document.
func (l *loader) section(path string, n *yaml.Node) {
	if isUnset(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		l.at(n.Line, path, "a section with the keys %s was expected", l.known(path))
		return
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		l.pair(path, n.Content[i], n.Content[i+1])
	}
}

func (l *loader) pair(parent string, k, v *yaml.Node) {
	path := k.Value
	if parent != "" {
		path = parent + "." + k.Value
	}
	// A dot within a key would make "a.b" look like b in section a.
	if k.Kind != yaml.ScalarNode || !slices.Contains(l.sections[parent], k.Value) {
		l.at(k.Line, model.Clip(path), "unknown key; one of %s was expected", l.known(parent))
		return
	}
	if first, twice := l.lines[path]; twice {
		l.at(k.Line, path, "the key is there twice, first on line %d", first)
		return
	}
	l.lines[path] = k.Line
	e, leaf := l.entries[path]
	switch {
	case !leaf:
		l.section(path, v)
	case e.inert != "":
		l.warnings = append(l.warnings, Warning{l.file, k.Line, path, "without effect: " + e.inert})
	case e.literal || !isUnset(v):
		l.set[path] = true
		if err := e.decode(v); err != nil {
			l.at(v.Line, path, "%v", err)
		}
	}
}

func (l *loader) known(path string) string {
	names := slices.Clone(l.sections[path])
	sort.Strings(names)
	return strings.Join(names, ", ")
}

func (l *loader) at(line int, key, format string, args ...any) {
	l.problems = append(l.problems, Problem{l.file, line, key, fmt.Sprintf(format, args...)})
}

// fail reports a problem of a key at its line, or at that of the section which
// should hold it.
func (l *loader) fail(key, format string, args ...any) {
	l.at(l.line(key), key, format, args...)
}

func (l *loader) warn(key, format string, args ...any) {
	l.warnings = append(l.warnings, Warning{l.file, l.line(key), key, fmt.Sprintf(format, args...)})
}

func (l *loader) line(key string) int {
	for {
		if line, ok := l.lines[key]; ok {
			return line
		}
		i := strings.LastIndexByte(key, '.')
		if i < 0 {
			return 0
		}
		key = key[:i]
	}
}

// result sorts what was found by line; err is nil if nothing is wrong.
func (l *loader) result() ([]Warning, error) {
	byLine := func(a, b Problem) int { return a.Line - b.Line }
	slices.SortStableFunc(l.warnings, byLine)
	if len(l.problems) == 0 {
		return l.warnings, nil
	}
	slices.SortStableFunc(l.problems, byLine)
	return l.warnings, invalid(l.problems...)
}

// failed reports whether there is a problem with the key already.
func (l *loader) failed(key string) bool {
	return slices.ContainsFunc(l.problems, func(p Problem) bool { return p.Key == key })
}
