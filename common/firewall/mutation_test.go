package firewall

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/run"
)

// mutants are good rules with words of hostile ones among theirs, that have a grammar.
func mutants(count int) (rules []string) {
	source := rand.New(rand.NewPCG(1, 2))
	var fragments []string
	for _, rule := range hostile {
		if len(rule) < 100 {
			fragments = append(fragments, strings.Split(rule, " ")...)
		}
	}
	for len(rules) < count {
		words := strings.Fields(good[source.IntN(len(good))])
		at := source.IntN(len(words) + 1)
		fragment := fragments[source.IntN(len(fragments))]
		separator := []string{" ", ""}[source.IntN(2)]
		rule := strings.Join(words[:at], " ") + separator + fragment + separator + strings.Join(words[at:], " ")
		if Grammar(rule) == nil {
			rules = append(rules, rule)
		}
	}
	return rules
}

// TestWhatHasAGrammarIsAtMostOneRule: nft may refuse it, but does not see more in it than
// one rule in the chain where it stands.
func TestWhatHasAGrammarIsAtMostOneRule(t *testing.T) {
	inNamespace(t)
	nft(t, "", "flush", "ruleset")
	taken := 0
	for i, rule := range mutants(150) {
		text := fmt.Sprintf("table inet pvc-1 {\n\tchain c%d {\n\t\tcounter %s\n\t}\n}\n", i, rule)
		if _, err := (run.System{}).Run(t.Context(), run.Command{Argv: []string{"nft", "-f", "-"}, Stdin: []byte(text), Timeout: Timeout}); err == nil {
			taken++
		}
	}
	if taken < 20 {
		t.Errorf("nft has taken only %d of them: the test shows little", taken)
	}
	objects, rules := listed(t)
	if objects["chain"] != taken || objects["rule"] != taken || objects["table"] != 1 || len(objects) != 4 {
		t.Errorf("%d rules became %v", taken, objects)
	}
	for chain, n := range rules {
		if n != 1 {
			t.Errorf("chain %s has %d rules:\n%s", chain, n, nft(t, "", "list", "chain", "inet", "pvc-1", chain))
		}
	}
}

// listed counts the objects of the rule set by kind, and the rules by chain.
func listed(t *testing.T) (objects, rules map[string]int) {
	t.Helper()
	var list struct {
		Nftables []map[string]struct{ Chain string }
	}
	if err := json.Unmarshal([]byte(nft(t, "", "-j", "list", "ruleset")), &list); err != nil {
		t.Fatal(err)
	}
	objects, rules = map[string]int{}, map[string]int{}
	for _, o := range list.Nftables {
		for kind, v := range o {
			objects[kind]++
			if kind == "rule" {
				rules[v.Chain]++
			}
		}
	}
	return objects, rules
}
