package netctl

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/dhcp"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

// recorded is a cluster with network 100 whose primary is hv1.
func recorded(t *testing.T) (*Leases, coord.Client) {
	t.Helper()
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	c := coordtest.Dial(t, e.Addrs(), 10*time.Second, nil)
	for path, data := range map[string]string{
		schema.Primary: "hv1", schema.Nodes: "", schema.Networks: "",
	} {
		coordtest.Put(t, c, path, data)
	}
	coordtest.Put(t, c, schema.PrimaryHolder, "hv1")
	coordtest.Put(t, c, schema.Network(100), "office")
	coordtest.Put(t, c, schema.Network(100, schema.NetworkType), "managed")
	coordtest.Put(t, c, schema.Network(100, schema.NetworkGenPrefix+"1"), "")
	coordtest.Put(t, c, schema.Network(100, schema.NetworkLeases), "")
	v := view.New(view.Options{Scope: view.CoordinatorNetworks, Dial: zk.Dial, Servers: e.Addrs(), Timeout: 10 * time.Second, Connections: 1, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = v.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	coordtest.Eventually(t, "the view is complete", v.Ready)
	return NewLeases("hv1", v), c
}

func four(address, name string, expiry int64) dhcp.Lease {
	return dhcp.Lease{Address: ip(address), MAC: "52:54:00:00:00:01", ClientID: "*", Hostname: name, Expiry: expiry}
}

func six(address string, expiry int64) dhcp.Lease {
	return dhcp.Lease{Address: ip(address), DUID: "00:01", IAID: "7", ServerDUID: "00:02", Hostname: "six", Expiry: expiry}
}

func known(t *testing.T, l *Leases, want ...dhcp.Lease) {
	t.Helper()
	got, err := l.Known(t.Context(), 100)
	if diff := cmp.Diff(want, got, comparing); err != nil || diff != "" {
		t.Errorf("%v %s", err, diff)
	}
}

func TestLeasesAreRecordedOncePerGuest(t *testing.T) {
	l, c := recorded(t)
	ctx := t.Context()
	known(t, l)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(l.Put(ctx, 100, four("10.100.0.100", "a", 5)))
	must(l.Put(ctx, 100, four("10.100.0.101", "", 6)))
	known(t, l, four("10.100.0.101", "", 6))
	must(l.Drop(ctx, 100, four("10.100.0.100", "", 0))) // an earlier address of the guest
	known(t, l, four("10.100.0.101", "", 6))
	must(l.Put(ctx, 100, six("fd00::5", 5)))
	must(l.Put(ctx, 100, six("fd00::5", 7)))
	must(l.Put(ctx, 100, six("fd00::6", 8)))
	known(t, l, four("10.100.0.101", "", 6), six("fd00::5", 7), six("fd00::6", 8))
	// An old client reads the keys it knows.
	if data, there := coordtest.Data(t, c, schema.Network(100, schema.NetworkLeases, "52:54:00:00:00:01", schema.LeaseAddress)); !there || data != "10.100.0.101" {
		t.Errorf("an old client reads %q, %v", data, there)
	}
	must(l.Drop(ctx, 100, four("10.100.0.101", "", 0)))
	must(l.Drop(ctx, 100, six("fd00::5", 0)))
	must(l.Drop(ctx, 100, six("fd00::5", 0)))
	known(t, l, six("fd00::6", 8))
}

func TestOnlyThePrimaryRecordsLeases(t *testing.T) {
	l, c := recorded(t)
	if err := l.Put(t.Context(), 101, four("10.100.0.100", "", 5)); !errs.Is(err, errs.NotFound) {
		t.Errorf("of an unknown network: %v", err)
	}
	if _, err := c.Commit(t.Context(), *new(coord.Txn).Set(schema.PrimaryHolder, []byte("hv2"), coord.AnyVersion)); err != nil {
		t.Fatal(err)
	}
	coordtest.Eventually(t, "the view knows", func() bool {
		return errs.Is(l.Put(t.Context(), 100, four("10.100.0.100", "", 5)), errs.Denied)
	})
	if _, err := l.Known(t.Context(), 100); !errs.Is(err, errs.Denied) {
		t.Errorf("another primary's leases: %v", err)
	}
}
