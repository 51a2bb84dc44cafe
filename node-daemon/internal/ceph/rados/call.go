package rados

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"syscall"

	gorados "github.com/ceph/go-ceph/rados"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// effect says whether a call that was sent and never answered may have changed something.
type effect bool

const (
	reads   effect = false
	changes effect = true
)

// calls is a Cluster, or what is left of it when its addresses must be those of as.
type calls struct {
	cluster *Cluster
	as      []string // nil: whatever they are
}

// notSent is an error from before a change was sent.
type notSent struct{ error }

func (e notSent) Unwrap() error { return e.error }

// call runs fn on the connection of that purpose and waits for it as long as ctx allows,
// and ceph.CallTimeout unless it is a long one. fn ends by itself when Ceph answers or
// librados gives up; until then it holds its connection.
func call[T any](ctx context.Context, c calls, what string, p purpose, e effect, fn func(*link, *gorados.Conn) (T, error)) (T, error) {
	short, cancel := context.WithTimeout(ctx, ceph.CallTimeout)
	defer cancel()
	wait := short
	if p == long && e == changes {
		wait = ctx
	}
	value, err := attempt(short, wait, c, p, e, fn)
	if err != nil && e == reads && c.as == nil && ceph.NumberOf(err) == syscall.ESHUTDOWN {
		value, err = attempt(short, wait, c, p, e, fn) // on a new connection
	}
	if err != nil {
		err = fmt.Errorf("%s: %w", what, err)
	}
	return value, err
}

// attempt begins within the first context and waits for the answer within the second.
func attempt[T any](begin, wait context.Context, c calls, p purpose, e effect, fn func(*link, *gorados.Conn) (T, error)) (T, error) {
	var none T
	lane, as := c.cluster.lanes[p], c.as
	if p == manage {
		as = nil // it changes nothing
	}
	l, err := lane.enter(begin, as)
	if err != nil {
		return none, err
	}
	type answer struct {
		value T
		err   error
	}
	answered := make(chan answer, 1)
	var left atomic.Bool // by its caller, or by itself: whoever comes first
	go func() {
		value, err := fn(l, l.conns[p])
		answered <- answer{value, err}
		lane.exit(l, !left.CompareAndSwap(false, true))
	}()
	select {
	case a := <-answered:
		return a.value, c.classify(lane, l, a.err, e)
	case <-wait.Done():
	}
	if !left.CompareAndSwap(false, true) { // it came in the end
		a := <-answered
		return a.value, c.classify(lane, l, a.err, e)
	}
	lane.hung.Add(1)
	return none, errs.New(lostKind(e), "Ceph has not answered: %w", context.Cause(wait))
}

// classify gives an error from within a call its kind, and has a connection replaced that
// was fenced.
func (c calls) classify(lane *lane, l *link, err error, e effect) error {
	if err == nil {
		return nil
	}
	number := ceph.NumberOf(err)
	if number == syscall.ESHUTDOWN {
		lane.port.drop(l)
	}
	var before notSent
	// ERESTART is librbd's word for an image whose lock was taken away, as by a fence.
	broken := number == syscall.ESHUTDOWN || number == syscall.ETIMEDOUT || number == syscall.ERESTART
	if e == changes && !errors.As(err, &before) && broken {
		return errs.New(errs.Unknown, "%w", err)
	}
	return err
}

// lostKind is the kind of a call without an answer.
func lostKind(e effect) errs.Kind {
	if e == changes {
		return errs.Unknown
	}
	return errs.Unavailable
}

// lane bounds the calls of one purpose.
type lane struct {
	port  *port
	slots chan struct{}
	hung  atomic.Int64 // calls that nobody waits for any more
}

// enter takes a slot and a link.
func (n *lane) enter(ctx context.Context, as []string) (*link, error) {
	if err := context.Cause(ctx); err != nil {
		return nil, errs.Unavailablef("Ceph was not asked: %w", err)
	}
	if hung := n.hung.Load(); hung >= int64(min(maxHung, cap(n.slots))) {
		return nil, errs.Unavailablef("Ceph does not answer: %d calls are waiting for it already", hung)
	}
	select {
	case n.slots <- struct{}{}:
	case <-ctx.Done():
		return nil, errs.Unavailablef("%d calls are waiting for Ceph already: %w", cap(n.slots), context.Cause(ctx))
	}
	l, err := n.port.acquire(ctx)
	if err == nil && as != nil && !slices.Equal(as, l.clients) {
		l.leave()
		err = errs.Unavailablef("this daemon's Ceph clients are %q now, not %q", l.clients, as)
	}
	if err != nil {
		<-n.slots
		return nil, err
	}
	return l, nil
}

// exit gives both back.
func (n *lane) exit(l *link, wasHung bool) {
	if wasHung {
		n.hung.Add(-1)
	}
	<-n.slots
	l.leave()
}
