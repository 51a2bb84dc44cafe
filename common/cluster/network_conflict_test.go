package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

// decision: new networks
// decision: overlapping networks
func TestOfTwoNetworksThatExcludeEachOtherOneWins(t *testing.T) {
	w := newWorld(t)
	_, second := w.another(t)
	for name, tc := range map[string]struct {
		one, two func(i int) cluster.CreateNetwork
		says     string
	}{
		"of one VNI": {
			func(i int) cluster.CreateNetwork { return managed(i+1, fmt.Sprintf("a%d", i), cluster.NetworkValues{}) },
			func(i int) cluster.CreateNetwork { return managed(i+1, fmt.Sprintf("b%d", i), cluster.NetworkValues{}) }, "belongs to network"},
		"of one name": {
			func(i int) cluster.CreateNetwork {
				return managed(2*i+1, fmt.Sprintf("a%d", i), cluster.NetworkValues{})
			},
			func(i int) cluster.CreateNetwork {
				return managed(2*i+2, fmt.Sprintf("a%d", i), cluster.NetworkValues{})
			}, "exists already"},
		"of one block": {
			func(i int) cluster.CreateNetwork {
				return managed(2*i+1, fmt.Sprintf("a%d", i), cluster.NetworkValues{IP6Network: fmt.Sprintf("fd00:%x::/64", i)})
			},
			func(i int) cluster.CreateNetwork {
				return managed(2*i+2, fmt.Sprintf("b%d", i), cluster.NetworkValues{IP6Network: fmt.Sprintf("fd00:%x::/56", i)})
			}, "overlaps"},
	} {
		t.Run(name, func(t *testing.T) {
			w.now = nil
			w.reset(t)
			for i := range rounds {
				a, b := atOnce(t.Context(), w.rules, second, create(tc.one(i)), create(tc.two(i)))
				oneWins(t, a, b, tc.says)
			}
			if n := len(w.tree(t).Children("/networks")); n != rounds {
				t.Errorf("%d networks, want %d", n, rounds)
			}
		})
	}
}

// TestChangesOfNetworksThatDoNotExcludeEachOtherBothWin: they collide in the root of the
// networks, and the loser is made to look again.
func TestChangesOfNetworksThatDoNotExcludeEachOtherBothWin(t *testing.T) {
	w := newWorld(t)
	_, second := w.another(t)
	w.now = nil
	w.reset(t, office())
	for i := range rounds {
		one, two := allow("in", fmt.Sprintf("a%d", i), 0), allow("in", fmt.Sprintf("b%d", i), -1)
		if a, b := atOnce(t.Context(), w.rules, second, one, two); a != nil || b != nil {
			t.Fatalf("%v and %v", a, b)
		}
	}
	tree, seen := w.tree(t), map[string]bool{}
	for _, name := range tree.Children("/networks/100/firewall_rules/in") {
		seen[tree["/networks/100/firewall_rules/in/"+name+"/order"]] = true
	}
	if len(seen) != 2*rounds {
		t.Errorf("%d different positions of %d rules", len(seen), 2*rounds)
	}
}

// decision: reservations
func TestOfTwoReservationsOfOneAddressOneWins(t *testing.T) {
	w := newWorld(t)
	_, second := w.another(t)
	w.now = nil
	w.reset(t, office())
	for i := range rounds {
		ip := fmt.Sprintf("10.100.0.%d", 10+i)
		a, b := atOnce(t.Context(), w.rules, second, reserve(fmt.Sprintf("52:54:00:00:01:%02x", i), ip, ""), reserve(fmt.Sprintf("52:54:00:00:02:%02x", i), ip, ""))
		oneWins(t, a, b, ip+" is reserved for")
	}
}

// decision: PUT of a network
func TestAReservationAndAChangeThatLeavesItNoRoomExcludeEachOther(t *testing.T) {
	w := newWorld(t)
	_, second := w.another(t)
	for range rounds {
		w.now = nil
		w.reset(t, office("dhcp4_flag", "False", "dhcp4_start", "None", "dhcp4_end", "None"))
		a, b := atOnce(t.Context(), w.rules, second, reserve(mac1, "10.100.0.200", ""), change(cluster.ModifyNetwork{IP4Network: to("10.100.0.0/25")}))
		if (a == nil) == (b == nil) || !strings.Contains(errors.Join(a, b).Error(), "10.100.0.200 is not in the network 10.100.0.0/25") {
			t.Errorf("%v and %v", a, b)
		}
	}
}

