package vmctl

import (
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// TestAReturnedHostFetchesNothingByItself starts a host's daemon anew, as after a power
// cut, while a guest that is at home there runs elsewhere. A second guest that starts on
// the host shows that the daemon is at work.
//
// decision: returned hosts
func TestAReturnedHostFetchesNothingByItself(t *testing.T) {
	l := newLab(t, "hv1", "hv2")
	uuid := l.define("away", "hv1", "")
	l.state("away", "start")
	move := func(action string) {
		t.Helper()
		if _, err := l.rules.SetVMNode(t.Context(), cluster.SetVMNode{VM: "away", Action: action, Wait: true}); err != nil {
			t.Fatal(err)
		}
	}
	move("migrate")
	l.runsOn(uuid, "hv2")
	l.nodes["hv1"].kill()
	l.nodes["hv1"].boot = "boot2-hv1"
	l.nodes["hv1"].start()
	other := l.define("other", "hv1", "")
	l.state("other", "start")
	l.runsOn(other, "hv1")
	l.rules.View().Read(func(s *view.Snapshot) {
		if vm, ok := s.VM(uuid); !ok || vm.Node != "hv2" || vm.LastNode != "hv1" || vm.Migration != nil {
			t.Errorf("after the return: %+v", vm)
		}
	})
	if n := l.nodes["hv1"].passes.Load(); n > 0 {
		t.Errorf("the host has begun to move VMs %d times", n)
	}
	move("unmigrate")
	l.runsOn(uuid, "hv1")
	l.neverTwice()
}
