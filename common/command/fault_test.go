package command

import (
	"slices"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

var steps = []string{StepBeforeClaim, StepClaimed, StepExecuted, StepBeforeResult, StepFinished}

// TestACommandEndsOnceHoweverItsExecutorDies loses the executor at each step, killed or
// frozen beyond its session, and lets a frozen one go on after another has finished.
func TestACommandEndsOnceHoweverItsExecutorDies(t *testing.T) {
	for _, frozen := range []bool{false, true} {
		for _, step := range steps {
			name := "killed/" + step
			if frozen {
				name = "frozen/" + step
			}
			t.Run(name, func(t *testing.T) { loseExecutor(t, step, frozen) })
		}
	}
}

func loseExecutor(t *testing.T, step string, frozen bool) {
	l := newLab(t, 1)
	first, second := l.brittle("hv1"), l.host("hv2", nil)
	reached := first.hold(step)
	h := l.submit(Request{Args: volume("a"), Node: "hv1", Any: true})
	reach(t, step, reached)
	if frozen {
		first.freeze()
	} else {
		first.die()
	}
	r, err := l.wait(h)
	if err != nil || r.Message != "created vms/a" || string(r.Data) != `{"id":1}` {
		t.Fatalf("%+v, %v", r, err)
	}
	l.view.Read(func(s *view.Snapshot) {
		if _, there := s.Volume("vms", "a"); !there {
			t.Error("the result is there, its record is not")
		}
	})
	result := dataOf(t, l, schema.Command(h.ID, schema.CommandResult))
	executor := dataOf(t, l, schema.Command(h.ID, schema.CommandExecutor))

	// The lost one goes on.
	first.thaw()
	first.openGates()
	if frozen && step != StepFinished {
		reach(t, "the end of its registration", first.session.Lost())
	}
	first.cancel()
	reach(t, "the end of the lost worker", first.done)
	if now := dataOf(t, l, schema.Command(h.ID, schema.CommandResult)); now != result {
		t.Errorf("the result was %s, it is %s", result, now)
	}
	if now := dataOf(t, l, schema.Command(h.ID, schema.CommandExecutor)); now != executor {
		t.Errorf("the executor was %s, it is %s", executor, now)
	}
	created, fences := l.world.events("create"), l.world.events("fence")
	if len(created) != 1 {
		t.Errorf("created %d times: %v", len(created), created)
	}
	claimed := step != StepBeforeClaim && step != StepFinished
	if took := strings.Contains(executor, `"node":"`+second.name+`"`); took != (step != StepFinished) {
		t.Errorf("lost %s: the executor is %s", step, executor)
	}
	if claimed != (len(fences) == 1) {
		t.Errorf("fences: %v", fences)
	}
}

func dataOf(t *testing.T, l *lab, path string) string {
	t.Helper()
	text, ok := coordtest.Data(t, l.conn, path)
	if !ok {
		t.Fatalf("%s is not there", path)
	}
	return text
}

// TestAReCreatedVolumeIsSafeFromTheFirstRemoval: an executor is frozen in the middle of a
// removal, the command is taken over, the user makes a new volume of that name, and the
// executor goes on.
func TestAReCreatedVolumeIsSafeFromTheFirstRemoval(t *testing.T) {
	l := newLab(t, 1)
	first := l.brittle("hv1")
	l.host("hv2", nil)
	if _, err := l.wait(l.submit(Request{Args: volume("a"), Node: "hv2"})); err != nil {
		t.Fatal(err)
	}
	reached := first.hold("remembered")
	removal := l.submit(Request{Args: VolumeRemove{Pool: "vms", Volume: "a"}, Node: "hv1", Any: true})
	reach(t, "the middle of the removal", reached)
	first.freeze()
	if _, err := l.wait(removal); err != nil {
		t.Fatal(err)
	}
	if _, err := l.wait(l.submit(Request{Args: volume("a"), Node: "hv2"})); err != nil {
		t.Fatal(err)
	}
	first.thaw()
	first.openGates()
	reach(t, "the end of its registration", first.session.Lost())
	reach(t, "the end of the lost worker", first.done)
	if id := l.world.id("vms/a"); id != 2 {
		t.Errorf("the volume has the id %d, want 2: %v", id, l.world.events(""))
	}
	if refused := l.world.events("refused"); len(refused) != 1 {
		t.Errorf("the first executor went on as %v", l.world.events(""))
	}
	l.until(l.view, "the new record stays", func(s *view.Snapshot) bool { _, ok := s.Volume("vms", "a"); return ok })
}

// TestAResultIsBoundToTheRegistration: a host whose registration was deleted writes nothing,
// though its session lives; another one finishes when that has ended, too.
func TestAResultIsBoundToTheRegistration(t *testing.T) {
	l := newLab(t, 1)
	first := l.host("hv1", nil)
	l.host("hv2", nil)
	reached := first.hold(StepBeforeResult)
	h := l.submit(Request{Args: volume("a"), Node: "hv1", Any: true})
	reach(t, StepBeforeResult, reached)
	l.commit(new(coord.Txn).Delete(schema.Node("hv1", schema.NodeSession, first.session.child), coord.AnyVersion))
	first.openGates()
	coordtest.Eventually(t, "the end of the attempt", func() bool {
		first.worker.mu.Lock()
		defer first.worker.mu.Unlock()
		return !first.worker.active[h.Nonce]
	})
	if text, there := coordtest.Data(t, l.conn, schema.Command(h.ID, schema.CommandResult)); there {
		t.Errorf("it has the result %s", text)
	}
	first.die()
	if _, err := l.wait(h); err != nil {
		t.Error(err)
	}
	if fences, made := l.world.events("fence"), l.world.events("create"); len(fences) != 1 || len(made) != 1 {
		t.Errorf("%v", l.world.events(""))
	}
}

// TestNothingIsTakenOverBeforeTheFence: as long as the client cannot be fenced, nobody
// goes on, and whoever waits hears why.
func TestNothingIsTakenOverBeforeTheFence(t *testing.T) {
	l := newLab(t, 1)
	first, second := l.host("hv1", nil), l.host("hv2", nil)
	second.mu.Lock()
	second.fenceErr = errTest
	second.mu.Unlock()
	reached := first.hold(StepExecuted)
	h := l.submit(Request{Args: volume("a"), Node: "hv1", Any: true})
	reach(t, StepExecuted, reached)
	first.die()
	l.until(second.view, "the claim is gone", func(s *view.Snapshot) bool { c, ok := s.Command(h.ID); return ok && c.By == "" })
	coordtest.Eventually(t, "two attempts to fence", func() bool {
		second.worker.mu.Lock()
		defer second.worker.mu.Unlock()
		return second.worker.failed[h.Nonce] >= 2
	})
	task, err := l.queue.Task(h.ID)
	if err != nil || task.State != TaskRunning || task.RunsOn != "hv1" || !strings.Contains(task.Status, "another host makes sure") {
		t.Errorf("%+v, %v", task, err)
	}
	second.mu.Lock()
	second.fenceErr = nil
	second.mu.Unlock()
	if _, err := l.wait(h); err != nil {
		t.Fatal(err)
	}
	want := []string{"create vms/a by hv1:0/1", "fence hv1:0/1 by hv2"}
	if notes := l.world.events(""); !slices.Equal(notes, want) {
		t.Errorf("%v, want %v", notes, want)
	}
}
