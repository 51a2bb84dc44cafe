package command

import (
	"slices"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// parsePlan reads commands from words: ID:key[,key][@node][!state]..., where node is
// "hv1" only, "hv1+" others may, or missing; states: f finished, c claimed, l its executor is lost, x cancelled.
func parsePlan(text string) (all []*Command, keys map[string][]string) {
	keys = map[string][]string{}
	for word := range strings.FieldsSeq(text) {
		word, state, _ := strings.Cut(word, "!")
		word, node, _ := strings.Cut(word, "@")
		id, list, _ := strings.Cut(word, ":")
		c := &Command{ID: id, Any: node == "" || strings.HasSuffix(node, "+"), Node: strings.TrimSuffix(node, "+")}
		for _, s := range state {
			switch s {
			case 'f':
				c.Result = &model.CommandResult{}
			case 'c':
				c.Executor, c.By = &model.CommandExecutor{Node: "hv9"}, "x"
			case 'l':
				c.Executor = &model.CommandExecutor{Node: "hv9"}
			case 'x':
				c.Cancel = "why"
			}
		}
		keys[id] = strings.Split(list, ",")
		all = append(all, c)
	}
	return all, keys
}

func TestPlan(t *testing.T) {
	for _, tt := range []struct{ name, commands, want string }{
		{"nothing", "", ""},
		{"whoever", "1:a", "1"},
		{"this host's", "1:a@me 2:b@me+", "1 2"},
		{"another living host's", "1:a@other 2:b@other+", ""},
		{"a dead host's", "1:a@dead 2:b@dead+ 3:c@dead!c", "1 2"},
		{"claimed and finished ones", "1:a!c 2:b!f 3:c", "3"},
		{"lost ones", "1:a!l 2:b@me!l 3:c@dead!l 4:d@dead+!l 5:e@other+!l", "1 2 4"},
		{"cancelled ones of a lost executor are everybody's", "1:a@dead!lx 2:b@other!lx 3:c@other!cx", "1 2"},
		{"one after the other", "1:a 2:a 3:b 4:a", "1 3"},
		{"behind one of another host", "1:a@other 2:a@me", ""},
		{"behind one under way", "1:a!c 2:a 3:b", "3"},
		{"behind a finished one", "1:a!f 2:a", "2"},
		{"a pool and its volumes", "1:pool/vms 2:pool/vms/a 3:pool/vms2/a", "1 3"},
		{"volumes and their pool", "1:pool/vms/a 2:pool/vms/b 3:pool/vms 4:pool/vms/c 5:pool/vm", "1 2 5"},
		{"two keys", "1:pool/v/a,pool/v/b 2:pool/v/b,pool/v/c 3:pool/v/c", "1"},
		{"one that cannot be read", "1:osd/1 2: 3:osd/2", "1"},
		{"before it", "1: 2:osd/2", "1"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			all, keys := parsePlan(tt.commands)
			alive := func(node string) bool { return node == "me" || node == "other" }
			var got []string
			for _, c := range plan("me", all, alive, func(c *Command) []string { return keys[c.ID] }) {
				got = append(got, c.ID)
			}
			if !slices.Equal(got, strings.Fields(tt.want)) {
				t.Errorf("%s: %v, want %s", tt.commands, got, tt.want)
			}
		})
	}
}

// FuzzKeysOverlapBothWays: which of two commands came first makes no difference.
func FuzzKeysOverlapBothWays(f *testing.F) {
	f.Add("pool/a", "pool/a/b")
	f.Add("", "x")
	f.Add("/", "//a")
	f.Fuzz(func(t *testing.T, a, b string) {
		overlap := func(first, second string) bool {
			k := keySet{}
			k.add([]string{first})
			return k.overlaps([]string{second})
		}
		want := a == b || a == "" || b == "" || strings.HasPrefix(b, a+"/") || strings.HasPrefix(a, b+"/")
		if overlap(a, b) != want || overlap(b, a) != want {
			t.Errorf("%q, %q: %v, %v, want %v", a, b, overlap(a, b), overlap(b, a), want)
		}
	})
}
