package httpapi

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// kind says what may stand in a value.
type kind uint8

const (
	text    kind = iota // anything; empty means not given
	secret              // anything; an empty one is a wrong one
	word                // one of words; empty means not given
	flag                // no data or a true word: set; a false word: not set
	number              // an integer from min to max
	pattern             // RE2, at most maxPattern characters; empty means not given
	toggle              // a flag of which "not given" is a third state
	list                // texts with commas between them, of all that were given
	// idle is a value of newer clients for something we do not do: only what means
	// "do nothing" is accepted.
	idle
)

const maxPattern = 256

// value describes one value of a route.
type value struct {
	name  string
	also  []string // other spellings
	kind  kind
	need  bool // must be given and not empty
	words []string
	// unset are the texts that mean "not given", beside the empty one; of an idle
	// value those that mean "do nothing", beside none and the false words.
	unset    []string
	min, max int
	// clears says that a value that is given empty is given: it takes away what is stored.
	clears bool
}

var (
	trueWords  = []string{"true", "yes", "on", "1"}
	falseWords = []string{"false", "no", "off", "0", "none"}
)

// spellings are all names of the value.
func (v *value) spellings() []string { return append([]string{v.name}, v.also...) }

// decoded is a value that was given; which field holds it depends on its kind.
type decoded struct {
	text  string
	on    bool
	n     int
	re    *regexp.Regexp
	texts []string
}

// values are the decoded values of a request by name. A value that was not given,
// or given as "not given", is absent.
type values map[string]decoded

func (v values) text(name string) string            { return v[name].text }
func (v values) flag(name string) bool              { return v[name].on }
func (v values) pattern(name string) *regexp.Regexp { return v[name].re }
func (v values) list(name string) []string          { return v[name].texts }

// edit returns a value of a change in which "not given" and "empty" differ.
func edit[T any](v values, name string, of func(decoded) T) cluster.Edit[T] {
	d, ok := v[name]
	if !ok {
		return cluster.Edit[T]{}
	}
	return cluster.Edit[T]{Given: true, To: of(d)}
}

func theText(d decoded) string    { return d.text }
func theNumber(d decoded) int     { return d.n }
func theFlag(d decoded) bool      { return d.on }
func theTexts(d decoded) []string { return d.texts }

func (v values) number(name string, otherwise int) int {
	if d, ok := v[name]; ok {
		return d.n
	}
	return otherwise
}

// decodeValues checks what was given against the description. Errors are
// errs.Invalid and name the value.
func decodeValues(known []value, in *sources) (values, error) {
	if len(known) == 0 {
		return nil, nil
	}
	out := make(values, len(known))
	for i := range known {
		v := &known[i]
		d, given, err := v.decodeSpellings(in)
		if err != nil {
			return nil, err
		}
		if given {
			out[v.name] = d
		} else if v.need {
			return nil, v.missing(in)
		}
	}
	return out, nil
}

func (v *value) missing(in *sources) error {
	for _, name := range v.spellings() {
		if _, ok := in.lookup(name); ok {
			return errs.Invalidf("value %q is empty", name)
		}
	}
	return errs.Invalidf("value %q is missing", v.name)
}

// decodeSpellings decodes every spelling that was given; they must agree.
func (v *value) decodeSpellings(in *sources) (d decoded, given bool, err error) {
	first := ""
	for _, name := range v.spellings() {
		texts, ok := in.lookup(name)
		if !ok {
			continue
		}
		this, ok, err := v.decode(name, texts)
		if err != nil {
			return decoded{}, false, err
		}
		if first != "" && (ok != given || this.text != d.text || this.on != d.on) {
			return decoded{}, false, errs.Invalidf("values %q and %q are two spellings of one value and differ", first, name)
		}
		first, d, given = name, this, ok
	}
	return d, given, nil
}

// decode checks one spelling. The first of several counts, except for an idle
// value, where everything that is dropped must mean nothing.
func (v *value) decode(name string, texts []string) (decoded, bool, error) {
	if v.kind == idle {
		for _, s := range texts {
			if err := v.checkIdle(name, s); err != nil {
				return decoded{}, false, err
			}
		}
		return decoded{}, false, nil
	}
	if v.kind == list {
		return v.decodeList(name, texts)
	}
	s := texts[0]
	if err := checkText(name, s); err != nil {
		return decoded{}, false, err
	}
	if v.kind == flag || v.kind == toggle {
		on, err := parseFlag(name, s)
		return decoded{on: on}, on || v.kind == toggle && err == nil, err
	}
	if v.kind != secret && (s == "" || slices.Contains(v.unset, s)) {
		return decoded{}, v.clears, nil
	}
	d := decoded{text: s}
	var err error
	switch v.kind {
	case word:
		err = checkWord(name, s, v.words)
	case number:
		d.n, err = parseNumber(name, s, v.min, v.max)
	case pattern:
		d.re, err = parsePattern(name, s)
	}
	return d, err == nil, err
}

// decodeList takes the elements of all texts together.
func (v *value) decodeList(name string, texts []string) (d decoded, given bool, err error) {
	for _, s := range texts {
		if err := checkText(name, s); err != nil {
			return decoded{}, false, err
		}
		for e := range strings.SplitSeq(s, ",") {
			if e = strings.TrimSpace(e); e != "" && !slices.Contains(v.unset, e) {
				d.texts = append(d.texts, e)
			}
		}
	}
	return d, v.clears || len(d.texts) > 0, nil
}

func (v *value) checkIdle(name, s string) error {
	if s == "" || slices.Contains(v.unset, s) || slices.Contains(falseWords, strings.ToLower(s)) {
		return nil
	}
	return errs.Invalidf("value %q: %q is not supported by this version", name, model.Clip(s))
}

func checkText(name, s string) error {
	if !utf8.ValidString(s) {
		return errs.Invalidf("value %q is not valid UTF-8", name)
	}
	if strings.IndexByte(s, 0) >= 0 {
		return errs.Invalidf("value %q contains a NUL character", name)
	}
	return nil
}

func checkWord(name, s string, words []string) error {
	if slices.Contains(words, s) {
		return nil
	}
	return errs.Invalidf("value %q: %q is not one of %s", name, model.Clip(s), strings.Join(words, ", "))
}

func parseFlag(name, s string) (bool, error) {
	w := strings.ToLower(s)
	switch {
	case s == "" || slices.Contains(trueWords, w):
		return true, nil
	case slices.Contains(falseWords, w):
		return false, nil
	}
	return false, errs.Invalidf("flag %q: %q is neither of %s nor of %s", name, model.Clip(s),
		strings.Join(trueWords, " "), strings.Join(falseWords, " "))
}

func parseNumber(name, s string, least, most int) (int, error) {
	n, err := strconv.Atoi(s)
	if err != nil || n < least || n > most {
		return 0, errs.Invalidf("value %q: %q is not a whole number from %d to %d", name, model.Clip(s), least, most)
	}
	return n, nil
}

func parsePattern(name, s string) (*regexp.Regexp, error) {
	if n := utf8.RuneCountInString(s); n > maxPattern {
		return nil, errs.Invalidf("value %q: the regular expression has %d characters, at most %d are allowed", name, n, maxPattern)
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return nil, errs.Invalidf("value %q: %q is not a regular expression: %w", name, model.Clip(s), err)
	}
	return re, nil
}
