package zk

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// Client is a coord.Client over one ZooKeeper session.
type Client struct {
	conn    *zk.Conn
	acl     []zk.ACL
	onEvent func(coord.Event)
	asked   time.Duration // session timeout that is asked for
	timeout atomic.Int64  // negotiated, ns

	up       chan struct{} // closed when the session is there
	upOnce   sync.Once
	lost     chan struct{}
	lostOnce sync.Once
	expired  atomic.Bool
	anchored atomic.Bool // see settling
	closing  atomic.Bool
	over     chan struct{} // closed when nobody needs the watches any more
	overOnce sync.Once
	wire     atomic.Pointer[settling] // the last connection, nil while it is the first
	session  atomic.Int64
	reason   atomic.Value // string: last thing the library logged
}

var _ coord.Client = (*Client)(nil)

// Dial opens a session and waits for it until ctx ends. It is a coord.Dialer.
func Dial(ctx context.Context, o coord.Options) (coord.Client, error) {
	c := &Client{onEvent: o.OnEvent, asked: o.Timeout, up: make(chan struct{}), lost: make(chan struct{}), over: make(chan struct{}), acl: zk.WorldACL(zk.PermAll)}
	if c.onEvent == nil {
		c.onEvent = func(coord.Event) {}
	}
	conn, _, err := zk.Connect(o.Servers, o.Timeout,
		zk.WithEventCallback(c.event), zk.WithLogger(c), zk.WithDialer(c.dial))
	if err != nil {
		return nil, errs.Invalidf("connect to ZooKeeper at %v: %w", o.Servers, err)
	}
	c.conn = conn
	select {
	case <-c.up:
	case <-ctx.Done():
		c.Close()
		return nil, errs.Unavailablef("no ZooKeeper server of %v answers: %s", o.Servers, c.lastReason())
	}
	c.session.Store(conn.SessionID())
	if got := c.Timeout(); got < o.Timeout {
		c.Close()
		return nil, errs.Invalidf("ZooKeeper grants a session timeout of %v, %v is configured: raise maxSessionTimeout", got, o.Timeout)
	}
	if o.Digest != "" {
		c.acl = zk.AuthACL(zk.PermAll)
		if err := c.do(ctx, false, func() error { return conn.AddAuth("digest", []byte(o.Digest)) }); err != nil {
			c.Close()
			return nil, fmt.Errorf("authenticate to ZooKeeper: %w", err)
		}
	}
	// The library looks for watches to set again on a first connection too, a moment after
	// it can be asked something. Questions without a watch let that moment pass: nothing tells
	// when it has, and on a busy machine one was not enough.
	for _, ask := range append(slices.Repeat([]func() error{c.askPlainly}, plainQuestions), c.dropAnchor) {
		if err := c.do(ctx, false, ask); err != nil {
			c.Close()
			return nil, fmt.Errorf("the first question to ZooKeeper: %w", err)
		}
	}
	return c, nil
}

// plainQuestions take about two milliseconds together.
const plainQuestions = 10

func (c *Client) askPlainly() error {
	_, _, err := c.conn.Exists("/")
	return err
}

// dial refuses once the session has expired, so that the library never opens another,
// and once the client is closed.
func (c *Client) dial(network, address string, timeout time.Duration) (net.Conn, error) {
	if c.expired.Load() {
		return nil, zk.ErrSessionExpired
	}
	if c.closing.Load() {
		return nil, zk.ErrClosing
	}
	conn, err := net.DialTimeout(network, address, timeout)
	if err != nil {
		return nil, err
	}
	conn = &greeting{Conn: conn, patience: patience(c.asked)}
	if !c.anchored.Load() {
		return conn, nil
	}
	wire := settle(conn, c.over)
	c.wire.Store(wire)
	if c.closing.Load() { // Close has not seen this one
		_ = wire.Close() // nobody uses it
		return nil, zk.ErrClosing
	}
	return wire, nil
}

// Printf is the library's logger: the negotiated timeout is told nowhere else.
func (c *Client) Printf(format string, args ...any) {
	if len(args) == 2 && format == "authenticated: id=%d, timeout=%d" {
		if ms, ok := args[1].(int32); ok {
			c.timeout.Store(int64(time.Duration(ms) * time.Millisecond))
			c.upOnce.Do(func() { close(c.up) })
			return
		}
	}
	c.reason.Store(fmt.Sprintf(format, args...))
}

