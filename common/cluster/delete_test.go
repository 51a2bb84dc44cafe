package cluster_test

import (
	"context"
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
		"volumes shall not stay":    {given: join(hosts(), withVolume), do: deletion(true), no: true, kind: errs.Conflict, says: "vms/a"},
		"one that does not exist":   {given: hosts(), do: deletion(false), no: true, kind: errs.NotFound, says: `"web1"`},
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
