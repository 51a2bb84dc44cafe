package command

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

func TestTheSameRequestJoinsTheOneThatIsUnfinished(t *testing.T) {
	l := newLab(t, 1)
	h := l.host("hv1", nil)
	reached := h.hold(StepClaimed)
	first := l.submit(Request{Args: volume("a"), Key: ""})
	reach(t, StepClaimed, reached)
	if second := l.submit(Request{Args: volume("a")}); second != first {
		t.Errorf("%v and %v", first, second)
	}
	if other := l.submit(Request{Args: volume("b")}); other.ID == first.ID {
		t.Error("another request joined")
	}
	h.openGates()
	for range 2 {
		if r, err := l.wait(first); err != nil || r.Message != "created vms/a" {
			t.Errorf("%+v, %v", r, err)
		}
	}
	if n := len(l.world.events("create vms/a")); n != 1 {
		t.Errorf("executed %d times", n)
	}
}

func TestARequestThatHasEndedIsMadeAnewAndWhoStillWaitsHearsOfTheFirst(t *testing.T) {
	l := newLab(t, 1)
	l.host("hv1", nil)
	first := l.submit(Request{Args: volume("a")})
	if _, err := l.wait(first); err != nil {
		t.Fatal(err)
	}
	second := l.submit(Request{Args: volume("a")})
	if second.ID != first.ID || second.Nonce == first.Nonce {
		t.Errorf("%v and %v", first, second)
	}
	if _, err := l.wait(second); !errs.Is(err, errs.Conflict) || err.Error() != "EEXIST: volume vms/a exists" {
		t.Errorf("the second: %v", err)
	}
	if r, err := l.wait(first); err != nil || r.Message != "created vms/a" {
		t.Errorf("the first, asked for late: %+v, %v", r, err)
	}
}

func TestAKeyGivesTheFirstResultAndBelongsToOneRequest(t *testing.T) {
	l := newLab(t, 1)
	l.host("hv1", nil)
	request := Request{Args: volume("a"), Key: "retry-1"}
	first := l.submit(request)
	want, err := l.wait(first)
	if err != nil {
		t.Fatal(err)
	}
	again := l.submit(request)
	if got, err := l.wait(again); again != first || err != nil || got.Message != want.Message || string(got.Data) != string(want.Data) {
		t.Errorf("%v, %+v, %v", again, got, err)
	}
	request.Args = volume("b")
	if _, err := l.queue.Submit(t.Context(), request); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), `"retry-1"`) {
		t.Errorf("another request with that key: %v", err)
	}
	if n := len(l.world.events("create")); n != 1 {
		t.Errorf("executed %d times", n)
	}
}

func TestManyAtOnceAreOneCommand(t *testing.T) {
	l := newLab(t, 1)
	l.host("hv1", nil)
	other := NewQueue(l.open(l.zoo.Addrs(), view.WholeCluster, 2, sessionTime)) // another daemon
	var wg sync.WaitGroup
	for i := range 20 {
		q := []*Queue{l.queue, other}[i%2]
		wg.Go(func() {
			if r, err := l.do(q, Request{Args: volume("a"), Key: "k"}); err != nil || r.Message != "created vms/a" {
				t.Errorf("%+v, %v", r, err)
			}
		})
	}
	wg.Wait()
	if n := len(l.world.events("create")); n != 1 {
		t.Errorf("executed %d times", n)
	}
}

func TestAClientThatHangsUpEndsOnlyItsWaiting(t *testing.T) {
	l := newLab(t, 1)
	h := l.host("hv1", nil)
	reached := h.hold(StepClaimed)
	handle := l.submit(Request{Args: volume("a"), Node: "hv1"})
	reach(t, StepClaimed, reached)
	l.until(l.view, "the claim is seen", func(s *view.Snapshot) bool { c, _ := s.Command(handle.ID); return c != nil && c.By != "" })
	ctx, hangUp := context.WithCancel(t.Context())
	hangUp()
	if _, err := l.queue.Wait(ctx, handle); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "it goes on: host hv1 is executing it") {
		t.Errorf("%v", err)
	}
	h.openGates()
	if _, err := l.wait(handle); err != nil {
		t.Error(err)
	}
}