func (c *Client) lastReason() string {
	if s, ok := c.reason.Load().(string); ok {
		return s
	}
	return "no connection"
}

func (c *Client) event(e zk.Event) {
	switch e.Type {
	case zk.EventNodeCreated, zk.EventNodeDataChanged:
		c.onEvent(coord.Event{Kind: coord.EventData, Path: e.Path})
	case zk.EventNodeChildrenChanged:
		c.onEvent(coord.Event{Kind: coord.EventChildren, Path: e.Path})
	case zk.EventNodeDeleted:
		c.onEvent(coord.Event{Kind: coord.EventData, Path: e.Path})
		c.onEvent(coord.Event{Kind: coord.EventChildren, Path: e.Path})
	case zk.EventSession:
		c.sessionEvent(e.State)
	}
}

func (c *Client) sessionEvent(s zk.State) {
	switch s {
	case zk.StateHasSession:
		c.onEvent(coord.Event{Kind: coord.EventConnected})
	case zk.StateDisconnected:
		c.onEvent(coord.Event{Kind: coord.EventDisconnected})
	case zk.StateExpired:
		c.expired.Store(true)
		c.lostOnce.Do(func() { close(c.lost) })
		c.onEvent(coord.Event{Kind: coord.EventExpired})
	}
}

// SessionID is the server's number of the session.
func (c *Client) SessionID() int64 { return c.session.Load() }

// Timeout is the negotiated session timeout.
func (c *Client) Timeout() time.Duration { return time.Duration(c.timeout.Load()) }

// Connected reports whether requests can be sent now.
func (c *Client) Connected() bool {
	return !c.expired.Load() && c.conn.State() == zk.StateHasSession
}

// Lost is closed when the session has expired or the client was closed.
func (c *Client) Lost() <-chan struct{} { return c.lost }

// Close ends the session; its ephemeral znodes go at once if a server is reached.
func (c *Client) Close() {
	c.lostOnce.Do(func() { close(c.lost) })
	c.closing.Store(true)
	if wire := c.wire.Load(); wire != nil {
		wire.wait(settleTimeout)
	}
	c.overOnce.Do(func() { close(c.over) })
	c.conn.Close()
}

// do runs one request of the library, which knows no contexts. A request that was
// given up goes on in its goroutine until the library answers it, at the latest
// when the connection breaks.
func (c *Client) do(ctx context.Context, write bool, request func() error) error {
	if c.expired.Load() {
		return errs.Unavailablef("the ZooKeeper session has expired")
	}
	if !c.Connected() {
		return errs.Unavailablef("no connection to ZooKeeper: %s", c.lastReason())
	}
	if err := ctx.Err(); err != nil {
		return errs.Unavailablef("not sent to ZooKeeper: %w", err)
	}
	done := make(chan error, 1)
	go func() { done <- request() }()
	select {
	case err := <-done:
		return translate(err, write)
	case <-ctx.Done():
		if write {
			return errs.New(errs.Unknown, "ZooKeeper did not answer in time, the outcome of the change is unknown: %w", ctx.Err())
		}
		return errs.Unavailablef("ZooKeeper did not answer in time: %w", ctx.Err())
	}
}

// translate maps the library's errors; a write in flight when the connection broke
// may have happened.
func translate(err error, write bool) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, zk.ErrNoNode):
		return errs.New(errs.NotFound, "%w", coord.ErrNoNode)
	case reason(err) != nil:
		return errs.New(errs.Conflict, "%w", reason(err))
	case errors.Is(err, zk.ErrNoServer), !write:
		return errs.Unavailablef("ZooKeeper: %w", err)
	case errors.Is(err, zk.ErrNoAuth), errors.Is(err, zk.ErrInvalidACL), errors.Is(err, zk.ErrInvalidPath):
		return errs.New(errs.Internal, "ZooKeeper: %w", err)
	}
	return errs.New(errs.Unknown, "the connection to ZooKeeper broke, the outcome of the change is unknown: %w", err)
}

// reason is the refusal behind an error of the library, nil if it is none.
func reason(err error) error {
	switch {
	case errors.Is(err, zk.ErrNodeExists):
		return coord.ErrNodeExists
	case errors.Is(err, zk.ErrNoNode):
		return coord.ErrNoNode
	case errors.Is(err, zk.ErrBadVersion):
		return coord.ErrBadVersion
	case errors.Is(err, zk.ErrNotEmpty):
		return coord.ErrNotEmpty
	}
	return nil
}
