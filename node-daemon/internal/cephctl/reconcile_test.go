package cephctl

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph/fake"
)

// outside is somebody who works with Ceph's own tools.
type outside struct {
	t *testing.T
	*fake.Client
}

func (o outside) do(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o outside) image(pool, name string) ceph.Image {
	o.t.Helper()
	i, err := o.CreateImage(o.t.Context(), pool, name, 8*mib)
	o.do(err)
	return i
}

func (l *lab) volumes(pool string) (names []string) {
	l.view.Read(func(s *view.Snapshot) {
		for _, v := range s.Volumes(pool) {
			names = append(names, v.Name)
		}
	})
	return names
}

func TestWhatIsDoneBehindOurBackIsRecorded(t *testing.T) {
	l := newLab(t)
	world, hosts, _ := l.fakeHosts("hv1")
	them := outside{t, world.Connect()}
	_, err := them.CreatePool(t.Context(), "vms", 8)
	them.do(err)
	_, err = them.CreatePool(t.Context(), ".mgr", 1)
	them.do(err)
	a, b := them.image("vms", "a"), them.image("vms", "b")
	_, err = them.CreateSnapshot(t.Context(), "vms", a.ID, "s")
	them.do(err)
	world.AddOSD(ceph.OSD{ID: 0, UUID: "u0", Up: true, In: true, Host: "hv1"})
	hosts[0].reconciler()
	l.until(l.view, "everything has appeared", func(s *view.Snapshot) bool {
		o, osd := s.OSD(0)
		_, snapshot := s.Snapshot("vms", "a", "s")
		return osd && o.Node == "hv1" && o.Stats != nil && snapshot && len(s.Volumes("vms")) == 2 && len(s.Pools()) == 1
	})

	them.do(them.RenameImage(t.Context(), "vms", a.ID, "a2"))
	them.do(them.ResizeImage(t.Context(), "vms", b.ID, 16*mib, false))
	world.Watch("vms", b.ID, "192.0.2.7:0/42")
	l.until(l.view, "the renamed one with its snapshot, and the resized one", func(s *view.Snapshot) bool {
		_, old := s.Volume("vms", "a")
		_, snapshot := s.Snapshot("vms", "a2", "s")
		v, there := s.Volume("vms", "b")
		return !old && snapshot && there && v.Stats.Size == 16*mib && v.Stats.Watchers == 1
	})
	world.Unwatch("vms", b.ID, "192.0.2.7:0/42")
	them.do(them.RemoveSnapshot(t.Context(), "vms", a.ID, 1))
	them.do(them.RemoveImage(t.Context(), "vms", b.ID, nil))
	l.until(l.view, "snapshot and volume are gone", func(s *view.Snapshot) bool {
		return len(s.Snapshots("vms", "a2")) == 0 && len(s.Volumes("vms")) == 1
	})
	world.Discard("vms", a.ID)
	l.until(l.view, "what lies in the trash is no volume", func(s *view.Snapshot) bool { return len(s.Volumes("vms")) == 0 })
	them.image("vms", "last")
	world.SetUp(0, false)
	them.do(them.PurgeOSD(t.Context(), 0, "u0"))
	pools, err := them.Pools(t.Context())
	them.do(err)
	at := slices.IndexFunc(pools, func(p ceph.Pool) bool { return p.Name == "vms" })
	them.do(them.RemovePool(t.Context(), "vms", pools[at].ID))
	l.until(l.view, "pool and OSD are gone", func(s *view.Snapshot) bool { return len(s.Pools())+len(s.OSDs()) == 0 })
	want := []string{"/ceph/osds", "/ceph/pools", "/ceph/radosdf", "/ceph/snapshots", "/ceph/status", "/ceph/usage", "/ceph/volumes"}
	if d := cmp.Diff(want, l.keys(schema.Ceph)); d != "" {
		t.Errorf("left (-want +got):\n%s", d)
	}
}

// TestNothingDisappearsWhileCephDoesNotAnswer nor when a part of it does not.
func TestNothingDisappearsWhileCephDoesNotAnswer(t *testing.T) {
	l := newLab(t)
	world, hosts, clients := l.fakeHosts("hv1")
	l.must(command.PoolAdd{Pool: "vms", PGs: 8})
	l.must(command.VolumeAdd{Pool: "vms", Volume: "a", Size: 8 * mib})
	said := hosts[0].reconciler()
	if s := said.after(t, 1); s != "" {
		t.Fatal(s)
	}
	if text := l.data(schema.Ceph); !strings.Contains(text, "HEALTH_OK") {
		t.Errorf("status %q", text)
	}
	before := l.keys(schema.Ceph)
	down := errs.Unavailablef("no monitor answers")
	for _, m := range []fake.Method{fake.Pools, fake.Survey, fake.OSDs, fake.Status} {
		clients[0].Fail(m, down)
		if s := said.after(t, 2); !strings.Contains(s, "no monitor answers") {
			t.Errorf("%s fails: %q", m, s)
		}
		if d := cmp.Diff(before, l.keys(schema.Ceph)); d != "" {
			t.Errorf("%s fails (-before +after):\n%s", m, d)
		}
		clients[0].Fail(m, nil)
	}
	if s := said.after(t, 1); s != "" {
		t.Error(s)
	}
	clients[0].Fail(fake.Pools, down)
	said.after(t, 1)
	if text := l.data(schema.Ceph); !strings.HasPrefix(text, "Ceph does not answer") || l.data(schema.CephStatus) != "" {
		t.Errorf("the status of a cluster that is silent: %q", text)
	}
	clients[0].Fail(fake.Pools, nil)
	said.after(t, 1)
	if text := l.data(schema.Ceph); !strings.Contains(text, "HEALTH_OK") {
		t.Errorf("status afterwards %q", text)
	}
	world.SetPoolStats("vms", ceph.PoolStats{UsedBytes: 77})
	l.until(l.view, "figures follow", func(s *view.Snapshot) bool { p, _ := s.Pool("vms"); return p.Stats.Used == 77 })
}

