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
	set pvc { type ipv4_addr; elements = { 10.0.0.1 }; }
	chain input { type filter hook input priority filter; policy accept; counter; }
}
table inet pvc-extra {
	chain vxlan100-in { counter; }
}
table ip pvc {
	chain vxlan100-in { counter; }
}
`

func foreignListing(t *testing.T) (all string) {
	for _, name := range []string{"inet filter", "inet pvc-extra", "ip pvc"} {
		all += nft(t, "", append([]string{"-a", "list", "table"}, strings.Fields(name)...)...)
	}
	return all
}

func TestOnlyThePrimaryHoldsRulesAndOthersTablesAreLeftAlone(t *testing.T) {
	inNamespace(t)
	nft(t, foreign, "-f", "-")
	before := foreignListing(t)
	r := newRig(t)
	networks := []*model.Network{network(100, []string{"tcp dport 22 accept", "drop"}, nil), network(200, nil, []string{"drop"})}
	mustHold(t, r.Apply(t.Context(), false, networks))
	if exists(t) || r.calls != 0 {
		t.Errorf("not primary: table %v, %d calls", exists(t), r.calls)
	}
	mustHold(t, r.Apply(t.Context(), true, networks))
	for _, want := range []string{
		"\tchain vxlan100-in {\n\t\tiifname \"vmbr100\" return\n\t\tcounter\n\t\tcounter tcp dport 22 accept\n\t\tcounter drop\n\t}",
		"\tchain vxlan200-out {\n\t\toifname \"vmbr200\" return\n\t\tcounter\n\t\tcounter drop\n\t}",
		`"vmbr100" : jump vxlan100-in`, `"vmbr200" : jump vxlan200-out`,
	} {
		if !strings.Contains(listing(t), want) {
			t.Errorf("%q is missing in\n%s", want, listing(t))
		}
	}
	mustHold(t, r.Apply(t.Context(), true, networks[1:]))
	if got := listing(t); strings.Contains(got, "100") || !strings.Contains(got, "vxlan200-in") {
		t.Errorf("after the removal of one:\n%s", got)
	}
	mustHold(t, newRig(t).Apply(t.Context(), false, networks)) // another daemon's time as primary
	if exists(t) {
		t.Errorf("after the loss of the role:\n%s", listing(t))
	}
	if d := cmp.Diff(before, foreignListing(t)); d != "" {
		t.Errorf("tables of others: want (-), got (+):\n%s", d)
	}
}

func TestOnlyChainsThatDifferAreReplaced(t *testing.T) {
	inNamespace(t)
	r := newRig(t)
	one, two := network(100, []string{"drop"}, nil), network(200, []string{"drop"}, nil)
	mustHold(t, r.Apply(t.Context(), true, []*model.Network{one, two}))
	first := []digest{digestOf(t, 100), digestOf(t, 200)}
	mustHold(t, r.Apply(t.Context(), true, []*model.Network{two, one}))
	if r.calls != 1 {
		t.Errorf("%d calls of nft, the second pass had nothing to do", r.calls)
	}
	mustHold(t, r.Apply(t.Context(), true, []*model.Network{network(100, []string{"accept"}, nil), two}))
	if r.calls != 2 || digestOf(t, 100) == first[0] || digestOf(t, 200) != first[1] {
		t.Errorf("%d calls; of the two networks only the first was to be replaced", r.calls)
	}
	if got := listing(t, "vxlan100-in"); !strings.Contains(got, "\t\tcounter accept\n") || strings.Contains(got, "drop") {
		t.Errorf("got\n%s", got)
	}
}

func TestWhatOthersDoToOurTableIsRepaired(t *testing.T) {
	for name, tt := range map[string]struct {
		damage string
		all    bool // the other network is loaded again too
	}{
		"rule set flushed":   {"flush ruleset", true},
		"table removed":      {"delete table inet pvc", true},
		"table switched off": {"table inet pvc { flags dormant; }", true},
		"policy changed":     {"chain inet pvc leaving { policy drop; }", true},
		"base chain flushed": {"flush chain inet pvc entering", true},
		"service opened":     {"insert rule inet pvc services accept", true},
		"network taken out":  {"delete element inet pvc entering { \"vmbr100\" }", true},
		"network redirected": {"delete element inet pvc entering { \"vmbr100\" }\nadd element inet pvc entering { \"vmbr100\" : accept }", true},
		"set flushed":        {"flush set inet pvc bridges", true},
		"chain added":        {"table inet pvc {\n chain x {\n type filter hook forward priority -5; policy drop\n }\n}", true},
		"table made anew":    {"delete table inet pvc\ntable inet pvc {\n chain vxlan100-in {\n counter\n }\n}", true},
		"chain flushed":      {"flush chain inet pvc vxlan100-in", false},
		"rule added":         {"insert rule inet pvc vxlan100-in accept", false},
		"rules interchanged": {"flush chain inet pvc vxlan100-in\nadd rule inet pvc vxlan100-in counter drop\nadd rule inet pvc vxlan100-in counter", false},
	} {
		t.Run(name, func(t *testing.T) {
			inNamespace(t)
			r := newRig(t)
			networks := []*model.Network{network(100, []string{"drop"}, nil), network(200, []string{"drop"}, nil)}
			mustHold(t, r.Apply(t.Context(), true, networks))
			before, other := listing(t), digestOf(t, 200)
			nft(t, tt.damage, "-f", "-")
			if tt.damage != "table inet pvc { flags dormant; }" && exists(t) && listing(t) == before {
				t.Fatal("nothing was damaged")
			}
			mustHold(t, r.Apply(t.Context(), true, networks))
			if d := cmp.Diff(before, listing(t)); d != "" {
				t.Errorf("want (-), got (+):\n%s", d)
			}
			if !tt.all && digestOf(t, 200) != other {
				t.Error("the other network was loaded again too")
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
	r.after = func(run.Command) { nft(t, "insert rule inet pvc vxlan100-in accept", "-f", "-") }
	mustHold(t, r.Apply(t.Context(), true, networks))
	r.after = nil
	mustHold(t, r.Apply(t.Context(), true, networks))
	if got := listing(t); strings.Contains(got, "\t\taccept\n") {
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
			before := listing(t, "vxlan100-in")
			networks := []*model.Network{network(100, []string{"tcp dport 23 accept", bad, "drop"}, nil), network(200, []string{"tcp dport 80 drop"}, nil), network(300, nil, nil)}
			for range 2 {
				failed := r.Apply(t.Context(), true, networks)
				mustFail(t, failed, 100, `in rule "rule b": rule "`+bad)
				mustFail(t, failed, 100, "; its former rules stay in force")
				if !errs.Is(failed[100], errs.Invalid) {
					t.Errorf("%v is not of the kind invalid", failed[100])
				}
			}
			if d := cmp.Diff(before, listing(t, "vxlan100-in")); d != "" {
				t.Errorf("want (-), got (+):\n%s", d)
			}
			if got := listing(t); !strings.Contains(got, "tcp dport 80 drop") || !strings.Contains(got, "jump vxlan300-in") {
				t.Error("the other networks were not applied")
			}
			nft(t, "flush chain inet pvc vxlan100-in", "-f", "-")
			mustFail(t, r.Apply(t.Context(), true, networks), 100, "former")
			if d := cmp.Diff(before, listing(t, "vxlan100-in")); d != "" {
				t.Errorf("the former rules are not repaired: want (-), got (+):\n%s", d)
			}

			again := newRig(t) // a daemon that was restarted knows the table only from the kernel
			for range 2 {
				mustFail(t, again.Apply(t.Context(), true, networks), 100, "; its former rules stay in force")
			}
			if d := cmp.Diff(before, listing(t, "vxlan100-in")); d != "" {
				t.Errorf("after a restart: want (-), got (+):\n%s", d)
			}

			networks[0] = network(100, []string{"tcp dport 23 accept", "tcp dport 24 accept"}, nil)
			mustHold(t, again.Apply(t.Context(), true, networks))
			if !strings.Contains(listing(t), "tcp dport 24 accept") {
				t.Error("the repaired rule is not in force")
			}
		})
	}
}

