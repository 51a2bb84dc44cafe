package follow

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// drainTimeout is how long the listener's znode stays for requests under way after
// the listener was closed.
const drainTimeout = 5 * time.Second

// serving is one attempt to serve: from the claim to the end.
type serving struct {
	cancel context.CancelCauseFunc
	done   chan struct{}
	err    error // valid after done
}

func (s *serving) stop(why string) { s.cancel(errs.Unavailablef("%s", why)) }

// start begins an attempt. It ends by itself when something fails.
func (f *follower) start(ctx context.Context) *serving {
	ctx, cancel := context.WithCancelCause(ctx)
	s := &serving{cancel: cancel, done: make(chan struct{})}
	go func() { // finish or stop wait for it
		defer close(s.done)
		defer cancel(nil)
		s.err = f.serve(ctx)
	}()
	return s
}

// serve claims, opens and serves until ctx ends. Whatever happens, the listener is
// closed before the claim goes.
func (f *follower) serve(ctx context.Context) error {
	if err := f.o.Ready(ctx); err != nil {
		return fmt.Errorf("get ready: %w", err)
	}
	if err := f.claim(ctx); err != nil {
		if !errs.Is(err, errs.Unknown) {
			return fmt.Errorf("claim the listener: %w", err)
		}
		return errors.Join(err, f.unclaim(ctx))
	}
	err := f.listen(ctx)
	return errors.Join(err, f.unclaim(ctx))
}

// listen serves with the claim held and returns when the listener is closed and the
// requests under way are answered or have had their time.
func (f *follower) listen(ctx context.Context) error {
	if ctx.Err() != nil || f.lease.Left() == 0 {
		return errs.Unavailablef("not opened: the lease ran out meanwhile")
	}
	l, err := f.o.Open()
	if err != nil {
		return fmt.Errorf("open the listener: %w", err)
	}
	once := &closeOnce{Listener: l}
	stop := context.AfterFunc(ctx, func() { _ = once.Close() }) // at once, whatever Serve does
	defer stop()
	defer once.Close()
	f.o.Logger.Info("the API's listener is open", "address", l.Addr().String())
	served := make(chan error, 1)
	go func() { served <- f.o.Serve(ctx, once) }()
	select {
	case err = <-served:
		if ctx.Err() == nil {
			return errors.Join(errs.Unavailablef("serving ended by itself"), err)
		}
	case <-ctx.Done():
		_ = once.Close() // before anything else; an error means that it is closed
		f.o.Logger.Info("the API's listener is closed", "reason", context.Cause(ctx).Error())
		err = f.drain(ctx, served)
	}
	if errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

// drain waits for the requests under way. After their time the claim goes, so that
// the next primary's API need not wait for them any longer.
func (f *follower) drain(ctx context.Context, served <-chan error) error {
	select {
	case err := <-served:
		return err
	case <-time.After(drainTimeout):
		f.o.Logger.Warn("requests are still under way after the listener was closed")
		return errors.Join(f.unclaim(ctx), <-served)
	}
}
