package view_test

import (
	"context"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

// A caller that waits for a VM whose mirroring ends meanwhile must not have to wait for
// news about another one.
func TestNobodyWaitsForWhatIsNoLongerMirrored(t *testing.T) {
	t.Parallel()
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	c := dial(t, e)
	layout(t, c)
	commit(t, c, vmTxn(1))
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	group := view.GroupOf(schema.VM(uuidOf(1)))
	told := make(chan string, 100)
	m, err := view.Open(ctx, view.MirrorOptions{
		Dial: zk.Dial, Servers: e.Addrs(), Timeout: 4 * time.Second, Want: view.WholeCluster.Want, Group: view.GroupOf,
		Roots: []string{schema.VM(uuidOf(1)), schema.Claim(uuidOf(1))}, Changed: func(g string) { told <- g },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.Close)
	if g := <-told; g != group {
		t.Fatalf("told of %s", g)
	}
	m.Remove(schema.VM(uuidOf(1)), schema.Claim(uuidOf(1)))
	if err := m.Barrier(ctx, group); err != nil {
		t.Errorf("after it was removed: %v", err)
	}
	if _, err := m.Commit(ctx, group, *new(coord.Txn).Set(schema.VM(uuidOf(1), schema.VMState), []byte("start"), coord.AnyVersion)); err != nil {
		t.Errorf("a change to it: %v", err)
	}
}
