package cluster_test

import (
	"context"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

func role(node, state string) deed {
	return func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) {
		return c.SetCoordinatorState(ctx, cluster.SetCoordinatorState{Node: node, State: state})
	}
}

func domain(node, state string) deed {
	return func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) {
		return c.SetDomainState(ctx, cluster.SetDomainState{Node: node, State: state})
	}
}

func removal(node string) deed {
	return func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) { return c.RemoveNode(ctx, node) }
}

// decision: coordinator state
func TestThePrimaryRoleFollowsTheTable(t *testing.T) {
	w := newWorld(t)
	held := join(hosts(), compat.Tree{"/primary_node/holder": "hv1"})
	only := join(node("hv1"), node("hv2", "dead", ""), node("hv3", "daemonstate", "shutdown"), node("hv4", "daemonmode", "hypervisor"),
		compat.Tree{"/primary_node/holder": "hv1"})
	wish := func(node string) compat.Tree { return compat.Tree{"/primary_node": node} }
	refused := func(given compat.Tree, do deed, kind errs.Kind, says string) rule {
		return rule{given: given, do: do, no: true, kind: kind, says: says}
	}
	for name, r := range map[string]rule{
		"another becomes primary":        {given: held, do: role("hv2", "primary"), says: "becomes primary", writes: wish("hv2")},
		"the primary gives it up":        {given: held, do: role("hv1", "secondary"), says: "gives up", writes: nil},
		"a secondary stays one":          {given: held, do: role("hv2", "secondary"), says: "already secondary"},
		"nobody else is there":           refused(only, role("hv1", "secondary"), errs.Conflict, "no other coordinator is running"),
		"a dead one":                     refused(only, role("hv2", "primary"), errs.Conflict, "state dead"),
		"one that leaves":                refused(only, role("hv3", "primary"), errs.Conflict, "state shutdown"),
		"a hypervisor becomes primary":   refused(only, role("hv4", "primary"), errs.Conflict, "no coordinator"),
		"a hypervisor becomes secondary": refused(only, role("hv4", "secondary"), errs.Conflict, "no coordinator"),
		"a node that does not exist":     refused(held, role("hv9", "primary"), errs.NotFound, `"hv9"`),
		"a word that is no role":         refused(held, role("hv2", "takeover"), errs.Invalid, `"takeover"`),
	} {
		t.Run(name, func(t *testing.T) { w.check(t, r) })
	}
	t.Run("the wish is the key of old clients", func(t *testing.T) {
		w.reset(t, held)
		w.set(t, "/primary_node", "hv1")
		sync(t, w.v)
		w.now["/primary_node"] = "hv1"
		answer, err := role("hv1", "secondary")(t.Context(), w.rules)
		if got := w.tree(t)["/primary_node"]; err != nil || got != "none" {
			t.Errorf("%q, %v: the key holds %q", answer.Message, err, got)
		}
		w.now["/primary_node"] = "none"
		answer, err = role("hv1", "primary")(t.Context(), w.rules)
		if got := w.tree(t)["/primary_node"]; err != nil || got != "hv1" {
			t.Errorf("%q, %v: the key holds %q", answer.Message, err, got)
		}
	})
}

// decision: flush
// decision: ready
func TestDomainStatesFollowTheTable(t *testing.T) {
	w := newWorld(t)
	in := func(state string, pairs ...string) compat.Tree {
		return join(node("hv1", append(pairs, "domainstate", state)...), node("hv2"))
	}
	wish := func(state string) compat.Tree { return compat.Tree{"/nodes/hv1/domainstate": state} }
	alone := join(node("hv1"), node("hv2", "domainstate", "flushed"))
	refused := func(given compat.Tree, do deed, kind errs.Kind, says string) rule {
		return rule{given: given, do: do, no: true, kind: kind, says: says}
	}
	for name, r := range map[string]rule{
		"flush":                      {given: in("ready"), do: domain("hv1", "flush"), says: "is being flushed", writes: wish("flush")},
		"flush a flushed one":        {given: in("flushed"), do: domain("hv1", "flush"), says: "already flushed"},
		"flush one that gets ready":  {given: in("unflush"), do: domain("hv1", "flush"), writes: wish("flush")},
		"flush again":                {given: in("flush", "flush", "web1: why"), do: domain("hv1", "flush"), writes: compat.Tree{"/nodes/hv1/flush": ""}},
		"flush the last, empty":      {given: alone, do: domain("hv1", "flush"), writes: wish("flush")},
		"flush the last, with a VM":  refused(join(alone, vm("start", "hv1"), claim("hv1")), domain("hv1", "flush"), errs.Conflict, "ready to take the guests of \"hv1\" (web1)"),
		"flush a dead one":           refused(join(node("hv1", "dead", ""), node("hv2")), domain("hv1", "flush"), errs.Conflict, "state dead"),
		"flush one that starts":      refused(in("ready", "daemonstate", "init"), domain("hv1", "flush"), errs.Conflict, "state init"),
		"ready":                      {given: in("flushed"), do: domain("hv1", "ready"), says: "takes VMs again", writes: wish("unflush")},
		"ready cancels a flush":      {given: in("flush", "flush", "web1: why"), do: domain("hv1", "ready"), writes: join(wish("unflush"), compat.Tree{"/nodes/hv1/flush": ""})},
		"ready a ready one":          {given: in("ready"), do: domain("hv1", "ready"), says: "already ready"},
		"ready a dead one":           refused(join(node("hv1", "dead", ""), node("hv2")), domain("hv1", "ready"), errs.Conflict, "state dead"),
		"a word that is no state":    refused(in("ready"), domain("hv1", "flushed"), errs.Invalid, `"flushed"`),
		"a node that does not exist": refused(hosts(), domain("hv9", "flush"), errs.NotFound, `"hv9"`),
	} {
		t.Run(name, func(t *testing.T) { w.check(t, r) })
	}
}

// decision: removal
func TestOnlyANodeThatIsGoneAndEmptyIsRemoved(t *testing.T) {
	w := newWorld(t)
	all := compat.Tree{}
	for path := range node("hv1", "dead", "") {
		all[path] = gone
	}
	dead := join(node("hv1", "dead", ""), node("hv2"))
	locked := join(dead, compat.Tree{"/nodes/hv1/daemonstate/0123456789abcdef0123456789abcdef__lock__0000000000": ""})
	withLock := join(all, compat.Tree{"/nodes/hv1/daemonstate/0123456789abcdef0123456789abcdef__lock__0000000000": gone})
	refused := func(given compat.Tree, kind errs.Kind, says string) rule {
		return rule{given: given, do: removal("hv1"), no: true, kind: kind, says: says}
	}
	for name, r := range map[string]rule{
		"dead":           {given: dead, do: removal("hv1"), says: "is removed", writes: all},
		"stopped":        {given: join(node("hv1", "dead", "", "daemonstate", "stop"), node("hv2")), do: removal("hv1"), writes: all},
		"with old locks": {given: locked, do: removal("hv1"), writes: withLock},
		"alive":          refused(hosts(), errs.Conflict, "is alive (daemon state run)"),
		"with a VM":      refused(join(dead, vm("stop", "hv1")), errs.Conflict, "still has VMs, or is their home: web1"),
		"a home":         refused(join(dead, vm("stop", "hv2", "lastnode", "hv1")), errs.Conflict, "web1"),
		"claimed":        refused(join(dead, vm("start", "hv2"), claim("hv1")), errs.Conflict, "web1"),
		"not there":      refused(node("hv2"), errs.NotFound, `"hv1"`),
	} {
		t.Run(name, func(t *testing.T) { w.check(t, r) })
	}
}
