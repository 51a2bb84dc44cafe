package firewall

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// MaxLength bounds a rule, in characters.
const MaxLength = 1024

type tokenKind uint8

const (
	tokenEnd tokenKind = iota
	tokenWord
	tokenNumber   // decimal or 0x…
	tokenDuration // 30s, 1h30m
	tokenAddress  // IPv4 or IPv6, without prefix length
	tokenMAC
	tokenString // with its quotes
	tokenPunct
)

type token struct {
	kind tokenKind
	text string
	at   int // of its first character, from 0
}

// The forms of tokens. They are anchored, tried in this order, and none is a prefix of
// what nft would read as one longer token: after each of them lexer.next wants a character
// that cannot continue a word.
var tokenForms = []struct {
	kind tokenKind
	form *regexp.Regexp
}{
	{tokenString, regexp.MustCompile(`^"[A-Za-z0-9 _.,:/*+=()\[\]<>-]*"`)},
	{tokenMAC, regexp.MustCompile(`^[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}`)},
	{tokenAddress, regexp.MustCompile(`^[0-9A-Fa-f]*:[0-9A-Fa-f:.]*`)},
	{tokenAddress, regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+\.[0-9]+`)},
	{tokenDuration, regexp.MustCompile(`^([1-9][0-9]{0,8}(ms|d|h|m|s))+`)},
	{tokenNumber, regexp.MustCompile(`^(0x[0-9A-Fa-f]{1,16}|0|[1-9][0-9]{0,19})`)},
	{tokenWord, regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_./-]*\*?`)},
	{tokenPunct, regexp.MustCompile(`^(==|!=|<=|>=|<<|>>|[{},./&|^()<>-])`)},
}

var (
	continues  = regexp.MustCompile(`^[A-Za-z0-9_:."*]`)
	nextNumber = regexp.MustCompile(`^\.[0-9]`)
)

// lex cuts a rule into tokens, the last of which is the end.
func lex(rule string) ([]token, error) {
	if len(rule) > MaxLength {
		return nil, errs.Invalidf("rule %q has %d characters; %d are allowed", model.Clip(rule), len(rule), MaxLength)
	}
	for i := range len(rule) {
		if c := rule[i]; c < ' ' || c > '~' {
			return nil, refuse(rule, i, "character %q is not allowed: printable ASCII on one line is needed", rune(c))
		}
	}
	var tokens []token
	for at := 0; ; {
		at += len(rule[at:]) - len(strings.TrimLeft(rule[at:], " "))
		if at == len(rule) {
			return append(tokens, token{kind: tokenEnd, at: at}), nil
		}
		t, err := next(rule, at)
		if err != nil {
			return nil, err
		}
		tokens = append(tokens, t)
		at += len(t.text)
	}
}

func next(rule string, at int) (token, error) {
	rest := rule[at:]
	for _, f := range tokenForms {
		text := f.form.FindString(rest)
		if text == "" || f.kind == tokenAddress && !isAddress(text) {
			continue
		}
		after := rest[len(text):]
		if f.kind == tokenPunct {
			if text == "." && nextNumber.MatchString(rest) {
				return token{}, refuse(rule, at, "a blank is needed after '.'")
			}
			return token{f.kind, text, at}, nil
		}
		if continues.MatchString(after) {
			continue
		}
		return token{f.kind, text, at}, nil
	}
	return token{}, refuse(rule, at, "%q has no meaning here", model.Clip(strings.Fields(rest)[0]))
}

func isAddress(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}

// refuse makes the error about what stands at a place of a rule.
func refuse(rule string, at int, format string, args ...any) error {
	return errs.Invalidf("rule %q, character %d: %s", model.Clip(rule), at+1, fmt.Sprintf(format, args...))
}
