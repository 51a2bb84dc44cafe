package fake

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"syscall"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// Client is one daemon's ceph.Cluster.
type Client struct {
	calls
	faults
	world   *World
	clients []string // guarded by world.mu
	closed  bool     // guarded by world.mu
	under   []*call  // guarded by world.mu
}

// call is one under way, as the clients that its daemon has at its beginning.
type call struct {
	clients []string
	done    chan struct{}
}

// enter begins a call.
func (c *Client) enter() *call {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	u := &call{c.clients, make(chan struct{})}
	c.under = append(c.under, u)
	return u
}

// leave ends a call.
func (c *Client) leave(u *call) {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	c.under = slices.DeleteFunc(c.under, func(o *call) bool { return o == u })
	close(u.done)
}

// Ended implements ceph.Cluster.
func (c *Client) Ended(ctx context.Context, clients []string) error {
	_, _ = c.Clients(ctx) // a fenced one gets other addresses
	is := func(all []string) bool {
		return slices.ContainsFunc(all, func(a string) bool { return slices.Contains(clients, a) })
	}
	c.world.mu.Lock()
	now, under := c.clients, slices.Clone(c.under)
	c.world.mu.Unlock()
	if is(now) {
		return errs.Conflictf("this daemon still acts as Ceph clients %q", now)
	}
	for _, u := range under {
		if !is(u.clients) {
			continue
		}
		select {
		case <-u.done:
		case <-ctx.Done():
			return errs.Unavailablef("calls as Ceph clients %q have not returned: %w", u.clients, context.Cause(ctx))
		}
	}
	return nil
}

var _ ceph.Cluster = (*Client)(nil)

// calls is a client, or what is left of it when its addresses must be those of as.
type calls struct {
	client *Client
	as     []string // nil: whatever they are
}

// As implements ceph.Cluster.
func (c *Client) As(clients []string) ceph.Calls {
	return calls{c, append([]string{}, clients...)}
}

// Close implements ceph.Cluster.
func (c *Client) Close() {
	c.world.mu.Lock()
	defer c.world.mu.Unlock()
	c.closed = true
}

// effect says what a call does, and by which way.
type effect struct {
	changes bool
	fenced  bool // it fails on a client that is blocklisted
	long    bool // it may take longer than ceph.CallTimeout
}

var (
	asks      = effect{}                                        // a monitor
	reads     = effect{fenced: true}                            // an OSD
	commands  = effect{changes: true, fenced: true}             // a monitor
	writes    = effect{changes: true, fenced: true}             // an OSD
	longWrite = effect{changes: true, fenced: true, long: true} // many OSDs
)

// do is one call: counted, held up, failed as the test wants, and made under the lock.
func (c calls) do(ctx context.Context, m Method, object string, e effect, fn func(*World) error) error {
	u := c.client.enter()
	left, err := c.attempt(ctx, m, object, e, fn, func() { c.client.leave(u) })
	if !left {
		c.client.leave(u)
	}
	switch {
	case err == nil:
		return nil
	case object == "":
		return fmt.Errorf("%s: %w", m, err)
	}
	return fmt.Errorf("%s %q: %w", m, object, err)
}

// attempt reports whether what was sent may still be done, which ends with over.
func (c calls) attempt(ctx context.Context, m Method, object string, e effect, fn func(*World) error, over func()) (left bool, err error) {
	short, cancel := context.WithTimeout(ctx, ceph.CallTimeout)
	defer cancel()
	h, err := c.client.begin(m, object)
	if err != nil {
		return false, err
	}
	if err := c.client.world.answers(short); err != nil {
		return false, err
	}
	if h != nil {
		if !e.long {
			ctx = short
		}
		if left, err := c.held(ctx, m, h, e, fn, over); err != nil {
			return left, err
		}
	}
	if err := c.act(e, fn); err != nil {
		return false, err
	}
	return false, c.client.after(m)
}

// answers waits until the cluster is not stopped.
func (w *World) answers(ctx context.Context) error {
	for {
		w.mu.Lock()
		stopped := w.stopped
		w.mu.Unlock()
		if err := ctx.Err(); err != nil {
			return errs.Unavailablef("Ceph does not answer: %w", context.Cause(ctx))
		}
		if stopped == nil {
			return nil
		}
		select {
		case <-stopped:
		case <-ctx.Done():
		}
	}
}

// held waits for the end of a hang.
func (c calls) held(ctx context.Context, m Method, h *hang, e effect, fn func(*World) error, over func()) (left bool, err error) {
	select {
	case <-h.released:
		return false, nil
	case <-ctx.Done():
	}
	if !e.changes {
		return false, errs.Unavailablef("Ceph does not answer: %w", context.Cause(ctx))
	}
	late := func() { // nobody is there to be told
		defer over()
		_ = c.act(e, fn)
	}
	if !c.client.postpone(m, h, late) {
		late()
	}
	return true, errs.New(errs.Unknown, "Ceph has not answered: %w", context.Cause(ctx))
}

// act makes a call under the lock.
func (c calls) act(e effect, fn func(*World) error) error {
	w := c.client.world
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case c.client.closed:
		return errs.Unavailablef("the connection to Ceph is closed")
	case c.as != nil && !slices.Equal(c.as, c.client.clients):
		return errs.Unavailablef("this daemon's Ceph clients are %q now, not %q", c.client.clients, c.as)
	case !e.fenced || !c.fenced():
		return fn(w)
	}
	old := c.client.clients
	c.client.clients = w.addresses()
	if !e.changes && c.as == nil {
		return fn(w)
	}
	return ceph.Refused(syscall.ESHUTDOWN, fmt.Sprintf("a client of %q is blocklisted", old))
}

// fenced reports whether a connection of this client is. The caller holds the lock.
func (c calls) fenced() bool {
	return slices.ContainsFunc(c.client.clients, func(a string) bool { _, in := c.client.world.blocklist[a]; return in })
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
