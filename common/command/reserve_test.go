package command

import (
	"context"
	"errors"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// lostRemoval has the executor of a pool's removal freeze, another one take it over, and
// returns the frozen host and the command.
func (l *lab) lostRemoval(between func()) (frozen *host, removal Handle) {
	l.t.Helper()
	return l.lose(PoolRemove{"vms"}, between)
}

// lose is lostRemoval of any command.
func (l *lab) lose(args Args, between func()) (frozen *host, lost Handle) {
	l.t.Helper()
	frozen = l.brittle("hv1")
	l.host("hv2", nil)
	reached := frozen.hold(StepExecuted)
	lost = l.submit(Request{Args: args, Node: "hv1", Any: true})
	select {
	case <-reached:
	case <-l.t.Context().Done():
	}
	between()
	frozen.freeze()
	if _, err := l.wait(lost); err != nil {
		l.t.Fatal(err)
	}
	return frozen, lost
}

// isReserved reports whether the name is.
func (l *lab) isReserved() bool {
	l.t.Helper()
	var err error
	l.view.Read(func(s *view.Snapshot) { err = checkReserved(s, "", PoolAdd{"vms", 8}) })
	return err != nil
}

func refusedAsReserved(t *testing.T, err error) {
	t.Helper()
	if !errs.Is(err, errs.Conflict) || !strings.HasPrefix(err.Error(), `the name of pool "vms" is reserved: host hv1 was lost while it executed pool_remove of it`) {
		t.Errorf("%v", err)
	}
}

// TestAPoolsNameIsReservedUntilTheLostExecutorIsGone: what is asked for before and after the
// take-over is refused, other pools and what is in this one are not; another daemon of the
// host ends it for good.
func TestAPoolsNameIsReservedUntilTheLostExecutorIsGone(t *testing.T) {
	l := newLab(t, 1)
	var before Handle
	frozen, removal := l.lostRemoval(func() { before = l.submit(Request{Args: PoolAdd{"vms", 8}}) })
	_, err := l.wait(before)
	refusedAsReserved(t, err)
	for _, args := range []Args{PoolAdd{"vms", 8}, PoolAdd{"vms", 16}, PoolRemove{"vms"}} {
		_, err := l.queue.Submit(t.Context(), Request{Args: args, Key: string(args.Verb())})
		refusedAsReserved(t, err)
	}
	for _, args := range []Args{PoolAdd{"vms2", 8}, volume("a"), OSDOut{1}, OSDSet{"noout"}} {
		if _, err := l.wait(l.submit(Request{Args: args, Node: "hv2"})); err != nil {
			t.Errorf("%s: %v", args.Verb(), err)
		}
	}
	if c, ok := l.command(removal); !ok || len(c.Lost) != 1 || c.Lost[0].Node != "hv1" || c.Lost[0].Client != "hv1:0/1" {
		t.Errorf("kept of the lost one: %+v", c)
	}

	again := l.again(frozen, nil)
	coordtest.Eventually(t, "the name is free", func() bool { return !l.isReserved() })
	if _, err := l.wait(l.submit(Request{Args: PoolAdd{"vms", 8}})); err != nil {
		t.Error(err)
	}
	l.purger(&Purger{Keyed: 1, Unkeyed: 1})
	again.die() // it reserves nothing anew
	l.until(l.view, "everything that has ended is removed", func(s *view.Snapshot) bool { return len(s.Commands()) == 0 })
}

// TestALateCommandReservesWhatItWouldUndo lists which commands have to wait for one that may
// come late, and what is said of it.
//
// decision: reserved
func TestALateCommandReservesWhatItWouldUndo(t *testing.T) {
	all := []Args{
		PoolAdd{"a", 8}, PoolRemove{"a"}, PoolRemove{"b"}, VolumeAdd{Pool: "a", Volume: "v"}, VolumeRemove{"a", "v"}, SnapshotAdd{"a", "v", "s"},
		OSDSet{"noout"}, OSDUnset{"noout"}, OSDUnset{"noin"}, OSDIn{1}, OSDOut{1}, OSDOut{2}, OSDRemove{OSD: 1}, OSDRemove{OSD: 1, Force: true}, OSDAdd{Node: "hv1"},
	}
	for _, tc := range []struct {
		late          Args
		waiting       []Args
		what, refused string
	}{
		{PoolAdd{"a", 8}, []Args{PoolAdd{"a", 8}, PoolRemove{"a"}}, `the name of pool "a"`, "no pool of this name is made or removed"},
		{PoolRemove{"a"}, []Args{PoolAdd{"a", 8}, PoolRemove{"a"}}, `the name of pool "a"`, "no pool of this name is made or removed"},
		{OSDSet{"noout"}, []Args{OSDUnset{"noout"}}, `flag "noout"`, "it is not unset"},
		{OSDUnset{"noout"}, []Args{OSDSet{"noout"}}, `flag "noout"`, "it is not set"},
		{OSDIn{1}, []Args{OSDOut{1}, OSDRemove{OSD: 1}, OSDRemove{OSD: 1, Force: true}}, "OSD 1", "it is not marked out or removed"},
		{OSDOut{1}, []Args{OSDIn{1}, OSDRemove{OSD: 1}, OSDRemove{OSD: 1, Force: true}}, "OSD 1", "it is not marked in or removed"},
		{OSDRemove{OSD: 1}, []Args{OSDIn{1}, OSDOut{1}, OSDRemove{OSD: 1}, OSDRemove{OSD: 1, Force: true}, OSDAdd{Node: "hv1"}}, "OSD 1",
			"none of this number is marked in or out or removed, and no OSD is added, which would get it"},
		{VolumeRemove{"a", "v"}, nil, "", ""},
		{OSDAdd{Node: "hv1"}, nil, "", ""},
	} {
		var waiting []Args
		for _, wanted := range all {
			if clash(tc.late, wanted) {
				waiting = append(waiting, wanted)
			}
		}
		if d := cmp.Diff(tc.waiting, waiting); d != "" {
			t.Errorf("while %T %+v may come late (-want +got):\n%s", tc.late, tc.late, d)
		}
		what, refused := reservation(tc.late)
		if what != tc.what || refused != tc.refused || (what == "") != (reserves(tc.late) == "") {
			t.Errorf("of %T %+v is said %q, %q", tc.late, tc.late, what, refused)
		}
	}
}

// TestAFlagIsReservedUntilTheLostExecutorIsGone: it is not taken back, neither by what is asked for before nor
// after the take-over; setting it once more does no harm.
func TestAFlagIsReservedUntilTheLostExecutorIsGone(t *testing.T) {
	l := newLab(t, 1)
	refused := func(err error) {
		t.Helper()
		if !errs.Is(err, errs.Conflict) || !strings.HasPrefix(err.Error(), `flag "noout" is reserved: host hv1 was lost while it executed osd_set of it`) {
			t.Errorf("%v", err)
		}
	}
	var before Handle
	frozen, _ := l.lose(OSDSet{"noout"}, func() { before = l.submit(Request{Args: OSDUnset{"noout"}}) })
	_, err := l.wait(before)
	refused(err)
	_, err = l.queue.Submit(t.Context(), Request{Args: OSDUnset{"noout"}})
	refused(err)
	for _, args := range []Args{OSDSet{"noout"}, OSDUnset{"noin"}, PoolAdd{"vms", 8}} {
		if _, err := l.wait(l.submit(Request{Args: args, Node: "hv2"})); err != nil {
			t.Errorf("%s: %v", args.Verb(), err)
		}
	}
	_, err = l.queue.Submit(t.Context(), Request{Args: OSDUnset{"noout"}}) // though the first one's place is taken
	refused(err)
	l.again(frozen, nil)
	coordtest.Eventually(t, "it is free", func() bool {
		_, err := l.queue.Submit(t.Context(), Request{Args: OSDUnset{"noout"}, Key: "free"})
		return err == nil
	})
}

// command is a command as the view shows it.
func (l *lab) command(h Handle) (c *Command, ok bool) {
	l.view.Read(func(s *view.Snapshot) { c, ok = s.Command(h.ID) })
	return c, ok
}

// purger runs one until the end of the test.
func (l *lab) purger(p *Purger) {
	l.t.Helper()
	p.Session, p.View = l.register("purger", l.zoo.Addrs(), sessionTime), l.open(l.zoo.Addrs(), view.StorageHost, 1, sessionTime)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	l.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Error(err)
		}
	})
}

