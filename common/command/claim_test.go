package command

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// looking has a host's executor look first, and then go on as then says.
func looking(look func(), then func(ctx context.Context, c *Command, a Attempt) (Outcome, error)) func(*Worker) {
	return func(w *Worker) {
		w.Execute = func(ctx context.Context, c *Command, a Attempt) (Outcome, error) {
			look()
			return then(ctx, c, a)
		}
	}
}

// meeting holds who comes until that many have come. Who comes later, as who looks once more before
// the view shows that somebody else was faster, passes.
func meeting(of int32) func() {
	var came atomic.Int32
	met := make(chan struct{})
	return func() {
		if came.Add(1) == of {
			close(met)
		}
		<-met
	}
}

// TestACommandIsClaimedTogetherWithItsNote: while it is looked at nobody has it; from the claim on
// there is a note.
func TestACommandIsClaimedTogetherWithItsNote(t *testing.T) {
	l := newLab(t, 1)
	looks, goOn := make(chan struct{}), make(chan struct{})
	h := l.host("hv1", looking(func() { close(looks); <-goOn }, func(ctx context.Context, _ *Command, a Attempt) (Outcome, error) {
		return Outcome{Message: "done"}, a.Remember(ctx, "before")
	}))
	reached := h.hold(StepClaimed)
	handle := l.submit(Request{Args: volume("a")})
	reach(t, "the look", looks)
	l.sync()
	if c, ok := l.command(handle); !ok || c.Executor != nil || c.By != "" {
		t.Errorf("while it is looked at: %+v", c)
	}
	close(goOn)
	reach(t, "the claim", reached)
	l.sync()
	if c, ok := l.command(handle); !ok || c.Executor == nil || c.By == "" || string(c.Note) != `"before"` || c.Executor.Client != "hv1:0/1" {
		t.Errorf("when it is claimed: %+v", c)
	}
	h.openGates()
	if r, err := l.wait(handle); err != nil || r.Message != "done" {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestWhatNeedsNoChangeIsAnsweredAtOnce with its records, by one host, though two have looked.
func TestWhatNeedsNoChangeIsAnsweredAtOnce(t *testing.T) {
	for name, failure := range map[string]error{"refused": errs.Conflictf("EEXIST: it is there"), "done already": nil} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t, 1)
			var recorded atomic.Int32
			both := looking(meeting(2), func(context.Context, *Command, Attempt) (Outcome, error) {
				return Outcome{Message: "nothing to do", Records: func(*view.Snapshot) (txn coord.Txn, err error) {
					recorded.Add(1)
					return *txn.Create("/record", nil), nil
				}}, failure
			})
			l.host("hv1", both)
			l.host("hv2", both)
			handle := l.submit(Request{Args: volume("a")})
			r, err := l.wait(handle)
			if failure == nil && (err != nil || r.Message != "nothing to do") || failure != nil && (err == nil || err.Error() != failure.Error()) {
				t.Errorf("%+v, %v", r, err)
			}
			l.sync()
			c, ok := l.command(handle)
			if !ok || c.Executor == nil || c.Result == nil || c.Result.By != c.Executor.By || c.By != "" || c.Progress != nil {
				t.Errorf("the command is %+v", c)
			}
			if _, there := coordtest.Data(t, l.conn, "/record"); !there || recorded.Load() == 0 {
				t.Error("there is no record")
			}
		})
	}
}

// TestWhoComesTooLateChangesNothing: two hosts have looked, one has the command; the other hears so and
// what it says does not count.
func TestWhoComesTooLateChangesNothing(t *testing.T) {
	l := newLab(t, 1)
	var changed, refused atomic.Int32
	both := looking(meeting(2), func(ctx context.Context, _ *Command, a Attempt) (Outcome, error) {
		if err := a.Begin(ctx); err != nil {
			if again := a.Remember(ctx, 1); !errs.Is(err, errs.Conflict) || again == nil {
				t.Errorf("%v, then %v", err, again)
			}
			refused.Add(1)
			return Outcome{Message: "too late"}, err
		}
		changed.Add(1)
		return Outcome{Message: "done"}, a.Begin(ctx)
	})
	l.host("hv1", both)
	l.host("hv2", both)
	r, err := l.wait(l.submit(Request{Args: volume("a")}))
	if err != nil || r.Message != "done" {
		t.Errorf("%+v, %v", r, err)
	}
	coordtest.Eventually(t, "both have ended", func() bool { return refused.Load() > 0 && changed.Load() == 1 })
}

// TestALookThatTellsNothingIsRepeatedAndThenTheResult: nobody has claimed it, so that there is
// no executor to fence.
func TestALookThatTellsNothingIsRepeatedAndThenTheResult(t *testing.T) {
	l := newLab(t, 1)
	var looks atomic.Int32
	l.host("hv1", looking(func() { looks.Add(1) }, func(context.Context, *Command, Attempt) (Outcome, error) {
		return Outcome{}, errs.New(errs.Unknown, "the connection was replaced")
	}))
	_, err := l.wait(l.submit(Request{Args: volume("a")}))
	if err == nil || !strings.Contains(err.Error(), "the connection was replaced") || looks.Load() < maxUnknown {
		t.Errorf("%d looks, %v", looks.Load(), err)
	}
	if fences := l.world.events("fence"); len(fences) > 0 {
		t.Errorf("fenced: %v", fences)
	}
}

// TestNoRecordsAreChangedWithoutAClaim: they belong to what was changed.
func TestNoRecordsAreChangedWithoutAClaim(t *testing.T) {
	l := newLab(t, 1)
	l.host("hv1", looking(func() {}, func(ctx context.Context, _ *Command, a Attempt) (Outcome, error) {
		return Outcome{}, a.Commit(ctx, *new(coord.Txn).Create("/record", nil))
	}))
	if _, err := l.wait(l.submit(Request{Args: volume("a")})); !errs.Is(err, errs.Conflict) {
		t.Error(err)
	}
	if _, there := coordtest.Data(t, l.conn, "/record"); there {
		t.Error("there is a record")
	}
}
