package cephctl

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/coord/watch"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph/fake"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

// sessionTime is that of the hosts' sessions, which tests wait for to expire; patientSession
// that of who looks on.
const (
	sessionTime    = 3 * time.Second
	patientSession = 10 * time.Second
)

var quiet = slog.New(slog.DiscardHandler)

// lab is a cluster with a real ZooKeeper, hosts with our code, and somebody who asks.
type lab struct {
	t     *testing.T
	zoo   *ensemble.Ensemble
	conn  coord.Client
	view  *view.View
	queue *command.Queue
}

// newLab makes a lab. Labs have nothing in common: tests with one run beside each other.
func newLab(t *testing.T) *lab {
	t.Helper()
	t.Parallel()
	l := &lab{t: t, zoo: ensemble.Start(t, ensemble.Options{Servers: 1, Tick: 200 * time.Millisecond})}
	l.conn = coordtest.Dial(t, l.zoo.Addrs(), patientSession, nil)
	txn := new(coord.Txn)
	for _, p := range []string{
		schema.Nodes, schema.Domains, schema.Networks, schema.Claims, schema.Config, schema.Commands,
		schema.Ceph, schema.CephOSDs, schema.CephPools, schema.CephVolumes, schema.CephSnapshots,
	} {
		txn.Create(p, nil)
	}
	l.commit(txn.Create(schema.Primary, []byte(schema.NoPrimary)).CreateEphemeral(schema.PrimaryHolder, []byte("hv1")))
	l.view = l.open(l.zoo.Addrs(), view.WholeCluster, patientSession)
	l.queue = command.NewQueue(l.view)
	return l
}

func (l *lab) commit(txn *coord.Txn) {
	l.t.Helper()
	if _, err := l.conn.Commit(l.t.Context(), *txn); err != nil {
		l.t.Fatal(err)
	}
}

// open starts a view and waits for its first picture.
func (l *lab) open(servers []string, scope view.Scope, session time.Duration) *view.View {
	l.t.Helper()
	v := view.New(view.Options{Scope: scope, Dial: zk.Dial, Servers: servers, Timeout: session, Connections: 1, Logger: quiet})
	l.background(v.Run)
	coordtest.Eventually(l.t, "a picture", v.Ready)
	return v
}

// background runs a loop until the end of the test, or until it is stopped before.
func (l *lab) background(run func(context.Context) error) (stop func()) {
	l.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			l.t.Errorf("a loop ended with %v", err)
		}
	})
	l.t.Cleanup(stop)
	return stop
}

// session is a registered session, as package liveness has it.
type session struct {
	client                coord.Client
	hub                   *watch.Hub
	node, instance, child string
}

func (s *session) Client() coord.Client  { return s.client }
func (s *session) Node() string          { return s.node }
func (s *session) Instance() string      { return s.instance }
func (s *session) Lost() <-chan struct{} { return s.client.Lost() }
func (s *session) Check(t *coord.Txn) {
	t.Check(schema.Node(s.node, schema.NodeSession, s.child), coord.AnyVersion)
}

// host is a daemon as far as storage goes.
type host struct {
	l       *lab
	name    string
	proxy   *coordtest.Proxy
	session *session
	view    *view.View
	cluster ceph.Cluster

	mu    sync.Mutex
	gates map[string]*gate
	stop  func()
}

// gate holds whoever comes to a step.
type gate struct {
	reached, open chan struct{}
	once          sync.Once
}

func (l *lab) host(name string, cluster ceph.Cluster) *host {
	l.t.Helper()
	return l.hostAs(model.NewID(), name, cluster)
}

