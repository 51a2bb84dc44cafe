package firewall

import (
	"regexp"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

func TestGoodRulesHaveAGrammar(t *testing.T) {
	for _, rule := range good {
		if err := Grammar(rule); err != nil {
			t.Error(err)
		}
	}
}

func TestHostileRulesAreRefusedByTheGrammar(t *testing.T) {
	for _, rule := range hostile {
		if err := Grammar(rule); !errs.Is(err, errs.Invalid) {
			t.Errorf("%.80q: %v", rule, err)
		}
	}
}

func TestAnErrorNamesTheRuleThePlaceAndTheReason(t *testing.T) {
	for rule, want := range map[string]string{
		`tcp dport 80 jump x`:      `rule "tcp dport 80 jump x", character 14: "jump" is not allowed: other chains cannot be named`,
		`accept; drop`:             `rule "accept; drop", character 7: ";" has no meaning here`,
		"accept\ndrop":             `rule "accept\ndrop", character 7: character '\n' is not allowed: printable ASCII on one line is needed`,
		`ip saddr localhost drop`:  `rule "ip saddr localhost drop", character 10: an IP address is needed, not "localhost"`,
		`iif eth0 drop`:            `rule "iif eth0 drop", character 1: "iif" is not allowed: indexes change when an interface is made anew; use iifname`,
		`tcp dport`:                `rule "tcp dport", character 10: a number or name is needed at the end`,
		`accept log`:               `rule "accept log", character 8: "log" comes after the verdict or the comment`,
		``:                         `rule "", character 1: a match, counter, limit, quota, log or verdict is needed at the end`,
		strings.Repeat("a", 65536): `rule "` + strings.Repeat("a", 80) + `…" has 65536 characters; 1024 are allowed`,
	} {
		if err := Grammar(rule); err == nil || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	}
}

var (
	quotedText = regexp.MustCompile(`"[^"]*"`)
	wordBreak  = regexp.MustCompile(`[^A-Za-z0-9_./:*-]+`)
	beyond     = words("jump goto queue masquerade tproxy synproxy notrack vmap map meter include define table chain flush delete update add insert name")
	nested     = regexp.MustCompile(`\{[^}]*\{|\}[^{]*\}|^[^{]*\}|\{[^}]*$`)
)

// FuzzGrammar: whatever is accepted is one line of the plain characters, with flat sets
// and without a word that names something else.
func FuzzGrammar(f *testing.F) {
	for _, rule := range append(good, hostile...) {
		f.Add(rule)
	}
	f.Fuzz(func(t *testing.T, rule string) {
		err := Grammar(rule)
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Fatalf("%v is not of the kind invalid", err)
			}
			return
		}
		plain := quotedText.ReplaceAllString(rule, "")
		switch {
		case len(rule) > MaxLength:
			t.Error("too long")
		case strings.ContainsAny(rule, ";#$@\\'`\n\r\t\x00"), strings.Contains(plain, `"`):
			t.Errorf("%q was accepted", rule)
		case nested.MatchString(plain) || strings.Count(plain, "{") != strings.Count(plain, "}"):
			t.Errorf("%q has braces within braces", rule)
		}
		for _, word := range wordBreak.Split(plain, -1) {
			if beyond[word] {
				t.Errorf("%q names something else with %q", rule, word)
			}
		}
	})
}
