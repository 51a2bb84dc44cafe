package vmctl

import (
	"sync"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor/fake"
)

// TestASightFromBeforeTheTransferDoesNotFailIt: the source's daemon is told of a running
// guest, and by the time it hears that the guest has been sent away, which it knows by
// itself. The target has not come to say so yet.
func TestASightFromBeforeTheTransferDoesNotFailIt(t *testing.T) {
	l := newLab(t, "hv1", "hv2")
	uuid := l.define("web1", "hv1", "")
	l.state("web1", "start")
	l.runsOn(uuid, "hv1")
	source := l.nodes["hv1"]
	sighted, transferred, decided := make(chan struct{}), make(chan struct{}), make(chan struct{})
	l.world.Host("hv1").Before(fake.MigratePaused, func(string) { <-sighted })
	var once, twice sync.Once
	source.onStep(func(_ string, a Action) {
		switch a.Step {
		case Send:
			source.onSight(func(d hypervisor.Domain) {
				if !source.c.memory.sending(uuid) {
					return
				}
				once.Do(func() {
					if d.State != hypervisor.Running || d.Migrating {
						t.Errorf("sighted %+v, a guest that is not being sent was expected", d)
					}
					close(sighted)
					<-transferred
				})
			})
		case WriteGone, FailMigration:
			twice.Do(func() {
				if a.Step == FailMigration {
					t.Error("the migration is failed although the guest has been sent: ", a.Reason)
				}
				close(decided)
			})
		}
	})
	l.nodes["hv2"].onStep(func(_ string, a Action) {
		if a.Step == WriteArrived {
			<-decided
		}
	})
	if _, err := l.rules.SetVMNode(t.Context(), cluster.SetVMNode{VM: "web1", Action: "move", Node: "hv2"}); err != nil {
		t.Fatal(err)
	}
	l.until("the guest has been sent", func(*view.Snapshot) bool {
		select {
		case <-sighted:
			return !source.c.memory.sending(uuid)
		default:
			return false
		}
	})
	close(transferred)
	l.runsOn(uuid, "hv2")
	if n := l.world.Host("hv1").Calls(fake.CreatePaused) + l.world.Host("hv2").Calls(fake.CreatePaused); n != 1 {
		t.Errorf("the guest was started %d times", n)
	}
	l.neverTwice()
}

// TestAGuestThatEndsWhileTheSessionIsLostHasNotEndedUnseen: the daemon lives on.
func TestAGuestThatEndsWhileTheSessionIsLostHasNotEndedUnseen(t *testing.T) {
	l := newLab(t, "hv1")
	uuid := l.define("web1", "hv1", "")
	l.state("web1", "start")
	l.runsOn(uuid, "hv1")
	node := l.nodes["hv1"]
	node.between(func() {
		if !l.world.Host("hv1").PowerOff(uuid) {
			t.Fatal("it does not power itself off")
		}
	})
	l.until("it is stopped, as the guest wanted", func(s *view.Snapshot) bool {
		vm, _ := s.VM(uuid)
		return vm.State == model.VMStop && vm.Claim == nil
	})
}
