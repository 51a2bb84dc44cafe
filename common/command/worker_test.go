package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

var errTest = errs.Unavailablef("EIO: out of order")

func TestEveryErrorOfTheExecutorReachesTheClientWithItsKindAndText(t *testing.T) {
	l := newLab(t, 1)
	h := l.host("hv1", nil)
	var fail error
	h.before = func(context.Context, *Command, Attempt) error { return fail }
	for _, fail = range []error{
		errs.Conflictf("EBUSY: image has snapshots"), errs.NotFoundf("ENOENT: no such pool"), errs.Invalidf("ERANGE: pg_num"),
		errs.New(errs.Denied, "EPERM"), errTest, errors.New("a fault of ours"),
	} {
		_, err := l.wait(l.submit(Request{Args: volume("a")}))
		if err == nil || err.Error() != fail.Error() || errs.KindOf(err) != errs.KindOf(fail) {
			t.Errorf("%v became %v", fail, err)
		}
	}
}

// TestWhatOnlyAnAbsentHostCanDoFails: a command of which nobody knows whether the host will
// ever be back is refused by those that are there, after a while in which it may be started anew.
func TestWhatOnlyAnAbsentHostCanDoFails(t *testing.T) {
	l := newLab(t, 1)
	l.register("hv1", l.zoo.Addrs(), sessionTime).client.Close()
	handle := l.submit(Request{Args: volume("a"), Node: "hv1"})
	l.host("hv2", nil)
	if _, err := l.wait(handle); !errs.Is(err, errs.Conflict) || err.Error() != "nothing was done: only host hv1 can do it, and its daemon is not connected" {
		t.Errorf("%v", err)
	}
	if notes := l.world.events(""); len(notes) > 0 {
		t.Errorf("%v", notes)
	}

	handle = l.submit(Request{Args: volume("b"), Node: "hv1"})
	hv1 := l.host("hv1", nil)
	if _, err := l.wait(handle); err != nil || len(l.world.events("by "+hv1.name)) != 1 {
		t.Errorf("when it is back: %v, %v", err, l.world.events(""))
	}
}

func TestAHostWithoutCephSaysWhyAndNothingIsClaimed(t *testing.T) {
	l := newLab(t, 1)
	h := l.host("hv1", nil)
	h.mu.Lock()
	h.clientErr = errs.Unavailablef("no monitor answers within 10 s")
	h.mu.Unlock()
	handle := l.submit(Request{Args: volume("a"), Node: "hv1"})
	if _, err := l.wait(handle); !errs.Is(err, errs.Unavailable) || err.Error() != "no monitor answers within 10 s" {
		t.Errorf("%v", err)
	}
	if notes := l.world.events(""); len(notes) > 0 {
		t.Errorf("%v", notes)
	}
}

// TestAnAttemptOfUnknownOutcomeIsFollowedByOneThatLooks: the own client is fenced before.
func TestAnAttemptOfUnknownOutcomeIsFollowedByOneThatLooks(t *testing.T) {
	l := newLab(t, 1)
	h := l.host("hv1", nil)
	var attempts []Attempt
	h.before = func(ctx context.Context, _ *Command, a Attempt) error {
		attempts = append(attempts, a)
		if a.Number > 1 {
			return nil
		}
		if err := a.Remember(ctx, map[string]int{"id": 7}); err != nil {
			return err
		}
		return errs.New(errs.Unknown, "ETIMEDOUT: the monitor did not answer")
	}
	if _, err := l.wait(l.submit(Request{Args: volume("a")})); err != nil {
		t.Fatal(err)
	}
	if len(attempts) != 2 || attempts[1].Number != 2 || string(attempts[1].Note) != `{"id":7}` || attempts[1].Client == attempts[0].Client {
		t.Errorf("%+v", attempts)
	}
	want := []string{"fence hv1:0/1 by hv1", "create vms/a by hv1:0/2"}
	if notes := l.world.events(""); !slices.Equal(notes, want) {
		t.Errorf("%v, want %v", notes, want)
	}
}