// hostAs is host with a daemon of that instance.
func (l *lab) hostAs(instance, name string, cluster ceph.Cluster) *host {
	l.t.Helper()
	h := &host{l: l, name: name, proxy: coordtest.NewProxy(l.t, l.zoo.Addrs()), cluster: cluster, gates: map[string]*gate{}}
	h.session = l.register(instance, name, h.proxy.Addrs())
	h.view = l.open(h.proxy.Addrs(), view.StorageHost, sessionTime)
	users := &Users{Dial: zk.Dial, Options: coord.Options{Servers: h.proxy.Addrs(), Timeout: sessionTime}}
	l.t.Cleanup(users.Close)
	e := &Executor{Cluster: cluster, View: h.view, Users: users.Of, Logger: quiet}
	w := &command.Worker{
		Session: h.session, View: h.view, Client: e.Client, Fence: e.Fence, Quiet: e.Quiet, Execute: e.Execute, Long: e.Long,
		Step: h.step, Grace: 100 * time.Millisecond,
	}
	h.stop = l.background(w.Run)
	l.t.Cleanup(h.openGates)
	for _, v := range []*view.View{l.view, h.view} {
		l.until(v, name+" is known", func(s *view.Snapshot) bool { n, ok := s.Node(name); return ok && n.Alive() })
	}
	return h
}

func (l *lab) register(instance, name string, servers []string) *session {
	l.t.Helper()
	hub := new(watch.Hub)
	s := &session{client: coordtest.Dial(l.t, servers, sessionTime, hub.OnEvent), hub: hub, node: name, instance: instance, child: "session-boot-" + model.NewID()}
	if _, there, err := l.conn.Exists(l.t.Context(), schema.Node(name)); err != nil {
		l.t.Fatal(err)
	} else if !there {
		l.commit(new(coord.Txn).Create(schema.Node(name), nil).Create(schema.Node(name, schema.NodeDaemonMode), []byte("coordinator")).
			Create(schema.Node(name, schema.NodeDaemonState), []byte("run")).Create(schema.Node(name, schema.NodeSession), []byte("{}")))
	}
	txn := new(coord.Txn).CreateEphemeral(schema.Node(name, schema.NodeSession, s.child), nil).
		Set(schema.Node(name, schema.NodeSession), fmt.Appendf(nil, `{"instance":%q}`, s.instance), coord.AnyVersion)
	if _, err := s.client.Commit(l.t.Context(), *txn); err != nil {
		l.t.Fatal(err)
	}
	return s
}

// removeNode forgets a host whose registration has ended.
func (l *lab) removeNode(name string) {
	l.t.Helper()
	txn := new(coord.Txn)
	for _, key := range []string{schema.NodeDaemonMode, schema.NodeDaemonState, schema.NodeSession} {
		txn.Delete(schema.Node(name, key), coord.AnyVersion)
	}
	l.commit(txn.Delete(schema.Node(name), coord.AnyVersion))
	l.until(l.view, name+" is removed", func(s *view.Snapshot) bool { _, there := s.Node(name); return !there })
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

// openGates lets everybody pass, now and later.
func (h *host) openGates() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, g := range h.gates {
		g.once.Do(func() { close(g.open) })
	}
}

// reconciler starts one on the host.
func (h *host) reconciler() *reports {
	r := &reports{}
	rec := &Reconciler{Session: h.session, Cluster: h.cluster, View: h.view, Every: 100 * time.Millisecond, Health: r.add, Logger: quiet}
	h.l.background(rec.Run)
	return r
}

// reports are what a reconciler said after each pass.
type reports struct {
	mu  sync.Mutex
	all []string
}

func (r *reports) add(s string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, s)
}

// after waits for passes that began after the call, and returns what the last one said.
func (r *reports) after(t *testing.T, passes int) string {
	t.Helper()
	count := func() (int, string) {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.all) == 0 {
			return 0, ""
		}
		return len(r.all), r.all[len(r.all)-1]
	}
	before, _ := count()
	coordtest.Eventually(t, "passes of the reconciler", func() bool { n, _ := count(); return n >= before+passes+1 })
	_, said := count()
	return said
}

// last is the last report.
func (r *reports) last() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.all) == 0 {
		return ""
	}
	return r.all[len(r.all)-1]
}

