package primary

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/liveness"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

// history records who holds the role, and complains when two do.
type history struct {
	t      *testing.T
	mu     sync.Mutex
	holder string
	events []string
}

func (h *history) current() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.holder
}

func (h *history) dump() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.events...)
}

// recorded is a role that writes the history.
type recorded struct {
	h    *history
	node string
	fail bool
}

func (r *recorded) Name() string { return "recorded" }

func (r *recorded) Acquire(context.Context, time.Duration) error {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	if r.fail {
		return fmt.Errorf("refused on purpose")
	}
	if r.h.holder != "" && r.h.holder != r.node {
		r.h.t.Errorf("%s acquires while %s holds", r.node, r.h.holder)
	}
	r.h.holder = r.node
	r.h.events = append(r.h.events, "+"+r.node)
	return nil
}

func (r *recorded) Keep(context.Context, time.Duration) error { return nil }

func (r *recorded) Release(context.Context) error {
	r.h.mu.Lock()
	defer r.h.mu.Unlock()
	if r.h.holder == r.node {
		r.h.holder = ""
		r.h.events = append(r.h.events, "-"+r.node)
	}
	return nil
}

// site is a set of coordinators, each behind a proxy of its own.
type site struct {
	t     *testing.T
	o     coord.Client
	h     *history
	hosts map[string]*host

	timeout, margin time.Duration // of the sessions
}

type host struct {
	proxy *coordtest.Proxy
	role  *recorded
	stop  context.CancelFunc
	done  chan struct{}
}

var names = []string{"hv1", "hv2", "hv3"}

func newSite(t *testing.T) *site {
	return newSiteOn(t, ensemble.Start(t, ensemble.Options{Servers: 1}))
}

func newSiteOn(t *testing.T, e *ensemble.Ensemble) *site {
	t.Helper()
	s := &site{t: t, h: &history{t: t}, hosts: map[string]*host{}, timeout: 2 * time.Second, margin: 700 * time.Millisecond}
	s.o = coordtest.Dial(t, e.Addrs(), 4*time.Second, nil)
	for _, name := range names {
		s.hosts[name] = &host{proxy: coordtest.NewProxy(t, e.Addrs()), role: &recorded{h: s.h, node: name}}
	}
	return s
}

func (s *site) start(name string) {
	s.t.Helper()
	h := s.hosts[name]
	ctx, cancel := context.WithCancel(s.t.Context())
	h.stop, h.done = cancel, make(chan struct{})
	log := slog.New(slog.NewTextHandler(s.t.Output(), nil)).With("host", name)
	r := liveness.New(liveness.Options{
		Node: name, Mode: model.ModeCoordinator, LockDir: s.t.TempDir(),
		Host: liveness.Host{BootID: "b1", MachineID: "m-" + name, Static: "2 6.1 GNU/Linux x86_64"},
		Dial: zk.Dial, Coord: coord.Options{Servers: h.proxy.Addrs(), Timeout: s.timeout},
		Margin: s.margin, Logger: log,
	})
	go func() {
		defer close(h.done)
		err := r.Run(ctx, func(ctx context.Context, session *liveness.Session) error {
			if err := session.Started(ctx); err != nil {
				return err
			}
			return NewCandidate(session, Options{Coordinators: names, Roles: []Role{h.role}, Logger: log}).Run(ctx)
		})
		if err != nil {
			s.t.Errorf("%s: %v", name, err)
		}
	}()
	s.t.Cleanup(func() { cancel(); <-h.done })
	coordtest.Eventually(s.t, name+" runs", func() bool {
		return s.data(schema.Node(name, schema.NodeDaemonState)) == "run"
	})
}

func (s *site) data(path string) string {
	text, _ := coordtest.Data(s.t, s.o, path)
	return text
}

// primary waits until a node is primary in every respect.
func (s *site) primary(what string, is func(name string) bool) string {
	s.t.Helper()
	var name string
	coordtest.Eventually(s.t, what, func() bool {
		name = s.h.current()
		return name != "" && is(name) && s.data(schema.Primary) == name && s.data(schema.PrimaryHolder) == name &&
			s.data(schema.Node(name, schema.NodeRouterState)) == "primary"
	})
	for _, other := range names {
		if got := s.data(schema.Node(other, schema.NodeRouterState)); other != name && got == "primary" {
			s.t.Errorf("%s is also shown as %s", other, got)
		}
	}
	return name
}

func (s *site) ask(wish string) { coordtest.Put(s.t, s.o, schema.Primary, wish) }

func anyone(string) bool { return true }

