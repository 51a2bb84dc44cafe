package liveness

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/ensemble"
	"github.com/parallelvirtualcluster/pvc/common/coord/lease"
	"github.com/parallelvirtualcluster/pvc/common/coord/watch"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// IPMI is how the power of the host is controlled, as the old system publishes it.
type IPMI struct{ Host, User, Password string }

// DefaultMargin is two ticks of 500 ms and a second.
const DefaultMargin = 2 * time.Second

// Options are what a registrar needs. Guests, Facts and Margin may be left out.
type Options struct {
	Node    string
	Mode    model.DaemonMode
	Host    Host
	Version string // of pvcd
	IPMI    IPMI
	LockDir string // on a file system of this host alone

	Dial   coord.Dialer
	Coord  coord.Options // OnEvent is ours
	Margin time.Duration // of the lease; 0 is DefaultMargin

	// Guests reports the running guests, for the figures; slow is fine.
	Guests func(ctx context.Context) (Guests, error)
	// Facts reports what the host tells about itself; slow is fine.
	Facts  func(ctx context.Context) (model.NodeFacts, error)
	Logger *slog.Logger
}

// Registrar keeps the node registered.
type Registrar struct {
	o        Options
	instance string
	log      *slog.Logger
	figures  *figures
	oldWatch time.Duration // how long a node of the old system is watched for life
}

// New returns a registrar; the daemon's instance is drawn here.
func New(o Options) *Registrar {
	if o.Margin == 0 {
		o.Margin = DefaultMargin
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return &Registrar{
		o: o, instance: random(8), log: o.Logger, figures: newFigures(o), oldWatch: oldKeepaliveWatch,
	}
}

// Instance is random and stays with the daemon's process.
func (r *Registrar) Instance() string { return r.instance }

// GuestsChanged makes the list of running guests be published within a second.
func (r *Registrar) GuestsChanged() { r.figures.kick() }

// Work is what the daemon does with a session. Its context ends with the session or
// with the daemon; in the second case it may still write, with a context of its own,
// to hand over what it holds. An error ends the daemon.
type Work func(ctx context.Context, s *Session) error

// Run registers the node and calls work for each session, one after another, until
// ctx ends; then it signs off. A new session is registered and kept alive while the
// work of the lost one is still ending. It returns an error if the node's name is
// taken (errs.Conflict), the tree is not ours to use (errs.Invalid), or work fails.
func (r *Registrar) Run(ctx context.Context, work Work) error {
	unlock, err := lockFile(r.o.LockDir, r.o.Node)
	if err != nil {
		return fmt.Errorf("lock the name of node %s: %w", r.o.Node, err)
	}
	defer unlock()
	earlier := make(chan struct{}) // closed when the work of the last session has ended
	close(earlier)
	defer func() { <-earlier }()
	for {
		s, err := r.open(ctx)
		if err != nil || s == nil {
			return err
		}
		workCtx, stopWork := context.WithCancel(ctx)
		failed, ended := r.startWork(workCtx, s, earlier, work)
		err = r.live(ctx, s, stopWork, failed, ended)
		earlier = ended
		if err != nil || ctx.Err() != nil {
			return err
		}
		r.log.Warn("the ZooKeeper session was lost, registering again", "node", r.o.Node)
	}
}

// startWork runs work, and what publishes the figures, once that of earlier sessions
// has ended. failed gets the error of
// work that ends while the session lives.
func (r *Registrar) startWork(ctx context.Context, s *Session, earlier <-chan struct{}, work Work) (failed <-chan error, ended chan struct{}) {
	fail := make(chan error, 1)
	ended = make(chan struct{})
	go func() { // Run waits for it
		defer close(ended)
		<-earlier
		if ctx.Err() != nil {
			return
		}
		var publishing sync.WaitGroup
		defer publishing.Wait()
		publishing.Go(func() { r.figures.run(ctx, s) })
		err := work(ctx, s)
		over := ctx.Err() != nil || s.lost() // nothing but an end was to be expected
		switch {
		case !over && err == nil:
			fail <- errs.New(errs.Internal, "the work of node %s ended by itself", r.o.Node)
		case !over:
			fail <- err
		case err != nil:
			r.log.Warn("the work of a session ended with an error", "node", r.o.Node, "err", err)
		}
	}()
	return fail, ended
}

// live keeps one session until it is lost (nil), work fails, or ctx ends (nil).
func (r *Registrar) live(ctx context.Context, s *Session, stopWork func(), failed <-chan error, ended <-chan struct{}) error {
	beatCtx, stopBeat := context.WithCancel(context.WithoutCancel(ctx))
	var beat sync.WaitGroup
	beat.Go(func() { _ = r.keeper(s).Run(beatCtx) }) // returns nil
	defer s.client.Close()
	defer beat.Wait()
	defer stopBeat()
	defer stopWork()

	select {
	case <-s.Lost():
		return nil
	case err := <-failed:
		stopWork()
		<-ended
		return errors.Join(err, r.signOff(ctx, s))
	case <-ctx.Done():
	}
	r.announceShutdown(ctx, s)
	select {
	case <-ended:
		return r.signOff(ctx, s)
	case <-s.Lost():
		return nil
	}
}

func (r *Registrar) keeper(s *Session) *lease.Keeper {
	var last ensemble.Verdict
	failing := false
	return &lease.Keeper{
		Proven: s.proven, Held: s.held,
		Every: s.client.Timeout() / 3,
		Request: func(ctx context.Context) error {
			err := s.beat(ctx)
			failing = failing && err != nil
			return err
		},
		TouchEvery: r.o.Margin / 2, Touch: s.touch,
		Servers: r.o.Coord.Servers,
		Failed: func(err error, v ensemble.Verdict) {
			if !failing || v != last {
				r.log.Warn("ZooKeeper did not take the daemon's sign of life", "ensemble", v.String(), "err", err)
			}
			failing, last = true, v
		},
	}
}

// signOffTimeout bounds the last words of a session.
const signOffTimeout = 5 * time.Second

func (r *Registrar) announceShutdown(ctx context.Context, s *Session) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), signOffTimeout)
	defer cancel()
	if err := s.setDaemonState(ctx, model.DaemonShutdown, model.DaemonInit, model.DaemonRun); err != nil {
		r.log.Warn("the shutdown could not be announced", "node", r.o.Node, "err", err)
	}
}