func TestWhoWaitsForAHostHearsWhichAndACancelEndsIt(t *testing.T) {
	l := newLab(t, 1)
	handle := l.submit(Request{Args: OSDOut{3}, Node: "hv9"})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := l.queue.Wait(ctx, handle); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "it waits for host hv9, whose daemon is not connected") {
		t.Errorf("%v", err)
	}
	if task, err := l.queue.Task(handle.ID); err != nil || task.State != TaskPending || task.RunsOn != "hv9" {
		t.Errorf("%+v, %v", task, err)
	}
	if err := l.queue.Cancel(t.Context(), handle.ID, "hv9 is gone for good"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.wait(handle); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "hv9 is gone for good") {
		t.Errorf("%v", err)
	}
	if err := l.queue.Cancel(t.Context(), handle.ID, "again"); !errs.Is(err, errs.Conflict) {
		t.Errorf("a second cancel: %v", err)
	}
	if task, err := l.queue.Task(handle.ID); err != nil || task.State != TaskFailure || task.Err == nil {
		t.Errorf("%+v, %v", task, err)
	}
	if _, err := l.queue.Task("r-nothing"); !errs.Is(err, errs.NotFound) {
		t.Errorf("an unknown task: %v", err)
	}
}

// TestACancelledCommandOfALostHostEndsAfterTheFence: no other host would go on with it.
func TestACancelledCommandOfALostHostEndsAfterTheFence(t *testing.T) {
	l := newLab(t, 1)
	first := l.host("hv1", nil)
	l.host("hv2", nil)
	reached := first.hold(StepClaimed)
	handle := l.submit(Request{Args: volume("a"), Node: "hv1"})
	reach(t, StepClaimed, reached)
	l.until(l.view, "the claim is seen", func(s *view.Snapshot) bool { c, _ := s.Command(handle.ID); return c != nil && c.By != "" })
	if err := l.queue.Cancel(t.Context(), handle.ID, "no"); !errs.Is(err, errs.Conflict) {
		t.Errorf("a cancel while a host is at work: %v", err)
	}
	first.die()
	l.until(l.view, "the claim is gone", func(s *view.Snapshot) bool {
		c, ok := s.Command(handle.ID)
		return ok && c.By == "" && !alive(s, "hv1")
	})
	if err := l.queue.Cancel(t.Context(), handle.ID, "hv1 is gone for good"); err != nil {
		t.Fatal(err)
	}
	if _, err := l.wait(handle); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "host hv1 had begun") {
		t.Errorf("%v", err)
	}
	if notes := l.world.events(""); len(notes) != 1 || notes[0] != "fence hv1:0/1 by hv2" {
		t.Errorf("%v", notes)
	}
}

func TestACommandThatDisappearsHasAnUnknownOutcome(t *testing.T) {
	l := newLab(t, 1)
	handle := l.submit(Request{Args: volume("a"), Node: "hv9"})
	l.commit(new(coord.Txn).Delete(schema.CommandGen(handle.ID, handle.Nonce), coord.AnyVersion).Delete(schema.Command(handle.ID), coord.AnyVersion))
	if _, err := l.wait(handle); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "outcome is unknown") {
		t.Errorf("%v", err)
	}
}

func TestTheQueueHasLimits(t *testing.T) {
	l := newLab(t, 1)
	if _, err := l.queue.Submit(t.Context(), Request{Args: volume("a"), Key: strings.Repeat("x", maxCommand)}); !errs.Is(err, errs.Invalid) {
		t.Errorf("a long key: %v", err)
	}
	if _, err := l.queue.Submit(t.Context(), Request{Args: VolumeAdd{Pool: "vms"}}); !errs.Is(err, errs.Invalid) {
		t.Errorf("a bad request: %v", err)
	}
	for from := 0; from < maxUnfinished; from += 100 {
		txn := new(coord.Txn)
		for i := from; i < from+100; i++ {
			c, data, err := Request{Args: volume(fmt.Sprintf("v%d", i)), Node: "hv9"}.command()
			if err != nil {
				t.Fatal(err)
			}
			txn.Create(schema.Command(c.ID), data).Create(schema.CommandGen(c.ID, c.Nonce), nil)
		}
		l.commit(txn)
	}
	l.until(l.view, "all commands are seen", func(s *view.Snapshot) bool { return s.UnfinishedCommands() == maxUnfinished })
	if _, err := l.queue.Submit(t.Context(), Request{Args: volume("a")}); !errs.Is(err, errs.Unavailable) || !strings.HasPrefix(err.Error(), "too many commands") {
		t.Errorf("one more: %v", err)
	}
	if _, err := l.queue.Submit(t.Context(), Request{Args: volume("v7")}); err != nil {
		t.Errorf("one that is there: %v", err)
	}
}