func but(name string) func(string) bool { return func(s string) bool { return s != name } }

func only(name string) func(string) bool { return func(s string) bool { return s == name } }

func other(name string) string {
	for _, n := range names {
		if n != name {
			return n
		}
	}
	return ""
}

func TestOneOfThreeIsPrimaryThroughEveryHandOver(t *testing.T) {
	s := newSite(t)
	for _, name := range names {
		s.start(name)
	}
	first := s.primary("a first primary", anyone)

	named := other(first)
	s.ask(named)
	s.primary("the named one", only(named))

	s.ask(schema.NoPrimary)
	second := s.primary("another after none", but(named))

	s.ask("hv99")
	s.primary("the holder stays when an unknown one is named", only(second))

	s.hosts[second].stop()
	<-s.hosts[second].done
	third := s.primary("another after a clean end", but(second))

	s.hosts[third].proxy.Stall()
	fourth := s.primary("another after a stall", but(third))
	s.hosts[third].proxy.Flow()
	coordtest.Eventually(t, "the stalled one is back", func() bool {
		return s.data(schema.Node(third, schema.NodeRouterState)) == "secondary"
	})
	s.primary("the role stays where it is", only(fourth))
	t.Log(s.h.dump())
}

func TestADroppedConnectionMovesNothing(t *testing.T) {
	s := newSite(t)
	s.timeout, s.margin = 10*time.Second, liveness.DefaultMargin // as shipped: a new connection takes a second
	for _, name := range names {
		s.start(name)
	}
	first := s.primary("a first primary", anyone)
	before := len(s.h.dump())
	for range 3 {
		s.hosts[first].proxy.Drop()
		version := s.keepalive(first)
		coordtest.Eventually(t, "a beat over a new connection", func() bool { return s.keepalive(first) > version })
	}
	if after := s.h.dump(); len(after) != before {
		t.Errorf("the role moved: %v", after)
	}
}

func TestTheLossOfTheZooKeeperLeaderLeavesOnePrimary(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 3})
	s := newSiteOn(t, e)
	for _, name := range names {
		s.start(name)
	}
	first := s.primary("a first primary", anyone)
	for range 2 {
		leader := e.Leader()
		e.Kill(leader)
		version := s.eventualKeepalive(first, -1)
		s.eventualKeepalive(first, version)
		e.Start(leader)
		e.WaitServing()
		s.eventualKeepalive(first, version)
		s.primary("one primary", anyone) // the history complains about two
	}
}

// eventualKeepalive waits for a version of the keepalive above the given one; the
// observer's own connection may be away for a while.
func (s *site) eventualKeepalive(name string, above int32) (version int32) {
	s.t.Helper()
	coordtest.Eventually(s.t, "a beat of "+name, func() bool {
		st, there, err := s.o.Exists(s.t.Context(), schema.Node(name, schema.NodeKeepalive))
		version = st.Version
		return err == nil && there && version > above
	})
	return version
}

func (s *site) keepalive(name string) int32 {
	st, _, err := s.o.Exists(s.t.Context(), schema.Node(name, schema.NodeKeepalive))
	if err != nil {
		s.t.Fatal(err)
	}
	return st.Version
}

func TestWhoCannotTakeTheRoleLeavesItToAnother(t *testing.T) {
	s := newSite(t)
	s.hosts["hv1"].role.fail = true
	s.start("hv1")
	coordtest.Eventually(t, "the only candidate tries", func() bool { return s.data(schema.PrimaryHolder) == "hv1" })
	s.start("hv2")
	s.primary("the other one", only("hv2"))
}

func TestALoneCoordinatorTakesTheRoleBackWhenNoneIsAskedFor(t *testing.T) {
	s := newSite(t)
	s.start("hv1")
	s.primary("the only one", anyone)
	s.ask(schema.NoPrimary)
	s.primary("the only one again", only("hv1"))
	s.ask("hv2") // known, but not there
	s.primary("the only one still", only("hv1"))
	if events := s.h.dump(); len(events) != 1 {
		t.Errorf("the role moved: %v", events)
	}
}

func TestTheElectionGoesOnAfterAnOldClientHasDeletedTheKey(t *testing.T) {
	s := newSite(t)
	s.start("hv1")
	s.primary("the only one", anyone)
	txn := new(coord.Txn).Delete(schema.PrimaryHolder, coord.AnyVersion).Delete(schema.Primary, coord.AnyVersion)
	if _, err := s.o.Commit(t.Context(), *txn); err != nil {
		t.Fatal(err)
	}
	s.primary("the only one again", only("hv1"))
}
