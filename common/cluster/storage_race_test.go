package cluster_test

import (
	"context"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

// TestAVMNeverNamesAVolumeThatIsBeingTakenAway begins both at the same moment, in two APIs,
// many times: one of them is refused, or, where a VM is deleted, leaves the volume.
//
// decision: writable volumes
func TestAVMNeverNamesAVolumeThatIsBeingTakenAway(t *testing.T) {
	w := newWorld(t)
	_, second := w.another(t)
	w.write(t, stored())
	disk := device(rbd, "vms/a")
	shared := strings.Replace(disk, "</disk>", "<shareable/></disk>", 1)
	without, with := vm("stop", "hv1"), vm("stop", "hv1", "rbdlist", "vms/a", "xml", document("web1", web1, shared))
	naming := map[string]deed{
		"defined": define(cluster.DefineVM{XML: document("web2", web2, shared)}),
		"changed": modify(document("web1", web1, disk), false),
	}
	for name, tc := range map[string]struct {
		given compat.Tree
		take  deed
		name  string
	}{
		"removed, defined":  {without, of(removeVolume, cluster.RemoveVolume{Pool: "vms", Volume: "a"}), "defined"},
		"removed, changed":  {without, of(removeVolume, cluster.RemoveVolume{Pool: "vms", Volume: "a"}), "changed"},
		"renamed, defined":  {without, of(modifyVolume, cluster.ModifyVolume{Pool: "vms", Volume: "a", Name: "c"}), "defined"},
		"shrunk, changed":   {without, of(modifyVolume, cluster.ModifyVolume{Pool: "vms", Volume: "a", Size: "1G", Force: true}), "changed"},
		"its pool, defined": {without, of(removePool, cluster.RemovePool{Pool: "vms"}), "defined"},
		"its pool, changed": {without, of(removePool, cluster.RemovePool{Pool: "vms"}), "changed"},
		"its VM, defined":   {with, deletion(true), "defined"},
	} {
		t.Run(name, func(t *testing.T) {
			for range rounds {
				w.now = nil
				w.reset(t, hosts(), tc.given)
				taken, named := atOnce(t.Context(), w.rules, second, begunOnly(tc.take), naming[tc.name])
				began := taken != nil && strings.Contains(taken.Error(), "it goes on")
				if both, neither := w.takenAndNamed(t), !began && named != nil; both || neither {
					t.Fatalf("both: %v, neither: %v; taken away: %v; named: %v", both, neither, taken, named)
				}
			}
		})
	}
}

// begunOnly does something and does not wait for its end.
func begunOnly(do deed) deed {
	return func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) {
		ctx, cancel := context.WithCancel(ctx)
		cancel()
		return do(ctx, c)
	}
}

// takenAndNamed reports whether a VM names the volume while a command is there, and all
// commands of the test take it away.
func (w *world) takenAndNamed(t *testing.T) bool {
	t.Helper()
	taken, named := false, false
	for path, data := range w.tree(t) {
		taken = taken || strings.HasPrefix(path, "/commands/")
		named = named || strings.HasSuffix(path, "/rbdlist") && data == "vms/a"
	}
	return taken && named
}

// TestAnAPIThatIsLateTakesNoVolumeAwayThatAVMNames although it does not know the VM's
// document yet.
//
// decision: writable volumes
func TestAnAPIThatIsLateTakesNoVolumeAwayThatAVMNames(t *testing.T) {
	for what, take := range map[string]deed{
		"removed":  of(removeVolume, cluster.RemoveVolume{Pool: "vms", Volume: "a"}),
		"renamed":  of(modifyVolume, cluster.ModifyVolume{Pool: "vms", Volume: "a", Name: "c"}),
		"shrunk":   of(modifyVolume, cluster.ModifyVolume{Pool: "vms", Volume: "a", Size: "1G", Force: true}),
		"its pool": of(removePool, cluster.RemovePool{Pool: "vms"}),
	} {
		for how, name := range map[string]deed{
			"defined": define(cluster.DefineVM{XML: document("web2", web2, device(rbd, "vms/a"))}),
			"changed": modify(document("web1", web1, device(rbd, "vms/a")), false),
		} {
			t.Run(what+", "+how, func(t *testing.T) {
				w := newWorld(t)
				w.write(t, hosts(), stored(), vm("stop", "hv1"))
				sync(t, w.v)
				late := w.late(t)
				if _, err := name(t.Context(), w.rules); err != nil {
					t.Fatal(err)
				}
				if _, err := begunOnly(take)(t.Context(), late); !errs.Is(err, errs.Conflict) || w.takenAndNamed(t) {
					t.Errorf("%v", err)
				}
			})
		}
	}
}