// TestAVMIsNeverLeftOnARemovedNetwork lets a VM come to a network while it is removed, by
// its definition and by a new document.
//
// decision: removing networks
func TestAVMIsNeverLeftOnARemovedNetwork(t *testing.T) {
	w := newWorld(t)
	v2, second := w.another(t)
	onIt := document("web1", web1, device(bridge, "vmbr100"))
	for name, tc := range map[string]struct {
		given compat.Tree
		do    deed
	}{
		"by its definition":   {join(node("hv1"), office()), define(cluster.DefineVM{XML: onIt, Node: "hv1"})},
		"by its new document": {join(node("hv1"), office(), vm("stop", "hv1")), modify(onIt, false)},
	} {
		t.Run(name, func(t *testing.T) {
			w.now = nil
			for range rounds {
				w.reset(t, tc.given)
				sync(t, v2)
				a, b := atOnce(t.Context(), w.rules, second, removeNetwork("office"), tc.do)
				w.now = w.tree(t)
				tree := w.now
				_, network := tree["/networks/100"]
				used := strings.Contains(tree["/domains/"+web1+"/xml"], "vmbr100")
				if used && !network || (a == nil) != !network || (b == nil) != used || a == nil && b == nil {
					t.Errorf("removal: %v, VM: %v; network there: %v, used: %v", a, b, network, used)
				}
			}
		})
	}
}

// TestALateRemovalSeesTheVMThatWasPutOnTheNetwork: the second API does not hear of anything.
func TestALateRemovalSeesTheVMThatWasPutOnTheNetwork(t *testing.T) {
	w := newWorld(t)
	w.now = nil
	w.reset(t, join(hosts(), office(), vm("stop", "hv1")))
	late := w.late(t)
	onIt := document("web1", web1, device(bridge, "vmbr100"))
	if _, err := modify(onIt, false)(t.Context(), w.rules); err != nil {
		t.Fatal(err)
	}
	before := w.tree(t)
	if _, err := late.RemoveNetwork(t.Context(), "office"); !errs.Is(err, errs.Conflict) {
		t.Errorf("err = %v, want a conflict", err)
	}
	if d := cmp.Diff(before, w.tree(t)); d != "" {
		t.Errorf("it changed:\n%s", d)
	}
}

func TestAChangeOfARemovedNetworkIsNotGivenToItsSuccessor(t *testing.T) {
	w := newWorld(t)
	for what, wish := range map[string]deed{
		"values":      change(cluster.ModifyNetwork{MTU: to(1300)}),
		"reservation": reserve(mac1, "10.100.0.10", ""),
		"rule":        allow("in", "a", -1),
		"no reservation": func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) {
			return c.RemoveReservation(ctx, "office", mac2)
		},
		"no rule": dropRule("in", "web"),
		"removal": removeNetwork("office"),
	} {
		t.Run(what, func(t *testing.T) {
			w.now = nil
			more := join(reservation(mac2, "10.100.0.11", "None"), rules("in", "web", "0"))
			w.reset(t, join(office(), more))
			late := w.late(t)
			w.reset(t)
			w.write(t, office("gen-1", "-", "gen-2", ""), more) // every version is what it was
			before := w.tree(t)
			if _, err := wish(t.Context(), late); !errs.Is(err, errs.Conflict) {
				t.Errorf("err = %v, want a conflict", err)
			}
			if d := cmp.Diff(before, w.tree(t)); d != "" {
				t.Errorf("it changed:\n%s", d)
			}
		})
	}
}

// TestAnOldClientsChangeOfAValueIsLookedAt: it does not touch the root of the networks.
func TestAnOldClientsChangeOfAValueIsLookedAt(t *testing.T) {
	w := newWorld(t)
	w.now = nil
	w.reset(t, office())
	late := w.late(t)
	w.set(t, "/networks/100/ip4_gateway", "10.100.0.10")
	for what, wish := range map[string]deed{
		"a reservation of the new gateway":  reserve(mac1, "10.100.0.10", ""),
		"a range that contains the gateway": change(cluster.ModifyNetwork{DHCP4Start: to("10.100.0.5")}),
	} {
		before := w.tree(t)
		if answer, err := wish(t.Context(), late); err == nil {
			t.Errorf("%s: %s", what, answer.Message)
		}
		if d := cmp.Diff(before, w.tree(t)); d != "" {
			t.Errorf("%s changed:\n%s", what, d)
		}
	}
}
