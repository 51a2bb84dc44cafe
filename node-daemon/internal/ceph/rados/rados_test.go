package rados

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	gorados "github.com/ceph/go-ceph/rados"
	gorbd "github.com/ceph/go-ceph/rbd"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph/conformance"
	testceph "github.com/parallelvirtualcluster/pvc/testbed/ceph"
)

// The testbed starts its programs from a thread that stays.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/parallelvirtualcluster/pvc/testbed/internal/proc.init.func1.1"))
}

// rig is a cluster and two daemons' ways to it.
type rig struct {
	cluster     *testceph.Cluster
	here, there *Cluster
}

func open(t testing.TB, c *testceph.Cluster) *Cluster {
	cluster := Open(Options{
		Conf: c.ConfFile(), User: testceph.PVC, Keyring: c.Keyring(testceph.PVC), Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	t.Cleanup(cluster.Close)
	return cluster
}

// TestOnARealCluster shares one start of it.
func TestOnARealCluster(t *testing.T) {
	c := testceph.Start(t, testceph.Options{})
	r := &rig{cluster: c, here: open(t, c), there: open(t, c)}
	t.Run("LibrariesAreACluster", func(t *testing.T) {
		conformance.Run(t, func(*testing.T) conformance.Harness { return r.harness() })
	})
	t.Run("TextsAreThoseOfTheTools", r.texts)
	t.Run("FencedClientIsTheOneThatOSDsSee", r.sameAddress)
	t.Run("UnknownStateIsNotSafeToDestroy", r.notSafe)
	t.Run("StoppedManagerHidesStatisticsOnly", r.stoppedManager)
	t.Run("StoppedOSDHoldsUpItsCallersOnly", r.stoppedOSDs)
	t.Run("FencedRemovalEnds", r.fencedRemoval)
	t.Run("WhatWasBrokenOffDoesNotHoldTheName", r.remnants)
	t.Run("CallsThatHangAreBounded", r.bounded)
	t.Run("LongWorkDelaysNothingElse", r.longWork)
	t.Run("MonitorThatWasKilledIsFoundAgain", r.killedMonitor)
	t.Run("StoppedMonitorIsUnavailableInTime", r.stoppedMonitor)
}

func (r *rig) harness() conformance.Harness {
	return conformance.Harness{
		Here: r.here, There: r.there, Open: r.open,
		Protect: func(t *testing.T, pool, image, snapshot string, on bool) {
			verb := "protect"
			if !on {
				verb = "unprotect"
			}
			r.tool(t, "rbd", "snap", verb, fmt.Sprintf("%s/%s@%s", pool, image, snapshot))
		},
		Discard: func(t *testing.T, pool, image string) { r.tool(t, "rbd", "trash", "mv", pool+"/"+image) },
		Blocklist: func(t *testing.T, address string, life time.Duration) {
			r.tool(t, "ceph", "osd", "blocklist", "add", address, fmt.Sprint(life.Seconds()))
		},
		Stop: func(*testing.T) { r.cluster.Stop("mon.a") },
		Cont: func(*testing.T) { r.cluster.Cont("mon.a") },
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) tool(t testing.TB, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), conformance.Patience)
	defer cancel()
	out, err := r.cluster.Tool(ctx, argv...)
	must(t, err)
	return out
}

// open opens an image with a client of its own, as QEMU does.
func (r *rig) open(t *testing.T, pool, name string) (string, func()) {
	t.Helper()
	conn, err := connect(Options{Conf: r.cluster.ConfFile()}, short)
	must(t, err)
	io, err := conn.OpenIOContext(pool)
	must(t, err)
	image, err := gorbd.OpenImage(io, name, gorbd.NoSnapshot)
	must(t, err)
	text, err := conn.GetAddrs()
	must(t, err)
	address, err := plainAddress(text)
	must(t, err)
	return address, func() {
		must(t, image.Close())
		io.Destroy()
		conn.Shutdown()
	}
}

// pool makes a pool with an image.
func (r *rig) pool(t testing.TB, name string, size uint64) (string, ceph.Image) {
	t.Helper()
	p, err := r.here.CreatePool(t.Context(), name, 8)
	must(t, err)
	t.Cleanup(func() { must(t, r.here.RemovePool(context.WithoutCancel(t.Context()), name, p.ID)) })
	i, err := r.here.CreateImage(t.Context(), name, "disk0", size)
	must(t, err)
	return name, i
}

var numbers = regexp.MustCompile(`[0-9]+(\.[0-9]+)?`)

// masked leaves out numbers, and how much room they take.
func masked(text string) string {
	text = numbers.ReplaceAllString(text, "N")
	text = regexp.MustCompile(` [KMGT]i?B|   *`).ReplaceAllString(text, " ")
	return text
}

// texts changes nothing while it compares, so that both see the same in the end.
func (r *rig) texts(t *testing.T) {
	r.pool(t, "texts", 64<<20)
	r.cluster.WaitHealthy()
	deadline := time.Now().Add(conformance.Patience)
	for {
		d, err := r.here.DF(t.Context())
		must(t, err)
		diff := cmp.Diff(r.tool(t, "rados", "df"), d.Text) + cmp.Diff(strings.TrimSpace(r.tool(t, "rados", "df", "--format", "json")), string(d.JSON))
		if diff == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("rados df prints otherwise:", diff)
		}
	}
	s, err := r.here.Status(t.Context())
	must(t, err)
	if diff := cmp.Diff(masked(r.tool(t, "ceph", "status")), masked(s.Text)); diff != "" {
		t.Error("ceph status prints otherwise:", diff)
	}
	var ours, theirs map[string]any
	must(t, json.Unmarshal(s.JSON, &ours))
	must(t, json.Unmarshal([]byte(r.tool(t, "ceph", "status", "--format", "json")), &theirs))
	for key := range theirs {
		if _, there := ours[key]; !there {
			t.Errorf("JSON of the status lacks %q", key)
		}
	}
}

