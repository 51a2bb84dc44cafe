package vmctl

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor/fake"
)

// TestAGuestThatWentOnAtASilentSourceIsNeverContinuedAtTheTarget: the word of the
// arrival gets lost, the guest goes on at the source whose daemon hangs, and ends
// there. What has arrived is older than what it wrote since.
func TestAGuestThatWentOnAtASilentSourceIsNeverContinuedAtTheTarget(t *testing.T) {
	l := newLab(t, "hv1", "hv2")
	uuid := l.define("web1", "hv1", "")
	l.state("web1", "start")
	source := l.world.Host("hv1")
	source.At(fake.StepFinish, func(string) error { return errors.New("the target has not answered") })
	hang := make(chan struct{})
	goOn := sync.OnceFunc(func() { close(hang) })
	t.Cleanup(goOn)
	l.nodes["hv1"].onStep(func(_ string, a Action) {
		if a.Step == FailMigration {
			<-hang
		}
	})
	var asked atomic.Int32
	var continued atomic.Bool
	l.nodes["hv2"].onStep(func(_ string, a Action) {
		switch a.Step {
		case AskSource:
			asked.Add(1)
		case WriteGone, Adopt, Resume:
			continued.Store(true)
		}
	})
	if _, err := l.rules.SetVMNode(t.Context(), cluster.SetVMNode{VM: "web1", Action: "move", Node: "hv2"}); err != nil {
		t.Fatal(err)
	}
	l.until("the target has asked and heard that it goes on", func(*view.Snapshot) bool { return asked.Load() >= 2 })
	source.PowerOff(uuid)
	before := asked.Load()
	l.until("the target has heard that it is not there", func(*view.Snapshot) bool { return asked.Load() >= before+2 })
	goOn()
	l.until("it is stopped, as the guest wanted", func(s *view.Snapshot) bool {
		vm, _ := s.VM(uuid)
		return vm.State == model.VMStop && vm.Claim == nil && vm.Migration == nil
	})
	if continued.Load() {
		t.Error("the target continued it")
	}
	l.neverTwice()
}
