package liveness

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/coord/watch"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

const testTimeout = 2 * time.Second

func testOptions(t *testing.T, addrs []string, node string) Options {
	return Options{
		Node: node, Mode: model.ModeCoordinator, LockDir: t.TempDir(), Version: "test",
		Host:   Host{BootID: "b1", MachineID: "m-" + node, Static: "2 6.1 GNU/Linux x86_64"},
		Dial:   zk.Dial,
		Coord:  coord.Options{Servers: addrs, Timeout: testTimeout},
		Margin: 600 * time.Millisecond, Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

// daemon is a registrar that runs in a test.
type daemon struct {
	r        *Registrar
	sessions chan *Session
	stop     context.CancelFunc
	done     chan struct{}
	err      error
}

// run starts a daemon whose work is to start and to wait.
func run(t *testing.T, o Options) *daemon {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	d := &daemon{r: New(o), sessions: make(chan *Session, 16), stop: cancel, done: make(chan struct{})}
	d.r.oldWatch = time.Second
	go func() {
		defer close(d.done)
		d.err = d.r.Run(ctx, func(ctx context.Context, s *Session) error {
			if err := s.Started(ctx); err != nil {
				return err
			}
			d.sessions <- s
			<-ctx.Done()
			return nil
		})
	}()
	t.Cleanup(func() { cancel(); <-d.done })
	return d
}

func (d *daemon) session(t *testing.T) *Session {
	t.Helper()
	select {
	case s := <-d.sessions:
		return s
	case <-d.done:
		t.Fatalf("the daemon has ended: %v", d.err)
	case <-time.After(coordtest.Patience):
		t.Fatal("no session in time")
	}
	return nil
}

func (d *daemon) end(t *testing.T) error {
	t.Helper()
	select {
	case <-d.done:
		return d.err
	case <-time.After(coordtest.Patience):
		t.Fatal("the daemon did not end in time")
		return nil
	}
}

func observer(t *testing.T, addrs []string) coord.Client {
	return coordtest.Dial(t, addrs, 4*time.Second, nil)
}

func key(t *testing.T, c coord.Client, node, key string) string {
	t.Helper()
	text, _ := coordtest.Data(t, c, schema.Node(node, key))
	return text
}

func children(t *testing.T, c coord.Client, node string) []string {
	t.Helper()
	names, _, err := c.Children(t.Context(), schema.Node(node, schema.NodeSession))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

func TestADaemonRegistersBeatsAndSignsOff(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	o := observer(t, e.Addrs())
	opts := testOptions(t, e.Addrs(), "hv1")
	opts.Guests = func(context.Context) (Guests, error) { return Guests{[]string{"u2", "u1"}, 512, 3}, nil }
	d := run(t, opts)
	s := d.session(t)
	if got := key(t, o, "hv1", schema.NodeDaemonState); got != "run" {
		t.Errorf("daemon state %q, want run", got)
	}
	if left := s.LeaseLeft(); left <= 0 || left > testTimeout {
		t.Errorf("lease %v", left)
	}
	first := stat(t, o, schema.Node("hv1", schema.NodeKeepalive)).Version
	coordtest.Eventually(t, "two beats", func() bool {
		return stat(t, o, schema.Node("hv1", schema.NodeKeepalive)).Version >= first+2
	})
	coordtest.Eventually(t, "figures", func() bool {
		return key(t, o, "hv1", schema.NodeRunningDomains) == "u1 u2" && key(t, o, "hv1", schema.NodeMemAlloc) == "512" &&
			key(t, o, "hv1", schema.NodeMemTotal) != "0"
	})
	d.stop()
	if err := d.end(t); err != nil {
		t.Fatal(err)
	}
	if got := key(t, o, "hv1", schema.NodeDaemonState); got != "stop" {
		t.Errorf("daemon state after the end %q, want stop", got)
	}
	if left := children(t, o, "hv1"); len(left) != 0 {
		t.Errorf("identity %v left behind", left)
	}
}

func stat(t *testing.T, c coord.Client, path string) coord.Stat {
	t.Helper()
	st, _, err := c.Exists(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// decision: one name, one daemon
func TestASecondDaemonOfTheNameIsRefused(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	opts := testOptions(t, e.Addrs(), "hv1")
	first := run(t, opts).session(t)

	t.Run("same host", func(t *testing.T) {
		if err := run(t, opts).end(t); !errs.Is(err, errs.Conflict) {
			t.Errorf("got %v, want a conflict", err)
		}
	})
	t.Run("another machine", func(t *testing.T) {
		other := testOptions(t, e.Addrs(), "hv1")
		other.Host.MachineID = "m-else"
		if err := run(t, other).end(t); !errs.Is(err, errs.Conflict) {
			t.Errorf("got %v, want a conflict", err)
		}
	})
	t.Run("same machine id, another boot, still alive", func(t *testing.T) {
		other := testOptions(t, e.Addrs(), "hv1")
		other.Host.BootID = "b2"
		began := time.Now()
		if err := run(t, other).end(t); !errs.Is(err, errs.Conflict) {
			t.Errorf("got %v, want a conflict", err)
		}
		if waited := time.Since(began); waited < testTimeout {
			t.Errorf("refused after %v, want the wait for its expiry", waited)
		}
	})
	select {
	case <-first.Lost():
		t.Error("the first daemon has lost its session")
	default:
	}
}

func TestADaemonThatWasKilledIsReplacedWithoutWaitingForTheExpiry(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	o := observer(t, e.Addrs())
	old := o // its session outlives the daemon whose identity it holds
	coordtest.Put(t, o, schema.Nodes, "")
	coordtest.Put(t, o, schema.Node("hv1"), "coordinator")
	coordtest.Put(t, o, schema.Node("hv1", schema.NodeSession), `{"instance":"gone","boot_id":"b1","machine_id":"m-hv1"}`)
	if _, err := old.Commit(t.Context(), *new(coord.Txn).CreateEphemeral(schema.Node("hv1", schema.NodeSession, "session-b1-gone"), nil)); err != nil {
		t.Fatal(err)
	}
	coordtest.Put(t, o, schema.Primary, "hv1")
	if _, err := old.Commit(t.Context(), *new(coord.Txn).CreateEphemeral(schema.PrimaryHolder, []byte("hv1"))); err != nil {
		t.Fatal(err)
	}
	s := run(t, testOptions(t, e.Addrs(), "hv1")).session(t)
	if got := children(t, o, "hv1"); !cmp.Equal(got, []string{s.id.child}) {
		t.Errorf("identity %v, want the new one alone", got)
	}
	st, there, err := o.Exists(t.Context(), schema.PrimaryHolder)
	if err != nil || !there || st.Owner != s.Client().SessionID() {
		t.Errorf("the role is held by session %x (%v, %v), want the new one %x: what the gone process had is still on this host", st.Owner, there, err, s.Client().SessionID())
	}
}

func TestTheHolderOfAnotherSessionIsLeftAlone(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	o := observer(t, e.Addrs())
	d := run(t, testOptions(t, e.Addrs(), "hv1"))
	first := d.session(t)
	if _, err := o.Commit(t.Context(), *new(coord.Txn).CreateEphemeral(schema.PrimaryHolder, []byte("hv2"))); err != nil {
		t.Fatal(err)
	}
	rec, err := readRecord(t.Context(), o, "hv1")
	if err != nil || len(rec.live) != 1 || rec.live[0] != first.id.child || rec.holder {
		t.Errorf("record %+v: %v", rec, err)
	}
}

func TestWorkThatFailsWithItsSessionDoesNotEndTheDaemon(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	r := New(testOptions(t, e.Addrs(), "hv1"))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	sessions := 0
	err := r.Run(ctx, func(ctx context.Context, s *Session) error {
		if sessions++; sessions == 2 {
			cancel()
			return nil
		}
		s.client.Close() // as an expiry does, seen by the work first
		return errs.Unavailablef("the session is gone")
	})
	if err != nil || sessions != 2 {
		t.Errorf("%d sessions, %v; want two and no error", sessions, err)
	}
	failure := errs.New(errs.Internal, "libvirt is broken")
	if err := New(testOptions(t, e.Addrs(), "hv1")).Run(t.Context(), func(context.Context, *Session) error { return failure }); !errors.Is(err, failure) {
		t.Errorf("got %v, want the failure of the work", err)
	}
}

// decision: one name, one daemon
func TestALiveDaemonOfTheOldSystemIsRecognisedByItsTimeStamp(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	o := observer(t, e.Addrs())
	coordtest.Put(t, o, schema.Nodes, "")
	coordtest.Put(t, o, schema.Node("hv1"), "coordinator")
	for _, k := range oldKeys {
		coordtest.Put(t, o, schema.Node("hv1", k), "0")
	}
	coordtest.Put(t, o, schema.Node("hv1", schema.NodeDaemonState), "run")
	coordtest.Put(t, o, schema.Node("hv1", schema.NodeDomainState), "flushed")

	stop := make(chan struct{})
	var writer sync.WaitGroup
	writer.Go(func() {
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for n := byte('1'); ; n++ {
			select {
			case <-stop:
				return
			case <-tick.C:
				txn := new(coord.Txn).Set(schema.Node("hv1", schema.NodeKeepalive), []byte{n}, coord.AnyVersion)
				if _, err := o.Commit(context.WithoutCancel(t.Context()), *txn); err != nil {
					t.Error(err)
				}
			}
		}
	})
	err := run(t, testOptions(t, e.Addrs(), "hv1")).end(t)
	close(stop)
	writer.Wait()
	if !errs.Is(err, errs.Conflict) {
		t.Errorf("beside a live one: %v, want a conflict", err)
	}
	run(t, testOptions(t, e.Addrs(), "hv1")).session(t)
	if got := key(t, o, "hv1", schema.NodeDomainState); got != "flushed" {
		t.Errorf("domain state %q, want the old one", got)
	}
}

func TestAWorkerOfALostSessionCannotWriteUnderTheNext(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	o := observer(t, e.Addrs())
	proxy := coordtest.NewProxy(t, e.Addrs())
	opts := testOptions(t, proxy.Addrs(), "hv1")
	d := run(t, opts)
	old := d.session(t)
	coordtest.Put(t, o, "/probe", "")
	proxy.Stall()
	coordtest.Eventually(t, "the session expires", func() bool { return len(children(t, o, "hv1")) == 0 })
	if left := old.LeaseLeft(); left != 0 {
		t.Errorf("%v of the lease left after the expiry", left)
	}
	proxy.Flow()
	next := d.session(t)
	select {
	case <-old.Lost():
	default:
		t.Error("the old session is not reported as lost")
	}
	var txn coord.Txn
	old.Check(&txn)
	txn.Set("/probe", []byte("late"), coord.AnyVersion)
	if _, err := old.Client().Commit(t.Context(), txn); err == nil {
		t.Error("the old session wrote")
	}
	if _, err := next.Client().Commit(t.Context(), txn); !errs.Is(err, errs.Conflict) {
		t.Errorf("the old identity under the new session: %v, want a conflict", err)
	}
	if old.Instance() != next.Instance() {
		t.Error("the instance changed although the process is the same")
	}
	if got := key(t, o, "hv1", schema.NodeDaemonState); got != "run" {
		t.Errorf("daemon state %q, want run", got)
	}
}

func TestADeclaredDeathIsNotUndoneSilently(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	o := observer(t, e.Addrs())
	d := run(t, testOptions(t, e.Addrs(), "hv1"))
	s := d.session(t)
	coordtest.Put(t, o, schema.Node("hv1", schema.NodeDaemonState), "dead")
	if err := s.Started(t.Context()); !errs.Is(err, errs.Conflict) {
		t.Errorf("Started of a dead node: %v, want a conflict", err)
	}
	d.stop()
	if err := d.end(t); err != nil {
		t.Fatal(err)
	}
	if got := key(t, o, "hv1", schema.NodeDaemonState); got != "dead" {
		t.Errorf("daemon state %q, want dead", got)
	}
}

func TestARemovedRecordIsRegisteredAgain(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	o := observer(t, e.Addrs())
	d := run(t, testOptions(t, e.Addrs(), "hv1"))
	s := d.session(t)
	if _, err := o.Commit(t.Context(), *new(coord.Txn).Delete(s.childPath(), coord.AnyVersion)); err != nil {
		t.Fatal(err)
	}
	if next := d.session(t); next == s || len(children(t, o, "hv1")) != 1 {
		t.Error("no new session")
	}
}

// decision: the layout
func TestTheFirstCoordinatorCreatesTheLayoutAndOthersWaitForIt(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	o := observer(t, e.Addrs())
	hub := new(watch.Hub)
	c := coordtest.Dial(t, e.Addrs(), 4*time.Second, hub.OnEvent)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if err := Layout(ctx, c, hub, false); !errs.Is(err, errs.Unavailable) {
		t.Errorf("a hypervisor in an empty ensemble: %v, want that it waits", err)
	}
	opts := testOptions(t, e.Addrs(), "hv2")
	opts.Mode = model.ModeHypervisor
	hypervisor := run(t, opts)
	run(t, testOptions(t, e.Addrs(), "hv1")).session(t)
	hypervisor.session(t)
	for _, r := range append(append([]root(nil), oldRoots...), newRoots...) {
		if got, there := coordtest.Data(t, o, r.path); !there || got != r.data {
			t.Errorf("%s = %q (%v), want %q", r.path, got, there, r.data)
		}
	}
}

func TestAnOldTreeGetsTheNewRootsAndKeepsItsOwn(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	hub := new(watch.Hub)
	c := coordtest.Dial(t, e.Addrs(), 4*time.Second, hub.OnEvent)
	for _, r := range oldRoots {
		coordtest.Put(t, c, r.path, r.data)
	}
	coordtest.Put(t, c, schema.Primary, "hv7")
	coordtest.Put(t, c, schema.Domains+"/x", "vm")
	if err := Layout(t.Context(), c, hub, true); err != nil {
		t.Fatal(err)
	}
	if got, _ := coordtest.Data(t, c, schema.Primary); got != "hv7" {
		t.Errorf("%s = %q, want hv7", schema.Primary, got)
	}
	if got, _ := coordtest.Data(t, c, schema.Version); got != "1" {
		t.Errorf("%s = %q, want 1", schema.Version, got)
	}
	coordtest.Put(t, c, schema.Version, "2")
	if err := Layout(t.Context(), c, hub, true); !errs.Is(err, errs.Invalid) {
		t.Errorf("a newer tree: %v, want invalid", err)
	}
}

func TestAnOutageKeepsTheRoleAndProvesNothing(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 3})
	d := run(t, testOptions(t, e.Addrs(), "hv1"))
	s := d.session(t)
	for i := range 3 {
		e.Kill(i)
	}
	over := time.After(3 * testTimeout)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for away := true; away; {
		select {
		case <-over:
			away = false
		case <-tick.C:
			if s.RoleLeft() == 0 {
				t.Fatal("the role would have been given up although nobody could take it")
			}
		}
	}
	if left := s.LeaseLeft(); left != 0 {
		t.Errorf("%v of the lease left after three session timeouts without an answer", left)
	}
	for i := range 3 {
		e.Start(i)
	}
	e.WaitServing()
	coordtest.Eventually(t, "the lease is back, in this session or the next", func() bool {
		select {
		case s = <-d.sessions:
		default:
		}
		return s.LeaseLeft() > 0
	})
}

func TestWhoIsCutOffLosesTheRoleBeforeTheSessionExpires(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 3})
	o := observer(t, e.Addrs())
	proxy := coordtest.NewProxy(t, e.Addrs())
	s := run(t, testOptions(t, proxy.Addrs(), "hv1")).session(t)
	proxy.Stall()
	coordtest.Eventually(t, "the session expires", func() bool {
		gone := len(children(t, o, "hv1")) == 0
		if left := s.RoleLeft(); gone && left > 0 {
			t.Fatalf("%v of the role left when the session is gone", left)
		}
		return gone
	})
	proxy.Flow()
}
