package rados

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// stoppedManager stops it for longer than any call waits: its late answers must find
// their callers' memory.
func (r *rig) stoppedManager(t *testing.T) {
	r.cluster.Stop("mgr.x")
	stopped := true
	defer func() {
		if stopped {
			r.cluster.Cont("mgr.x")
		}
	}()
	for range 2 {
		start := time.Now()
		osds, err := r.here.OSDs(t.Context())
		must(t, err)
		if took := time.Since(start); len(osds) != 3 || osds[0].Stats != nil || took > managerPatience+time.Second {
			t.Errorf("after %v: %+v", took, osds)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, _, err := r.here.SafeToDestroy(ctx, 0); !errs.Is(err, errs.Unavailable) {
		t.Errorf("safe to destroy: %v, want unavailable", err)
	}
	r.cluster.Cont("mgr.x")
	stopped = false
	r.until(t, "statistics are back", func(ctx context.Context) bool {
		osds, err := r.here.OSDs(ctx)
		return err == nil && osds[0].Stats != nil
	})
	r.until(t, "all calls have returned", func(context.Context) bool { return r.here.lanes[manage].hung.Load() == 0 })
}

// stoppedOSDs stops all: nothing that is read or written answers, but monitors do.
func (r *rig) stoppedOSDs(t *testing.T) {
	name, i := r.pool(t, "frozen", 8<<20)
	for n := range 3 {
		r.cluster.Stop(fmt.Sprintf("osd.%d", n))
	}
	stopped := true
	cont := func() {
		for n := range 3 {
			r.cluster.Cont(fmt.Sprintf("osd.%d", n))
		}
		stopped = false
	}
	defer func() {
		if stopped {
			cont()
		}
	}()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, err := r.here.Images(ctx, name); !errs.Is(err, errs.Unavailable) {
		t.Errorf("list: %v, want unavailable", err)
	}
	if _, err := r.here.CreateImage(ctx, name, "late", 8<<20); !errs.Is(err, errs.Unknown) && !errs.Is(err, errs.Unavailable) {
		t.Errorf("create: %v, want unknown", err)
	}
	if err := r.here.RemoveImage(ctx, name, i.ID, nil); !errs.Is(err, errs.Unavailable) {
		t.Errorf("removal that has not begun: %v, want unavailable", err)
	}
	start := time.Now()
	_, err := r.here.Status(t.Context())
	must(t, err)
	if took := time.Since(start); took > time.Second {
		t.Errorf("status took %v", took)
	}
	cont()
	r.until(t, "images are back", func(ctx context.Context) bool {
		images, err := r.here.Images(ctx, name)
		return err == nil && len(images) > 0
	})
	r.until(t, "all calls have returned", func(context.Context) bool { return r.here.lanes[short].hung.Load() == 0 })
	r.cluster.WaitHealthy()
}

// longWork removes as many images at once as there are slots, and asks for the status
// meanwhile.
func (r *rig) longWork(t *testing.T) {
	ctx, name := t.Context(), ""
	name, first := r.pool(t, "long", 4<<30)
	ids := []string{first.ID}
	for n := 1; n < maxLong; n++ {
		i, err := r.here.CreateImage(ctx, name, fmt.Sprintf("big%d", n), 4<<30)
		must(t, err)
		ids = append(ids, i.ID)
	}
	began, ended := make(chan struct{}, len(ids)), make(chan error, len(ids))
	for _, id := range ids {
		go func() {
			var once bool
			ended <- r.here.RemoveImage(ctx, name, id, func(uint64, uint64) {
				if !once {
					once = true
					began <- struct{}{}
				}
			})
		}()
	}
	<-began
	for range 5 {
		start := time.Now()
		_, err := r.here.Status(ctx)
		must(t, err)
		if took := time.Since(start); took > 2*time.Second {
			t.Errorf("status took %v during removals", took)
		}
	}
	for range ids {
		must(t, <-ended)
	}
}

// fencedRemoval fences a client in the middle of long work.
func (r *rig) fencedRemoval(t *testing.T) {
	ctx := t.Context()
	name, i := r.pool(t, "fenced", 64<<30)
	other := open(t, r.cluster)
	clients, err := other.Clients(ctx)
	must(t, err)
	defer func() { must(t, r.here.RemoveFence(ctx, clients)) }()
	began, wait := make(chan struct{}), make(chan struct{})
	var once sync.Once
	ended := make(chan error, 1)
	go func() {
		ended <- other.As(clients).RemoveImage(ctx, name, i.ID, func(uint64, uint64) {
			once.Do(func() { close(began); <-wait })
		})
	}()
	<-began
	must(t, r.here.Fence(ctx, clients))
	// OSDs learn of the fence from a request of ours, each from its own: those that keep
	// what ends a removal do so here.
	_, err = r.here.Images(ctx, name)
	must(t, err)
	close(wait)
	if err := <-ended; !errs.Is(err, errs.Unknown) || ceph.NumberOf(err) != syscall.ESHUTDOWN {
		t.Errorf("removal by a client that was fenced: %v, want unknown, ESHUTDOWN", err)
	}
	// What others have done is done. In any case the removal can be finished.
	if err := r.here.RemoveImage(ctx, name, i.ID, nil); err != nil && !errs.Is(err, errs.NotFound) {
		t.Error(err)
	}
	_, err = r.here.CreateImage(ctx, name, "disk0", 8<<20)
	must(t, err)
}

// letsGo removes an image whose client was cut off a moment ago: OSDs still have its watch.
// One that nobody has cut off is not waited for.
func (r *rig) letsGo(t *testing.T) {
	pool, i := r.pool(t, "letsgo", 8<<20)
	client, end := r.open(t, pool, "disk0")
	if err := r.here.RemoveImage(t.Context(), pool, i.ID, nil); ceph.NumberOf(err) != syscall.EBUSY {
		t.Errorf("while a client has the image open: %v, want EBUSY", err)
	}
	r.tool(t, "ceph", "osd", "blocklist", "add", client, "60")
	if err := r.here.RemoveImage(t.Context(), pool, i.ID, nil); err != nil {
		t.Errorf("when that client was cut off: %v", err)
	}
	end()
	must(t, r.here.RemoveFence(t.Context(), []string{client}))
}

// halfRemoved fences a client while the objects of an image go: librbd has moved it to the
// trash then, and its name is free.
func (r *rig) halfRemoved(t *testing.T) {
	ctx := t.Context()
	pool, whole := r.pool(t, "half", 8<<20)
	for _, name := range []string{"first", "second"} { // without an object map each of 32,768 objects is asked for
		r.tool(t, "rbd", "create", "--size", "128M", "--object-size", "4K", "--image-feature", "layering,exclusive-lock", pool+"/"+name)
	}
	halves := map[string]string{}
	for _, name := range []string{"first", "second"} {
		i, err := r.here.Image(ctx, pool, name)
		must(t, err)
		halves[name] = i.ID
		r.breakOff(t, pool, i.ID)
	}
	// Only lists have it, unless another one has its name.
	again, err := r.here.CreateImage(ctx, pool, "second", 8<<20)
	must(t, err)
	for what, list := range map[string]func(context.Context, string) ([]ceph.Image, error){"list": r.here.Images, "survey": r.here.Survey} {
		images, err := list(ctx, pool)
		must(t, err)
		var listed []string
		for _, i := range images {
			listed = append(listed, i.Name+" "+i.ID)
		}
		if diff := cmp.Diff([]string{"disk0 " + whole.ID, "first " + halves["first"], "second " + again.ID}, listed); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	for name, id := range halves {
		if _, err := r.here.ImageByID(ctx, pool, id); !errs.Is(err, errs.NotFound) {
			t.Errorf("half of %s: %v, want not found", name, err)
		}
		must(t, r.here.RemoveImage(ctx, pool, id, nil))
		if err := r.here.RemoveImage(ctx, pool, id, nil); !errs.Is(err, errs.NotFound) {
			t.Errorf("%s, removed: %v, want not found", name, err)
		}
	}
	now, err := r.here.Image(ctx, pool, "second")
	must(t, err)
	if now.ID != again.ID {
		t.Errorf("second has the id %s, want %s", now.ID, again.ID)
	}
	if left := r.tool(t, "rbd", "trash", "ls", "--all", pool); left != "" {
		t.Errorf("in the trash: %s", left)
	}

	// Somebody has stopped on the way to the trash.
	r.tool(t, "rados", "-p", pool, "rm", "rbd_id.second")
	must(t, r.here.RemoveImage(ctx, pool, again.ID, nil))
	if left := r.tool(t, "rbd", "ls", pool); strings.TrimSpace(left) != "disk0" {
		t.Errorf("in the end: %s", left)
	}
}

// breakOff fences a client in the middle of a removal.
func (r *rig) breakOff(t *testing.T, pool, id string) {
	t.Helper()
	other := open(t, r.cluster)
	clients, err := other.Clients(t.Context())
	must(t, err)
	t.Cleanup(func() { _ = r.here.RemoveFence(context.WithoutCancel(t.Context()), clients) })
	began, wait := make(chan struct{}), make(chan struct{})
	var once sync.Once
	ended := make(chan error, 1)
	go func() {
		ended <- other.As(clients).RemoveImage(t.Context(), pool, id, func(done, _ uint64) {
			if done > 0 {
				once.Do(func() { close(began); <-wait })
			}
		})
	}()
	<-began
	must(t, r.here.Fence(t.Context(), clients))
	close(wait)
	if err := <-ended; !errs.Is(err, errs.Unknown) {
		t.Errorf("removal by a client that was fenced: %v, want unknown", err)
	}
}

// remnants makes what clients leave that die in the middle of work on an image.
func (r *rig) remnants(t *testing.T) {
	ctx := t.Context()
	pool, kept := r.pool(t, "remnants", 8<<20)
	rados := func(argv ...string) { t.Helper(); r.tool(t, append([]string{"rados", "-p", pool}, argv...)...) }
	file := filepath.Join(t.TempDir(), "id")
	rados("get", "rbd_id.disk0", file)

	// disk0 was to become disk1, or was disk2 before: it keeps its name and its data.
	rados("put", "rbd_id.disk1", file)
	rados("put", "rbd_id.disk2", file)
	_, err := r.here.Image(ctx, pool, "disk2")
	if !errs.Is(err, errs.NotFound) {
		t.Errorf("the name that it had: %v, want not found", err)
	}
	must(t, r.here.RenameImage(ctx, pool, kept.ID, "disk1"))
	other, err := r.here.CreateImage(ctx, pool, "disk2", 8<<20)
	must(t, err)
	now, err := r.here.Image(ctx, pool, "disk1")
	must(t, err)
	if now.ID != kept.ID || other.ID == kept.ID {
		t.Errorf("%+v and %+v are not two images, one of them %s", now, other, kept.ID)
	}

	// disk2 was being made or removed.
	rados("rm", "rbd_header."+other.ID)
	if _, err := r.here.Image(ctx, pool, "disk2"); !errs.Is(err, errs.NotFound) {
		t.Errorf("an image without a header: %v, want not found", err)
	}
	other, err = r.here.CreateImage(ctx, pool, "disk2", 8<<20)
	must(t, err)
	rados("rm", "rbd_header."+other.ID)
	must(t, r.here.RemoveImage(ctx, pool, other.ID, nil))

	// disk2 was begun.
	rados("put", "rbd_id.disk2", file)
	must(t, r.here.RemoveImage(ctx, pool, kept.ID, nil)) // the id in the object is nobody's now
	_, err = r.here.CreateImage(ctx, pool, "disk2", 8<<20)
	must(t, err)
	names, err := r.here.Images(ctx, pool)
	if err != nil || len(names) != 1 || names[0].Name != "disk2" {
		t.Errorf("in the end %+v, %v", names, err)
	}
}

// bounded has as many calls hang as may, and one more.
func (r *rig) bounded(t *testing.T) {
	c := open(t, r.cluster)
	_, err := c.Status(t.Context())
	must(t, err)
	r.cluster.Stop("mon.a")
	stopped := true
	defer func() {
		if stopped {
			r.cluster.Cont("mon.a")
		}
	}()
	r.until(t, "as many calls hang as may", func(ctx context.Context) bool { // a monitor may answer the first ones before it stops
		ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
		defer cancel()
		var all sync.WaitGroup
		for range maxHung - c.lanes[short].hung.Load() {
			all.Go(func() { _, _ = c.Status(ctx) }) // the next one is the test
		}
		all.Wait()
		return c.lanes[short].hung.Load() == maxHung
	})
	start := time.Now()
	_, err = c.Status(t.Context())
	if took := time.Since(start); !errs.Is(err, errs.Unavailable) || took > 100*time.Millisecond {
		t.Errorf("one more call: %v after %v, want unavailable at once", err, took)
	}
	start = time.Now()
	c.Close()
	if took := time.Since(start); took > closePatience+time.Second {
		t.Errorf("Close took %v", took)
	}
	r.cluster.Cont("mon.a")
	stopped = false
	r.until(t, "all calls have returned", func(context.Context) bool { return c.lanes[short].hung.Load() == 0 })
	if _, err := c.Status(t.Context()); !errs.Is(err, errs.Unavailable) {
		t.Errorf("after Close: %v, want unavailable", err)
	}
}

func (r *rig) killedMonitor(t *testing.T) {
	before, err := r.here.Clients(t.Context())
	must(t, err)
	r.cluster.Kill("mon.a")
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	_, err = r.here.Status(ctx)
	cancel()
	if !errs.Is(err, errs.Unavailable) {
		t.Errorf("without a monitor: %v, want unavailable", err)
	}
	r.cluster.StartDaemon("mon.a")
	r.cluster.WaitHealthy()
	r.until(t, "the status is back", func(ctx context.Context) bool { _, err := r.here.Status(ctx); return err == nil })
	after, err := r.here.Clients(t.Context())
	must(t, err)
	if diff := cmp.Diff(before, after); diff != "" {
		t.Error("another client than before:", diff)
	}
}

// stoppedMonitor waits as long as calls do by themselves, for a client that is connected
// and for one that is not.
func (r *rig) stoppedMonitor(t *testing.T) {
	fresh := open(t, r.cluster)
	_, err := r.here.Status(t.Context())
	must(t, err)
	r.cluster.Stop("mon.a")
	stopped := true
	defer func() {
		if stopped {
			r.cluster.Cont("mon.a")
		}
	}()
	start := time.Now()
	failed := make(chan error, 40)
	for range cap(failed) / 2 {
		for _, c := range []*Cluster{r.here, fresh} {
			go func() { _, err := c.Status(context.Background()); failed <- err }()
		}
	}
	for range cap(failed) {
		if err := <-failed; !errs.Is(err, errs.Unavailable) {
			t.Errorf("status: %v, want unavailable", err)
		}
	}
	if took := time.Since(start); took > ceph.CallTimeout+time.Second {
		t.Errorf("took %v", took)
	}
	r.cluster.Cont("mon.a")
	stopped = false
	for _, c := range []*Cluster{r.here, fresh} {
		r.until(t, "the status is back", func(ctx context.Context) bool { _, err := c.Status(ctx); return err == nil })
	}
	must(t, r.here.SetFlag(t.Context(), "noout", false))
}
