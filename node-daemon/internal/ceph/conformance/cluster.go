package conformance

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

func status(t *testing.T, h Harness) {
	p := h.pool(t)
	s, err := h.Here.Status(t.Context())
	must(t, err)
	if len(s.FSID) != 36 || !strings.Contains(s.Text, s.FSID) || !strings.Contains(s.Text, "health: "+s.Health) || !json.Valid(s.JSON) {
		t.Errorf("status: %+v", s)
	}
	d, err := h.Here.DF(t.Context())
	must(t, err)
	var parsed struct{ Pools []struct{ Name string } }
	must(t, json.Unmarshal(d.JSON, &parsed))
	if !strings.HasPrefix(d.Text, "POOL_NAME") || !strings.Contains(d.Text, "\n"+p.Name+" ") {
		t.Errorf("usage does not show pool %s:\n%s", p.Name, d.Text)
	}
	if !slices.ContainsFunc(parsed.Pools, func(q struct{ Name string }) bool { return q.Name == p.Name }) {
		t.Errorf("JSON does not have pool %s: %s", p.Name, d.JSON)
	}
}

func flags(t *testing.T, h Harness) {
	ctx := t.Context()
	for flag, names := range map[string][]string{"noout": {"noout"}, "nodeep-scrub": {"nodeep-scrub"}, "pause": {"pauserd", "pausewr"}} {
		before, err := h.Here.Flags(ctx)
		must(t, err)
		for range 2 {
			must(t, h.Here.SetFlag(ctx, flag, true))
		}
		after, err := h.There.Flags(ctx)
		must(t, err)
		if diff := cmp.Diff(slices.Sorted(slices.Values(append(names, before...))), after); diff != "" {
			t.Errorf("after setting %s: %s", flag, diff)
		}
		for range 2 {
			must(t, h.Here.SetFlag(ctx, flag, false))
		}
		after, err = h.There.Flags(ctx)
		must(t, err)
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("after clearing %s: %s", flag, diff)
		}
	}
}

func unknownFlag(t *testing.T, h Harness) {
	for _, on := range []bool{true, false} {
		refused(t, h.Here.SetFlag(t.Context(), "nosuchflag", on), errs.Invalid, syscall.EINVAL)
	}
}

// clients returns the addresses of a daemon and has their fence ended with the test.
func clients(t *testing.T, h Harness, c ceph.Cluster) []string {
	t.Helper()
	all, err := c.Clients(t.Context())
	must(t, err)
	if len(all) == 0 {
		t.Fatal("no addresses")
	}
	t.Cleanup(func() {
		if err := h.Here.RemoveFence(context.WithoutCancel(t.Context()), all); err != nil {
			t.Error(err)
		}
	})
	return all
}

func fenced(t *testing.T, h Harness) {
	ctx := t.Context()
	pool, image := h.image(t, "kept")
	old := clients(t, h, h.There)
	bound := h.There.As(old)
	_, err := bound.CreateImage(ctx, pool, "before", mib)
	must(t, err)
	must(t, h.Here.Fence(ctx, old))
	// What looks after a fence sees the last of what was done before it: each OSD learns of
	// the fence from the first request of one who has waited for it.
	_, err = h.Here.Images(ctx, pool)
	must(t, err)
	for what, err := range map[string]error{
		"create image":    second(bound.CreateImage(ctx, pool, "after", mib)),
		"resize image":    bound.ResizeImage(ctx, pool, image.ID, 32*mib, false),
		"remove image":    bound.RemoveImage(ctx, pool, image.ID, nil),
		"create snapshot": second(bound.CreateSnapshot(ctx, pool, image.ID, "after")),
		"set flag":        bound.SetFlag(ctx, "noout", true),
		"create pool":     second(bound.CreatePool(ctx, pool+"-after", 4)),
	} {
		if !errs.Is(err, errs.Unavailable) && !errs.Is(err, errs.Unknown) {
			t.Errorf("%s by a fenced client: %v, want unavailable", what, err)
		}
	}
	images, err := h.Here.Images(ctx, pool)
	must(t, err)
	if len(images) != 2 || images[1].Size != 16*mib || len(images[1].Snapshots) > 0 {
		t.Errorf("changed by a fenced client: %+v", images)
	}
	set, err := h.Here.Flags(ctx)
	must(t, err)
	if slices.Contains(set, "noout") {
		t.Error("flag set by a fenced client")
	}
}

func second[T any](_ T, err error) error { return err }

func comesBack(t *testing.T, h Harness) {
	ctx := t.Context()
	pool := h.pool(t).Name
	old := clients(t, h, h.There)
	must(t, h.Here.Fence(ctx, old))
	now := until(t, "connected again", h.There.Clients, func(now []string) bool { return !slices.Equal(now, old) })
	for _, a := range now {
		if slices.Contains(old, a) {
			t.Errorf("clients %q again, of %q", a, old)
		}
	}
	_, err := h.There.CreateImage(ctx, pool, "free", mib)
	must(t, err)
	_, err = h.There.As(now).CreateImage(ctx, pool, "bound", mib)
	must(t, err)
	_, err = h.There.As(old).CreateImage(ctx, pool, "old", mib)
	if !errs.Is(err, errs.Unavailable) {
		t.Errorf("as the fenced clients: %v, want unavailable", err)
	}
}