func TestACommandWhoseOutcomeStaysUnknownSaysSo(t *testing.T) {
	l := newLab(t, 1)
	h := l.host("hv1", nil)
	h.before = func(context.Context, *Command, Attempt) error { return errs.New(errs.Unknown, "ETIMEDOUT") }
	if _, err := l.wait(l.submit(Request{Args: volume("a")})); !errs.Is(err, errs.Unknown) || err.Error() != "ETIMEDOUT" {
		t.Errorf("%v", err)
	}
	if fences := l.world.events("fence"); len(fences) != maxUnknown-1 {
		t.Errorf("%v", fences)
	}
}

func TestProgressIsShown(t *testing.T) {
	l := newLab(t, 1)
	h := l.host("hv1", nil)
	release := make(chan struct{})
	h.before = func(_ context.Context, _ *Command, a Attempt) error {
		for i := range int64(100) {
			a.Progress(i, 100, "removing objects")
		}
		a.Progress(42, 100, "removing objects")
		<-release
		return nil
	}
	handle := l.submit(Request{Args: volume("a"), Node: "hv1"})
	l.until(l.view, "the last progress", func(s *view.Snapshot) bool {
		c, ok := s.Command(handle.ID)
		return ok && c.Progress != nil && c.Progress.Current == 42
	})
	task, err := l.queue.Task(handle.ID)
	want := Task{ID: handle.ID, Verb: VerbVolumeAdd, State: TaskRunning, RunsOn: "hv1", Current: 42, Total: 100, Status: "removing objects"}
	if d := cmp.Diff(want, task); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	close(release)
	if _, err := l.wait(handle); err != nil {
		t.Fatal(err)
	}
	if task, err := l.queue.Task(handle.ID); err != nil || task.State != TaskSuccess || task.Status != "created vms/a" || task.RunsOn != "hv1" {
		t.Errorf("%+v, %v", task, err)
	}
}

// TestCommandsOnOneThingRunInTheirOrderOnWhicheverHosts also removes a pool between its volumes.
func TestCommandsOnOneThingRunInTheirOrderOnWhicheverHosts(t *testing.T) {
	l := newLab(t, 1)
	var mu sync.Mutex
	var order []string
	var handles []Handle
	under := map[string]int{}
	asked := make(chan struct{}) // closed when all are in the queue
	track := func(_ context.Context, c *Command, _ Attempt) error {
		<-asked
		name := c.Verb + string(c.Args)
		mu.Lock()
		order = append(order, name)
		for other := range under {
			if strings.Contains(name, "pool_remove") || strings.Contains(other, "pool_remove") || other == name {
				t.Errorf("%s beside %s", name, other)
			}
		}
		under[name]++
		mu.Unlock()
		for range 20 { // give others the chance to come between
			if _, err := l.conn.Commit(t.Context(), *new(coord.Txn).Check("/", coord.AnyVersion)); err != nil {
				return err
			}
		}
		mu.Lock()
		delete(under, name)
		mu.Unlock()
		return nil
	}
	for _, name := range []string{"hv1", "hv2"} {
		l.host(name, func(w *Worker) { w.Execute = executor(track) })
	}
	var want []string
	for i := range 12 {
		node := fmt.Sprintf("hv%d", i%2+1)
		var args Args = SnapshotAdd{"vms", "a", fmt.Sprintf("s%02d", i)}
		if i == 5 {
			args = PoolRemove{"vms"}
		}
		if i > 7 {
			args = SnapshotAdd{"vms", fmt.Sprintf("b%02d", i), "s"}
		}
		handles = append(handles, l.submit(Request{Args: args, Node: node}))
		data, _ := json.Marshal(args)
		want = append(want, string(args.Verb())+string(data))
	}
	close(asked)
	for _, h := range handles {
		if _, err := l.wait(h); err != nil {
			t.Error(err)
		}
	}
	if len(order) != 12 || !slices.Equal(order[:6], want[:6]) {
		t.Errorf("%q, want %q", order, want)
	}
	if i, j := slices.Index(order, want[6]), slices.Index(order, want[7]); i < 0 || j < i {
		t.Errorf("%q: not in their order", order)
	}
}

