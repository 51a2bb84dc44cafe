package domxml

import (
	"encoding/xml"
	"errors"
	"io"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// Limits of a document. A znode holds at most 1 MiB; the others keep the reader's
// memory and stack small. libvirt's own documents nest less than 15 deep, apart from
// long backing chains.
const (
	MaxSize       = 256 << 10 // bytes
	maxDepth      = 100       // nested elements
	maxElements   = 10000
	maxAttributes = 64  // of one element
	maxName       = 128 // bytes of an element's name
)

const byteOrderMark = "\ufeff"

// declaration is the only XML declaration we take: version 1.0, UTF-8 if it names an encoding.
var declaration = regexp.MustCompile(`^<\?xml[ \t\r\n]+version[ \t\r\n]*=[ \t\r\n]*("1\.0"|'1\.0')` +
	`([ \t\r\n]+encoding[ \t\r\n]*=[ \t\r\n]*("(?i:utf-8)"|'(?i:utf-8)'))?` +
	`([ \t\r\n]+standalone[ \t\r\n]*=[ \t\r\n]*("(yes|no)"|'(yes|no)'))?[ \t\r\n]*\?>`)

// node is an element with its place in the text.
type node struct {
	space, name string // space is the namespace, empty for libvirt's own elements
	attrs       []xml.Attr
	parent      *node
	children    []*node
	content     string // its own text; checkShape allows no text beside elements
	line        int

	start, inner, innerEnd, end int // bytes: tag, content, end tag, behind; inner == end if it is <empty/>
}

// attr returns the value of an attribute, empty if it is not there.
func (n *node) attr(name string) string {
	if n == nil {
		return ""
	}
	for _, a := range n.attrs {
		if a.Name.Space == "" && a.Name.Local == name {
			return a.Value
		}
	}
	return ""
}

// child returns the first element of that name below n, nil if there is none or n is nil.
func (n *node) child(path ...string) *node {
	for _, name := range path {
		if n == nil {
			return nil
		}
		var next *node
		for _, c := range n.children {
			if c.space == "" && c.name == name {
				next = c
				break
			}
		}
		n = next
	}
	return n
}

// all returns the elements of that name directly below n.
func (n *node) all(name string) []*node {
	if n == nil {
		return nil
	}
	var found []*node
	for _, c := range n.children {
		if c.space == "" && c.name == name {
			found = append(found, c)
		}
	}
	return found
}

// text returns the text of an element without white space around it, empty for nil.
func (n *node) text() string {
	if n == nil {
		return ""
	}
	return strings.TrimSpace(n.content)
}

// raw returns the text of an element as it stands there, empty for nil.
func (n *node) raw() string {
	if n == nil {
		return ""
	}
	return n.content
}

// empty reports whether the element is written as one tag, <like-this/>.
func (n *node) empty() bool { return n.inner == n.end }

// read builds the tree of a document and refuses what is not one well-formed <domain>.
func read(doc string) (*node, error) {
	if err := checkBytes(doc); err != nil {
		return nil, err
	}
	r := &reader{doc: doc}
	r.base = len(doc) - len(strings.TrimPrefix(doc, byteOrderMark))
	r.dec = xml.NewDecoder(strings.NewReader(doc[r.base:]))
	if err := r.run(); err != nil {
		return nil, err
	}
	if r.root == nil {
		return nil, errs.Invalidf("domain XML has no element")
	}
	return r.root, checkShape(r.root)
}

// checkBytes judges the text before anything is parsed.
func checkBytes(doc string) error {
	if len(doc) > MaxSize {
		return errs.Invalidf("domain XML has %d bytes, at most %d are allowed", len(doc), MaxSize)
	}
	if !utf8.ValidString(doc) {
		return errs.Invalidf("domain XML is not UTF-8")
	}
	body := strings.TrimPrefix(doc, byteOrderMark)
	if strings.TrimSpace(body) == "" {
		return errs.Invalidf("domain XML is empty")
	}
	if strings.HasPrefix(body, "<?xml") && strings.IndexAny(body[5:], " \t\r\n") == 0 && !declaration.MatchString(body) {
		end, _, _ := strings.Cut(body, "?>")
		return errs.Invalidf("domain XML: line 1: XML declaration %q: version 1.0 and encoding UTF-8 are needed", model.Clip(end+"?>"))
	}
	return nil
}

// reader turns tokens into the tree.
type reader struct {
	doc      string
	base     int
	dec      *xml.Decoder
	root     *node
	stack    []*node
	texts    [][]byte // one per open element
	elements int
}

func (r *reader) run() error {
	for {
		line, _ := r.dec.InputPos()
		start := r.base + int(r.dec.InputOffset())
		tok, err := r.dec.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return syntaxError(err, line)
		}
		if err := r.token(tok, line, start); err != nil {
			return err
		}
	}
}