// TestAnIdleClusterIsNotWrittenTo counts the writes of many passes.
func TestAnIdleClusterIsNotWrittenTo(t *testing.T) {
	l := newLab(t)
	world, hosts, _ := l.fakeHosts("hv1")
	l.must(command.PoolAdd{Pool: "vms", PGs: 8})
	for n := range 20 {
		l.must(command.VolumeAdd{Pool: "vms", Volume: fmt.Sprint("v", n), Size: 8 * mib})
	}
	l.must(command.SnapshotAdd{Pool: "vms", Volume: "v1", Snapshot: "s"})
	stats := func(used uint64) *ceph.OSDStats {
		return &ceph.OSDStats{PGs: 8, UsedBytes: used, AvailBytes: 1<<40 - used, TotalBytes: 1 << 40, Variance: 1.00001}
	}
	world.AddOSD(ceph.OSD{ID: 0, UUID: "u0", Up: true, In: true, Host: "hv1", Weight: 0.909088, Reweight: 1, PrimaryAffinity: 1, Stats: stats(5*mib + 10)})
	said := hosts[0].reconciler()
	said.after(t, 2)
	before := l.zxid()
	world.AddOSD(ceph.OSD{ID: 0, UUID: "u0", Up: true, In: true, Host: "hv1", Weight: 0.909088, Reweight: 1, PrimaryAffinity: 1, Stats: stats(5*mib + 20)})
	if s := said.after(t, 3); s != "" {
		t.Error(s)
	}
	if n := l.zxid() - before; n > 1 { // that of looking
		t.Errorf("%d transactions in 3 passes with nothing to write", n)
	}
}

// zxid is that of a transaction made now.
func (l *lab) zxid() int64 {
	l.t.Helper()
	c, err := l.conn.Commit(l.t.Context(), *new(coord.Txn).Set(schema.Config, nil, coord.AnyVersion))
	if err != nil {
		l.t.Fatal(err)
	}
	return c.Zxid
}

// TestAPassAndACommandDoNotUndoEachOther: what a pass has listed before a command is not
// written after it.
func TestAPassAndACommandDoNotUndoEachOther(t *testing.T) {
	l := newLab(t)
	world := fake.NewWorld()
	c := world.Connect()
	h := l.host("hv1", c)
	l.must(command.PoolAdd{Pool: "vms", PGs: 8})
	for _, v := range []string{"gone", "grown", "named"} {
		l.must(command.VolumeAdd{Pool: "vms", Volume: v, Size: 8 * mib})
	}
	looking := world.Connect()
	if err := h.view.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	var before map[string]bool
	h.view.Read(func(s *view.Snapshot) { before = finished(s) })
	seen, err := observe(t.Context(), looking)
	if err != nil {
		t.Fatal(err)
	}
	l.must(command.VolumeRemove{Pool: "vms", Volume: "gone"})
	l.must(command.VolumeResize{Pool: "vms", Volume: "grown", Size: 16 * mib})
	l.must(command.VolumeRename{Pool: "vms", Volume: "named", Name: "renamed"})
	l.must(command.VolumeAdd{Pool: "vms", Volume: "new", Size: 8 * mib})
	l.must(command.PoolAdd{Pool: "more", PGs: 8})
	if err := h.view.Sync(t.Context()); err != nil {
		t.Fatal(err)
	}
	var changes []change
	h.view.Read(func(s *view.Snapshot) { changes = compare(s, seen, busySince(s, before)) })
	if len(changes) > 0 {
		t.Errorf("a pass that looked before would write %+v", changes)
	}
	h.view.Read(func(s *view.Snapshot) { changes = compare(s, seen, busy{}) })
	if len(changes) == 0 {
		t.Error("without the look at the commands it would not write either: this test tries nothing")
	}
}

