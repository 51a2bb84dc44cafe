package cluster_test

import (
	"context"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

func deletion(disks bool) deed {
	return func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) {
		return c.DeleteVM(ctx, cluster.DeleteVM{VM: "web1", DeleteDisks: disks})
	}
}

// allGone are the changes when a VM and all that belongs to it are removed.
func allGone(tree compat.Tree) compat.Tree {
	out := compat.Tree{}
	for path := range tree {
		out[path] = gone
	}
	return out
}

// decision: delete
// decision: `delete_disks`
func TestDeletionsFollowTheTable(t *testing.T) {
	w := newWorld(t)
	w.write(t, compat.Tree{"/ceph/volumes/vms/a": ""})
	withFile := vm("stop", "hv1", "xml", document("web1", web1, device(file, "/srv/x")))
	withVolume := vm("stop", "hv1", "rbdlist", "vms/a", "xml", document("web1", web1, device(rbd, "vms/a")))
	old := vm("failed", "hv1", "crashes", "{}", "consolepos", "{}", "of-a-later-release", "x")
	delete(old, "/domains/"+web1+"/gen-1")
	delete(old, "/nodes/hv1/vms/"+web1)
	for name, r := range map[string]rule{
		"a stopped one":             {given: join(hosts(), vm("stop", "hv1")), do: deletion(false), says: "is removed", writes: allGone(vm("stop", "hv1"))},
		"an old one, whatever keys": {given: join(hosts(), old), do: deletion(true), writes: allGone(old)},
		"one on no node":            {given: join(hosts(), vm("stop", "hv2", "node", "None")), do: deletion(false), writes: allGone(vm("stop", "hv2"))},
		"what stays is named":       {given: join(hosts(), withFile), do: deletion(true), says: `left behind: file "/srv/x"`, writes: allGone(withFile)},
		"volumes stay":              {given: join(hosts(), withVolume), do: deletion(false), says: `left behind: rbd "vms/a"`, writes: allGone(withVolume)},
		"volumes without a host for them": {
			given: join(node("hv1", "facts", `{"no_storage":"x"}`), withVolume), do: deletion(true), no: true, kind: errs.Conflict, says: "storage is not enabled"},
		"a volume that is held": {
			given: join(hosts(), withVolume, compat.Tree{"/claims/disks/vms%2Fa": "{}"}), do: deletion(true), no: true, kind: errs.Conflict, says: `volume "vms/a" is held by a host`},
		"no volume of that name": {
			given: join(hosts(), vm("stop", "hv1", "rbdlist", "vms/b")), do: deletion(true), says: `left: rbd "vms/b" (no such volume is on record)`, writes: allGone(vm("stop", "hv1"))},
		"one that does not exist": {given: hosts(), do: deletion(false), no: true, kind: errs.NotFound, says: `"web1"`},
	} {
		t.Run(name, func(t *testing.T) { w.check(t, r) })
	}
}