// TestNothingOverlapsWhileManyAskAtOnce: two daemons ask two hosts for work on few volumes.
func TestNothingOverlapsWhileManyAskAtOnce(t *testing.T) {
	l := newLab(t, 3)
	var mu sync.Mutex
	under, last := map[string]string{}, map[string]int64{}
	for _, name := range []string{"hv1", "hv2"} {
		l.host(name, func(w *Worker) {
			w.Execute = executor(func(_ context.Context, c *Command, a Attempt) error {
				args, err := ParseArgs(c)
				if err != nil {
					return err
				}
				key := args.Keys()[0]
				mu.Lock()
				if under[key] != "" || c.Seq <= last[key] {
					t.Errorf("%s, made at %d, beside %q and after the one made at %d", c.Args, c.Seq, under[key], last[key])
				}
				under[key], last[key] = string(c.Args), c.Seq
				mu.Unlock()
				if err := a.Remember(t.Context(), name); err != nil { // takes a moment
					return err
				}
				mu.Lock()
				delete(under, key)
				mu.Unlock()
				return nil
			})
		})
	}
	queues := []*Queue{l.queue, NewQueue(l.open(l.zoo.Addrs(), view.WholeCluster, 2, sessionTime))}
	var wg sync.WaitGroup
	for i := range 80 {
		r := Request{Args: SnapshotAdd{"vms", fmt.Sprintf("v%d", i%3), fmt.Sprintf("s%02d", i)}, Node: fmt.Sprintf("hv%d", i/3%2+1)}
		wg.Go(func() {
			if _, err := l.do(queues[i%2], r); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

// executor is one that claims a command and calls a function.
func executor(fn func(context.Context, *Command, Attempt) error) func(context.Context, *Command, Attempt) (Outcome, error) {
	return func(ctx context.Context, c *Command, a Attempt) (Outcome, error) {
		if err := a.Begin(ctx); err != nil {
			return Outcome{}, err
		}
		return Outcome{Message: "done"}, fn(ctx, c, a)
	}
}

func TestIndependentCommandsRunBesideEachOtherUpToTheLimits(t *testing.T) {
	l := newLab(t, 1)
	const limit, long = 3, 1
	var running, most, mostLong atomic.Int32
	enough := make(chan struct{})
	l.host("hv1", func(w *Worker) {
		w.Parallel, w.ParallelLong = limit, long
		w.Long = func(c *Command) bool { return c.Verb == string(VerbVolumeRemove) }
		w.Execute = executor(func(_ context.Context, c *Command, _ Attempt) error {
			if w.Long(c) {
				mostLong.Add(1)
				<-enough
				return nil
			}
			if n := running.Add(1); n == limit {
				most.Store(n)
				close(enough)
			} else if n > limit {
				most.Store(n)
			}
			<-enough
			running.Add(-1)
			return nil
		})
	})
	var handles []Handle
	for i := range 4 {
		handles = append(handles, l.submit(Request{Args: VolumeRemove{"vms", fmt.Sprintf("r%d", i)}}))
	}
	coordtest.Eventually(t, "the first long one", func() bool { return mostLong.Load() == 1 })
	for i := range limit {
		handles = append(handles, l.submit(Request{Args: volume(fmt.Sprintf("v%d", i))}))
	}
	for _, h := range handles {
		if _, err := l.wait(h); err != nil {
			t.Error(err)
		}
	}
	if most.Load() != limit || mostLong.Load() != 4 {
		t.Errorf("%d at once, %d long ones in the end", most.Load(), mostLong.Load())
	}
}

func TestRecordsThatSomebodyElseChangesAreBuiltAgain(t *testing.T) {
	l := newLab(t, 1)
	h := l.host("hv1", nil)
	reached := h.hold(StepExecuted)
	handle := l.submit(Request{Args: volume("a")})
	reach(t, StepExecuted, reached)
	// A reconcile pass was faster, and the worker's view does not have to know it yet.
	path := schema.Volume("vms", "a")
	l.commit(new(coord.Txn).Create(path, nil).Create(path+"/stats", []byte("{}")).Create(schema.VolumeSnapshots("vms", "a"), nil))
	h.openGates()
	if r, err := l.wait(handle); err != nil || r.Message != "created vms/a" {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestRecordsThatCannotBeWrittenAreNoSuccess(t *testing.T) {
	l := newLab(t, 1)
	l.host("hv1", func(w *Worker) {
		w.Execute = func(_ context.Context, c *Command, _ Attempt) (Outcome, error) {
			return Outcome{Message: "done", Records: func(*view.Snapshot) (txn coord.Txn, err error) {
				if c.Verb == string(VerbPoolRemove) {
					return *txn.Create("/a", make([]byte, coord.MaxTxnBytes)), nil
				}
				return *txn.Delete("/nothing", coord.AnyVersion), nil
			}}, nil
		}
	})
	for _, args := range []Args{volume("a"), PoolRemove{"vms"}} {
		_, err := l.wait(l.submit(Request{Args: args}))
		if !errs.Is(err, errs.Conflict) || !strings.HasPrefix(err.Error(), "done in Ceph: done; the records of it could not be written") {
			t.Errorf("%s: %v", args.Verb(), err)
		}
	}
}

func TestManyRecordsAreCommittedWithTheClaimOnly(t *testing.T) {
	l := newLab(t, 1)
	first := l.host("hv1", nil)
	var lost error
	first.before = func(ctx context.Context, c *Command, a Attempt) error {
		put := func(name string) error { return a.Commit(ctx, *new(coord.Txn).Create("/"+name, nil)) }
		if err := put("with"); err != nil {
			return err
		}
		l.commit(new(coord.Txn).Delete(schema.CommandBy(c.ID, byOf(l, c.ID)), coord.AnyVersion))
		lost = put("without")
		return lost
	}
	handle := l.submit(Request{Args: volume("a"), Node: "hv1"})
	l.until(l.view, "the claim is gone", func(s *view.Snapshot) bool { _, there := coordtest.Data(t, l.conn, "/with"); return there })
	l.until(l.view, "a second attempt", func(s *view.Snapshot) bool {
		c, ok := s.Command(handle.ID)
		return ok && c.Executor != nil && c.Executor.Attempt > 1
	})
	if _, there := coordtest.Data(t, l.conn, "/without"); there || lost != nil && !errs.Is(lost, errs.Conflict) {
		t.Errorf("a commit without the claim: %v", lost)
	}
}

// byOf is the executor of a command as it is now.
func byOf(l *lab, id string) (by string) {
	l.until(l.view, "it is claimed", func(s *view.Snapshot) bool {
		c, ok := s.Command(id)
		if ok {
			by = c.By
		}
		return by != ""
	})
	return by
}

func TestADaemonThatEndsInOrderFinishesWhatItHasBegun(t *testing.T) {
	l := newLab(t, 1)
	h := l.host("hv1", func(w *Worker) { w.Grace = coordtest.Patience })
	reached := h.hold(StepClaimed)
	handle := l.submit(Request{Args: volume("a")})
	reach(t, StepClaimed, reached)
	h.cancel()
	h.openGates()
	reach(t, "the end of the worker", h.done)
	if _, err := l.wait(handle); err != nil {
		t.Error(err)
	}
	if later := l.submit(Request{Args: volume("b")}); later.ID == handle.ID {
		t.Error("two requests have one name")
	}
	if n := len(l.world.events("create")); n != 1 {
		t.Errorf("%d commands were executed", n)
	}
}
