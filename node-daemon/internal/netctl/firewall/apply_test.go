package firewall

import (
	"context"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/run"
)

const foreign = `
table inet filter {
	set pvc-9 { type ipv4_addr; elements = { 10.0.0.1 }; }
	chain input { type filter hook input priority filter; policy accept; counter; }
}
table inet pvc-extra {
	chain x { counter; }
}
table inet pvc-007 {
	chain x { counter; }
}
table ip pvc-100 {
	chain x { counter; }
}
`

func foreignListing(t *testing.T) (all string) {
	for _, name := range []string{"inet filter", "inet pvc-extra", "inet pvc-007", "ip pvc-100"} {
		all += nft(t, "", append([]string{"-a", "list", "table"}, strings.Fields(name)...)...)
	}
	return all
}

func sums(t *testing.T) map[int]string {
	t.Helper()
	tables, err := loadedTables(func(int) bool { return true })
	if err != nil {
		t.Fatal(err)
	}
	out := map[int]string{}
	for vni, sum := range tables {
		out[vni] = string(sum[:])
	}
	return out
}

func TestOnlyThePrimaryHoldsRulesAndOthersTablesAreLeftAlone(t *testing.T) {
	inNamespace(t)
	nft(t, foreign, "-f", "-")
	before := foreignListing(t)
	r := newRig(t)
	networks := []*model.Network{network(100, []string{"tcp dport 22 accept", "drop"}, nil), network(200, nil, []string{"drop"})}
	mustHold(t, r.Apply(t.Context(), false, networks))
	if got := sums(t); len(got) != 0 || r.calls != 0 {
		t.Errorf("not primary: %d tables, %d calls", len(got), r.calls)
	}
	mustHold(t, r.Apply(t.Context(), true, networks))
	if got := sums(t); len(got) != 2 || r.calls != 1 {
		t.Errorf("primary: %d tables, %d calls", len(got), r.calls)
	}
	for _, want := range []string{"tcp dport 22 accept", "ip daddr 10.100.0.0/24 counter jump vxlan100-in", `iifname "vmbr100" counter drop`} {
		if !strings.Contains(listing(t, "pvc-100"), want) {
			t.Errorf("%q is missing in\n%s", want, listing(t, "pvc-100"))
		}
	}
	mustHold(t, r.Apply(t.Context(), true, networks[1:]))
	if got := sums(t); len(got) != 1 || got[200] == "" {
		t.Errorf("after the removal of one: %d tables", len(got))
	}
	mustHold(t, newRig(t).Apply(t.Context(), false, networks)) // another daemon's time as primary
	if got := sums(t); len(got) != 0 {
		t.Errorf("after the loss of the role: %d tables", len(got))
	}
	if d := cmp.Diff(before, foreignListing(t)); d != "" {
		t.Errorf("tables of others: want (-), got (+):\n%s", d)
	}
}

func TestOnlyTablesThatDifferAreReplaced(t *testing.T) {
	inNamespace(t)
	r := newRig(t)
	one, two := network(100, []string{"drop"}, nil), network(200, []string{"drop"}, nil)
	mustHold(t, r.Apply(t.Context(), true, []*model.Network{one, two}))
	first := sums(t)
	mustHold(t, r.Apply(t.Context(), true, []*model.Network{two, one}))
	if r.calls != 1 {
		t.Errorf("%d calls of nft, the second pass had nothing to do", r.calls)
	}
	mustHold(t, r.Apply(t.Context(), true, []*model.Network{network(100, []string{"accept"}, nil), two}))
	second := sums(t)
	if r.calls != 2 || first[200] != second[200] || first[100] == second[100] {
		t.Errorf("%d calls; of the two tables only the first was to be replaced", r.calls)
	}
	if !strings.Contains(listing(t, "pvc-100"), "accept\n") || strings.Contains(listing(t, "pvc-100"), "counter drop\n\t}\n\n\tchain vxlan100-out") {
		t.Errorf("the former rule is there:\n%s", listing(t, "pvc-100"))
	}
}

