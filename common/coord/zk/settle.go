package zk

import (
	"encoding/binary"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// settling is a connection that took the place of a broken one. The library then names
// the last transaction it has seen for its watches, while its receiver already notes
// newer ones: without more ado that is a data race, and an event between the two is
// never told. Answers to ordinary requests are therefore held back until the request
// that sets the watches has been written.
type settling struct {
	net.Conn
	greeted bool        // the packet that asks for the session, which has no operation, was written
	held    atomic.Bool // an ordinary request was written first
	settled chan struct{}
	once    sync.Once
	over    <-chan struct{} // the client was closed: nobody needs its watches
	closed  chan struct{}
	closing sync.Once
}

func settle(c net.Conn, over <-chan struct{}) *settling {
	return &settling{Conn: c, settled: make(chan struct{}), over: over, closed: make(chan struct{})}
}

// settleTimeout bounds how long the end of a client waits for a connection to settle,
// which takes as long as an answer of the server.
const settleTimeout = time.Second

// wait returns when the watches are on their way, the connection has ended, or it has
// taken too long.
func (c *settling) wait(limit time.Duration) {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-c.settled:
	case <-c.closed:
	case <-timer.C:
	}
}

// Operation codes of ZooKeeper's protocol (its ZooDefs.OpCode).
const (
	opPing       = 11
	opSetAuth    = 100
	opSetWatches = 101
)

// Write passes one packet on, which is what the library writes at a time: its length,
// its number, its operation and what belongs to that.
func (c *settling) Write(packet []byte) (int, error) {
	if !c.greeted {
		c.greeted = true
	} else if len(packet) >= 12 {
		switch binary.BigEndian.Uint32(packet[8:]) {
		case opSetWatches:
			c.once.Do(func() { close(c.settled) })
		case opPing, opSetAuth: // their answers have no zxid
		default:
			c.held.Store(true)
		}
	}
	return c.Conn.Write(packet)
}

// Read hands bytes over once the watches are on their way.
func (c *settling) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if c.held.Load() {
		select {
		case <-c.settled:
		case <-c.over:
		case <-c.closed:
		}
	}
	return n, err
}

// Close also ends a Read that holds an answer back.
func (c *settling) Close() error {
	c.closing.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// anchor is a path nobody creates. A watch on it never fires, so that there is always
// one to set again and settling always ends.
const anchor = "/zookeeper/anchor"

func (c *Client) dropAnchor() error {
	_, _, _, err := c.conn.ExistsW(anchor)
	if err == nil {
		c.anchored.Store(true)
	}
	return err
}
