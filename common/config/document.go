package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strconv"
	"strings"

	"gopkg.in/yaml.v3"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// MaxBytes is the largest file that is read.
const MaxBytes = 1 << 20

// Where the daemons look for their files, and the variables that change it.
const (
	NodeFile = "/etc/pvc/pvcd.yaml"
	NodeEnv  = "PVCD_CONFIG_FILE"
	APIFile  = "/etc/pvc/pvc-api.yaml"
	APIEnv   = "PVC_CONFIG_FILE"
)

// Problem is something to say about one place of a file.
type Problem struct {
	File string
	Line int    // from 1; 0 if it concerns no line
	Key  string // dotted, "pvc.node"; empty if it concerns no key
	Text string
}

// String gives "file:line: key: text".
func (p Problem) String() string {
	var b strings.Builder
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(&b, ":%d", p.Line)
	}
	if p.Key != "" {
		b.WriteString(": " + p.Key)
	}
	b.WriteString(": " + p.Text)
	return b.String()
}

// Warning is a problem that does not stop a start.
type Warning = Problem

// Error is the list of everything that is wrong with a file. Its kind is
// errs.Invalid.
type Error struct{ Problems []Problem }

// Error gives one line per problem.
func (e *Error) Error() string {
	lines := make([]string, len(e.Problems))
	for i, p := range e.Problems {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

func invalid(problems ...Problem) error {
	return errs.New(errs.Invalid, "%w", &Error{problems})
}

// read returns the content of a file and its permissions.
func read(path string) ([]byte, fs.FileMode, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, 0, fmt.Errorf("read configuration: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, 0, fmt.Errorf("read configuration: %w", err)
	}
	data, err := io.ReadAll(io.LimitReader(f, MaxBytes+1))
	if err != nil {
		return nil, 0, fmt.Errorf("read configuration: %w", err)
	}
	return data, info.Mode().Perm(), nil
}

// parse returns the top mapping of the one document in data.
func parse(file string, data []byte) (*yaml.Node, error) {
	if len(data) > MaxBytes {
		return nil, invalid(Problem{File: file, Text: fmt.Sprintf("the file is larger than %d bytes", MaxBytes)})
	}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc, second yaml.Node
	if err := dec.Decode(&doc); err != nil {
		return nil, syntax(file, err)
	}
	if err := dec.Decode(&second); !errors.Is(err, io.EOF) {
		if err != nil {
			return nil, syntax(file, err)
		}
		return nil, invalid(Problem{File: file, Line: second.Line, Text: "a second document; one was expected"})
	}
	if line := anchorLine(&doc); line > 0 {
		return nil, invalid(Problem{File: file, Line: line, Text: noAnchors})
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		return nil, invalid(Problem{File: file, Line: top.Line, Text: "a mapping with the key pvc was expected"})
	}
	return top, nil
}

const noAnchors = "anchors and aliases are not supported (a text that begins with & or * needs quotes)"

var lineOf = regexp.MustCompile(`^line (\d+): `)

// syntax makes a problem of an error of the YAML parser. An unknown alias is not
// quoted: it may be a secret that was not put into quotes.
func syntax(file string, err error) error {
	if errors.Is(err, io.EOF) {
		return invalid(Problem{File: file, Text: "the file is empty; a mapping with the key pvc was expected"})
	}
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	p := Problem{File: file, Text: text}
	if m := lineOf.FindStringSubmatch(text); m != nil {
		p.Line, _ = strconv.Atoi(m[1])
		p.Text = text[len(m[0]):]
	}
	if strings.Contains(p.Text, "anchor") || strings.Contains(p.Text, "alias") {
		p.Text = noAnchors
	}
	p.Text = "not YAML: " + p.Text
	return invalid(p)
}

// anchorLine returns the line of the first anchor or alias, 0 if there is none.
// Without them a document cannot be larger in memory than its text suggests.
func anchorLine(n *yaml.Node) int {
	if n.Kind == yaml.AliasNode || n.Anchor != "" {
		return n.Line
	}
	for _, c := range n.Content {
		if line := anchorLine(c); line > 0 {
			return line
		}
	}
	return 0
}
