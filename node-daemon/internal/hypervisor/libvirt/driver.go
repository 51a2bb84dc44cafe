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
	keepaliveInterval = 1 // seconds
	keepaliveCount    = 3 // unanswered, until the connection counts as lost
	backOffMin        = 100 * time.Millisecond
	backOffMax        = 2 * time.Second
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
	conn    *lv.Connect   // nil while there is none
	changed chan struct{} // closed when conn changes
	lastErr error         // why there is none
}

var _ hypervisor.Hypervisor = (*Driver)(nil)

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
	defer d.setConn(nil, errors.New("it is closed"))
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
		if d.setConn(nil, err) {
			d.log.Warn("libvirt does not answer", "uri", d.uri, "err", err)
		}
		return false
	}
	link, err := d.subs.attach(conn)
	if err != nil {
		d.setConn(nil, err)
		d.log.Warn("libvirt sends no events", "uri", d.uri, "err", err)
		closeConn(conn)
		return false
	}
	d.log.Info("connected to libvirt", "uri", d.uri)
	d.setConn(conn, nil)
	d.subs.deliver(hypervisor.Event{Kind: hypervisor.EventResync})
	why := errors.New("it is closed")
	select {
	case <-ctx.Done():
	case <-d.done:
	case <-link.lost:
		why = errors.New("the connection was lost")
		d.log.Warn("lost libvirt", "uri", d.uri)
	}
	d.setConn(nil, why)
	link.detach()
	closeConn(conn)
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
		conn, err := dial(d.uri)
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
	return nil, errors.New("it is closed")
}

// dial opens a connection that notices a dead other side.
func dial(uri string) (*lv.Connect, error) {
	conn, err := lv.NewConnect(uri)
	if err != nil {
		return nil, err
	}
	if err := conn.SetKeepAlive(keepaliveInterval, keepaliveCount); err != nil {
		closeConn(conn)
		return nil, err
	}
	return conn, nil
}

// closeConn drops a reference. libvirt's only complaint is a connection that is
// gone already.
func closeConn(c *lv.Connect) { _, _ = c.Close() }

// setConn makes conn the connection of the calls to come. It reports whether there
// is news: a connection, or a first reason for having none.
func (d *Driver) setConn(conn *lv.Connect, why error) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	news := conn != nil || d.conn != nil || d.lastErr == nil
	d.conn, d.lastErr = conn, why
	close(d.changed)
	d.changed = make(chan struct{})
	return news
}

// acquire waits for a connection that is alive and returns a reference of the
// caller's own.
func (d *Driver) acquire(ctx context.Context) (*lv.Connect, error) {
	for {
		conn, changed, why := d.reference()
		if conn != nil {
			return conn, nil
		}
		select {
		case <-changed:
		case <-d.done:
			return nil, errs.Unavailablef("libvirt %s: the driver is closed", d.uri)
		case <-ctx.Done():
			if why == nil {
				why = context.Cause(ctx)
			}
			return nil, errs.Unavailablef("libvirt %s does not answer: %w", d.uri, why)
		}
	}
}

// reference returns one of the connection, or what to wait for and why there is none.
func (d *Driver) reference() (*lv.Connect, <-chan struct{}, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn == nil || !isAlive(d.conn) {
		return nil, d.changed, d.lastErr
	}
	if err := d.conn.Ref(); err != nil {
		return nil, d.changed, err
	}
	return d.conn, nil, nil
}

// Subscribe implements hypervisor.Hypervisor.
func (d *Driver) Subscribe(fn func(hypervisor.Event)) (cancel func()) { return d.subs.add(fn) }

// Close ends Run and all waiting for a connection. Guests go on.
func (d *Driver) Close() error {
	d.once.Do(func() { close(d.done) })
	return nil
}
