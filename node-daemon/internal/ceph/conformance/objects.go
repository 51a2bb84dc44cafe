package conformance

import (
	"context"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// asOfMap leaves statistics out: they change by themselves.
var asOfMap = cmpopts.IgnoreFields(ceph.Pool{}, "Stats")

func findPool(t *testing.T, c ceph.Cluster, name string) (ceph.Pool, bool) {
	t.Helper()
	pools, err := c.Pools(t.Context())
	must(t, err)
	if !slices.IsSortedFunc(pools, func(a, b ceph.Pool) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("pools are not in order: %+v", pools)
	}
	n := slices.IndexFunc(pools, func(p ceph.Pool) bool { return p.Name == name })
	if n < 0 {
		return ceph.Pool{}, false
	}
	return pools[n], true
}

func createdPool(t *testing.T, h Harness) {
	p := h.pool(t)
	if p.ID == 0 || p.PGs != 4 || p.Size < 1 || p.MinSize < 1 || p.Application != "rbd" {
		t.Errorf("made: %+v", p)
	}
	listed, _ := findPool(t, h.There, p.Name)
	if diff := cmp.Diff(p, listed, asOfMap); diff != "" {
		t.Error("listed otherwise than made:", diff)
	}
	_, err := h.There.CreateImage(t.Context(), p.Name, "first", mib)
	must(t, err)
}

func secondPool(t *testing.T, h Harness) {
	p := h.pool(t)
	_, err := h.There.CreatePool(t.Context(), p.Name, 8)
	refused(t, err, errs.Conflict, syscall.EEXIST)
	if now, _ := findPool(t, h.Here, p.Name); now.ID != p.ID || now.PGs != p.PGs {
		t.Errorf("changed to %+v", now)
	}
}

func impossiblePool(t *testing.T, h Harness) {
	for _, pgs := range []int{-1, 0, 1 << 20} {
		if _, err := h.Here.CreatePool(t.Context(), "impossible", pgs); !errs.Is(err, errs.Invalid) {
			t.Errorf("%d placement groups: %v, want invalid", pgs, err)
		}
	}
	if p, there := findPool(t, h.Here, "impossible"); there {
		t.Errorf("made: %+v", p)
	}
}

func initPool(t *testing.T, h Harness) {
	p := h.pool(t)
	again, err := h.There.InitPool(t.Context(), p.Name, p.ID)
	must(t, err)
	if diff := cmp.Diff(p, again, asOfMap); diff != "" {
		t.Error(diff)
	}
	if _, err := h.There.InitPool(t.Context(), p.Name, p.ID+1000); !errs.Is(err, errs.NotFound) {
		t.Errorf("with another id: %v, want not found", err)
	}
}

func removePool(t *testing.T, h Harness) {
	p := h.pool(t)
	if err := h.Here.RemovePool(t.Context(), p.Name, p.ID+1000); !errs.Is(err, errs.NotFound) {
		t.Errorf("with another id: %v, want not found", err)
	}
	if _, there := findPool(t, h.Here, p.Name); !there {
		t.Fatal("removed under another id")
	}
	must(t, h.Here.RemovePool(t.Context(), p.Name, p.ID))
	if _, there := findPool(t, h.There, p.Name); there {
		t.Error("still there")
	}
	refused(t, h.Here.RemovePool(t.Context(), p.Name, p.ID), errs.NotFound, syscall.ENOENT)
}

func unknownPool(t *testing.T, h Harness) {
	ctx := t.Context()
	for what, err := range map[string]error{
		"images": second(h.Here.Images(ctx, "nosuchpool")), "image": second(h.Here.Image(ctx, "nosuchpool", "i")),
		"trash": second(h.Here.Trash(ctx, "nosuchpool")), "create": second(h.Here.CreateImage(ctx, "nosuchpool", "i", mib)),
		"remove": h.Here.RemoveImage(ctx, "nosuchpool", "1", nil),
	} {
		refused(t, err, errs.NotFound, syscall.ENOENT)
		if err == nil || !strings.Contains(err.Error(), `no such pool "nosuchpool"`) {
			t.Errorf("%s: %v does not name the pool", what, err)
		}
	}
}

func anOSD(t *testing.T, h Harness) ceph.OSD {
	t.Helper()
	all, err := h.Here.OSDs(t.Context())
	must(t, err)
	n := slices.IndexFunc(all, func(o ceph.OSD) bool { return o.Up && o.In })
	if n < 0 {
		t.Fatalf("no OSD is up and in: %+v", all)
	}
	return all[n]
}

func osds(t *testing.T, h Harness) {
	all := until(t, "with statistics", h.Here.OSDs, func(all []ceph.OSD) bool {
		return len(all) > 0 && all[0].Stats != nil && all[0].Stats.Traffic != nil && all[0].Stats.TotalBytes > 0
	})
	for i, o := range all {
		if len(o.UUID) != 36 || o.Host == "" || o.Weight <= 0 || o.Reweight != 1 || o.PrimaryAffinity != 1 || (i > 0 && all[i-1].ID >= o.ID) {
			t.Errorf("OSD %+v", o)
		}
		if s := o.Stats; s == nil || s.UsedBytes+s.AvailBytes > s.TotalBytes || s.Variance <= 0 {
			t.Errorf("statistics of osd.%d: %+v", o.ID, s)
		}
	}
}

func osdIn(t *testing.T, h Harness) {
	id := anOSD(t, h).ID
	for _, in := range []bool{false, true} {
		for range 2 {
			must(t, h.Here.SetOSDIn(t.Context(), id, in))
		}
		all, err := h.There.OSDs(t.Context())
		must(t, err)
		n := slices.IndexFunc(all, func(o ceph.OSD) bool { return o.ID == id })
		if all[n].In != in || (all[n].Reweight > 0) != in {
			t.Errorf("after marking it (in: %v): %+v", in, all[n])
		}
	}
	refused(t, h.Here.SetOSDIn(t.Context(), 4711, true), errs.NotFound, syscall.ENOENT)
}

func newOSD(t *testing.T, h Harness) {
	const uuid, another = "5b0c8a86-9d6f-4f0e-8f57-6f0b0d5a3c11", "5b0c8a86-9d6f-4f0e-8f57-6f0b0d5a3c12"
	ctx := t.Context()
	id, secret, err := h.Here.NewOSD(ctx, uuid)
	must(t, err)
	t.Cleanup(func() { _ = h.Here.PurgeOSD(context.WithoutCancel(ctx), id, uuid) }) // it is gone already unless the test failed
	again, same, err := h.There.NewOSD(ctx, uuid)
	must(t, err)
	if again != id || same != secret || secret == "" {
		t.Errorf("the second time id %d, want %d; same secret: %v", again, id, same == secret)
	}
	must(t, h.Here.CrushAdd(ctx, id, 1, "host8"))
	must(t, h.Here.CrushAdd(ctx, id, 1.5, "host9"))
	all, err := h.There.OSDs(ctx)
	must(t, err)
	n := slices.IndexFunc(all, func(o ceph.OSD) bool { return o.ID == id })
	if n < 0 || all[n].UUID != uuid || all[n].Up || all[n].Weight != 1.5 || all[n].Host != "host9" {
		t.Fatalf("OSD %d of %+v", n, all)
	}
	until(t, "safe to destroy", func(ctx context.Context) (bool, error) {
		safe, _, err := h.Here.SafeToDestroy(ctx, id)
		return safe, err
	}, func(safe bool) bool { return safe })
	if err := h.Here.PurgeOSD(ctx, id, another); !errs.Is(err, errs.NotFound) {
		t.Errorf("purged under another uuid: %v, want not found", err)
	}
	must(t, h.Here.PurgeOSD(ctx, id, uuid))
	refused(t, h.Here.PurgeOSD(ctx, id, uuid), errs.NotFound, syscall.ENOENT)
	_, _, err = h.Here.SafeToDestroy(ctx, id)
	refused(t, err, errs.NotFound, syscall.ENOENT)
}

func purgeRunning(t *testing.T, h Harness) {
	o := anOSD(t, h)
	refused(t, h.Here.PurgeOSD(t.Context(), o.ID, o.UUID), errs.Conflict, syscall.EBUSY)
	if now := anOSD(t, h); now.UUID != o.UUID {
		t.Errorf("purged: %+v", o)
	}
}
