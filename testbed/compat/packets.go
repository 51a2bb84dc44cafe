package compat

import (
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"sync"
	"testing"
	"time"
)

// Opcode is the kind of a request to ZooKeeper (org.apache.zookeeper.ZooDefs.OpCode).
type Opcode int32

// The kinds that tests ask for; connect is no opcode but the first frame of a connection.
const (
	Connect Opcode = 0
	GetData Opcode = 4
	Ping    Opcode = 11
	Multi   Opcode = 14
)

// maxFrame is beyond what any server takes (jute.maxbuffer, 1 MiB).
const maxFrame = 4 << 20

// Counter stands between a client and a ZooKeeper server and counts the requests that
// pass, by kind.
type Counter struct {
	listener net.Listener
	server   string
	tasks    sync.WaitGroup

	mu       sync.Mutex
	requests map[Opcode]int
	conns    map[net.Conn]bool
	closed   bool
	broken   error // a stream that is not ZooKeeper's protocol
}

// NewCounter starts a counter before a server; it ends with the test, which fails if
// something else than ZooKeeper's protocol has passed.
func NewCounter(t testing.TB, server string) *Counter {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &Counter{listener: l, server: server, requests: map[Opcode]int{}, conns: map[net.Conn]bool{}}
	c.tasks.Go(c.accept)
	t.Cleanup(func() {
		c.close()
		if c.broken != nil {
			t.Error(c.broken)
		}
	})
	return c
}

// Addr is the address to give to the client instead of the server's.
func (c *Counter) Addr() string { return c.listener.Addr().String() }

// Requests are the numbers of requests so far, by kind.
func (c *Counter) Requests() map[Opcode]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.requests)
}

// Since returns what has been requested beside pings since an earlier [Counter.Requests].
func (c *Counter) Since(before map[Opcode]int) map[Opcode]int {
	out := map[Opcode]int{}
	for op, n := range c.Requests() {
		if op != Ping && n > before[op] {
			out[op] = n - before[op]
		}
	}
	return out
}

func (c *Counter) close() {
	_ = c.listener.Close() // ends accept
	c.mu.Lock()
	c.closed = true
	for conn := range c.conns {
		_ = conn.Close()
	}
	c.mu.Unlock()
	c.tasks.Wait()
}

func (c *Counter) accept() {
	for {
		client, err := c.listener.Accept()
		if err != nil {
			return
		}
		c.tasks.Go(func() { c.serve(client) })
	}
}

func (c *Counter) serve(client net.Conn) {
	defer client.Close()
	server, err := net.DialTimeout("tcp", c.server, 5*time.Second)
	if err != nil {
		return
	}
	defer server.Close()
	if !c.track(client, server) {
		return
	}
	var back sync.WaitGroup
	back.Go(func() {
		_, _ = io.Copy(client, server) // ends with either side
		_ = client.Close()
	})
	c.requestsOf(client, server)
	_ = server.Close()
	back.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.conns, client)
	delete(c.conns, server)
}

func (c *Counter) track(conns ...net.Conn) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, conn := range conns {
		c.conns[conn] = true
	}
	return !c.closed
}

// requestsOf passes the frames of a client on. A frame is its length, then for all but
// the first a transaction id and the opcode, four bytes each.
func (c *Counter) requestsOf(client io.Reader, server io.Writer) {
	for first := true; ; first = false {
		frame := make([]byte, 4)
		if _, err := io.ReadFull(client, frame); err != nil {
			return
		}
		n := binary.BigEndian.Uint32(frame)
		if n < 8 || n > maxFrame {
			c.count(Connect, fmt.Errorf("a frame of %d bytes is not ZooKeeper's protocol", n))
			return
		}
		frame = append(frame, make([]byte, n)...)
		if _, err := io.ReadFull(client, frame[4:]); err != nil {
			return
		}
		op := Connect
		if !first {
			op = Opcode(int32(binary.BigEndian.Uint32(frame[8:12])))
		}
		c.count(op, nil) // before the answer can be there
		if _, err := server.Write(frame); err != nil {
			return
		}
	}
}

func (c *Counter) count(op Opcode, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err != nil {
		c.broken = err
		return
	}
	c.requests[op]++
}
