package libvirt

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	lv "libvirt.org/go/libvirt"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

const (
	backOffMin = 100 * time.Millisecond
	backOffMax = 2 * time.Second
	// maxCalls bounds the calls that wait for libvirt at the same time: each holds an
	// operating system thread.
	maxCalls = 128
)

// Options configure a Driver.
type Options struct {
	URI    string // of the local libvirtd, as qemu:///system
	Logger *slog.Logger
}

// Driver is the hypervisor.Hypervisor of the local host. It works while Run runs.
type Driver struct {
	uri   string
	log   *slog.Logger
	slots chan struct{}
	done  chan struct{} // closed by Close
	once  sync.Once
	subs  subscribers

	mu      sync.Mutex
	session *session      // nil while there is none
	changed chan struct{} // closed when session changes
	lastErr error         // why there is none
}

var _ hypervisor.Hypervisor = (*Driver)(nil)

var errClosed = errors.New("the driver is closed")

// New returns a Driver without a connection.
func New(o Options) *Driver {
	log := o.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Driver{uri: o.URI, log: log, slots: make(chan struct{}, maxCalls), done: make(chan struct{}), changed: make(chan struct{})}
}

// Run keeps the connection until ctx ends or Close is called. It returns an error
// only if libvirt's event loop cannot be started.
func (d *Driver) Run(ctx context.Context) error {
	if err := startEventLoop(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer d.setSession(nil, errClosed)
	for wait := backOffMin; ; wait = min(2*wait, backOffMax) {
		if d.connectAndServe(ctx) {
			wait = backOffMin
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.done:
			return nil
		case <-time.After(wait):
		}
	}
}

// connectAndServe holds one connection from its opening to its loss. It reports
// whether there was one.
func (d *Driver) connectAndServe(ctx context.Context) bool {
	conn, err := d.open(ctx)
	if err != nil {
		if d.setSession(nil, err) {
			d.log.Warn("libvirt does not answer", "uri", d.uri, "err", err)
		}
		return false
	}
	s, err := newSession(conn, &d.subs)
	if err != nil {
		d.setSession(nil, err)
		d.log.Warn("libvirt sends no events", "uri", d.uri, "err", err)
		return false
	}
	d.log.Info("connected to libvirt", "uri", d.uri)
	d.setSession(s, nil)
	d.subs.deliver(hypervisor.Event{Kind: hypervisor.EventResync})
	why := s.watch(ctx, d.done)
	d.setSession(nil, why)
	if !errors.Is(why, errClosed) {
		d.log.Warn("lost libvirt", "uri", d.uri, "err", why)
	}
	s.end()
	return true
}

// open connects. There is never more than one attempt: a stopped libvirtd accepts
// connections and answers none, and libvirt waits for it without end. An attempt
// that is not waited for any more ends with libvirtd's next sign of life or death.
func (d *Driver) open(ctx context.Context) (*lv.Connect, error) {
	type result struct {
		conn *lv.Connect
		err  error
	}
	opened := make(chan result, 1)
	go func() {
		conn, err := lv.NewConnect(d.uri)
		opened <- result{conn, err}
	}()
	select {
	case r := <-opened:
		return r.conn, r.err
	case <-ctx.Done():
	case <-d.done:
	}
	go func() {
		if r := <-opened; r.err == nil {
			closeConn(r.conn)
		}
	}()
	return nil, errClosed
}

// closeConn drops a reference. libvirt's only complaint is a connection that is
// gone already.
func closeConn(c *lv.Connect) { _, _ = c.Close() }

// setSession makes s the one of the calls to come. It reports whether there is news:
// a connection, or a first reason for having none.
func (d *Driver) setSession(s *session, why error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	news := s != nil || d.session != nil || d.lastErr == nil
	d.session, d.lastErr = s, why
	close(d.changed)
	d.changed = make(chan struct{})
	return news
}

// acquire waits for a session that is alive and takes a reference of its connection.
func (d *Driver) acquire(ctx context.Context) (*session, error) {
	for {
		s, changed, why := d.reference()
		if s != nil {
			return s, nil
		}
		select {
		case <-changed:
		case <-d.done:
			return nil, errs.Unavailablef("libvirt %s: %w", d.uri, errClosed)
		case <-ctx.Done():
			if why == nil {
				why = context.Cause(ctx)
			}
			return nil, errs.Unavailablef("libvirt %s does not answer: %w", d.uri, why)
		}
	}
}

// reference takes one of the session's connection, or returns what to wait for and
// why there is none.
func (d *Driver) reference() (*session, <-chan struct{}, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.session == nil || !d.session.alive() {
		return nil, d.changed, d.lastErr
	}
	if err := d.session.conn.Ref(); err != nil {
		return nil, d.changed, err
	}
	return d.session, nil, nil
}

// Subscribe implements hypervisor.Hypervisor.
func (d *Driver) Subscribe(fn func(hypervisor.Event)) (cancel func()) { return d.subs.add(fn) }

// Close ends Run and all waiting for a connection. Guests go on.
func (d *Driver) Close() error {
	d.once.Do(func() { close(d.done) })
	return nil
}
