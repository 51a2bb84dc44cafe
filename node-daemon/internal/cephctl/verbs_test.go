package cephctl

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph/fake"
)

const mib = 1 << 20

func contains(err error, text string) bool { return strings.Contains(err.Error(), text) }

// TestEveryVerbDoesWhatItSaysWithItsRecords goes through the life of a pool.
func TestEveryVerbDoesWhatItSaysWithItsRecords(t *testing.T) {
	l := newLab(t)
	world, _, clients := l.fakeHosts("hv1")
	c := clients[0]
	l.must(command.PoolAdd{Pool: "vms", PGs: 8})
	l.must(command.VolumeAdd{Pool: "vms", Volume: "a", Size: 8 * mib, Force: true})
	l.must(command.VolumeResize{Pool: "vms", Volume: "a", Size: 16 * mib, Force: true})
	l.must(command.SnapshotAdd{Pool: "vms", Volume: "a", Snapshot: "s1"})
	l.must(command.VolumeRename{Pool: "vms", Volume: "a", Name: "b"})
	image, err := c.Image(t.Context(), "vms", "b")
	if err != nil || image.Size != 16*mib || len(image.Snapshots) != 1 {
		t.Errorf("the image is %+v, %v", image, err)
	}
	want := []string{
		"/ceph/osds", "/ceph/pools", "/ceph/pools/vms", "/ceph/pools/vms/pgs", "/ceph/pools/vms/stats",
		"/ceph/snapshots", "/ceph/snapshots/vms", "/ceph/snapshots/vms/b", "/ceph/snapshots/vms/b/s1", "/ceph/snapshots/vms/b/s1/stats",
		"/ceph/volumes", "/ceph/volumes/vms", "/ceph/volumes/vms/b", "/ceph/volumes/vms/b/stats",
	}
	if d := cmp.Diff(want, l.keys(schema.Ceph)); d != "" {
		t.Errorf("records (-want +got):\n%s", d)
	}
	if pgs := l.data("/ceph/pools/vms/pgs"); pgs != "8" {
		t.Errorf("pgs %q", pgs)
	}
	stats, err := schema.DecodeVolumeStats("", l.data("/ceph/volumes/vms/b/stats"))
	if err != nil || stats.ID != image.ID || stats.Size != 16*mib || stats.Format != 2 {
		t.Errorf("%+v, %v", stats, err)
	}
	l.fails(command.VolumeRemove{Pool: "vms", Volume: "b"}, errs.Conflict, "ENOTEMPTY: image has snapshots: s1")
	l.must(command.SnapshotRemove{Pool: "vms", Volume: "b", Snapshot: "s1"})
	l.must(command.VolumeRemove{Pool: "vms", Volume: "b"})
	l.must(command.VolumeAdd{Pool: "vms", Volume: "c", Size: 8 * mib, Force: true})
	l.must(command.PoolRemove{Pool: "vms"})
	if d := cmp.Diff([]string{"/ceph/osds", "/ceph/pools", "/ceph/snapshots", "/ceph/volumes"}, l.keys(schema.Ceph)); d != "" {
		t.Errorf("records at the end (-want +got):\n%s", d)
	}
	if pools, err := c.Pools(t.Context()); err != nil || len(pools) > 0 {
		t.Errorf("pools at the end: %v, %v", pools, err)
	}
	l.osdVerbs(world, c)
}

func (l *lab) osdVerbs(world *fake.World, c *fake.Client) {
	l.t.Helper()
	o := ceph.OSD{ID: 3, UUID: "u", Up: true, In: true, Host: "hv1", Weight: 1, Reweight: 1}
	world.AddOSD(o)
	e := &edit{s: &view.Snapshot{}}
	l.view.Read(func(s *view.Snapshot) { e.s = s; e.putOSD(o) })
	l.commit(&e.txn)
	l.must(command.OSDOut{OSD: 3})
	osds, err := c.OSDs(l.t.Context())
	if err != nil || osds[0].In {
		l.t.Errorf("%+v, %v", osds, err)
	}
	l.view.Read(func(s *view.Snapshot) {
		if r, ok := s.OSD(3); !ok || r.Stats == nil || r.Stats.In || r.Stats.Reweight != 0 || r.Node != "hv1" {
			l.t.Errorf("the record of an OSD that is out: %+v", r)
		}
	})
	l.must(command.OSDIn{OSD: 3})
	l.fails(command.OSDIn{OSD: 4}, errs.NotFound, "ENOENT", "osd.4")
	l.must(command.OSDSet{Flag: "noout"})
	flags, err := c.Flags(l.t.Context())
	if err != nil || !slices.Contains(flags, "noout") {
		l.t.Errorf("flags %v, %v", flags, err)
	}
	l.must(command.OSDUnset{Flag: "noout"})
}