func (r *reader) token(tok xml.Token, line, start int) error {
	switch t := tok.(type) {
	case xml.StartElement:
		return r.open(t, line, start)
	case xml.EndElement:
		r.close(start)
	case xml.CharData:
		if len(r.stack) > 0 {
			last := len(r.texts) - 1
			r.texts[last] = append(r.texts[last], t...)
		} else if strings.TrimSpace(string(t)) != "" {
			return errs.Invalidf("domain XML: line %d: text %q outside of <domain>", line, model.Clip(strings.TrimSpace(string(t))))
		}
	case xml.Directive:
		return errs.Invalidf("domain XML: line %d: <!%s …>: document types and entities are not allowed", line, firstWord(string(t)))
	case xml.ProcInst:
		if strings.EqualFold(t.Target, "xml") && start != r.base {
			return errs.Invalidf("domain XML: line %d: the XML declaration must be the very beginning", line)
		}
	}
	return nil
}

func (r *reader) open(t xml.StartElement, line, start int) error {
	if r.elements++; r.elements > maxElements {
		return errs.Invalidf("domain XML: line %d: more than %d elements", line, maxElements)
	}
	if len(r.stack) >= maxDepth {
		return errs.Invalidf("domain XML: line %d: elements are nested more than %d deep", line, maxDepth)
	}
	if len(t.Name.Local) > maxName {
		return errs.Invalidf("domain XML: line %d: the element name %q has more than %d bytes", line, model.Clip(t.Name.Local), maxName)
	}
	if err := checkAttributes(t, line); err != nil {
		return err
	}
	n := &node{space: t.Name.Space, name: t.Name.Local, attrs: t.Attr, line: line, start: start, inner: r.base + int(r.dec.InputOffset())}
	switch {
	case len(r.stack) > 0:
		parent := r.stack[len(r.stack)-1]
		n.parent = parent
		parent.children = append(parent.children, n)
	case r.root != nil:
		return errs.Invalidf("domain XML: line %d: a second document element <%s>", line, model.Clip(n.name))
	case n.name != "domain" || n.space != "":
		return errs.Invalidf("domain XML: line %d: the document element is <%s>, <domain> without a namespace is needed", line, model.Clip(n.name))
	default:
		r.root = n
	}
	r.stack = append(r.stack, n)
	r.texts = append(r.texts, nil)
	return nil
}

// close ends the innermost element; the decoder has checked that the names fit.
func (r *reader) close(start int) {
	last := len(r.stack) - 1
	n := r.stack[last]
	n.innerEnd, n.end = start, r.base+int(r.dec.InputOffset())
	n.content = string(r.texts[last])
	r.stack, r.texts = r.stack[:last], r.texts[:last]
}

// checkAttributes refuses what the decoder lets pass: a name twice, and floods.
func checkAttributes(t xml.StartElement, line int) error {
	if len(t.Attr) > maxAttributes {
		return errs.Invalidf("domain XML: line %d: <%s> has more than %d attributes", line, model.Clip(t.Name.Local), maxAttributes)
	}
	for i, a := range t.Attr {
		for _, b := range t.Attr[:i] {
			if a.Name == b.Name {
				return errs.Invalidf("domain XML: line %d: <%s> has the attribute %q twice", line, model.Clip(t.Name.Local), model.Clip(a.Name.Local))
			}
		}
	}
	return nil
}

func syntaxError(err error, line int) error {
	var syntax *xml.SyntaxError
	if errors.As(err, &syntax) {
		return errs.Invalidf("domain XML: line %d: %s", syntax.Line, model.Clip(syntax.Msg))
	}
	return errs.Invalidf("domain XML: line %d: %s", line, model.Clip(err.Error()))
}

func firstWord(s string) string {
	word, _, _ := strings.Cut(strings.TrimSpace(s), " ")
	return model.Clip(word)
}