func (r *Registrar) signOff(ctx context.Context, s *Session) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), signOffTimeout)
	defer cancel()
	err := s.leave(ctx)
	if errs.Is(err, errs.Unavailable) || errs.Is(err, errs.Unknown) || errors.Is(err, coord.ErrNoNode) {
		r.log.Warn("signing off failed, the session will expire", "node", r.o.Node, "err", err)
		return nil
	}
	if err != nil {
		return fmt.Errorf("sign off node %s: %w", r.o.Node, err)
	}
	return nil
}

// dialTimeout bounds one attempt to open a session, reopenPace is the time between two.
const (
	dialTimeout = 15 * time.Second
	reopenPace  = time.Second
)

// open returns a registered session; nil without error when ctx has ended.
func (r *Registrar) open(ctx context.Context) (*Session, error) {
	for {
		s, err := r.openOnce(ctx)
		if err == nil {
			r.log.Info("registered", "node", r.o.Node, "session", s.id.child)
			return s, nil
		}
		if ctx.Err() != nil {
			return nil, nil
		}
		if !errs.Is(err, errs.Unavailable) && !errs.Is(err, errs.Unknown) {
			return nil, err
		}
		r.log.Warn("not registered yet", "node", r.o.Node, "err", err)
		select {
		case <-ctx.Done():
			return nil, nil
		case <-time.After(reopenPace):
		}
	}
}

func (r *Registrar) openOnce(ctx context.Context) (*Session, error) {
	hub := new(watch.Hub)
	o := r.o.Coord
	o.OnEvent = hub.OnEvent
	dctx, cancel := context.WithTimeout(ctx, dialTimeout)
	client, err := r.o.Dial(dctx, o)
	cancel()
	if err != nil {
		return nil, err
	}
	s, err := r.register(ctx, client, hub)
	if err != nil {
		client.Close()
		return nil, fmt.Errorf("register node %s: %w", r.o.Node, err)
	}
	return s, nil
}