func TestWhatIsInUseIsLeftAlone(t *testing.T) {
	l := newLab(t)
	world, _, clients := l.fakeHosts("hv1")
	c := clients[0]
	l.must(command.PoolAdd{Pool: "vms", PGs: 8})
	for _, v := range []string{"named", "open", "free"} {
		l.must(command.VolumeAdd{Pool: "vms", Volume: v, Size: 8 * mib, Force: true})
	}
	l.vm("11111111-1111-4111-8111-111111111111", "web1", "vms/named", "other/free")
	image, err := c.Image(t.Context(), "vms", "open")
	if err != nil {
		t.Fatal(err)
	}
	world.Watch("vms", image.ID, "192.0.2.7:0/42")

	l.fails(command.PoolRemove{Pool: "vms"}, errs.Conflict, "volume vms/named is a disk of VM web1")
	l.fails(command.VolumeRemove{Pool: "vms", Volume: "named"}, errs.Conflict, "disk of VM web1")
	l.fails(command.VolumeRename{Pool: "vms", Volume: "named", Name: "x"}, errs.Conflict, "disk of VM web1")
	l.fails(command.VolumeResize{Pool: "vms", Volume: "named", Size: 4 * mib, Shrink: true}, errs.Conflict, "disk of VM web1")
	l.fails(command.VolumeRemove{Pool: "vms", Volume: "open"}, errs.Conflict, "EBUSY", "192.0.2.7:0/42")
	l.fails(command.VolumeRename{Pool: "vms", Volume: "open", Name: "x"}, errs.Conflict, "EBUSY", "192.0.2.7:0/42")
	l.fails(command.VolumeResize{Pool: "vms", Volume: "open", Size: 4 * mib, Shrink: true}, errs.Conflict, "EBUSY", "192.0.2.7:0/42")
	l.fails(command.VolumeResize{Pool: "vms", Volume: "free", Size: 4 * mib}, errs.Invalid, "EINVAL", "less than the 8192K")
	for _, m := range []fake.Method{fake.RemovePool, fake.RemoveImage, fake.RenameImage, fake.ResizeImage} {
		if n := c.Calls(m); n > 0 {
			t.Errorf("%s was called %d times", m, n)
		}
	}
	l.must(command.VolumeResize{Pool: "vms", Volume: "named", Size: 16 * mib, Force: true})
	l.must(command.VolumeResize{Pool: "vms", Volume: "open", Size: 16 * mib, Force: true})
	l.must(command.VolumeResize{Pool: "vms", Volume: "free", Size: 4 * mib, Shrink: true})
	l.must(command.VolumeRemove{Pool: "vms", Volume: "free"})
	l.commit(deleteVM("11111111-1111-4111-8111-111111111111"))
	l.fails(command.PoolRemove{Pool: "vms"}, errs.Conflict, "EBUSY", `"open"`, "192.0.2.7:0/42")
	world.Unwatch("vms", image.ID, "192.0.2.7:0/42")
	l.must(command.PoolRemove{Pool: "vms"})
}

func TestRefusalsHaveCephsWords(t *testing.T) {
	l := newLab(t)
	_, _, clients := l.fakeHosts("hv1")
	l.must(command.PoolAdd{Pool: "vms", PGs: 8})
	l.must(command.VolumeAdd{Pool: "vms", Volume: "a", Size: mib, Force: true})
	l.must(command.VolumeAdd{Pool: "vms", Volume: "b", Size: mib, Force: true})
	l.must(command.SnapshotAdd{Pool: "vms", Volume: "a", Snapshot: "s"})
	l.fails(command.PoolAdd{Pool: "vms", PGs: 8}, errs.Conflict, "EEXIST: pool 'vms' already exists")
	l.fails(command.VolumeAdd{Pool: "vms", Volume: "a", Size: 2 * mib, Force: true}, errs.Conflict, "EEXIST")
	l.fails(command.VolumeAdd{Pool: "none", Volume: "a", Size: mib}, errs.NotFound, "ENOENT", "none")
	l.fails(command.VolumeRename{Pool: "vms", Volume: "a", Name: "b"}, errs.Conflict, "EEXIST")
	l.fails(command.VolumeRemove{Pool: "vms", Volume: "none"}, errs.NotFound, "ENOENT")
	l.fails(command.SnapshotAdd{Pool: "vms", Volume: "a", Snapshot: "s"}, errs.Conflict, "EEXIST")
	l.fails(command.SnapshotRemove{Pool: "vms", Volume: "a", Snapshot: "t"}, errs.NotFound, "ENOENT")
	l.fails(command.PoolRemove{Pool: "none"}, errs.NotFound, "ENOENT")
	l.fails(command.OSDSet{Flag: "sortbitwise"}, errs.Invalid, "EINVAL")
	const words = "pg_num 512 size 3 would mean 1536 total pgs, which exceeds max 750"
	clients[0].Fail(fake.CreatePool, ceph.Refused(34, words))
	l.fails(command.PoolAdd{Pool: "big", PGs: 512}, errs.Invalid, words)
}