func TestWhatOthersDoToOurTablesIsRepaired(t *testing.T) {
	for name, damage := range map[string]string{
		"rule set flushed":   "flush ruleset",
		"table removed":      "delete table inet pvc-100",
		"chain flushed":      "flush chain inet pvc-100 vxlan100-in",
		"rule added":         "insert rule inet pvc-100 vxlan100-in accept",
		"policy changed":     "chain inet pvc-100 forward { policy drop; }",
		"table switched":     "table inet pvc-100 { flags dormant; }",
		"table made anew":    "delete table inet pvc-100\ntable inet pvc-100 {\n chain vxlan100-in {\n counter\n }\n}",
		"rules interchanged": "flush chain inet pvc-100 vxlan100-in\nadd rule inet pvc-100 vxlan100-in counter drop\nadd rule inet pvc-100 vxlan100-in counter",
	} {
		t.Run(name, func(t *testing.T) {
			inNamespace(t)
			r := newRig(t)
			networks := []*model.Network{network(100, []string{"drop"}, nil), network(200, []string{"drop"}, nil)}
			mustHold(t, r.Apply(t.Context(), true, networks))
			before, other := listing(t, "pvc-100"), sums(t)[200]
			nft(t, damage, "-f", "-")
			mustHold(t, r.Apply(t.Context(), true, networks))
			if d := cmp.Diff(before, listing(t, "pvc-100")); d != "" {
				t.Errorf("want (-), got (+):\n%s", d)
			}
			if name != "rule set flushed" && sums(t)[200] != other {
				t.Error("the other table was replaced too")
			}
			calls := r.calls
			mustHold(t, r.Apply(t.Context(), true, networks))
			if r.calls != calls {
				t.Error("it was loaded again although nobody had changed anything")
			}
		})
	}
}

// TestAnEditBesideOurTransactionIsNotTakenForOurs: somebody else may be quicker than our look at
// what we have loaded.
func TestAnEditBesideOurTransactionIsNotTakenForOurs(t *testing.T) {
	inNamespace(t)
	r := newRig(t)
	networks := []*model.Network{network(100, []string{"drop"}, nil)}
	r.after = func(run.Command) { nft(t, "insert rule inet pvc-100 vxlan100-in accept", "-f", "-") }
	mustHold(t, r.Apply(t.Context(), true, networks))
	r.after = nil
	mustHold(t, r.Apply(t.Context(), true, networks))
	if got := listing(t, "pvc-100"); strings.Contains(got, "\t\taccept\n") {
		t.Errorf("the foreign rule is still there:\n%s", got)
	}
}

func TestARuleThatCannotBeLoadedLeavesTheFormerRulesInForce(t *testing.T) {
	for name, bad := range map[string]string{
		"not for our grammar": "jump vxlan200-in", "hostile": "accept; flush ruleset", "not for nft": "icmp type nonsense accept",
	} {
		t.Run(name, func(t *testing.T) {
			inNamespace(t)
			r := newRig(t)
			mustHold(t, r.Apply(t.Context(), true, []*model.Network{network(100, []string{"tcp dport 22 accept", "drop"}, nil), network(200, nil, nil)}))
			before := listing(t, "pvc-100")
			networks := []*model.Network{network(100, []string{"tcp dport 23 accept", bad, "drop"}, nil), network(200, []string{"tcp dport 80 drop"}, nil), network(300, nil, nil)}
			for range 2 {
				failed := r.Apply(t.Context(), true, networks)
				mustFail(t, failed, 100, `in rule "rule b": rule "`+bad)
				mustFail(t, failed, 100, "; its former rules stay in force")
				if !errs.Is(failed[100], errs.Invalid) {
					t.Errorf("%v is not of the kind invalid", failed[100])
				}
			}
			if d := cmp.Diff(before, listing(t, "pvc-100")); d != "" {
				t.Errorf("want (-), got (+):\n%s", d)
			}
			if !strings.Contains(listing(t, "pvc-200"), "tcp dport 80") || sums(t)[300] == "" {
				t.Error("the other networks were not applied")
			}
			nft(t, "flush chain inet pvc-100 vxlan100-in", "-f", "-")
			mustFail(t, r.Apply(t.Context(), true, networks), 100, "former")
			if d := cmp.Diff(before, listing(t, "pvc-100")); d != "" {
				t.Errorf("the former rules are not repaired: want (-), got (+):\n%s", d)
			}

			again := newRig(t) // a daemon that was restarted knows the table only from the kernel
			for range 2 {
				mustFail(t, again.Apply(t.Context(), true, networks), 100, "; its former rules stay in force")
			}
			if d := cmp.Diff(before, listing(t, "pvc-100")); d != "" {
				t.Errorf("after a restart: want (-), got (+):\n%s", d)
			}

			networks[0] = network(100, []string{"tcp dport 23 accept", "tcp dport 24 accept"}, nil)
			mustHold(t, again.Apply(t.Context(), true, networks))
			if !strings.Contains(listing(t, "pvc-100"), "tcp dport 24 accept") {
				t.Error("the repaired rule is not in force")
			}
		})
	}
}

