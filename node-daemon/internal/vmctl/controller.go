package vmctl

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/console"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/reconcile"
)

// Session is the daemon's presence in the cluster: one registration. What it commits
// is bound to it, so that a daemon whose registration is over cannot change anything.
type Session interface {
	Node() string
	BootID() string
	Instance() string
	// Check makes a transaction fail unless this very registration is in force.
	Check(t *coord.Txn)
	// LeaseLeft is how long the registration is certain to be in force; it saves
	// useless starts and proves nothing.
	LeaseLeft() time.Duration
}

// Console keeps the console logs of the guests of this host.
type Console interface {
	Follow(g console.Guest)
	Finish(ctx context.Context, uuid string) error
	Mark(ctx context.Context, uuid, line string) error
	Size(name string) int64
	Path(name string) string
}

// Processes sees QEMU processes without the hypervisor's help.
type Processes interface {
	Gone(uuid string) (bool, error)
	Kill(uuid string) error
}

// Migration says how guests are sent.
type Migration struct {
	// PeerURI is where a node's hypervisor is reached from other hosts.
	PeerURI func(node string) string
	// MemoryURI is where a node receives guest memory; nil leaves it to the hypervisor.
	MemoryURI    func(node string) string
	BandwidthMiB int // MiB/s, 0 is no limit
	TLS          bool
	Parallel     int
}

// Options of a controller.
type Options struct {
	Dial       coord.Dialer
	Servers    []string
	Timeout    time.Duration
	Digest     string
	Hypervisor hypervisor.Hypervisor
	Peer       hypervisor.Peer
	Processes  Processes
	Console    Console
	Migration  Migration
	Limits     Limits
	// Storage is nil if this host does not look after storage: it then runs no guests
	// with RBD disks.
	Storage Storage
	// ParallelStarts bounds the guests that are started at the same time; half as many
	// with RBD disks may be started beside them.
	ParallelStarts int
	// CrashLimit crashes within CrashWindow make a VM failed.
	CrashLimit  int
	CrashWindow time.Duration
	// Resync is the time between looks at everything without being told; 0 is 60 s.
	Resync time.Duration
	Logger *slog.Logger
	// Cluster opens the rules over a view of the whole cluster, for as long as a flush
	// takes; the view runs until ctx ends.
	Cluster func(ctx context.Context) *cluster.Cluster
	// Step, for tests, is called before each step is carried out.
	Step func(uuid string, a Action)
	// Networks waits until these bridges are there, and says why one is not; nil if this
	// host does not look after networks.
	Networks func(ctx context.Context, bridges []string) error
}

// Controller makes the guests of this host agree with the records. What it remembers
// of them outlives sessions.
type Controller struct {
	o      Options
	queue  *reconcile.Queue
	memory *memory
	starts *slots
	// startsOnCeph are for guests with RBD images: those without must not wait for a Ceph
	// that hangs. They are half as many, because each that hangs takes one of the few
	// requests that libvirtd works on for one client (five).
	startsOnCeph *slots
	sends        *slots

	mu      sync.Mutex
	session Session
	scope   *scope // nil while the records cannot be read

	sending sync.WaitGroup

	domainState chan struct{} // this node's domain state may have changed
}

// New returns a controller.
func New(o Options) *Controller {
	if o.Resync == 0 {
		o.Resync = time.Minute
	}
	if o.Limits.Clients == 0 {
		o.Limits.Clients = 30 * time.Second
	}
	if o.Step == nil {
		o.Step = func(string, Action) {}
	}
	c := &Controller{o: o, memory: newMemory(), domainState: make(chan struct{}, 1)}
	c.queue = reconcile.New(c.reconcile, reconcile.Options{OnError: func(uuid string, err error) {
		o.Logger.Warn("cannot bring a VM into its state yet", "vm", uuid, "err", err)
	}})
	c.starts = newSlots(max(o.ParallelStarts, 1), c.queue.Add)
	c.startsOnCeph = newSlots(max(o.ParallelStarts/2, 1), c.queue.Add)
	c.sends = newSlots(max(o.Migration.Parallel, 1), c.queue.Add)
	return c
}

// Watch notes what happens to the guests until ctx ends. It outlasts sessions: a guest that
// was sent or ended while there was none is not one that ended unseen.
func (c *Controller) Watch(ctx context.Context) error {
	cancel := c.o.Hypervisor.Subscribe(c.event)
	defer cancel()
	<-ctx.Done()
	return nil
}

// Run works for as long as the session lasts. Guests go on when it returns. Watch has to
// run beside it.
func (c *Controller) Run(ctx context.Context, s Session) error {
	c.mu.Lock()
	c.session = s
	c.mu.Unlock()
	var loops sync.WaitGroup
	loops.Go(func() { _ = c.queue.Run(ctx) })
	loops.Go(func() { c.flushLoop(ctx) })
	c.followRecords(ctx)
	c.abortTransfers()
	loops.Wait() // a step that is under way may still begin a transfer
	c.abortTransfers()
	c.sending.Wait()
	return nil
}

// event notes what a guest did and has it looked at.
func (c *Controller) event(e hypervisor.Event) {
	_, s, ok := c.current()
	if e.Kind == hypervisor.EventResync {
		if ok {
			signal(s.relook)
		}
		return
	}
	c.memory.note(e)
	c.queue.Add(e.UUID)
	if ok && e.Kind == hypervisor.EventStarted {
		signal(s.look) // it may be one that should not run here
	}
}

// current returns the session and the records, ok false while they cannot be read.
func (c *Controller) current() (Session, *scope, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.session, c.scope, c.scope != nil
}

// Guests are the VMs this host has claims of, by UUID.
func (c *Controller) Guests() map[string]*model.VM {
	out := map[string]*model.VM{}
	session, s, ok := c.current()
	if !ok {
		return out
	}
	s.mirror.Read(func(t schema.Tree) {
		for uuid := range s.watched() {
			if vm, ok, _ := schema.DecodeVM(t, uuid); ok && vm.Claim != nil && vm.Claim.Owner.Node == session.Node() {
				out[uuid] = vm
			}
		}
	})
	return out
}

// commit executes a transaction about a VM, bound to the session.
func (c *Controller) commit(ctx context.Context, uuid string, txn coord.Txn) error {
	session, s, ok := c.current()
	if !ok {
		return errNoRecords
	}
	session.Check(&txn)
	_, err := s.mirror.Commit(ctx, view.GroupOf(schema.VM(uuid)), txn)
	return err
}
