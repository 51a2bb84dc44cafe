package vmctl

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/console"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor/fake"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

const deadline = 30 * time.Second

// lab is a cluster without machines: real ZooKeeper, real rules, real controllers, and
// a world of fake hypervisors.
type lab struct {
	t     *testing.T
	zoo   *ensemble.Ensemble
	conn  coord.Client
	world *fake.World
	rules *cluster.Cluster
	nodes map[string]*labNode
	ceph  *labCeph // nil without one
}

// labNode is a host's daemon, which can be killed and started again.
type labNode struct {
	lab     *lab
	name    string
	boot    string
	step    func(uuid string, a Action)
	sighted func(d hypervisor.Domain)

	viewing []context.Context // of the views of the whole cluster that were opened

	passes atomic.Int32 // flushes and their like that were begun

	mu     sync.Mutex
	cancel context.CancelFunc
	done   chan struct{}
	c      *Controller

	connect    func() (disconnect func()) // begins a session
	disconnect func()
}

func newLab(t *testing.T, names ...string) *lab {
	t.Helper()
	return newLabOn(t, nil, names...)
}

// newLabOn is a lab whose hosts look after storage. Labs have nothing in common: tests
// with one run beside each other.
func newLabOn(t *testing.T, storage *labCeph, names ...string) *lab {
	t.Helper()
	t.Parallel()
	l := &lab{ceph: storage, t: t, zoo: ensemble.Start(t, ensemble.Options{Servers: 1}), world: fake.NewWorld(), nodes: map[string]*labNode{}}
	l.conn = l.dial()
	txn := new(coord.Txn)
	for _, p := range []string{schema.Nodes, schema.Domains, schema.Networks, schema.Claims, schema.ClaimDisks, schema.Config, schema.Fences} {
		txn.Create(p, nil)
	}
	l.commit(txn.Create(schema.Primary, []byte(schema.NoPrimary)))
	for _, n := range names {
		l.addNode(n)
	}
	l.rules = cluster.New(cluster.Options{View: l.view(t.Context()), Policy: domxml.Policy{Unrestricted: true}, WaitTimeout: deadline, DeleteTimeout: deadline})
	l.until("the nodes are known", func(s *view.Snapshot) bool { return len(s.Nodes()) == len(names) })
	return l
}

// bridges is what a host says of its networks: that of 9 cannot be made.
func (l *lab) bridges(_ context.Context, bridges []string) error {
	if slices.Contains(bridges, "vmbr9") {
		return errors.New("bridge vmbr9: no such device")
	}
	return nil
}

func (l *lab) dial() coord.Client {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), deadline)
	defer cancel()
	c, err := zk.Dial(ctx, coord.Options{Servers: l.zoo.Addrs(), Timeout: 10 * time.Second})
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(c.Close)
	return c
}

func (l *lab) commit(txn *coord.Txn) {
	l.t.Helper()
	if _, err := l.conn.Commit(l.t.Context(), *txn); err != nil {
		l.t.Fatal(err)
	}
}

