package command

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

// Sessions outlive a busy machine, apart from those that a test lets expire.
const (
	sessionTime = 20 * time.Second
	brittleTime = 2500 * time.Millisecond
)

// world is what the hosts of a lab share beside ZooKeeper: volumes with ids, and clients
// that may be fenced. It notes what happened.
type world struct {
	mu      sync.Mutex
	ids     map[string]int // by full name
	nextID  int
	clients int
	fenced  map[string]bool
	notes   []string
}

func (w *world) note(format string, args ...any) {
	w.notes = append(w.notes, fmt.Sprintf(format, args...))
}

// events are the notes that contain a text, in order.
func (w *world) events(containing string) (out []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, n := range w.notes {
		if strings.Contains(n, containing) {
			out = append(out, n)
		}
	}
	return out
}

func (w *world) id(name string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ids[name]
}

// lab is a cluster with real ZooKeeper and hosts whose Ceph is a world.
type lab struct {
	t     testing.TB
	zoo   *ensemble.Ensemble
	conn  coord.Client
	world *world
	view  *view.View
	queue *Queue
}

// newLab makes a lab. Labs have nothing in common: tests with one run beside each other.
func newLab(t testing.TB, servers int) *lab {
	t.Helper()
	if t, ok := t.(*testing.T); ok {
		t.Parallel()
	}
	l := &lab{t: t, zoo: ensemble.Start(t, ensemble.Options{Servers: servers, Tick: 200 * time.Millisecond}), world: &world{ids: map[string]int{}, fenced: map[string]bool{}}}
	l.conn = coordtest.Dial(t, l.zoo.Addrs(), 10*time.Second, nil)
	txn := new(coord.Txn)
	for _, p := range []string{
		schema.Nodes, schema.Domains, schema.Networks, schema.Claims, schema.Config, schema.Commands,
		schema.Ceph, schema.CephOSDs, schema.CephPools, schema.CephVolumes, schema.CephSnapshots, schema.PoolVolumes("vms"), schema.PoolSnapshots("vms"),
	} {
		txn.Create(p, nil)
	}
	l.commit(txn.Create(schema.Primary, []byte(schema.NoPrimary)))
	l.view = l.open(l.zoo.Addrs(), view.WholeCluster, 4, sessionTime)
	l.queue = NewQueue(l.view)
	return l
}

func (l *lab) commit(txn *coord.Txn) {
	l.t.Helper()
	if _, err := l.conn.Commit(l.t.Context(), *txn); err != nil {
		l.t.Fatal(err)
	}
}