// decision: a bad rule on record
func TestWithoutFormerRulesABadRuleDropsWhatReachesIt(t *testing.T) {
	for name, bad := range map[string]string{"not for our grammar": "jump vxlan200-in", "not for nft": "icmp type nonsense accept"} {
		t.Run(name, func(t *testing.T) {
			inNamespace(t)
			r := newRig(t)
			networks := []*model.Network{network(100, []string{"tcp dport 22 accept", bad, "tcp dport 23 accept"}, []string{"tcp dport 25 drop"})}
			for range 2 {
				mustFail(t, r.Apply(t.Context(), true, networks), 100, "; what comes to it is dropped")
			}
			_, in, _ := strings.Cut(listing(t, "vxlan100-in"), "counter\n")
			want := "\t\tcounter tcp dport 22 accept\n\t\tcounter drop comment \"in place of a rule that cannot be loaded\"\n\t}\n}\n"
			if in != want || !strings.Contains(listing(t, "vxlan100-out"), "tcp dport 25 drop") {
				t.Errorf("got\n%s", listing(t))
			}
			// What stands in for a rule is never taken for former rules, not even by the
			// daemon that comes next.
			networks[0] = network(100, []string{"tcp dport 24 accept", bad}, nil)
			for range 2 {
				mustFail(t, newRig(t).Apply(t.Context(), true, networks), 100, "; what comes to it is dropped")
				if got := listing(t, "vxlan100-in"); !strings.Contains(got, "tcp dport 24 accept") {
					t.Errorf("got\n%s", got)
				}
			}
		})
	}
}

func TestWithoutNftNothingChangesAndTheNextPassRepairs(t *testing.T) {
	inNamespace(t)
	r := newRig(t)
	networks := []*model.Network{network(100, []string{"drop"}, nil)}
	mustHold(t, r.Apply(t.Context(), true, networks))
	before := listing(t)
	down := errs.Unavailablef("run nft: killed")
	r.before = func(run.Command) error { return down }
	changed := []*model.Network{network(100, []string{"accept"}, nil)}
	failed := r.Apply(t.Context(), true, changed)
	mustFail(t, failed, 100, "killed")
	if !errs.Is(failed[100], errs.Unavailable) {
		t.Errorf("%v is not of the kind unavailable", failed[100])
	}
	mustFail(t, r.Apply(t.Context(), false, nil), WholeHost, "killed")
	if d := cmp.Diff(before, listing(t)); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	r.before = nil
	mustHold(t, r.Apply(t.Context(), true, changed))
	if !strings.Contains(listing(t), "counter accept\n") {
		t.Errorf("not loaded:\n%s", listing(t))
	}
	r.before = func(run.Command) error { return down }
	mustFail(t, r.Apply(t.Context(), false, nil), WholeHost, "killed")
	r.before = nil
	mustHold(t, r.Apply(t.Context(), false, nil))
	if exists(t) {
		t.Errorf("left:\n%s", listing(t))
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
