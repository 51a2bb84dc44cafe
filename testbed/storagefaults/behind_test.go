package storagefaults

import (
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/coord"
)

// TestRecordsFollowCephAndCephNeverTheRecords makes, changes and removes objects with
// Ceph's tools, and deletes records by hand: these come back, and no data goes with them.
func TestRecordsFollowCephAndCephNeverTheRecords(t *testing.T) {
	if !long {
		t.Skip("half a minute: PVC_TEST_LONG=1; the short form is TestWithRealCephAndZooKeeper of cephctl")
	}
	ready(t)
	rbd := func(argv ...string) { t.Helper(); tool(t, append([]string{"rbd"}, argv...)...) }
	for _, name := range []string{"kept", "renamed", "resized", "removed"} {
		rbd("create", "--size", "8M", pool+"/"+name)
	}
	rbd("snap", "create", pool+"/kept@old")
	rbd("snap", "create", pool+"/kept@gone")
	for _, name := range []string{"byhand", "byhand-removed"} {
		tool(t, "ceph", "osd", "pool", "create", name, "1")
		rbd("pool", "init", name)
	}
	rbd("create", "--size", "8M", "byhand/inside")
	rbd("create", "--size", "8M", "byhand-removed/inside")
	add("record", "8M").do(t)
	snapshot("record", "s").do(t)
	addPool("record").do(t)
	before := agree(t, reconciled)

	rbd("rename", pool+"/renamed", pool+"/renamed-to")
	rbd("resize", "--size", "24M", pool+"/resized")
	rbd("rm", "--no-progress", pool+"/removed")
	rbd("snap", "rename", pool+"/kept@old", pool+"/kept@new")
	rbd("snap", "rm", "--no-progress", pool+"/kept@gone")
	tool(t, "ceph", "osd", "pool", "rename", "byhand", "byhand-to")
	tool(t, "ceph", "osd", "pool", "rm", "byhand-removed", "byhand-removed", "--yes-i-really-really-mean-it")
	for _, path := range []string{"/ceph/volumes/" + pool + "/record", "/ceph/snapshots/" + pool + "/record", "/ceph/pools/record", "/ceph/osds/2"} {
		deleteBelow(t, path)
	}
	is := agree(t, reconciled)
	if is.Images[pool+"/renamed-to"] == "" || is.Images["byhand-to/inside"] == "" || is.Snapshots[pool+"/kept@new"] == "" {
		t.Errorf("the tools have not done what they were asked for: %v", is)
	}
	image, snap := pool+"/record", pool+"/record@s"
	wrong := same(image, is.Images[image], before.Images[image]) + same(snap, is.Snapshots[snap], before.Snapshots[snap]) +
		same("pool record", is.Pools["record"], before.Pools["record"]) + same("OSD 2", is.In["2"], before.In["2"])
	if wrong != "" {
		t.Errorf("what lost its record: %s", wrong)
	}
}

// deleteBelow deletes a znode and what is below it in one transaction.
func deleteBelow(t testing.TB, path string) {
	t.Helper()
	var txn coord.Txn
	var add func(path string)
	add = func(path string) {
		for _, name := range children(t, path) {
			add(path + "/" + name)
		}
		txn.Delete(path, coord.AnyVersion)
	}
	add(path)
	_, err := zookeep.Commit(bounded(t), txn)
	must(t, err)
}
