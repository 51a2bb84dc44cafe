package cluster_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

// noSemicolon stands in for the check of rules, which asks nft.
func noSemicolon(_ context.Context, rule string) error {
	if strings.Contains(rule, ";") {
		return errs.Invalidf("%q is no rule", rule)
	}
	return nil
}

// rules are those of network 100 in a direction, as pairs of name and order.
func rules(direction string, pairs ...string) compat.Tree {
	t := compat.Tree{}
	for i := 0; i+1 < len(pairs); i += 2 {
		root := "/networks/100/firewall_rules/" + direction + "/" + pairs[i]
		t[root], t[root+"/order"], t[root+"/rule"] = "", pairs[i+1], "accept"
	}
	return t
}

// orders are the positions of rules of network 100.
func orders(direction string, pairs ...string) compat.Tree {
	t := compat.Tree{}
	for i := 0; i+1 < len(pairs); i += 2 {
		t["/networks/100/firewall_rules/"+direction+"/"+pairs[i]+"/order"] = pairs[i+1]
	}
	return t
}

func allow(direction, name string, order int) deed {
	return addRule(cluster.AddRule{Network: "office", Direction: direction, Name: name, Order: order, Rule: "accept"})
}

func addRule(r cluster.AddRule) deed {
	return func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) { return c.AddRule(ctx, r) }
}

func dropRule(direction, name string) deed {
	return func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) {
		return c.RemoveRule(ctx, cluster.RemoveRule{Network: "100", Direction: direction, Name: name})
	}
}

// decision: rules
// decision: order of rules
// decision: removing rules
func TestRulesFollowTheTable(t *testing.T) {
	w := newWorld(t)
	three := join(office(), rules("in", "a", "0", "b", "1", "c", "2"))
	old := join(oldOffice(), rules("in", "a", "2", "b", "2", "c", "010"))
	many := office()
	for i := range 11 {
		many = join(many, rules("out", fmt.Sprintf("r%02d", i), fmt.Sprint(i)))
	}
	half := join(three, compat.Tree{"/networks/100/firewall_rules/in/h": "", "/networks/100/firewall_rules/in/h/rule": "drop"})
	for name, r := range map[string]rule{
		"the first":             {given: office(), do: allow("in", "a", -1), says: `rule "a" is at position 0 of direction in in network "office"`, writes: rules("in", "a", "0")},
		"at the end":            {given: three, do: allow("in", "d", -1), says: "position 3", writes: rules("in", "d", "3")},
		"beyond the end":        {given: three, do: allow("in", "d", 99), says: "position 3", writes: rules("in", "d", "3")},
		"before all":            {given: three, do: allow("in", "d", 0), says: "position 0", writes: join(rules("in", "d", "0"), orders("in", "a", "1", "b", "2", "c", "3"))},
		"between":               {given: three, do: allow("in", "d", 1), writes: join(rules("in", "d", "1"), orders("in", "b", "2", "c", "3"))},
		"a name with a blank":   {given: three, do: allow("in", "web in", 3), writes: rules("in", "web in", "3")},
		"the other direction":   {given: three, do: allow("out", "a", -1), says: "position 0 of direction out", writes: rules("out", "a", "0")},
		"after ten":             {given: many, do: allow("out", "s", 10), writes: join(rules("out", "s", "10"), orders("out", "r10", "11"))},
		"among an old client's": {given: old, do: allow("in", "d", 2), writes: join(rules("in", "d", "2"), orders("in", "a", "0", "b", "1", "c", "3"))},
		"without a gateway":     {given: network(100, "office"), do: allow("in", "a", -1), says: "no effect while the network has no gateway", writes: rules("in", "a", "0")},
		"removed":               {given: three, do: dropRule("in", "a"), says: `rule "a" in direction in`, writes: join(allGone(rules("in", "a", "0")), orders("in", "b", "0", "c", "1"))},
		"removed by its name":   {given: three, do: dropRule("", "c"), writes: allGone(rules("in", "c", ""))},
		"one of both removed":   {given: join(three, rules("out", "a", "0")), do: dropRule("out", "a"), writes: allGone(rules("out", "a", ""))},
		"half a rule removed": {given: half, do: dropRule("", "h"), writes: compat.Tree{
			"/networks/100/firewall_rules/in/h": gone, "/networks/100/firewall_rules/in/h/rule": gone}},

		"a name twice":              refuse(three, allow("in", "b", -1), errs.Conflict, `has a rule "b" in direction in already, at position 1`),
		"beside half a rule":        refuse(half, allow("in", "d", -1), errs.Conflict, `rule "h" in direction in of network "office" is incomplete`),
		"no direction":              refuse(three, allow("inout", "d", -1), errs.Invalid, `value "direction": direction "inout"`),
		"a name with a slash":       refuse(three, allow("in", "a/b", -1), errs.Invalid, `value "description": rule description "a/b"`),
		"a rule that is none":       refuse(three, addRule(cluster.AddRule{Network: "office", Direction: "in", Name: "d", Rule: "accept; drop"}), errs.Invalid, `value "rule": "accept; drop"`),
		"a rule that is too long":   refuse(three, addRule(cluster.AddRule{Network: "office", Direction: "in", Name: "d", Rule: strings.Repeat("a", 1025)}), errs.Invalid, "1025 characters"),
		"in a bridged network":      refuse(network(100, "office", "nettype", "bridged"), allow("in", "a", -1), errs.Conflict, "bridged"),
		"in no network":             refuse(three, addRule(cluster.AddRule{Network: "x", Direction: "in", Name: "d", Rule: "accept"}), errs.NotFound, `"x"`),
		"removed from both":         refuse(join(three, rules("out", "a", "0")), dropRule("", "a"), errs.Conflict, `directions in and out: the value "direction" has to say which`),
		"removed, but not there":    refuse(three, dropRule("", "d"), errs.NotFound, `no rule "d"`),
		"removed, but elsewhere":    refuse(three, dropRule("out", "a"), errs.NotFound, `no rule "a" in direction out`),
		"removed from no direction": refuse(three, dropRule("IN", "a"), errs.Invalid, `value "direction"`),
		"removed from no network":   refuse(nil, dropRule("in", "a"), errs.NotFound, `"100"`),
	} {
		t.Run(name, func(t *testing.T) { w.check(t, r) })
	}
}

// decision: rules
func TestWithoutACheckNoRuleIsAccepted(t *testing.T) {
	w := newWorld(t)
	w.reset(t, office())
	unchecked := cluster.New(cluster.Options{View: w.v})
	if _, err := allow("in", "a", -1)(t.Context(), unchecked); !errs.Is(err, errs.Unavailable) {
		t.Errorf("err = %v, want unavailable", err)
	}
	if left := changes(w.now, w.tree(t)); len(left) > 0 {
		t.Errorf("it changed %v", left)
	}
}