func TestFinishedCommandsArePurgedInTheirTime(t *testing.T) {
	l := newLab(t, 1)
	h := l.host("hv1", nil)
	for _, r := range []Request{{Args: volume("a")}, {Args: volume("b"), Key: "k"}} {
		if _, err := l.wait(l.submit(r)); err != nil {
			t.Fatal(err)
		}
	}
	h.cancel()
	reach(t, "the end of the worker", h.done)
	waiting := l.submit(Request{Args: volume("c"), Node: "hv9"})
	p := &Purger{Session: l.register("hv2", l.zoo.Addrs(), sessionTime), View: l.view, Unkeyed: time.Millisecond, Keyed: time.Hour}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = p.Run(ctx) }()
	defer func() { cancel(); <-done }()
	l.until(l.view, "the first is gone", func(s *view.Snapshot) bool { return len(s.Commands()) == 2 })
	l.view.Read(func(s *view.Snapshot) {
		for _, c := range s.Commands() {
			if c.Key == "" && c.ID != waiting.ID {
				t.Errorf("left: %+v", c)
			}
		}
	})
	if names, _, err := l.conn.Children(t.Context(), schema.Commands); err != nil || len(names) != 2 {
		t.Errorf("%v, %v", names, err)
	}
}

func TestPurgingWaitsForTheTimeSinceTheEndWasSeen(t *testing.T) {
	l := newLab(t, 1)
	l.host("hv1", nil)
	for _, r := range []Request{{Args: volume("a")}, {Args: volume("b"), Key: "k"}} {
		if _, err := l.wait(l.submit(r)); err != nil {
			t.Fatal(err)
		}
	}
	p, seen, begin := &Purger{View: l.view}, map[string]time.Time{}, time.Now()
	for _, tt := range []struct {
		after time.Duration
		due   int
		next  time.Duration
	}{
		{0, 0, 2 * time.Minute}, {2*time.Minute - 1, 0, 1}, {2 * time.Minute, 1, 58 * time.Minute}, {time.Hour - time.Second, 1, time.Second}, {time.Hour, 2, time.Hour},
	} {
		due, next := p.due(seen, begin.Add(tt.after))
		if len(due) != tt.due || next != tt.next {
			t.Errorf("after %v: %d due, next after %v", tt.after, len(due), next)
		}
	}
}

// TestTheQueueSurvivesTheLossOfZooKeepersLeader: clients repeat what got no answer, with
// their keys; every volume is made once, and every client learns its end.
func TestTheQueueSurvivesTheLossOfZooKeepersLeader(t *testing.T) {
	l := newLab(t, 3)
	l.host("hv1", nil)
	l.host("hv2", nil)
	ctx, cancel := context.WithTimeout(t.Context(), 2*coordtest.Patience)
	defer cancel()
	var wg sync.WaitGroup
	const volumes = 30
	for i := range volumes {
		wg.Go(func() {
			r := Request{Args: volume(fmt.Sprintf("v%02d", i)), Node: fmt.Sprintf("hv%d", i%2+1), Any: true, Key: fmt.Sprint(i)}
			for {
				_, err := l.queue.Do(ctx, r)
				if err == nil || ctx.Err() != nil || !errs.Is(err, errs.Unavailable) && !errs.Is(err, errs.Unknown) {
					if err != nil {
						t.Errorf("%d: %v", i, err)
					}
					return
				}
				pause(ctx, 50*time.Millisecond)
			}
		})
	}
	coordtest.Eventually(t, "some volumes", func() bool { return len(l.world.events("create")) > 3 })
	l.zoo.Kill(l.zoo.Leader())
	wg.Wait()
	if created := l.world.events("create"); len(created) != volumes {
		t.Errorf("%d volumes were created: %v", len(created), created)
	}
	l.until(l.view, "all records", func(s *view.Snapshot) bool { return len(s.Volumes("vms")) == volumes })
}