// TestWhatOldDaemonsLeftHalfIsMadeWhole: records with keys that are missing or that nobody
// knows do not stay forever.
func TestWhatOldDaemonsLeftHalfIsMadeWhole(t *testing.T) {
	l := newLab(t)
	world, hosts, _ := l.fakeHosts("hv1")
	them := outside{t, world.Connect()}
	_, err := them.CreatePool(t.Context(), "vms", 8)
	them.do(err)
	them.image("vms", "a")
	l.commit(new(coord.Txn).
		Create("/ceph/pools/vms", nil).Create("/ceph/snapshots/vms", nil).
		Create("/ceph/pools/lost", nil).Create("/ceph/pools/lost/pgs", []byte("8")).Create("/ceph/pools/lost/odd", nil).
		Create("/ceph/volumes/vms", nil).Create("/ceph/volumes/vms/a", nil).
		Create("/ceph/volumes/vms/b", nil).Create("/ceph/volumes/vms/b/odd", nil).Create("/ceph/volumes/vms/b/odd/deep", nil).
		Create("/ceph/osds/7", nil))
	hosts[0].reconciler()
	coordtest.Eventually(t, "records that are whole", func() bool {
		return slices.Equal(l.keys(schema.Ceph), []string{
			"/ceph/osds", "/ceph/pools", "/ceph/pools/vms", "/ceph/pools/vms/pgs", "/ceph/pools/vms/stats", "/ceph/radosdf",
			"/ceph/snapshots", "/ceph/snapshots/vms", "/ceph/snapshots/vms/a", "/ceph/status", "/ceph/usage",
			"/ceph/volumes", "/ceph/volumes/vms", "/ceph/volumes/vms/a", "/ceph/volumes/vms/a/stats",
		})
	})
}

func TestAHostThatIsNotPrimaryAnyMoreWritesNothing(t *testing.T) {
	l := newLab(t)
	_, hosts, _ := l.fakeHosts("hv1")
	said := hosts[0].reconciler()
	said.after(t, 1)
	l.commit(new(coord.Txn).Delete(schema.PrimaryHolder, coord.AnyVersion))
	l.must(command.PoolAdd{Pool: "vms", PGs: 8})
	_, err := hosts[0].cluster.CreateImage(t.Context(), "vms", "behind", mib)
	if err != nil {
		t.Fatal(err)
	}
	if s := said.after(t, 2); !strings.Contains(s, schema.PrimaryHolder) {
		t.Errorf("without the role: %q", s)
	}
	if v := l.volumes("vms"); len(v) > 0 {
		t.Errorf("volumes %v", v)
	}
}

func TestCommandsCoverTheirObjects(t *testing.T) {
	b := busy{keys: []string{"pool/vms/a", "pool/gone", "node/hv1"}}
	for key, want := range map[string][2]bool{
		"pool/vms/a": {true, true}, "pool/vms/ab": {false, false}, "pool/vms": {false, true}, "pool/gone/x": {true, true}, "node": {false, true}, "osd/3": {false, false},
	} {
		if got := [2]bool{b.touches(key), b.within(key)}; got != want {
			t.Errorf("%s: %v, want %v", key, got, want)
		}
	}
	if !(busy{all: true}).touches("osd/3") {
		t.Error("a command that cannot be read may work on anything")
	}
}

func TestAWriteIsBoundedInSize(t *testing.T) {
	big := func(n int) change { return change{txn: *new(coord.Txn).Set("/x", make([]byte, n), 0)} }
	for _, c := range []struct {
		changes []change
		want    int
	}{
		{[]change{big(1), big(1)}, 2}, {[]change{big(batchBytes), big(1)}, 1}, {[]change{big(batchBytes / 2), big(batchBytes / 3), big(batchBytes / 3)}, 2},
	} {
		if got := batch(c.changes); got != c.want {
			t.Errorf("%d of %d changes, want %d", got, len(c.changes), c.want)
		}
	}
}

func TestFiguresKeepWhatIsLookedAt(t *testing.T) {
	got := osdStats(ceph.OSD{
		ID: 1, UUID: "u", Up: true, In: true, Host: "hv1", Weight: 0.9090911, Reweight: 1, PrimaryAffinity: 1,
		Stats: &ceph.OSDStats{PGs: 3, UsedBytes: 256*mib + 1, AvailBytes: 768*mib - 1, TotalBytes: 1024 * mib, Variance: 1.2345, Traffic: &ceph.Traffic{ReadOps: 1.4, WriteBytes: 5000, ReadBytes: -1}},
	})
	want := model.OSDStats{
		UUID: "u", Up: true, In: true, Host: "hv1", State: "exists,up", Weight: 0.90909, Reweight: 1, PrimaryAffinity: 1, PGs: 3,
		Used: 256 * mib, Avail: 767 * mib, Total: 1024 * mib, Utilization: 25, Variance: 1.23, ReadOps: 1, WriteRate: 4096,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if s := created(time.Date(2019, 7, 2, 10, 0, 0, 0, time.UTC)); s != "Tue Jul  2 10:00:00 2019" {
		t.Errorf("a time is %q", s)
	}
	if s := created(time.Unix(0, 0)); s != "" {
		t.Errorf("no time is %q", s)
	}
}
