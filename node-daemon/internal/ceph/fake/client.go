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
	err := c.attempt(ctx, m, object, e, fn)
	switch {
	case err == nil:
		return nil
	case object == "":
		return fmt.Errorf("%s: %w", m, err)
	}
	return fmt.Errorf("%s %q: %w", m, object, err)
}

func (c calls) attempt(ctx context.Context, m Method, object string, e effect, fn func(*World) error) error {
	short, cancel := context.WithTimeout(ctx, ceph.CallTimeout)
	defer cancel()
	h, err := c.client.begin(m, object)
	if err != nil {
		return err
	}
	if err := c.client.world.answers(short); err != nil {
		return err
	}
	if h != nil {
		if !e.long {
			ctx = short
		}
		if err := c.held(ctx, m, h, e, fn); err != nil {
			return err
		}
	}
	if err := c.act(e, fn); err != nil {
		return err
	}
	return c.client.after(m)
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
func (c calls) held(ctx context.Context, m Method, h *hang, e effect, fn func(*World) error) error {
	select {
	case <-h.released:
		return nil
	case <-ctx.Done():
	}
	if !e.changes {
		return errs.Unavailablef("Ceph does not answer: %w", context.Cause(ctx))
	}
	late := func() { _ = c.act(e, fn) } // nobody is there to be told
	if !c.client.leave(m, h, late) {
		late()
	}
	return errs.New(errs.Unknown, "Ceph has not answered: %w", context.Cause(ctx))
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
