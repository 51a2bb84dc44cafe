package view_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

const deadline = 20 * time.Second

func dial(t *testing.T, e *ensemble.Ensemble) coord.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	c, err := zk.Dial(ctx, coord.Options{Servers: e.Addrs(), Timeout: 4 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func commit(t *testing.T, c coord.Conn, txn *coord.Txn) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	if _, err := c.Commit(ctx, *txn); err != nil {
		t.Fatal(err)
	}
}

func layout(t *testing.T, c coord.Conn) {
	t.Helper()
	txn := new(coord.Txn)
	for _, p := range []string{schema.Nodes, schema.Domains, schema.Networks, schema.Claims, schema.Config} {
		txn.Create(p, nil)
	}
	commit(t, c, txn.Create(schema.Primary, []byte(schema.NoPrimary)))
}

func vmTxn(i int) *coord.Txn {
	uuid := uuidOf(i)
	txn := new(coord.Txn).Create(schema.VM(uuid), []byte(fmt.Sprintf("vm%04d", i)))
	for k, v := range map[string]string{
		"state": "stop", "node": "hv1", "lastnode": "", "failedreason": "None", "consolelog": "", "rbdlist": "",
		"xml": fmt.Sprintf("<domain type='qemu'><name>vm%04d</name><uuid>%s</uuid><memory unit='MiB'>8</memory></domain>", i, uuid),
	} {
		txn.Create(schema.VM(uuid, k), []byte(v))
	}
	return txn.Create(schema.VMGen(uuid, "abc"), nil)
}

func uuidOf(i int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012x", i) }

func start(t *testing.T, o view.Options) *view.View {
	t.Helper()
	o.Dial, o.Timeout, o.Logger = zk.Dial, 4*time.Second, slog.New(slog.DiscardHandler)
	v := view.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = v.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	until(t, v, "the view is loaded", func(*view.Snapshot) bool { return true })
	return v
}

func until(t *testing.T, v *view.View, what string, ok func(s *view.Snapshot) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	ready := func(s *view.Snapshot) (bool, error) { return s.Generation() > 0 && ok(s), nil }
	if err := v.Until(ctx, ready); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func TestAChangeOfAnotherClientIsSeenAsAWhole(t *testing.T) {
	t.Parallel()
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	c := dial(t, e)
	layout(t, c)
	commit(t, c, vmTxn(1))
	v := start(t, view.Options{Servers: e.Addrs()})
	var torn []string
	stop := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for {
			select {
			case <-stop:
				return
			default:
			}
			v.Read(func(s *view.Snapshot) {
				if vm, ok := s.VM(uuidOf(1)); ok && vm.Node != vm.LastNode && vm.LastNode != "" {
					torn = append(torn, vm.Node+" "+vm.LastNode)
				}
			})
		}
	}()
	for i := range 200 {
		value := []byte(fmt.Sprintf("hv%d", i))
		commit(t, c, new(coord.Txn).
			Set(schema.VM(uuidOf(1), schema.VMNode), value, coord.AnyVersion).
			Set(schema.VM(uuidOf(1), schema.VMLastNode), value, coord.AnyVersion))
	}
	until(t, v, "the last change", func(s *view.Snapshot) bool { vm, ok := s.VM(uuidOf(1)); return ok && vm.Node == "hv199" })
	close(stop)
	<-watched
	if len(torn) > 0 {
		t.Errorf("%d pictures were torn, the first: %s", len(torn), torn[0])
	}
}

func TestOwnWritesAreSeenWhenTheCommitReturns(t *testing.T) {
	t.Parallel()
	e := ensemble.Start(t, ensemble.Options{Servers: 3})
	c := dial(t, e)
	layout(t, c)
	v := start(t, view.Options{Servers: e.Addrs()})
	for i := range 60 {
		uuid := uuidOf(i)
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		if err := v.Commit(ctx, schema.VM(uuid), *vmTxn(i)); err != nil {
			t.Fatal(err)
		}
		v.Read(func(s *view.Snapshot) {
			if vm, err := s.FindVM(fmt.Sprintf("vm%04d", i)); err != nil || vm.State != model.VMStop || vm.Gen != "abc" || vm.FailedReason != "" {
				t.Fatalf("after define %d: %+v, %v", i, vm, err)
			}
		})
		txn := new(coord.Txn).Set(schema.VM(uuid, schema.VMState), []byte("start"), 0).Create(schema.Claim(uuid), []byte(`{"owner":{"node":"hv1"}}`))
		if err := v.Commit(ctx, schema.VM(uuid), *txn); err != nil {
			t.Fatal(err)
		}
		v.Read(func(s *view.Snapshot) {
			if vm, _ := s.VM(uuid); vm.State != model.VMStart || vm.Claim == nil || vm.Claim.Owner.Node != "hv1" {
				t.Fatalf("after start %d: %+v", i, vm)
			}
		})
		cancel()
	}
	v.Read(func(s *view.Snapshot) {
		if got := len(s.VMs()); got != 60 {
			t.Errorf("%d VMs listed", got)
		}
	})
}

func TestARefusedTransactionNamesTheOperation(t *testing.T) {
	t.Parallel()
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	c := dial(t, e)
	layout(t, c)
	v := start(t, view.Options{Servers: e.Addrs()})
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	txn := new(coord.Txn).Set(schema.Domains, nil, coord.AnyVersion).Check(schema.Networks+"/77", coord.AnyVersion).Create("/domains/x", nil)
	err := v.Commit(ctx, schema.Domains, *txn)
	if !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "/networks/77") {
		t.Errorf("err = %v, want a conflict that names /networks/77", err)
	}
	big := new(coord.Txn).Create("/domains/big", make([]byte, 1<<20))
	if err := v.Commit(ctx, schema.Domains, *big); !errs.Is(err, errs.Invalid) {
		t.Errorf("a transaction of 1 MiB: %v, want invalid", err)
	}
}

func TestOutageMakesTheViewStaleAndItHealsWithNothingLost(t *testing.T) {
	t.Parallel()
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	c := dial(t, e)
	layout(t, c)
	commit(t, c, vmTxn(1))
	v := start(t, view.Options{Servers: e.Addrs()})
	e.Kill(0)
	waitFor(t, "staleness", func() bool { _, stale := v.Stale(); return stale })
	v.Read(func(s *view.Snapshot) {
		if _, ok := s.VM(uuidOf(1)); !ok {
			t.Error("the old picture is not served during the outage")
		}
	})
	err := v.Commit(t.Context(), schema.VM(uuidOf(1)), *new(coord.Txn).Set(schema.VM(uuidOf(1)), nil, coord.AnyVersion))
	if !errs.Is(err, errs.Unavailable) {
		t.Errorf("a write during the outage: %v, want unavailable", err)
	}
	e.Start(0)
	other := dial(t, e)
	commit(t, other, new(coord.Txn).Set(schema.VM(uuidOf(1), schema.VMState), []byte("start"), coord.AnyVersion))
	until(t, v, "the change after the outage", func(s *view.Snapshot) bool { vm, _ := s.VM(uuidOf(1)); return vm != nil && vm.State == model.VMStart })
	waitFor(t, "freshness", func() bool { _, stale := v.Stale(); return !stale })
}

func TestEventsLostDoubledAndReorderedChangeNothing(t *testing.T) {
	t.Parallel()
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	c := dial(t, e)
	layout(t, c)
	for i := range 20 {
		commit(t, c, vmTxn(i))
	}
	var n int
	var held *coord.Event
	filter := func(ev coord.Event, deliver func(coord.Event)) {
		if ev.Path == "" {
			deliver(ev)
			return
		}
		switch n++; n % 4 {
		case 0: // lost
		case 1:
			deliver(ev)
			deliver(ev)
		case 2: // held back until after the next
			held = &ev
		case 3:
			deliver(ev)
			if held != nil {
				deliver(*held)
			}
		}
	}
	v := start(t, view.Options{Servers: e.Addrs(), Connections: 1, Filter: filter, ScrubEvery: 500 * time.Millisecond})
	for i := range 20 {
		commit(t, c, new(coord.Txn).
			Set(schema.VM(uuidOf(i), schema.VMState), []byte("start"), coord.AnyVersion).
			Set(schema.VM(uuidOf(i), schema.VMNode), []byte("hv9"), coord.AnyVersion))
	}
	until(t, v, "all changes", func(s *view.Snapshot) bool {
		for _, vm := range s.VMs() {
			if vm.State != model.VMStart || vm.Node != "hv9" {
				return false
			}
		}
		return len(s.VMs()) == 20
	})
}

// TestACommitIsSeenHoweverLateTheOtherSessionsHearOfIt delays all news, as a server
// does that is busy: what a caller has committed must be there when the call returns.
func TestACommitIsSeenHoweverLateTheOtherSessionsHearOfIt(t *testing.T) {
	t.Parallel()
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	layout(t, dial(t, e))
	var news sync.WaitGroup
	defer news.Wait()
	late := func(ev coord.Event, deliver func(coord.Event)) {
		news.Add(1)
		time.AfterFunc(50*time.Millisecond, func() { defer news.Done(); deliver(ev) })
	}
	v := start(t, view.Options{Servers: e.Addrs(), Filter: late})
	for i := range 4 {
		txn := vmTxn(i)
		txn.Set(schema.Domains, nil, coord.AnyVersion)
		if err := v.Commit(t.Context(), schema.VM(uuidOf(i)), *txn); err != nil {
			t.Fatal(err)
		}
		v.Read(func(s *view.Snapshot) {
			if _, err := s.FindVM(fmt.Sprintf("vm%04d", i)); err != nil {
				t.Errorf("after its definition: %v", err)
			}
		})
	}
}

func TestADeletedVMGoesAndAReCreatedOneComesBackNew(t *testing.T) {
	t.Parallel()
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	c := dial(t, e)
	layout(t, c)
	commit(t, c, vmTxn(1))
	v := start(t, view.Options{Servers: e.Addrs()})
	names, _, err := c.Children(t.Context(), schema.VM(uuidOf(1)))
	if err != nil {
		t.Fatal(err)
	}
	remove := new(coord.Txn)
	for _, n := range names {
		remove.Delete(schema.VM(uuidOf(1), n), coord.AnyVersion)
	}
	commit(t, c, remove.Delete(schema.VM(uuidOf(1)), coord.AnyVersion))
	until(t, v, "the deletion", func(s *view.Snapshot) bool { return len(s.VMs()) == 0 && !s.NameTaken("vm0001") })
	again := vmTxn(1)
	again.Set(schema.VM(uuidOf(1)), []byte("renamed"), coord.AnyVersion)
	commit(t, c, again)
	until(t, v, "the new VM", func(s *view.Snapshot) bool { _, err := s.FindVM("renamed"); return err == nil })
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(deadline); !ok(); <-tick.C {
		if time.Now().After(end) {
			t.Fatalf("%s did not come in %v", what, deadline)
		}
	}
}