// TestACommandThatReservesANameStaysUntilThatIsOver whatever its age.
func TestACommandThatReservesANameStaysUntilThatIsOver(t *testing.T) {
	l := newLab(t, 1)
	frozen, removal := l.lostRemoval(func() {})
	other := l.submit(Request{Args: volume("a")})
	if _, err := l.wait(other); err != nil {
		t.Fatal(err)
	}
	l.purger(&Purger{Keyed: 1, Unkeyed: 1})
	l.until(l.view, "the other one is removed", func(s *view.Snapshot) bool { _, there := s.Command(other.ID); return !there })
	if !l.isReserved() {
		t.Error("the name is free although its host has not come back")
	}
	l.again(frozen, nil)
	l.until(l.view, "it is removed, too", func(s *view.Snapshot) bool { _, there := s.Command(removal.ID); return !there })
}

// TestADaemonThatGoesOnReleasesTheNameWhenNothingIsUnderWay: the same process registers
// again, and says so as soon as its calls have returned.
func TestADaemonThatGoesOnReleasesTheNameWhenNothingIsUnderWay(t *testing.T) {
	l := newLab(t, 1)
	frozen, removal := l.lostRemoval(func() {})
	frozen.thaw()
	frozen.openGates()
	reach(t, "the end of its registration", frozen.session.Lost())
	reach(t, "the end of its worker", frozen.done)
	var asked atomic.Int32
	returned := make(chan struct{})
	l.startAs(frozen.session.id, "hv1", sessionTime, func(w *Worker) {
		w.Quiet = func(ctx context.Context, client string) error {
			if asked.Add(1); client != "hv1:0/1" {
				t.Errorf("asked for %s", client)
			}
			select {
			case <-returned:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		}
	})
	coordtest.Eventually(t, "it is asked for", func() bool { return asked.Load() == 1 })
	_, err := l.queue.Submit(t.Context(), Request{Args: PoolAdd{"vms", 8}})
	refusedAsReserved(t, err)
	close(returned)
	l.until(l.view, "it is released", func(s *view.Snapshot) bool { c, ok := s.Command(removal.ID); return ok && len(c.Lost) == 0 })
	if _, err := l.wait(l.submit(Request{Args: PoolAdd{"vms", 8}})); err != nil {
		t.Error(err)
	}
}

// TestOnlyWhatIsKnownEndsAReservation lists what is known of the host.
func TestOnlyWhatIsKnownEndsAReservation(t *testing.T) {
	l := newLab(t, 1)
	lost := model.CommandExecutor{Node: "hv1", Instance: "i1", By: "b"}
	is := func(what string, want bool) {
		t.Helper()
		l.sync()
		var got bool
		l.view.Read(func(s *view.Snapshot) { got = ended(s, lost) })
		if got != want {
			t.Errorf("%s: known to be gone: %v", what, got)
		}
	}
	is("a host that is none", true)
	s := l.registerAs("i1", "hv1", l.zoo.Addrs(), sessionTime)
	is("the same daemon", false)
	s.client.Close()
	is("a host without a daemon", false)
	s = l.registerAs("i2", "hv1", l.zoo.Addrs(), sessionTime)
	is("another daemon", true)
	l.commit(new(coord.Txn).Set(schema.Node("hv1", schema.NodeSession), []byte("{}"), coord.AnyVersion))
	is("one that does not say who it is", false)
	lost.Node = ""
	is("an executor that cannot be read", false)
	s.client.Close()
}

func (l *lab) sync() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), coordtest.Patience)
	defer cancel()
	if err := l.view.Sync(ctx); err != nil && !errors.Is(err, context.Canceled) {
		l.t.Fatal(err)
	}
}