func endsWhenFenced(t *testing.T, h Harness) {
	ctx := t.Context()
	old := clients(t, h, h.There)
	if err := h.There.Ended(ctx, old); !errs.Is(err, errs.Conflict) {
		t.Errorf("while it acts as %q: %v, want conflict", old, err)
	}
	must(t, h.There.Ended(ctx, []string{"192.0.2.81:0/4242"}))

	short, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	h.Stop(t)
	hangs := h.There.As(old).SetFlag(short, "noin", true)
	ended := h.There.Ended(short, old)
	h.Cont(t)
	if hangs == nil || ended == nil {
		t.Errorf("a call that hangs: %v; as its clients: %v", hangs, ended)
	}
	must(t, h.Here.Fence(ctx, old))
	until(t, "quiet", func(ctx context.Context) (struct{}, error) { return struct{}{}, h.There.Ended(ctx, old) }, func(struct{}) bool { return true })
	must(t, h.Here.SetFlag(ctx, "noin", false)) // it may have been set in the end
}

func fenceTwice(t *testing.T, h Harness) {
	ctx := t.Context()
	pool := h.pool(t).Name
	others := []string{"192.0.2.77:0/4242", "192.0.2.77:0/4243", "192.0.2.78:0/0"}
	for range 2 {
		must(t, h.Here.Fence(ctx, others))
	}
	for range 2 {
		must(t, h.Here.RemoveFence(ctx, others))
	}
	must(t, h.Here.Fence(ctx, nil))
	_, err := h.Here.CreateImage(ctx, pool, "own", mib)
	must(t, err)
}

func shortFence(t *testing.T, h Harness) {
	const other = "192.0.2.79:0/4242"
	h.Blocklist(t, other, time.Hour)
	defer func() { must(t, h.Here.RemoveFence(t.Context(), []string{other})) }()
	if err := h.Here.Fence(t.Context(), []string{other}); !errs.Is(err, errs.Conflict) {
		t.Errorf("fence with an entry of an hour: %v, want conflict", err)
	}
}

func fenceInvalid(t *testing.T, h Harness) {
	for _, a := range []string{"", "hv1", "192.0.2.1", "192.0.2.1:0", "192.0.2.1:0/", "192.0.2.1:0/x", "192.0.2.256:0/1", "v2:192.0.2.1:0/1"} {
		if err := h.Here.Fence(t.Context(), []string{a}); !errs.Is(err, errs.Invalid) {
			t.Errorf("fence of %q: %v, want invalid", a, err)
		}
		if err := h.Here.RemoveFence(t.Context(), []string{a}); !errs.Is(err, errs.Invalid) {
			t.Errorf("end of the fence of %q: %v, want invalid", a, err)
		}
	}
}

func hanging(t *testing.T, h Harness) {
	p := h.pool(t)
	h.Stop(t)
	stopped := true
	defer func() {
		if stopped {
			h.Cont(t)
		}
	}()
	const patience = 1500 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	calls := map[string]func(context.Context) error{
		"status":      func(ctx context.Context) error { return second(h.Here.Status(ctx)) },
		"df":          func(ctx context.Context) error { return second(h.Here.DF(ctx)) },
		"pools":       func(ctx context.Context) error { return second(h.Here.Pools(ctx)) },
		"OSDs":        func(ctx context.Context) error { return second(h.Here.OSDs(ctx)) },
		"flags":       func(ctx context.Context) error { return second(h.Here.Flags(ctx)) },
		"set flag":    func(ctx context.Context) error { return h.Here.SetFlag(ctx, "noout", true) },
		"create pool": func(ctx context.Context) error { return second(h.Here.CreatePool(ctx, p.Name+"-2", 4)) },
		"remove pool": func(ctx context.Context) error { return h.Here.RemovePool(ctx, p.Name, p.ID) },
		"fence":       func(ctx context.Context) error { return h.Here.Fence(ctx, []string{"192.0.2.80:0/1"}) },
	}
	type outcome struct {
		what string
		err  error
		took time.Duration
	}
	outcomes := make(chan outcome, len(calls))
	for what, fn := range calls {
		go func() {
			start := time.Now()
			err := fn(ctx)
			outcomes <- outcome{what, err, time.Since(start)}
		}()
	}
	for range calls {
		o := <-outcomes
		if !errs.Is(o.err, errs.Unavailable) && !errs.Is(o.err, errs.Unknown) {
			t.Errorf("%s: %v, want unavailable", o.what, o.err)
		}
		if o.took > patience+time.Second {
			t.Errorf("%s took %v", o.what, o.took)
		}
	}
	h.Cont(t)
	stopped = false
	until(t, "answering again", h.Here.Status, func(ceph.Status) bool { return true })
	if _, err := h.Here.Pools(t.Context()); err != nil {
		t.Error(err)
	}
	must(t, h.Here.SetFlag(t.Context(), "noout", false)) // it may have been set in the end
}

func givenUp(t *testing.T, h Harness) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for what, err := range map[string]error{
		"status": second(h.Here.Status(ctx)), "images": second(h.Here.Images(ctx, "nosuchpool")),
		"set flag": h.Here.SetFlag(ctx, "noout", true),
	} {
		if !errs.Is(err, errs.Unavailable) {
			t.Errorf("%s: %v, want unavailable", what, err)
		}
	}
	set, err := h.Here.Flags(t.Context())
	must(t, err)
	if slices.Contains(set, "noout") {
		t.Error("the flag was set")
	}
}