// open starts a view and waits for its first picture.
func (l *lab) open(servers []string, scope view.Scope, connections int, timeout time.Duration) *view.View {
	l.t.Helper()
	v := view.New(view.Options{Scope: scope, Dial: zk.Dial, Servers: servers, Timeout: timeout, Connections: connections, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = v.Run(ctx) }()
	l.t.Cleanup(func() { cancel(); <-done })
	coordtest.Eventually(l.t, "a picture", v.Ready)
	return v
}

// host is a daemon with a worker. It reaches ZooKeeper through a proxy of its own.
type host struct {
	l       *lab
	name    string
	proxy   *coordtest.Proxy
	session *labSession
	view    *view.View

	mu     sync.Mutex
	client string
	gates  map[string]*gate
	// before, if set, is called by Execute before it does anything.
	before func(ctx context.Context, c *Command, a Attempt) error
	// clientErr and fenceErr are what Client and Fence fail with.
	clientErr, fenceErr error

	worker *Worker
	cancel context.CancelFunc
	done   chan struct{}
}

// gate holds whoever comes first.
type gate struct {
	reached, open chan struct{}
	once          sync.Once
}

type labSession struct {
	client          coord.Client
	node, child, id string
}

func (s *labSession) Client() coord.Client  { return s.client }
func (s *labSession) Node() string          { return s.node }
func (s *labSession) Instance() string      { return s.id }
func (s *labSession) Lost() <-chan struct{} { return s.client.Lost() }
func (s *labSession) Check(t *coord.Txn) {
	t.Check(schema.Node(s.node, schema.NodeSession, s.child), coord.AnyVersion)
}

// register opens a registered session.
func (l *lab) register(name string, servers []string, timeout time.Duration) *labSession {
	l.t.Helper()
	return l.registerAs(model.NewID(), name, servers, timeout)
}

// registerAs is register by a daemon of that instance.
func (l *lab) registerAs(instance, name string, servers []string, timeout time.Duration) *labSession {
	l.t.Helper()
	s := &labSession{client: coordtest.Dial(l.t, servers, timeout, nil), node: name, id: instance, child: "session-boot-" + model.NewID()}
	if _, there, err := l.conn.Exists(l.t.Context(), schema.Node(name)); err != nil {
		l.t.Fatal(err)
	} else if !there {
		l.commit(new(coord.Txn).Create(schema.Node(name), nil).Create(schema.Node(name, schema.NodeDaemonMode), []byte("hypervisor")).
			Create(schema.Node(name, schema.NodeDaemonState), []byte("run")).Create(schema.Node(name, schema.NodeSession), []byte("{}")))
	}
	txn := new(coord.Txn).CreateEphemeral(schema.Node(name, schema.NodeSession, s.child), nil).
		Set(schema.Node(name, schema.NodeSession), fmt.Appendf(nil, `{"instance":%q}`, instance), coord.AnyVersion)
	if _, err := s.client.Commit(l.t.Context(), *txn); err != nil {
		l.t.Fatal(err)
	}
	return s
}

// again starts another daemon of a host.
func (l *lab) again(h *host, change func(w *Worker)) *host {
	l.t.Helper()
	return l.startAs(model.NewID(), h.name, sessionTime, change)
}

// host starts a host; change may set fields of its worker.
func (l *lab) host(name string, change func(w *Worker)) *host {
	l.t.Helper()
	return l.start(name, sessionTime, change)
}

// brittle starts a host whose sessions expire soon when it is frozen.
func (l *lab) brittle(name string) *host {
	l.t.Helper()
	return l.start(name, brittleTime, nil)
}

func (l *lab) start(name string, timeout time.Duration, change func(w *Worker)) *host {
	l.t.Helper()
	return l.startAs(model.NewID(), name, timeout, change)
}

func (l *lab) startAs(instance, name string, timeout time.Duration, change func(w *Worker)) *host {
	l.t.Helper()
	h := &host{l: l, name: name, proxy: coordtest.NewProxy(l.t, l.zoo.Addrs()), gates: map[string]*gate{}, done: make(chan struct{})}
	h.session = l.registerAs(instance, name, h.proxy.Addrs(), timeout)
	h.view = l.open(h.proxy.Addrs(), view.StorageHost, 1, timeout)
	h.worker = &Worker{Session: h.session, View: h.view, Client: h.connection, Fence: h.fence, Execute: h.execute, Step: h.step, Grace: 100 * time.Millisecond}
	if change != nil {
		change(h.worker)
	}
	ctx, cancel := context.WithCancel(context.Background())
	h.cancel = cancel
	go func() { defer close(h.done); _ = h.worker.Run(ctx) }()
	l.t.Cleanup(func() {
		h.openGates()
		cancel()
		<-h.done
	})
	for _, v := range []*view.View{l.view, h.view} {
		l.until(v, name+" is known", func(s *view.Snapshot) bool { return alive(s, name) })
	}
	return h
}

// openGates lets everybody pass, now and later.
func (h *host) openGates() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, g := range h.gates {
		g.once.Do(func() { close(g.open) })
	}
}

// hold makes the host stop at a step; the channel says that it has.
func (h *host) hold(step string) (reached <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	g := &gate{reached: make(chan struct{}), open: make(chan struct{})}
	h.gates[step] = g
	return g.reached
}

func (h *host) step(step string) {
	h.mu.Lock()
	g := h.gates[step]
	h.mu.Unlock()
	if g == nil {
		return
	}
	select {
	case <-g.reached:
	default:
		close(g.reached)
	}
	<-g.open
}

// connection is the host's Ceph client; a fenced one is replaced.
func (h *host) connection(context.Context) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	w := h.l.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if h.clientErr != nil {
		return "", h.clientErr
	}
	if h.client == "" || w.fenced[h.client] {
		w.clients++
		h.client = fmt.Sprintf("%s:0/%d", h.name, w.clients)
	}
	return h.client, nil
}

func (h *host) fence(_ context.Context, client string) error {
	h.mu.Lock()
	err := h.fenceErr
	h.mu.Unlock()
	if err != nil {
		return err
	}
	w := h.l.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.fenced[client] {
		w.fenced[client] = true
		w.note("fence %s by %s", client, h.name)
	}
	return nil
}

// execute adds and removes volumes as a careful executor does: by id, with a look first
// when it is not the first.
func (h *host) execute(ctx context.Context, c *Command, a Attempt) (Outcome, error) {
	if err := a.Begin(ctx); err != nil {
		return Outcome{}, err
	}
	if h.before != nil {
		if err := h.before(ctx, c, a); err != nil {
			return Outcome{}, err
		}
	}
	args, err := ParseArgs(c)
	if err != nil {
		return Outcome{}, err
	}
	switch args := args.(type) {
	case VolumeAdd:
		return h.add(a, args)
	case VolumeRemove:
		return h.remove(ctx, a, args)
	}
	return Outcome{Message: "nothing to do for " + c.Verb}, nil
}