func TestWithoutFormerRulesABadRuleDropsWhatReachesIt(t *testing.T) {
	for name, bad := range map[string]string{"not for our grammar": "jump vxlan200-in", "not for nft": "icmp type nonsense accept"} {
		t.Run(name, func(t *testing.T) {
			inNamespace(t)
			r := newRig(t)
			networks := []*model.Network{network(100, []string{"tcp dport 22 accept", bad, "tcp dport 23 accept"}, []string{"tcp dport 25 drop"})}
			for range 2 {
				mustFail(t, r.Apply(t.Context(), true, networks), 100, "; what comes to it is dropped")
			}
			got := listing(t, "pvc-100")
			_, in, _ := strings.Cut(got, "chain vxlan100-in {")
			in, rest, _ := strings.Cut(in, "}")
			want := "\n\t\tcounter\n\t\tcounter tcp dport 22 accept\n\t\tcounter drop comment \"in place of a rule that cannot be loaded\"\n\t"
			if in != want || !strings.Contains(rest, "tcp dport 25 drop") {
				t.Errorf("got\n%s", got)
			}
			// The addresses decide which packets the rules see: old rules for old
			// addresses protect nothing.
			networks[0].IP4.Network = network(99, nil, nil).IP4.Network
			mustFail(t, newRig(t).Apply(t.Context(), true, networks), 100, "; what comes to it is dropped")
			if got := listing(t, "pvc-100"); !strings.Contains(got, "ip daddr 10.99.0.0/24") {
				t.Errorf("the new addresses are not in force:\n%s", got)
			}
		})
	}
}

func TestAFormerTableForOtherAddressesIsNotKept(t *testing.T) {
	inNamespace(t)
	r := newRig(t)
	n := network(100, []string{"drop"}, nil)
	mustHold(t, r.Apply(t.Context(), true, []*model.Network{n}))
	moved := network(100, []string{"jump x"}, nil)
	moved.IP4.Network = network(99, nil, nil).IP4.Network
	mustFail(t, r.Apply(t.Context(), true, []*model.Network{moved}), 100, "what comes to it is dropped")
	if got := listing(t, "pvc-100"); !strings.Contains(got, "ip daddr 10.99.0.0/24") {
		t.Errorf("the new addresses are not in force:\n%s", got)
	}
}

func TestWithoutNftNothingChangesAndTheNextPassRepairs(t *testing.T) {
	inNamespace(t)
	r := newRig(t)
	networks := []*model.Network{network(100, []string{"drop"}, nil)}
	mustHold(t, r.Apply(t.Context(), true, networks))
	before := listing(t, "pvc-100")
	down := errs.Unavailablef("run nft: killed")
	r.before = func(run.Command) error { return down }
	changed := []*model.Network{network(100, []string{"accept"}, nil)}
	failed := r.Apply(t.Context(), true, changed)
	mustFail(t, failed, 100, "killed")
	if !errs.Is(failed[100], errs.Unavailable) {
		t.Errorf("%v is not of the kind unavailable", failed[100])
	}
	mustFail(t, r.Apply(t.Context(), false, nil), 100, "remove the firewall")
	if d := cmp.Diff(before, listing(t, "pvc-100")); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	r.before = nil
	mustHold(t, r.Apply(t.Context(), true, changed))
	if !strings.Contains(listing(t, "pvc-100"), "counter accept\n") {
		t.Errorf("not loaded:\n%s", listing(t, "pvc-100"))
	}
	r.before = func(run.Command) error { return down }
	mustFail(t, r.Apply(t.Context(), false, nil), 100, "remove the firewall")
	r.before = nil
	mustHold(t, r.Apply(t.Context(), false, nil))
	if got := sums(t); len(got) != 0 {
		t.Errorf("%d tables are left", len(got))
	}
}

func TestAPassThatIsCancelledSaysSo(t *testing.T) {
	inNamespace(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	failed := newRig(t).Apply(ctx, true, []*model.Network{network(100, nil, nil), network(200, nil, nil)})
	if !errs.Is(failed[100], errs.Unavailable) || !errs.Is(failed[200], errs.Unavailable) {
		t.Errorf("got %v", failed)
	}
}
