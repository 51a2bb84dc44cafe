package conformance

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// Patience bounds every wait of the suite.
const Patience = 30 * time.Second

// Harness is a cluster with at least one OSD that runs, two daemons' ways to it, and what
// the suite does behind their backs.
type Harness struct {
	Here, There ceph.Cluster

	// Open has another client open an image for writing, and returns its address and what
	// closes the image again.
	Open func(t *testing.T, pool, image string) (address string, closed func())
	// Protect protects a snapshot, or takes that back.
	Protect func(t *testing.T, pool, image, snapshot string, on bool)
	// Discard moves an image to the trash.
	Discard func(t *testing.T, pool, image string)
	// Blocklist enters an address for that long.
	Blocklist func(t *testing.T, address string, life time.Duration)
	// Stop makes the cluster hang; Cont ends that.
	Stop, Cont func(t *testing.T)
}

var names atomic.Int64

// pool makes a pool and has it gone in the end.
func (h Harness) pool(t *testing.T) ceph.Pool {
	t.Helper()
	p, err := h.Here.CreatePool(t.Context(), fmt.Sprintf("pool%d", names.Add(1)), 4)
	must(t, err)
	t.Cleanup(func() {
		err := h.Here.RemovePool(context.WithoutCancel(t.Context()), p.Name, p.ID)
		if err != nil && !errs.Is(err, errs.NotFound) {
			t.Error(err)
		}
	})
	return p
}

const mib = 1 << 20

// image makes an image of 16 MiB in a pool of its own.
func (h Harness) image(t *testing.T, name string) (pool string, i ceph.Image) {
	t.Helper()
	pool = h.pool(t).Name
	i, err := h.Here.CreateImage(t.Context(), pool, name, 16*mib)
	must(t, err)
	return pool, i
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// refused expects a kind of error with Ceph's number.
func refused(t *testing.T, err error, kind errs.Kind, number syscall.Errno) {
	t.Helper()
	if !errs.Is(err, kind) || ceph.NumberOf(err) != number {
		t.Errorf("%v (number %d); want %v with number %d", err, ceph.NumberOf(err), kind, number)
	}
}

// until asks again every tenth of a second until the answer is as wanted: Ceph counts and
// notices after the fact.
func until[T any](t *testing.T, what string, ask func(context.Context) (T, error), ok func(T) bool) T {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		v, err := ask(ctx)
		if err == nil && ok(v) {
			return v
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not %s within %v: %+v, %v", what, Patience, v, err)
		}
	}
}
