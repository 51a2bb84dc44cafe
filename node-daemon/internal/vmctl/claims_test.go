package vmctl

import (
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor/fake"
)

// stops waits until the records and the world agree that the VM is stopped.
func (l *lab) stops(uuid string) {
	l.t.Helper()
	l.until("it has stopped", func(s *view.Snapshot) bool {
		vm, ok := s.VM(uuid)
		return ok && vm.State == model.VMStop && vm.Claim == nil && vm.Migration == nil && len(l.world.Executing(uuid)) == 0
	})
}

func TestAVMThatIsStoppingIsNotStartedByAMove(t *testing.T) {
	l := newLab(t, "hv1", "hv2")
	uuid := l.define("web1", "hv1", "")
	l.state("web1", "start")
	l.runsOn(uuid, "hv1")
	goOn := make(chan struct{})
	l.world.Host("hv1").Before(fake.Destroy, func(string) { <-goOn })
	resume := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(resume)
	if _, err := l.rules.SetVMState(t.Context(), cluster.SetVMState{VM: "web1", State: "stop"}); err != nil {
		t.Fatal(err)
	}
	_, err := l.rules.SetVMNode(t.Context(), cluster.SetVMNode{VM: "web1", Action: "move", Node: "hv2"})
	resume()
	if !errs.Is(err, errs.Conflict) {
		t.Errorf("the move of a VM that is stopping: %v, want a conflict", err)
	}
	l.stops(uuid)
}

func TestAFlushDoesNotStartAVMThatIsStopping(t *testing.T) {
	l := newLab(t, "hv1", "hv2")
	uuid := l.define("web1", "hv1", "")
	l.state("web1", "start")
	l.runsOn(uuid, "hv1")
	goOn := make(chan struct{})
	l.world.Host("hv1").Before(fake.Destroy, func(string) { <-goOn })
	resume := sync.OnceFunc(func() { close(goOn) })
	t.Cleanup(resume)
	if _, err := l.rules.SetVMState(t.Context(), cluster.SetVMState{VM: "web1", State: "stop"}); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := l.rules.SetDomainState(t.Context(), cluster.SetDomainState{Node: "hv1", State: "flush", Wait: true})
		done <- err
	}()
	l.until("the flush has begun", func(s *view.Snapshot) bool { n, _ := s.Node("hv1"); return n.DomainState == model.DomainFlush })
	resume()
	if err := <-done; err != nil {
		t.Error(err)
	}
	l.stops(uuid)
}

// A request to create a guest whose answer was given up can be carried out at any time
// afterwards, also just before the next one.
func TestAGuestThatIsThereAlreadyIsNoRefusal(t *testing.T) {
	l := newLab(t, "hv1")
	uuid := l.define("web1", "hv1", "")
	host := l.world.Host("hv1")
	host.Before(fake.CreatePaused, func(string) {
		host.Before(fake.CreatePaused, nil)
		if err := host.CreatePaused(t.Context(), fmt.Sprintf(guestXML, "web1", uuid, "")); err != nil {
			t.Error(err)
		}
	})
	l.state("web1", "start")
	l.runsOn(uuid, "hv1")
}

func TestTheEndOfAnEarlierRunIsNotCountedAgainstTheNext(t *testing.T) {
	l := newLab(t, "hv1")
	uuid := l.define("web1", "hv1", "")
	n, host := l.nodes["hv1"], l.world.Host("hv1")
	for _, reason := range []hypervisor.StopReason{hypervisor.StoppedDestroyed, hypervisor.StoppedShutdown, hypervisor.StoppedCrashed} {
		var once sync.Once
		host.Before(fake.Lookup, func(string) {
			if _, there, err := l.conn.Exists(t.Context(), schema.Claim(uuid)); err == nil && there {
				once.Do(func() { n.c.event(hypervisor.Event{Kind: hypervisor.EventStopped, UUID: uuid, Reason: reason}) })
			}
		})
		l.state("web1", "start")
		l.runsOn(uuid, "hv1")
		host.Before(fake.Lookup, nil)
		l.until("nothing was counted", func(s *view.Snapshot) bool { vm, _ := s.VM(uuid); return vm.Crashes == 0 && vm.FailedReason == "" })
		l.state("web1", "stop")
	}
}

// oldMove does what an old client does to migrate a VM.
func (l *lab) oldMove(uuid, from, to string) {
	l.t.Helper()
	l.commit(new(coord.Txn).
		Set(schema.VM(uuid, schema.VMState), []byte("migrate"), coord.AnyVersion).
		Set(schema.VM(uuid, schema.VMNode), []byte(to), coord.AnyVersion).
		Set(schema.VM(uuid, schema.VMLastNode), []byte(from), coord.AnyVersion))
}

const localDisk = `<disk type='file' device='disk'><source file='/var/lib/local.img'/><target dev='vda'/></disk>`

func TestAGuestWithALocalDiskStaysWhoeverAsks(t *testing.T) {
	l := newLab(t, "hv1", "hv2")
	uuid := l.define("web1", "hv1", localDisk)
	l.state("web1", "start")
	l.oldMove(uuid, "hv1", "hv2")
	l.until("the move is refused", func(s *view.Snapshot) bool {
		vm, _ := s.VM(uuid)
		return vm.State == model.VMStart && vm.Migration == nil && vm.FailedReason != ""
	})
	l.runsOn(uuid, "hv1")
}

func TestWhatAGuestRunsWithCountsAndNotItsNextDocument(t *testing.T) {
	l := newLab(t, "hv1", "hv2")
	uuid := l.define("web1", "hv1", localDisk)
	l.state("web1", "start")
	l.runsOn(uuid, "hv1")
	if _, err := l.rules.ModifyVM(t.Context(), cluster.ModifyVM{VM: "web1", XML: fmt.Sprintf(guestXML, "web1", uuid, "")}); err != nil {
		t.Fatal(err)
	}
	_, err := l.rules.SetVMNode(t.Context(), cluster.SetVMNode{VM: "web1", Action: "migrate", Node: "hv2", Wait: true})
	if !errs.Is(err, errs.Conflict) {
		t.Errorf("the migration of a guest that runs with a local disk: %v, want a conflict", err)
	}
	l.settled(uuid)
	if on := l.world.Executing(uuid); !slices.Equal(on, []string{"hv1"}) {
		t.Errorf("it runs on %v", on)
	}
}