func (r *rig) sameAddress(t *testing.T) {
	name, _ := r.pool(t, "addresses", 8<<20)
	clients, err := r.there.Clients(t.Context())
	must(t, err)
	_, err = call(t.Context(), r.there.calls, "watch", long, reads, func(l *link, conn *gorados.Conn) (struct{}, error) {
		io, err := openPool(conn, name)
		if err != nil {
			return struct{}{}, err
		}
		defer io.Destroy()
		return withImage(io, name, "disk0", gorbd.OpenImage, func(*gorbd.Image) (struct{}, error) {
			status := r.tool(t, "rbd", "status", name+"/disk0")
			if !strings.Contains(status, "watcher="+clients[0]+" ") && !strings.Contains(status, "watcher="+clients[1]+" ") {
				t.Errorf("Ceph sees another client than one of %q: %s", clients, status)
			}
			return struct{}{}, nil
		})
	})
	must(t, err)
}

func (r *rig) notSafe(t *testing.T) {
	r.pool(t, "mapped", 8<<20)
	safe, why, err := r.here.SafeToDestroy(t.Context(), 0)
	must(t, err)
	if safe || why == "" {
		t.Errorf("an OSD with data is safe to destroy: %v, %q", safe, why)
	}
}

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

func (r *rig) until(t *testing.T, what string, ok func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*conformance.Patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !ok(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not in time: %s", what)
		}
	}
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
	close(wait)
	if err := <-ended; !errs.Is(err, errs.Unknown) || ceph.NumberOf(err) != syscall.ESHUTDOWN {
		t.Errorf("removal by a client that was fenced: %v, want unknown, ESHUTDOWN", err)
	}
	// OSDs learn of the fence from the next request of ours, each from its own: what was
	// done until then is done. In any case the removal can be finished.
	if err := r.here.RemoveImage(ctx, name, i.ID, nil); err != nil && !errs.Is(err, errs.NotFound) {
		t.Error(err)
	}
	_, err = r.here.CreateImage(ctx, name, "disk0", 8<<20)
	must(t, err)
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
