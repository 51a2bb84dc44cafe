package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

// history records who has its listener open and complains when two have.
type history struct {
	t      *testing.T
	mu     sync.Mutex
	open   string
	events []string
}

func (h *history) opened(node string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open != "" {
		h.t.Errorf("%s opens while %s is open", node, h.open)
	}
	h.open = node
	h.events = append(h.events, "+"+node)
}

func (h *history) closed(node string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open == node {
		h.open = ""
	}
	h.events = append(h.events, "-"+node)
}

func (h *history) current() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.open
}

func (h *history) dump() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]string(nil), h.events...)
}

// recorded is a real listener that tells the history of its end.
type recorded struct {
	net.Listener
	h    *history
	node string
}

func (l recorded) Close() error {
	defer l.h.closed(l.node)
	return l.Listener.Close()
}

// serve greets whoever connects.
func serve(ctx context.Context, l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		fmt.Fprintln(c, "hello")
		c.Close()
	}
}

type site struct {
	t *testing.T
	e *ensemble.Ensemble
	o coord.Client
	h *history
}

func newSite(t *testing.T) *site {
	t.Helper()
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	s := &site{t: t, e: e, h: &history{t: t}}
	s.o = coordtest.Dial(t, e.Addrs(), 8*time.Second, nil)
	coordtest.Put(t, s.o, schema.Primary, schema.NoPrimary)
	return s
}

func (s *site) options(node string, servers []string) Options {
	return Options{
		Node: node, Dial: zk.Dial, Coord: coord.Options{Servers: servers, Timeout: 2 * time.Second},
		Ready: func(context.Context) error { return nil },
		Open: func() (net.Listener, error) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err == nil {
				s.h.opened(node)
			}
			return recorded{l, s.h, node}, err
		},
		Serve:  serve,
		Logger: slog.New(slog.NewTextHandler(s.t.Output(), &slog.HandlerOptions{Level: slog.LevelDebug})).With("host", node),
	}
}

// start runs a follower until the returned function is called or the test ends.
func (s *site) start(o Options) (stop func()) {
	ctx, cancel := context.WithCancel(s.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := Run(ctx, o); err != nil {
			s.t.Error(err)
		}
	}()
	stop = func() { cancel(); <-done }
	s.t.Cleanup(stop)
	return stop
}

// elect makes a node the holder, as an election does: both znodes at once.
func (s *site) elect(node string) {
	s.t.Helper()
	txn := new(coord.Txn)
	if _, there, err := s.o.Exists(s.t.Context(), schema.PrimaryHolder); err != nil {
		s.t.Fatal(err)
	} else if there {
		txn.Delete(schema.PrimaryHolder, coord.AnyVersion)
	}
	txn.Set(schema.Primary, []byte(node), coord.AnyVersion).CreateEphemeral(schema.PrimaryHolder, []byte(node))
	if _, err := s.o.Commit(s.t.Context(), *txn); err != nil {
		s.t.Fatal(err)
	}
}

func (s *site) await(what, node string) {
	s.t.Helper()
	coordtest.Eventually(s.t, what, func() bool { return s.h.current() == node })
}

// decision: API listener
func TestTheListenerFollowsThePrimaryWithoutOverlap(t *testing.T) {
	s := newSite(t)
	stop := s.start(s.options("hv1", s.e.Addrs()))
	s.start(s.options("hv2", s.e.Addrs()))
	s.elect("hv1")
	s.await("the first primary's", "hv1")
	s.elect("hv2")
	s.await("the second primary's", "hv2")
	s.elect("hv1")
	s.await("back again", "hv1")
	stop()
	if _, there := coordtest.Data(t, s.o, schema.PrimaryListener); there || s.h.current() != "" {
		t.Errorf("after a clean end: znode left %v, open %q", there, s.h.current())
	}
	want := []string{"+hv1", "-hv1", "+hv2", "-hv2", "+hv1", "-hv1"}
	if d := cmp.Diff(want, s.h.dump()); d != "" {
		t.Errorf("history (-want +got):\n%s", d)
	}
}

func TestAnApiThatIsCutOffClosesBeforeTheNextOneOpens(t *testing.T) {
	s := newSite(t)
	proxy := coordtest.NewProxy(t, s.e.Addrs())
	s.start(s.options("hv1", proxy.Addrs()))
	s.start(s.options("hv2", s.e.Addrs()))
	s.elect("hv1")
	s.await("the first primary's", "hv1")
	proxy.Stall()
	s.elect("hv2")
	s.await("the second primary's", "hv2") // the history complains about an overlap
	proxy.Flow()
	s.elect("hv1")
	s.await("the first one's again", "hv1")
}

func TestAnOutageOfTheEnsembleClosesNothing(t *testing.T) {
	s := newSite(t)
	s.start(s.options("hv1", s.e.Addrs()))
	// The holder has to outlive the outage: its session is long.
	s.elect("hv1")
	s.await("the primary's", "hv1")
	s.e.Kill(0)
	const outage = 5 * time.Second // two and a half times the session
	end := time.After(outage)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for over := false; !over; {
		select {
		case <-end:
			over = true
		case <-tick.C:
			if s.h.current() != "hv1" {
				t.Fatalf("closed during the outage: %v", s.h.dump())
			}
		}
	}
	s.e.Start(0)
	s.e.WaitServing()
	s.await("still the primary's", "hv1")
}

func TestTheListenerOpensOnlyWhenThePictureIsComplete(t *testing.T) {
	s := newSite(t)
	complete := make(chan struct{})
	asked := make(chan struct{}, 16)
	o := s.options("hv1", s.e.Addrs())
	o.Ready = func(ctx context.Context) error {
		asked <- struct{}{}
		select {
		case <-complete:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	s.start(o)
	s.elect("hv1")
	<-asked
	if s.h.current() != "" {
		t.Error("open before the picture was complete")
	}
	s.elect("hv2") // moves away while it gets ready
	s.elect("hv1")
	close(complete)
	s.await("the primary's", "hv1")
}

func TestAnAddressThatIsNotThereYetIsTriedAgain(t *testing.T) {
	s := newSite(t)
	o := s.options("hv1", s.e.Addrs())
	open, attempts := o.Open, 0
	o.Open = func() (net.Listener, error) {
		if attempts++; attempts < 3 {
			return nil, errors.New("cannot assign requested address")
		}
		return open()
	}
	s.start(o)
	s.elect("hv1")
	s.await("at the third attempt", "hv1")
}

func TestAServerThatEndsByItselfIsStartedAgain(t *testing.T) {
	s := newSite(t)
	o := s.options("hv1", s.e.Addrs())
	served := 0
	o.Serve = func(ctx context.Context, l net.Listener) error {
		if served++; served == 1 {
			return errs.New(errs.Internal, "an accident")
		}
		return serve(ctx, l)
	}
	s.start(o)
	s.elect("hv1")
	coordtest.Eventually(t, "opened twice", func() bool { return len(s.h.dump()) == 3 })
	s.await("the second one", "hv1")
}