func (l *lab) view(ctx context.Context) *view.View {
	v := view.New(view.Options{Dial: zk.Dial, Servers: l.zoo.Addrs(), Timeout: 10 * time.Second, Connections: 2, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() { defer close(done); _ = v.Run(ctx) }()
	l.t.Cleanup(func() { cancel(); <-done })
	return v
}

func (l *lab) addNode(name string) {
	n := &labNode{lab: l, name: name, boot: "boot-" + name}
	l.nodes[name] = n
	txn := new(coord.Txn).Create(schema.Node(name), []byte("hypervisor"))
	for k, v := range map[string]string{
		schema.NodeDaemonMode: "hypervisor", schema.NodeDaemonState: "run", schema.NodeRouterState: "client", schema.NodeDomainState: "ready",
		schema.NodeMemTotal: "100000", schema.NodeMemFree: "100000", schema.NodeSession: "{}", schema.NodeVMs: "", schema.NodeDoorbell: "", schema.NodeFlush: "",
	} {
		txn.Create(schema.Node(name, k), []byte(v))
	}
	l.commit(txn.Create(schema.Node(name, schema.NodeSession, "session-"+name), nil))
	n.start()
	l.t.Cleanup(n.kill)
}

// start begins a new instance of the daemon.
func (n *labNode) start() {
	l := n.lab
	n.mu.Lock()
	defer n.mu.Unlock()
	host := l.world.Host(n.name)
	ctx, cancel := context.WithCancel(context.Background())
	n.cancel, n.done = cancel, make(chan struct{})
	n.c = New(Options{
		Dial: zk.Dial, Servers: l.zoo.Addrs(), Timeout: 10 * time.Second,
		Hypervisor: slowSight{host, n}, Peer: l.world.Peer(), Processes: noProcesses{}, Console: noConsole{},
		Migration:      Migration{PeerURI: fake.URI, Parallel: 2},
		Limits:         Limits{Shutdown: time.Minute, Handshake: 10 * time.Second, Silence: 100 * time.Millisecond, Clients: 3 * time.Second},
		ParallelStarts: 4, CrashLimit: 5, CrashWindow: time.Minute,
		Cluster: func(ctx context.Context) *cluster.Cluster {
			n.passes.Add(1)
			n.mu.Lock()
			n.viewing = append(n.viewing, ctx)
			n.mu.Unlock()
			return cluster.New(cluster.Options{View: l.view(ctx), WaitTimeout: deadline})
		},
		Logger: slog.New(slog.DiscardHandler), Networks: l.bridges, Storage: l.ceph.of(n.name, host),
		Step: func(uuid string, a Action) {
			n.mu.Lock()
			step := n.step
			n.mu.Unlock()
			if step != nil {
				step(uuid, a)
			}
		},
	})
	c, done := n.c, n.done
	var life sync.WaitGroup
	life.Go(func() { _ = c.Watch(ctx) })
	n.connect = func() (disconnect func()) {
		ctx, cancel := context.WithCancel(ctx)
		over := make(chan struct{})
		session := labSession{node: n.name, boot: n.boot, instance: model.NewID()}
		life.Go(func() { defer close(over); _ = c.Run(ctx, session) })
		return func() { cancel(); <-over }
	}
	n.disconnect = n.connect()
	go func() { <-ctx.Done(); life.Wait(); close(done) }()
}

// between calls fn while the living daemon has no session.
func (n *labNode) between(fn func()) {
	n.disconnect()
	fn()
	n.disconnect = n.connect()
}

// kill ends the instance: nothing is handed over.
func (n *labNode) kill() {
	n.mu.Lock()
	cancel, done := n.cancel, n.done
	n.mu.Unlock()
	cancel()
	<-done
}

// slowSight lets a test act between the hypervisor's answer and its arrival.
type slowSight struct {
	hypervisor.Hypervisor
	n *labNode
}

func (h slowSight) Lookup(ctx context.Context, uuid string) (hypervisor.Domain, error) {
	d, err := h.Hypervisor.Lookup(ctx, uuid)
	h.n.mu.Lock()
	sighted := h.n.sighted
	h.n.mu.Unlock()
	if sighted != nil {
		sighted(d)
	}
	return d, err
}

// onSight has fn called with what the hypervisor says of a guest, before the daemon hears it.
func (n *labNode) onSight(fn func(d hypervisor.Domain)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.sighted = fn
}

func (n *labNode) onStep(fn func(uuid string, a Action)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.step = fn
}

type labSession struct{ node, boot, instance string }

func (s labSession) Node() string             { return s.node }
func (s labSession) BootID() string           { return s.boot }
func (s labSession) Instance() string         { return s.instance }
func (s labSession) LeaseLeft() time.Duration { return time.Minute }
func (s labSession) Check(t *coord.Txn) {
	t.Check(schema.Node(s.node, schema.NodeSession, "session-"+s.node), coord.AnyVersion)
}

type noProcesses struct{}

func (noProcesses) Gone(string) (bool, error) { return true, nil }
func (noProcesses) Kill(string) error         { return nil }

type noConsole struct{}

func (noConsole) Follow(console.Guest)                       {}
func (noConsole) Finish(context.Context, string) error       { return nil }
func (noConsole) Mark(context.Context, string, string) error { return nil }
func (noConsole) Size(string) int64                          { return 0 }
func (noConsole) Path(name string) string                    { return "/var/log/" + name + ".log" }

const guestXML = `<domain type='qemu'><name>%s</name><uuid>%s</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type arch='x86_64'>hvm</type></os><devices>%s</devices></domain>`

// define makes a VM on a node and returns its UUID.
func (l *lab) define(name, node, devices string) string {
	l.t.Helper()
	uuid := model.NewUUID()
	if _, err := l.rules.DefineVM(l.t.Context(), cluster.DefineVM{XML: fmt.Sprintf(guestXML, name, uuid, devices), Node: node}); err != nil {
		l.t.Fatal(err)
	}
	return uuid
}

func (l *lab) state(vm, state string) {
	l.t.Helper()
	if _, err := l.rules.SetVMState(l.t.Context(), cluster.SetVMState{VM: vm, State: state, Wait: true}); err != nil {
		l.t.Fatalf("%s %s: %v", state, vm, err)
	}
}

// until waits for a condition on the records, or on the world, which tells of nothing.
func (l *lab) until(what string, ok func(s *view.Snapshot) bool) {
	l.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(deadline); ; <-tick.C {
		done := false
		l.rules.View().Read(func(s *view.Snapshot) { done = ok(s) })
		if done {
			return
		}
		if time.Now().After(end) {
			l.t.Fatalf("%s: not in %v; the cluster: %s", what, deadline, l.dump())
		}
	}
}

func (l *lab) dump() (out string) {
	l.rules.View().Read(func(s *view.Snapshot) {
		for _, vm := range s.VMs() {
			out += fmt.Sprintf("\n%s state=%s node=%s last=%q reason=%q claim=%+v migration=%+v executing=%v", vm.Name, vm.State, vm.Node, vm.LastNode, vm.FailedReason, vm.Claim, vm.Migration, l.world.Executing(vm.UUID))
		}
	})
	return out
}

// runsOn waits until records and world agree that the VM runs on the node.
func (l *lab) runsOn(uuid, node string) {
	l.t.Helper()
	l.until("it runs on "+node, func(s *view.Snapshot) bool {
		vm, ok := s.VM(uuid)
		return ok && vm.State == model.VMStart && vm.Node == node && vm.Claim != nil && vm.Claim.Owner.Node == node && vm.Claim.Incoming == nil &&
			vm.Claim.Resumed && vm.Migration == nil && slices.Equal(l.world.Executing(uuid), []string{node})
	})
}

func (l *lab) neverTwice() {
	l.t.Helper()
	if twice := l.world.Twice(); len(twice) > 0 {
		l.t.Errorf("executed on two hosts at once: %v", twice)
	}
}

func TestAVMIsStartedShutDownAndRestarted(t *testing.T) {
	l := newLab(t, "hv1")
	uuid := l.define("web1", "hv1", "")
	l.state("web1", "start")
	l.runsOn(uuid, "hv1")
	l.state("web1", "restart")
	l.runsOn(uuid, "hv1")
	l.state("web1", "shutdown")
	if on := l.world.Executing(uuid); len(on) > 0 {
		t.Errorf("after the shutdown it runs on %v", on)
	}
	if got := l.world.Host("hv1").Calls(fake.CreatePaused); got != 2 {
		t.Errorf("%d guests were created, want 2", got)
	}
}

func TestARefusalOfTheHypervisorIsTheReasonAndALaterStartClearsIt(t *testing.T) {
	l := newLab(t, "hv1")
	uuid := l.define("web1", "hv1", "")
	l.world.Host("hv1").Fail(fake.CreatePaused, errs.New(errs.Internal, "no such file: disk.img"))
	_, err := l.rules.SetVMState(t.Context(), cluster.SetVMState{VM: "web1", State: "start", Wait: true})
	if !errs.Is(err, errs.Conflict) {
		t.Fatalf("err = %v, want a conflict", err)
	}
	l.until("it has failed", func(s *view.Snapshot) bool {
		vm, _ := s.VM(uuid)
		return vm.State == model.VMFailed && strings.HasSuffix(vm.FailedReason, "no such file: disk.img") && vm.Claim == nil
	})
	l.world.Host("hv1").Fail(fake.CreatePaused, nil)
	l.state("web1", "start")
	l.until("the reason is cleared", func(s *view.Snapshot) bool { vm, _ := s.VM(uuid); return vm.FailedReason == "" })
}

func TestAnAnswerThatGotLostIsNoFailure(t *testing.T) {
	l := newLab(t, "hv1")
	uuid := l.define("web1", "hv1", "")
	host := l.world.Host("hv1")
	for _, m := range []fake.Method{fake.CreatePaused, fake.Resume} {
		host.LoseAnswer(m, errs.New(errs.Unknown, "hangup"))
	}
	host.Before(fake.Lookup, func(string) {
		if host.Calls(fake.Lookup) > 6 {
			host.LoseAnswer(fake.CreatePaused, nil)
			host.LoseAnswer(fake.Resume, nil)
		}
	})
	l.state("web1", "start")
	l.runsOn(uuid, "hv1")
	if got := host.Calls(fake.CreatePaused); got != 1 {
		t.Errorf("%d guests were created, want 1", got)
	}
}

func TestPowerOffFromInsideStopsAndACrashStartsAgain(t *testing.T) {
	l := newLab(t, "hv1")
	uuid := l.define("web1", "hv1", "")
	l.state("web1", "start")
	l.world.Host("hv1").Crash(uuid)
	l.until("the crash is counted", func(s *view.Snapshot) bool { vm, _ := s.VM(uuid); return vm.Crashes == 1 })
	l.runsOn(uuid, "hv1")
	l.world.Host("hv1").PowerOff(uuid)
	l.until("it is stopped", func(s *view.Snapshot) bool {
		vm, _ := s.VM(uuid)
		return vm.State == model.VMStop && vm.Claim == nil && vm.FailedReason == "the guest powered itself off"
	})
}

// decision: guests without a claim
func TestAGuestWithoutItsClaimIsDestroyed(t *testing.T) {
	l := newLab(t, "hv1", "hv2")
	uuid := l.define("web1", "hv1", "")
	l.state("web1", "start")
	stray := l.world.Host("hv2")
	if err := stray.CreatePaused(t.Context(), fmt.Sprintf(guestXML, "web1", uuid, "")); err != nil {
		t.Fatal(err)
	}
	l.until("the stray is gone", func(*view.Snapshot) bool {
		d, err := stray.Lookup(t.Context(), uuid)
		return err == nil && d.State == hypervisor.Absent
	})
	l.runsOn(uuid, "hv1")
	l.neverTwice()
}

func TestTwoVMsOfOneImageDoNotBothRun(t *testing.T) {
	l := newLab(t, "hv1", "hv2")
	disk := `<disk type='file' device='disk'><source file='/shared/a.img'/><target dev='vda'/></disk>`
	a := l.define("a", "hv1", disk)
	// The rules refuse a second one; an old client would not.
	b := model.NewUUID()
	txn := new(coord.Txn).Create(schema.VM(b), []byte("b"))
	for k, v := range map[string]string{"state": "stop", "node": "hv2", "lastnode": "", "failedreason": "", "consolelog": "", "rbdlist": "", "xml": fmt.Sprintf(guestXML, "b", b, disk)} {
		txn.Create(schema.VM(b, k), []byte(v))
	}
	l.commit(txn.Create(schema.NodeVM("hv2", b), nil))
	l.state("a", "start")
	_, err := l.rules.SetVMState(t.Context(), cluster.SetVMState{VM: b, State: "start", Wait: true})
	if err == nil || len(l.world.Executing(b)) > 0 {
		t.Errorf("the second VM was started: %v, it runs on %v", err, l.world.Executing(b))
	}
	l.state("a", "stop")
	l.state(b, "start")
	l.runsOn(b, "hv2")
	if len(l.world.Executing(a)) > 0 {
		t.Error("both run")
	}
}

// decision: contradictory requests
func TestTheLaterOfTwoWishesWins(t *testing.T) {
	l := newLab(t, "hv1")
	uuid := l.define("web1", "hv1", "")
	for i := range 10 {
		for _, wish := range []string{"start", "shutdown", "start", "stop", "start"} {
			if _, err := l.rules.SetVMState(t.Context(), cluster.SetVMState{VM: "web1", State: wish}); err != nil {
				t.Fatalf("round %d, %s: %v", i, wish, err)
			}
		}
		l.runsOn(uuid, "hv1")
		l.state("web1", "stop")
	}
	l.neverTwice()
}

func TestManyShutdownsDoNotDelayAStart(t *testing.T) {
	l := newLab(t, "hv1")
	for i := range 50 {
		name := fmt.Sprintf("deaf%d", i)
		uuid := l.define(name, "hv1", "")
		l.state(name, "start")
		l.world.Host("hv1").IgnoreShutdown(uuid, true)
		if _, err := l.rules.SetVMState(t.Context(), cluster.SetVMState{VM: name, State: "shutdown"}); err != nil {
			t.Fatal(err)
		}
	}
	uuid := l.define("web1", "hv1", "")
	l.state("web1", "start")
	l.runsOn(uuid, "hv1")
	l.until("the others are still shutting down", func(s *view.Snapshot) bool {
		n := 0
		for _, vm := range s.VMs() {
			if vm.State == model.VMShutdown && vm.Claim != nil {
				n++
			}
		}
		return n == 50
	})
}

// TestADaemonKilledBeforeAnyStep kills the daemon of either host once before each step
// of a start, a migration and a stop, and starts it again.
func TestADaemonKilledBeforeAnyStepChangesNothing(t *testing.T) {
	l := newLabOn(t, newLabCeph(t, "a"), "hv1", "hv2")
	l.recordVolumes()
	left := 0
	for i, node := range []string{"hv1", "hv2"} {
		for n, step := range []Step{Claim, Create, Record, Resume, AddIncoming, AcceptMigration, Send, WriteArrived, WriteGone, Adopt, Destroy, Release} {
			if os.Getenv("PVC_TEST_LONG") == "" && (n+i)%2 == 1 {
				left++
				continue
			}
			t.Run(fmt.Sprintf("%s/%s", node, step), func(t *testing.T) {
				name := fmt.Sprintf("%s-%d", node, step)
				uuid := l.onCeph(name, "hv1", "a") // the others are gone by then
				defer l.forget(uuid)
				n := l.nodes[node]
				killed := make(chan struct{}, 1)
				var once sync.Once
				n.onStep(func(u string, a Action) {
					if u == uuid && a.Step == step {
						once.Do(func() {
							n.mu.Lock()
							n.cancel() // the step itself is still begun, with an ended context
							n.mu.Unlock()
							killed <- struct{}{}
						})
					}
				})
				defer n.onStep(nil)
				done := make(chan struct{})
				defer func() { <-done }()
				go func() {
					defer close(done)
					select {
					case <-killed:
						n.kill()
						n.start()
					case <-t.Context().Done():
					}
				}()
				l.state(name, "start")
				l.runsOn(uuid, "hv1")
				_, err := l.rules.SetVMNode(t.Context(), cluster.SetVMNode{VM: name, Action: "move", Node: "hv2", Wait: true})
				l.settled(uuid)
				where := "hv2"
				if err != nil {
					where = "hv1" // refused or given up: it must then go on where it was
				}
				l.runsOn(uuid, where)
				l.onRecord(uuid, "a")
				l.state(name, "stop")
				l.neverTwice()
				if created := l.createdOnce(uuid); created != "" {
					t.Error(created)
				}
				killed <- struct{}{} // a step that this life does not have on this host
			})
		}
	}
	if left > 0 {
		t.Logf("%d steps are left to PVC_TEST_LONG=1", left)
	}
}

// settled waits until nothing is under way.
func (l *lab) settled(uuid string) {
	l.until("it has settled", func(s *view.Snapshot) bool {
		vm, _ := s.VM(uuid)
		return vm.State != model.VMMigrate && vm.Migration == nil
	})
}

// createdOnce says if a VM was started more than once: a restart nobody asked for.
func (l *lab) createdOnce(uuid string) string {
	var crashes int
	l.rules.View().Read(func(s *view.Snapshot) {
		if vm, ok := s.VM(uuid); ok {
			crashes = vm.Crashes
		}
	})
	if crashes > 0 {
		return fmt.Sprintf("%d ends of the guest were counted as crashes", crashes)
	}
	return ""
}

func TestAMigrationThatFailsAtAnyPointLeavesOneGuest(t *testing.T) {
	l := newLab(t, "hv1", "hv2")
	for _, step := range []fake.Step{fake.StepPrepare, fake.StepTransfer, fake.StepFinish, fake.StepConfirm} {
		t.Run(fmt.Sprint(step), func(t *testing.T) {
			name := fmt.Sprintf("m%d", step)
			uuid := l.define(name, "hv1", "")
			l.state(name, "start")
			l.world.Host("hv1").At(step, func(u string) error {
				if u == uuid {
					return errors.New("the link was cut")
				}
				return nil
			})
			defer l.world.Host("hv1").At(step, nil)
			_, err := l.rules.SetVMNode(t.Context(), cluster.SetVMNode{VM: name, Action: "migrate", Node: "hv2", Wait: true})
			l.settled(uuid)
			where := "hv2"
			if err != nil {
				where = "hv1"
			}
			l.runsOn(uuid, where)
			l.neverTwice()
		})
	}
}

// decision: flush
// decision: ready
// decision: flush reads all
func TestAFlushMovesEveryGuestAndReadyBringsThemHome(t *testing.T) {
	l := newLab(t, "hv1", "hv2", "hv3")
	var uuids []string
	for i := range 8 {
		name := fmt.Sprintf("g%d", i)
		uuids = append(uuids, l.define(name, "hv1", ""))
		l.state(name, "start")
	}
	local := l.define("local", "hv1", `<disk type='block' device='disk'><source dev='/dev/sdb'/><target dev='vda'/></disk>`)
	l.state("local", "start")
	_, err := l.rules.SetDomainState(t.Context(), cluster.SetDomainState{Node: "hv1", State: "flush", Wait: true})
	if !errs.Is(err, errs.Conflict) {
		t.Fatalf("err = %v, want a conflict that names the guest that had to stay", err)
	}
	for _, u := range uuids {
		l.until("it has left", func(s *view.Snapshot) bool { vm, _ := s.VM(u); return vm.Node != "hv1" && vm.LastNode == "hv1" })
	}
	l.runsOn(local, "hv1")
	l.state("local", "stop")
	if _, err := l.rules.SetDomainState(t.Context(), cluster.SetDomainState{Node: "hv1", State: "flush", Wait: true}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.rules.SetDomainState(t.Context(), cluster.SetDomainState{Node: "hv1", State: "ready", Wait: true}); err != nil {
		t.Fatal(err)
	}
	for _, u := range uuids {
		l.runsOn(u, "hv1")
	}
	l.neverTwice()
}

func TestADeletedRunningVMIsDestroyedAndItsClaimReleased(t *testing.T) {
	l := newLab(t, "hv1")
	uuid := l.define("web1", "hv1", "")
	l.state("web1", "start")
	names, _, err := l.conn.Children(t.Context(), schema.VM(uuid))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names { // key by key, as an old client does
		l.commit(new(coord.Txn).Delete(schema.VM(uuid, n), coord.AnyVersion))
	}
	l.commit(new(coord.Txn).Delete(schema.VM(uuid), coord.AnyVersion))
	l.until("guest and claim are gone", func(*view.Snapshot) bool {
		_, there, err := l.conn.Exists(t.Context(), schema.Claim(uuid))
		return err == nil && !there && len(l.world.Executing(uuid)) == 0
	})
}

func TestDeleteWaitsForTheClaimAndLeavesNothing(t *testing.T) {
	l := newLab(t, "hv1")
	uuid := l.define("web1", "hv1", "")
	l.state("web1", "start")
	if _, err := l.rules.DeleteVM(t.Context(), cluster.DeleteVM{VM: "web1"}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{schema.VM(uuid), schema.Claim(uuid), schema.NodeVM("hv1", uuid)} {
		if _, there, err := l.conn.Exists(t.Context(), p); err != nil || there {
			t.Errorf("%s is left (%v)", p, err)
		}
	}
	if on := l.world.Executing(uuid); len(on) > 0 {
		t.Errorf("it still runs on %v", on)
	}
}
