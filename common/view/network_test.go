package view_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

// networkTxn makes a network with a rule.
func networkTxn(vni int, description string) *coord.Txn {
	txn := new(coord.Txn).Create(schema.Network(vni), []byte(description))
	for _, k := range [][2]string{
		{schema.NetworkType, "managed"}, {schema.NetworkDomain, "None"}, {schema.NetworkIP4Network, fmt.Sprintf("10.%d.0.0/24", vni)},
		{schema.NetworkLeases, ""}, {schema.NetworkReservations, ""}, {schema.NetworkRules, ""}, {schema.NetworkRules + "/in", ""},
		{schema.NetworkRules + "/in/web", ""}, {schema.NetworkRules + "/in/web/order", "0"}, {schema.NetworkRules + "/in/web/rule", "accept"},
		{schema.NetworkGenPrefix + "abc", ""},
	} {
		txn.Create(schema.Network(vni, k[0]), []byte(k[1]))
	}
	return txn
}

func generationOf(v *view.View) (g uint64) {
	v.Read(func(s *view.Snapshot) { g = s.NetworkGeneration() })
	return g
}

func TestNetworksAreSeenWhenTheCommitReturns(t *testing.T) {
	t.Parallel()
	e := ensemble.Start(t, ensemble.Options{Servers: 3})
	layout(t, dial(t, e))
	v := start(t, view.Options{Servers: e.Addrs()})
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	for vni := 1; vni <= 30; vni++ {
		before := generationOf(v)
		txn := networkTxn(vni, fmt.Sprintf("net%d", vni)).Set(schema.Networks, nil, coord.AnyVersion)
		if err := v.Commit(ctx, schema.Network(vni), *txn); err != nil {
			t.Fatal(err)
		}
		v.Read(func(s *view.Snapshot) {
			n, err := s.FindNetwork(fmt.Sprintf("net%d", vni))
			if err != nil || n.VNI != vni || n.Gen != "abc" || len(n.In) != 1 || n.In[0].Text != "accept" || s.NetworksVersion() != int32(vni) || s.NetworkGeneration() == before {
				t.Fatalf("network %d: %+v, %v, version %d", vni, n, err, s.NetworksVersion())
			}
		})
		mac := schema.Network(vni, schema.NetworkLeases, "52:54:00:00:00:01")
		lease := new(coord.Txn).Create(mac, nil).Create(mac+"/"+schema.LeaseAddress, []byte("10.1.0.5")).Create(mac+"/"+schema.LeaseExpiry, []byte("9"))
		if err := v.Commit(ctx, schema.Network(vni), *lease); err != nil {
			t.Fatal(err)
		}
		v.Read(func(s *view.Snapshot) {
			if n, _ := s.Network(vni); len(n.Leases) != 1 || n.Leases[0].Expiry != 9 {
				t.Fatalf("leases of network %d: %+v", vni, n.Leases)
			}
		})
	}
	v.Read(func(s *view.Snapshot) {
		var vnis []int
		for _, n := range s.Networks() {
			vnis = append(vnis, n.VNI)
		}
		if len(vnis) != 30 || !slices.IsSorted(vnis) {
			t.Errorf("networks %v", vnis)
		}
	})
}

func TestNetworksAreFoundByNumberAndDescription(t *testing.T) {
	t.Parallel()
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	c := dial(t, e)
	layout(t, c)
	commit(t, c, networkTxn(5, "twice"))
	commit(t, c, networkTxn(6, "twice"))
	commit(t, c, networkTxn(7, "once"))
	commit(t, c, new(coord.Txn).Create(schema.Networks+"/08", []byte("odd")).Create(schema.Networks+"/08/nettype", []byte("managed")))
	v := start(t, view.Options{Servers: e.Addrs()})
	v.Read(func(s *view.Snapshot) {
		for ref, want := range map[string]struct {
			vni  int
			kind errs.Kind
		}{"5": {vni: 5}, "once": {vni: 7}, "twice": {kind: errs.Conflict}, "8": {kind: errs.NotFound}, "odd": {kind: errs.NotFound}, "": {kind: errs.NotFound}} {
			n, err := s.FindNetwork(ref)
			if want.vni != 0 && (err != nil || n.VNI != want.vni) || want.vni == 0 && !errs.Is(err, want.kind) {
				t.Errorf("%q: %+v, %v", ref, n, err)
			}
		}
	})
}

func TestARemovedNetworkGoesAndTheOthersStay(t *testing.T) {
	t.Parallel()
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	c := dial(t, e)
	layout(t, c)
	commit(t, c, networkTxn(5, "lab"))
	commit(t, c, networkTxn(6, "kept"))
	v := start(t, view.Options{Servers: e.Addrs()})
	remove := new(coord.Txn)
	made := networkTxn(5, "lab").Ops
	for i := len(made) - 1; i >= 0; i-- {
		remove.Delete(made[i].Path, coord.AnyVersion)
	}
	before := generationOf(v)
	commit(t, c, remove)
	until(t, v, "the removal", func(s *view.Snapshot) bool {
		_, ok := s.Network(5)
		return !ok && len(s.Networks()) == 1 && s.NetworkGeneration() > before
	})
}
