package cephctl

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph/rados"
	testceph "github.com/parallelvirtualcluster/pvc/testbed/ceph"
)

// The testbed starts its programs from a thread that stays.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/parallelvirtualcluster/pvc/testbed/internal/proc.init.func1.1"))
}

// real is a real ZooKeeper and a real Ceph, seen by our code and by Ceph's tools.
type real struct {
	*lab
	ceph  *testceph.Cluster
	hosts []*host
}

// TestWithRealCephAndZooKeeper shares one start of both.
func TestWithRealCephAndZooKeeper(t *testing.T) {
	c := testceph.Start(t, testceph.Options{})
	r := &real{lab: newLab(t), ceph: c}
	for _, name := range []string{"hv1", "hv2"} {
		cluster := rados.Open(rados.Options{Conf: c.ConfFile(), User: testceph.PVC, Keyring: c.Keyring(testceph.PVC), Logger: quiet})
		t.Cleanup(cluster.Close)
		r.hosts = append(r.hosts, r.host(name, cluster))
	}
	r.verbs()
	said := r.hosts[0].reconciler()
	r.behindOurBack()
	r.statistics()
	r.idle(said)
	r.silent(said)
	r.takenOver()
}

// tool runs one of Ceph's tools.
func (r *real) tool(argv ...string) string {
	r.t.Helper()
	out, err := r.ceph.Tool(r.t.Context(), argv...)
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func (r *real) verbs() {
	r.t.Helper()
	r.must(command.PoolAdd{Pool: "vms", PGs: 8})
	r.fails(command.PoolAdd{Pool: "huge", PGs: 4096}, errs.Invalid, "ERANGE", "mon_max_pg_per_osd")
	r.must(command.VolumeAdd{Pool: "vms", Volume: "a", Size: 64 * mib})
	r.must(command.VolumeResize{Pool: "vms", Volume: "a", Size: 128 * mib})
	r.must(command.SnapshotAdd{Pool: "vms", Volume: "a", Snapshot: "s1"})
	r.must(command.VolumeRename{Pool: "vms", Volume: "a", Name: "b"})
	if got := r.tool("rbd", "snap", "ls", "vms/b"); !strings.Contains(got, "s1") || !strings.Contains(got, "128 MiB") {
		r.t.Errorf("rbd snap ls: %s", got)
	}
	r.agree("vms", "b")
	r.fails(command.VolumeRemove{Pool: "vms", Volume: "b"}, errs.Conflict, "ENOTEMPTY")
	r.must(command.SnapshotRemove{Pool: "vms", Volume: "b", Snapshot: "s1"})
	r.must(command.VolumeResize{Pool: "vms", Volume: "b", Size: 32 * mib, Shrink: true})
	r.agree("vms", "b")
	r.must(command.VolumeRemove{Pool: "vms", Volume: "b"})
	if got := r.tool("rbd", "ls", "vms"); got != "" {
		r.t.Errorf("rbd ls: %s", got)
	}
	r.must(command.OSDOut{OSD: 2})
	if got := r.tool("ceph", "osd", "dump"); !strings.Contains(got, "osd.2 up   out") {
		r.t.Errorf("ceph osd dump: %s", got)
	}
	r.must(command.OSDIn{OSD: 2})
	r.must(command.OSDSet{Flag: "noscrub"})
	if got := r.tool("ceph", "osd", "dump"); !strings.Contains(got, "noscrub") {
		r.t.Errorf("ceph osd dump: %s", got)
	}
	r.must(command.OSDUnset{Flag: "noscrub"})
	r.must(command.PoolAdd{Pool: "short", PGs: 4})
	r.must(command.VolumeAdd{Pool: "short", Volume: "x", Size: mib})
	r.must(command.PoolRemove{Pool: "short"})
	if got := r.tool("ceph", "osd", "pool", "ls"); strings.Contains(got, "short") {
		r.t.Errorf("pools: %s", got)
	}
}

// agree compares what `rbd info` says with the record, member by member as old clients
// read it.
func (r *real) agree(pool, volume string) {
	r.t.Helper()
	var tool, record map[string]any
	if err := json.Unmarshal([]byte(r.tool("rbd", "info", "--format", "json", pool+"/"+volume)), &tool); err != nil {
		r.t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(r.data(schema.Volume(pool, volume, schema.StorageStats))), &record); err != nil {
		r.t.Fatal(err)
	}
	for _, member := range []string{"name", "id", "size", "objects", "order", "object_size", "block_name_prefix", "format", "features"} {
		if want, got := fmt.Sprint(tool[member]), fmt.Sprint(record[member]); want != got {
			r.t.Errorf("%s of %s/%s: rbd says %s, the record %s", member, pool, volume, want, got)
		}
	}
}

func (r *real) behindOurBack() {
	r.t.Helper()
	began := time.Now()
	r.tool("rbd", "create", "--size", "16M", "vms/mine")
	r.tool("rbd", "snap", "create", "vms/mine@s")
	r.until(r.view, "a volume with its snapshot", func(s *view.Snapshot) bool { _, ok := s.Snapshot("vms", "mine", "s"); return ok })
	r.agree("vms", "mine")
	r.tool("rbd", "rename", "vms/mine", "vms/yours")
	r.tool("rbd", "resize", "--size", "32M", "vms/yours")
	r.until(r.view, "it is renamed and larger", func(s *view.Snapshot) bool {
		_, old := s.Volume("vms", "mine")
		v, ok := s.Volume("vms", "yours")
		return !old && ok && v.Stats.Size == 32*mib && len(v.Snapshots) == 1
	})
	r.tool("rbd", "snap", "rm", "vms/yours@s")
	r.tool("rbd", "rm", "vms/yours")
	r.until(r.view, "it is gone", func(s *view.Snapshot) bool { return len(s.Volumes("vms")) == 0 })
	r.t.Logf("followed Ceph's tools within %v, tools included", time.Since(began).Round(time.Millisecond))
}

func (r *real) statistics() {
	r.t.Helper()
	r.tool("rbd", "create", "--size", "16M", "vms/data")
	r.tool("rbd", "bench", "--io-type", "write", "--io-total", "8M", "vms/data")
	r.until(r.view, "figures of everything", func(s *view.Snapshot) bool {
		p, ok := s.Pool("vms")
		if !ok || p.Stats == nil || p.Stats.Stored < 8*mib || p.Stats.Used < 16*mib || p.Stats.WriteData < 8*mib || p.Stats.Free == 0 || p.PGs != 8 {
			return false
		}
		osds := s.OSDs()
		return len(osds) == 3 && !slices.ContainsFunc(osds, func(o *model.OSD) bool {
			return o.Stats == nil || !o.Stats.Up || !o.Stats.In || o.Stats.Total == 0 || o.Stats.Used == 0 || o.Stats.Utilization == 0 || o.Node == ""
		})
	})
	if text := r.data(schema.Ceph); !strings.Contains(text, r.ceph.FSID()) || !strings.Contains(text, "3 up") {
		r.t.Errorf("status: %s", text)
	}
	if text := r.data(schema.CephRadosDF); !strings.Contains(text, "POOL_NAME") || !strings.Contains(text, "vms") {
		r.t.Errorf("df: %s", text)
	}
	for _, path := range []string{schema.CephStatus, schema.CephUsage} {
		if !json.Valid([]byte(r.data(path))) {
			r.t.Errorf("%s: %s", path, r.data(path))
		}
	}
}

// idle counts the transactions of passes that come a hundred times as often as they
// should.
func (r *real) idle(said *reports) {
	r.t.Helper()
	const passes = 5
	said.after(r.t, 1)
	before := r.zxid()
	said.after(r.t, passes)
	n := r.zxid() - before - 1
	r.t.Logf("%d transactions in about %d passes, of which there is one in 10 s", n, passes+1)
	if n > 2*passes {
		r.t.Errorf("%d transactions in %d passes", n, passes)
	}
}

func (r *real) silent(said *reports) {
	r.t.Helper()
	before := r.keys(schema.Ceph)
	r.ceph.Stop("mon.a")
	began := time.Now()
	coordtest.Eventually(r.t, "it is said that Ceph does not answer", func() bool { return said.last() != "" })
	r.fails(command.VolumeAdd{Pool: "vms", Volume: "late", Size: mib}, errs.Unavailable, "Ceph")
	r.t.Logf("%v after the monitor was stopped: %s", time.Since(began).Round(time.Millisecond), said.last())
	if now := r.keys(schema.Ceph); !slices.Equal(now, before) {
		r.t.Errorf("records changed while Ceph was silent: %v, then %v", before, now)
	}
	r.ceph.Cont("mon.a")
	coordtest.Eventually(r.t, "the records follow again", func() bool { return said.last() == "" })
	r.must(command.VolumeAdd{Pool: "vms", Volume: "late", Size: mib})
}

// takenOver has a removal's executor cut off right before its result, and one right
// before it acts.
func (r *real) takenOver() {
	r.t.Helper()
	for n, step := range []string{command.StepExecuted, command.StepClaimed} {
		name := fmt.Sprintf("lost%d", n)
		r.must(command.VolumeAdd{Pool: "vms", Volume: name, Size: 8 * mib})
		cluster := rados.Open(rados.Options{Conf: r.ceph.ConfFile(), User: testceph.PVC, Keyring: r.ceph.Keyring(testceph.PVC), Logger: quiet})
		r.t.Cleanup(cluster.Close)
		h := r.host(name, cluster)
		reached := h.hold(step)
		sent, err := r.queue.Submit(r.t.Context(), command.Request{Args: command.VolumeRemove{Pool: "vms", Volume: name}, Node: name, Any: true})
		if err != nil {
			r.t.Fatal(err)
		}
		reach(r.t, step, reached)
		h.proxy.Stall()
		if _, err := r.queue.Wait(r.t.Context(), sent); err != nil {
			r.t.Errorf("lost at %s: %v", step, err)
		}
		r.tool("rbd", "create", "--size", "4M", "vms/"+name)
		h.proxy.Flow()
		h.openGates()
		reach(r.t, "the end of its registration", h.session.Lost())
		h.stop()
		if info := r.tool("rbd", "info", "vms/"+name); !strings.Contains(info, "4 MiB") {
			r.t.Errorf("the volume made again after the executor was lost at %s: %s", step, info)
		}
	}
}