func (h *host) add(a Attempt, args VolumeAdd) (Outcome, error) {
	w, name := h.l.world, args.Pool+"/"+args.Volume
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fenced[a.Client] {
		return Outcome{}, errs.New(errs.Internal, "ESHUTDOWN")
	}
	if w.ids[name] != 0 && a.Number == 1 {
		return Outcome{}, errs.Conflictf("EEXIST: volume %s exists", name)
	}
	if w.ids[name] == 0 {
		w.nextID++
		w.ids[name] = w.nextID
		w.note("create %s by %s", name, a.Client)
	}
	return Outcome{Message: "created " + name, Data: map[string]int{"id": w.ids[name]}, Records: func(s *view.Snapshot) (txn coord.Txn, err error) {
		if _, there := s.Volume(args.Pool, args.Volume); !there {
			txn.Create(schema.Volume(args.Pool, args.Volume), nil)
			txn.Create(schema.Volume(args.Pool, args.Volume, schema.StorageStats), schema.EncodeVolumeStats(args.Volume, model.VolumeStats{ID: "x", Size: args.Size}))
			txn.Create(schema.VolumeSnapshots(args.Pool, args.Volume), nil)
		}
		return txn, nil
	}}, nil
}

func (h *host) remove(ctx context.Context, a Attempt, args VolumeRemove) (Outcome, error) {
	w, name := h.l.world, args.Pool+"/"+args.Volume
	var id int
	if a.Number > 1 && len(a.Note) > 0 {
		if _, err := fmt.Sscan(string(a.Note), &id); err != nil {
			return Outcome{}, err
		}
	} else if id = w.id(name); id == 0 {
		return Outcome{}, errs.NotFoundf("ENOENT: no volume %s", name)
	}
	if err := a.Remember(ctx, id); err != nil {
		return Outcome{}, err
	}
	h.step("remembered")
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.fenced[a.Client] {
		w.note("refused %s", a.Client)
		return Outcome{}, errs.New(errs.Internal, "ESHUTDOWN")
	}
	if w.ids[name] == id {
		delete(w.ids, name)
		w.note("remove %s by %s", name, a.Client)
	}
	return Outcome{Message: "removed " + name, Records: func(s *view.Snapshot) (txn coord.Txn, err error) {
		if _, there := s.Volume(args.Pool, args.Volume); there {
			txn.Delete(schema.Volume(args.Pool, args.Volume, schema.StorageStats), coord.AnyVersion)
			txn.Delete(schema.Volume(args.Pool, args.Volume), coord.AnyVersion).Delete(schema.VolumeSnapshots(args.Pool, args.Volume), coord.AnyVersion)
		}
		return txn, nil
	}}, nil
}

// die ends the session as a killed process does, as far as others can see: at once.
func (h *host) die() { h.session.client.Close() }

// freeze is SIGSTOP as far as others can see, until the session has expired: the host
// itself goes on where it does not need ZooKeeper.
func (h *host) freeze() { h.proxy.Stall() }

// thaw is SIGCONT.
func (h *host) thaw() { h.proxy.Flow() }

func (l *lab) until(v *view.View, what string, ok func(s *view.Snapshot) bool) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), coordtest.Patience)
	defer cancel()
	if err := v.Until(ctx, func(s *view.Snapshot) (bool, error) { return ok(s), nil }); err != nil {
		var left string
		v.Read(func(s *view.Snapshot) {
			for _, c := range s.Commands() {
				left += fmt.Sprintf("\n%s %s: %s, result %+v", c.Verb, c.Args, waitsFor(s, c), c.Result)
			}
		})
		l.t.Fatalf("%s: %v%s", what, err, left)
	}
}

// do submits a request and waits for its end.
func (l *lab) do(q *Queue, r Request) (Result, error) {
	ctx, cancel := context.WithTimeout(l.t.Context(), 2*coordtest.Patience)
	defer cancel()
	return q.Do(ctx, r)
}

// submit puts a request into the queue.
func (l *lab) submit(r Request) Handle {
	l.t.Helper()
	h, err := l.queue.Submit(l.t.Context(), r)
	if err != nil {
		l.t.Fatal(err)
	}
	return h
}

// wait waits for the end of a command.
func (l *lab) wait(h Handle) (Result, error) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), coordtest.Patience)
	defer cancel()
	r, err := l.queue.Wait(ctx, h)
	if ctx.Err() != nil {
		l.t.Fatal(err)
	}
	return r, err
}

func reach(t *testing.T, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(coordtest.Patience):
		t.Fatalf("not reached: %s", what)
	}
}

func volume(name string) VolumeAdd {
	return VolumeAdd{Pool: "vms", Volume: name, Size: 1 << 30}
}