// until waits for the records.
func (l *lab) until(v *view.View, what string, ok func(s *view.Snapshot) bool) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), coordtest.Patience)
	defer cancel()
	if err := v.Until(ctx, func(s *view.Snapshot) (bool, error) { return ok(s), nil }); err != nil {
		l.t.Fatalf("%s: %v", what, err)
	}
}

// do has a command executed; its records are shown afterwards.
func (l *lab) do(a command.Args) (command.Result, error) {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(l.t.Context(), coordtest.Patience)
	defer cancel()
	r, err := l.queue.Do(ctx, command.Request{Args: a})
	if ctx.Err() != nil {
		l.t.Fatal(err)
	}
	if serr := l.view.Sync(ctx); serr != nil {
		l.t.Fatal(serr)
	}
	return r, err
}

// must is do for a command that has to go well.
func (l *lab) must(a command.Args) {
	l.t.Helper()
	if _, err := l.do(a); err != nil {
		l.t.Fatalf("%s %+v: %v", a.Verb(), a, err)
	}
}

// fails is do for a command that has to fail with that kind and text.
func (l *lab) fails(a command.Args, kind errs.Kind, texts ...string) {
	l.t.Helper()
	_, err := l.do(a)
	if !errs.Is(err, kind) {
		l.t.Errorf("%s %+v: %v, want %v", a.Verb(), a, err, kind)
		return
	}
	for _, text := range texts {
		if !contains(err, text) {
			l.t.Errorf("%s %+v: %q does not say %q", a.Verb(), a, err, text)
		}
	}
}

// keys lists the records below a path, sorted; they may go meanwhile.
func (l *lab) keys(root string) (all []string) {
	l.t.Helper()
	children, _, err := l.conn.Children(l.t.Context(), root)
	if err != nil && !errs.Is(err, errs.NotFound) {
		l.t.Fatal(err)
	}
	for _, c := range children {
		all = append(append(all, root+"/"+c), l.keys(root+"/"+c)...)
	}
	slices.Sort(all)
	return all
}

func (l *lab) data(path string) string {
	l.t.Helper()
	text, ok := coordtest.Data(l.t, l.conn, path)
	if !ok {
		l.t.Fatalf("%s is not there", path)
	}
	return text
}

// vm defines a VM with RBD disks.
func (l *lab) vm(uuid, name string, volumes ...string) {
	l.t.Helper()
	xml := "<domain type='qemu'><name>" + name + "</name><uuid>" + uuid + "</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type>hvm</type></os><devices>"
	for i, v := range volumes {
		xml += "<disk type='network' device='disk'><source protocol='rbd' name='" + v + "'><host name='192.0.2.1' port='6789'/></source><target dev='vd" + string(rune('a'+i)) + "' bus='virtio'/></disk>"
	}
	l.commit(new(coord.Txn).Create(schema.VM(uuid), []byte(name)).Create(schema.VM(uuid, schema.VMXML), []byte(xml+"</devices></domain>")).
		Create(schema.VM(uuid, schema.VMRBDList), nil))
}

func (l *lab) fakeHosts(names ...string) (*fake.World, []*host, []*fake.Client) {
	l.t.Helper()
	w := fake.NewWorld()
	var hosts []*host
	var clients []*fake.Client
	for _, n := range names {
		c := w.Connect()
		clients, hosts = append(clients, c), append(hosts, l.host(n, c))
	}
	return w, hosts, clients
}

func reach(t *testing.T, what string, ch <-chan struct{}) {
	t.Helper()
	select {
	case <-ch:
	case <-time.After(coordtest.Patience):
		t.Fatalf("not reached: %s", what)
	}
}

// deleteVM is what becomes of a VM of [lab.vm].
func deleteVM(uuid string) *coord.Txn {
	return new(coord.Txn).Delete(schema.VM(uuid, schema.VMXML), coord.AnyVersion).Delete(schema.VM(uuid, schema.VMRBDList), coord.AnyVersion).
		Delete(schema.VM(uuid), coord.AnyVersion)
}