// TestARunningVMIsDeletedOnceItsHostHasLetGo plays the host.
func TestARunningVMIsDeletedOnceItsHostHasLetGo(t *testing.T) {
	w := newWorld(t)
	running := join(hosts(), vm("start", "hv1"), claim("hv1"))
	w.reset(t, running)
	done := make(chan error, 1)
	go func() { // received below
		_, err := deletion(false)(t.Context(), w.rules)
		done <- err
	}()
	key := func(path string) string { data, _ := coordtest.Data(t, w.client, path); return data }
	coordtest.Eventually(t, "the wish to stop", func() bool { return key("/domains/"+web1+"/state") == "stop" })
	if name := key("/domains/" + web1); name != "web1" {
		t.Errorf("the record is gone before the guest: %q", name)
	}
	w.commit(t, new(coord.Txn).Delete("/claims/"+web1, coord.AnyVersion))
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if left := append(w.tree(t).Below("/domains/"+web1).Paths(), w.tree(t).Below("/claims/"+web1).Paths()...); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

// TestAVMStartedAgainUnderItsDeletionStays: the later wish wins.
func TestAVMStartedAgainUnderItsDeletionStays(t *testing.T) {
	w := newWorld(t)
	w.reset(t, hosts(), vm("start", "hv1"), claim("hv1"))
	done := make(chan error, 1)
	go func() { // received below
		_, err := deletion(false)(t.Context(), w.rules)
		done <- err
	}()
	coordtest.Eventually(t, "the wish to stop", func() bool {
		data, _ := coordtest.Data(t, w.client, "/domains/"+web1+"/state")
		return data == "stop"
	})
	w.commit(t, new(coord.Txn).Set("/domains/"+web1+"/state", []byte("start"), coord.AnyVersion).Delete("/claims/"+web1, coord.AnyVersion))
	if err := <-done; !errs.Is(err, errs.Conflict) {
		t.Errorf("err = %v, a conflict was expected", err)
	}
	if _, there := coordtest.Data(t, w.client, "/domains/"+web1+"/xml"); !there {
		t.Error("the VM is gone")
	}
}

// decision: `delete_disks`
func TestVolumesGoWithTheirVMUnlessAnotherOneNamesThem(t *testing.T) {
	w := newWorld(t)
	w.write(t, hosts(), pool("vms"), volume("vms", "a"), volume("vms", "b"), volume("vms", "busy"), user("vms/b"),
		vm("stop", "hv1", "rbdlist", "vms/a,vms/b,vms/busy", "xml", document("web1", web1, device(rbd, "vms/a")+twoMore+device(file, "/srv/x"))))
	sync(t, w.v)
	host := w.executes(t, "hv1")
	_, err := deletion(true)(t.Context(), w.rules)
	want := `VM "web1" is removed; left behind: file "/srv/x"; removed with it: rbd "vms/a"; left: rbd "vms/b" (used by VM "web2"); not removed: rbd "vms/busy": EBUSY: image has snapshots`
	if !errs.Is(err, errs.Conflict) || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
	tree := w.tree(t)
	if len(tree.Below("/domains/"+web1).Paths()) > 0 || len(tree.Below("/ceph/volumes/vms/a").Paths()) > 0 {
		t.Errorf("left: %v", tree.Paths())
	}
	if asked := host.take(); len(asked) != 2 {
		t.Errorf("asked for %v", asked)
	}
}

// TestTheVolumesOfADeletedVMGoEvenIfNobodyWaits: the API ends right after the VM's records
// are gone, and no host is there to execute anything.
//
// decision: `delete_disks`
func TestTheVolumesOfADeletedVMGoEvenIfNobodyWaits(t *testing.T) {
	w := newWorld(t)
	w.write(t, hosts(), pool("vms"), volume("vms", "a"), volume("vms", "b"),
		vm("stop", "hv1", "rbdlist", "vms/a,vms/b", "xml", document("web1", web1, device(rbd, "vms/a")+device(rbd, "vms/b"))))
	sync(t, w.v)
	ctx, end := context.WithCancel(t.Context())
	end()
	if _, err := deletion(true)(ctx, w.rules); err == nil || !strings.Contains(err.Error(), "it goes on") {
		t.Errorf("%v", err)
	}
	if left := w.tree(t).Below("/domains/" + web1).Paths(); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	w.executes(t, "hv1")
	coordtest.Eventually(t, "both volumes are gone", func() bool {
		_, a := coordtest.Data(t, w.client, "/ceph/volumes/vms/a")
		_, b := coordtest.Data(t, w.client, "/ceph/volumes/vms/b")
		return !a && !b
	})
}

// decision: `delete_disks`
func TestNothingIsRemovedWhileAVolumeHasSnapshots(t *testing.T) {
	w := newWorld(t)
	withVolume := vm("start", "hv1", "rbdlist", "vms/a", "xml", document("web1", web1, device(rbd, "vms/a")))
	w.write(t, pool("vms"), volume("vms", "a"), snapshot("vms", "a", "s1"))
	w.check(t, rule{given: join(hosts(), withVolume), do: deletion(true), no: true, kind: errs.Conflict, says: `volume "vms/a" of VM "web1" has 1 snapshots`})
}

// decision: `delete_disks`
func TestAVolumeIsRemovedOnlyAfterItsGuestIsGone(t *testing.T) {
	w := newWorld(t)
	w.write(t, pool("vms"), volume("vms", "a"), join(hosts(), claim("hv1")), vm("start", "hv1", "rbdlist", "vms/a", "xml", document("web1", web1, device(rbd, "vms/a"))))
	sync(t, w.v)
	host := w.executes(t, "hv1")
	ctx, hangUp := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { // received below
		_, err := deletion(true)(ctx, w.rules)
		done <- err
	}()
	coordtest.Eventually(t, "the wish to stop", func() bool {
		data, _ := coordtest.Data(t, w.client, "/domains/"+web1+"/state")
		return data == "stop"
	})
	if asked := host.take(); len(asked) > 0 {
		t.Errorf("asked for %v while the guest runs", asked)
	}
	hangUp() // what was begun goes on
	w.commit(t, new(coord.Txn).Delete("/claims/"+web1, coord.AnyVersion))
	if err := <-done; err != nil && !strings.Contains(err.Error(), "it goes on") {
		t.Error(err)
	}
	coordtest.Eventually(t, "the volume is gone", func() bool {
		_, there := coordtest.Data(t, w.client, "/ceph/volumes/vms/a")
		return !there
	})
}
