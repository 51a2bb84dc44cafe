package compat_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

// TestWhatWeClearAnOldClientReadsAsEmpty: ZooKeeper knows znodes without any data,
// which the old client's library does not return as text.
func TestWhatWeClearAnOldClientReadsAsEmpty(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{})
	ours := coordtest.Dial(t, e.Addrs(), 4*time.Second, nil)
	c := compat.StartOldClient(t, e.Addrs())
	c.Write(map[string]string{"/old": "", "/old/set": "x"})
	txn := new(coord.Txn).Create("/old/new", nil).CreateEphemeral("/old/passing", nil).Set("/old/set", nil, coord.AnyVersion)
	if _, err := ours.Commit(t.Context(), *txn); err != nil {
		t.Fatal(err)
	}
	want := compat.Tree{"/old": "", "/old/new": "", "/old/passing": "", "/old/set": ""}
	if d := cmp.Diff(want, c.Tree("/old")); d != "" {
		t.Errorf("the old client reads (-want +got):\n%s", d)
	}
}

func TestAnOldTransactionThatCollidesChangesNothing(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{})
	c := compat.StartOldClient(t, e.Addrs())
	c.Write(map[string]string{"/old": "1"})
	if c.TryWrite(map[string]string{"/old": "2", "/missing/child": "x"}) {
		t.Error("a child without its parent was created")
	}
	if got := c.Tree("/old")["/old"]; got != "1" {
		t.Errorf("%q, want 1", got)
	}
	c.Remove("/old")
	if left := c.Tree("/old"); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}