func TestMoreThanThePoolHasSpaceForNeedsForce(t *testing.T) {
	l := newLab(t)
	world, hosts, _ := l.fakeHosts("hv1")
	l.must(command.PoolAdd{Pool: "vms", PGs: 8})
	world.SetPoolStats("vms", ceph.PoolStats{MaxAvail: 100 * mib})
	hosts[0].reconciler()
	l.until(hosts[0].view, "the space is known", func(s *view.Snapshot) bool {
		p, ok := s.Pool("vms")
		return ok && p.Stats != nil && p.Stats.Free == 100*mib
	})
	l.fails(command.VolumeAdd{Pool: "vms", Volume: "a", Size: 101 * mib}, errs.Conflict, "101M", "100M", "force")
	l.must(command.VolumeAdd{Pool: "vms", Volume: "a", Size: 50 * mib})
	l.fails(command.VolumeResize{Pool: "vms", Volume: "a", Size: 151 * mib}, errs.Conflict, "101M", "force")
	l.must(command.VolumeResize{Pool: "vms", Volume: "a", Size: 151 * mib, Force: true})
}

func TestAPoolOfManyVolumesIsForgottenInPieces(t *testing.T) {
	l := newLab(t)
	_, hosts, clients := l.fakeHosts("hv1")
	l.must(command.PoolAdd{Pool: "vms", PGs: 8})
	const volumes = 2*manyVolumes + 10
	for n := range volumes {
		i, err := clients[0].CreateImage(t.Context(), "vms", fmt.Sprintf("disk%d", n), mib)
		if err == nil && n%100 == 0 {
			_, err = clients[0].CreateSnapshot(t.Context(), "vms", i.ID, "s")
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	hosts[0].reconciler()
	l.until(hosts[0].view, "all volumes are recorded", func(s *view.Snapshot) bool { return len(s.Volumes("vms")) == volumes })
	l.must(command.PoolRemove{Pool: "vms"})
	if left := l.keys(schema.CephVolumes); len(left) > 0 {
		t.Errorf("%d records are left: %v", len(left), left[0])
	}
}

// TestEveryVerbIsExecuted but those that need a host with disks: package osd tries them.
func TestEveryVerbIsExecuted(t *testing.T) {
	for v := range sampleArgs {
		args, err := command.ParseArgs(&model.Command{Verb: string(v), Args: []byte(sampleArgs[v])})
		if err != nil {
			t.Errorf("%s: %v", v, err)
			continue
		}
		task := bareTask(fake.NewWorld().Connect())
		if _, err := task.run(t.Context(), args); errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v", v, err)
		}
	}
}

// bareTask is a first attempt without records and VMs.
func bareTask(c *fake.Client) *task {
	return &task{
		Calls: c,
		executor: &Executor{
			Cluster: c, View: view.New(view.Options{}), Logger: quiet,
			Users: func(context.Context, string, string) (map[string][]string, error) { return nil, nil },
		},
		Attempt: command.Attempt{
			Number: 1, Begin: func(context.Context) error { return nil }, Remember: func(context.Context, any) error { return nil }, Progress: func(int64, int64, string) {},
			Commit: func(context.Context, coord.Txn) error { return nil },
		},
	}
}

var sampleArgs = map[command.Verb]string{
	command.VerbOSDIn: `{"osd":1}`, command.VerbOSDOut: `{"osd":1}`, command.VerbOSDSet: `{"flag":"noout"}`, command.VerbOSDUnset: `{"flag":"noout"}`,
	command.VerbPoolAdd: `{"pool":"p","pgs":8}`, command.VerbPoolRemove: `{"pool":"p"}`,
	command.VerbVolumeAdd:    `{"pool":"p","volume":"v","size":1}`,
	command.VerbVolumeResize: `{"pool":"p","volume":"v","size":1}`, command.VerbVolumeRename: `{"pool":"p","volume":"v","name":"w"}`,
	command.VerbVolumeRemove: `{"pool":"p","volume":"v"}`, command.VerbSnapshotAdd: `{"pool":"p","volume":"v","snapshot":"s"}`,
	command.VerbSnapshotRemove: `{"pool":"p","volume":"v","snapshot":"s"}`,
}
