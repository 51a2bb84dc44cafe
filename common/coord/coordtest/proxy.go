package coordtest

import (
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// Proxy stands between one party and the servers of an ensemble.
type Proxy struct {
	listeners []net.Listener

	mu      sync.Mutex
	flowing chan struct{} // closed while bytes flow
	conns   map[net.Conn]struct{}
	ignore  int
	refuse  bool
	wg      sync.WaitGroup
}

// NewProxy starts a proxy before each server. It ends with the test.
func NewProxy(t testing.TB, servers []string) *Proxy {
	t.Helper()
	p := &Proxy{flowing: make(chan struct{}), conns: map[net.Conn]struct{}{}}
	close(p.flowing)
	for _, s := range servers {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p.listeners = append(p.listeners, l)
		p.wg.Go(func() { p.accept(l, s) })
	}
	t.Cleanup(p.close)
	return p
}

// Addrs are the addresses to give to the party instead of the servers'.
func (p *Proxy) Addrs() []string {
	var out []string
	for _, l := range p.listeners {
		out = append(out, l.Addr().String())
	}
	return out
}

// Stall holds all bytes back, as a cut link or a stopped process does: connections
// stay open and new ones are accepted, but nothing arrives.
func (p *Proxy) Stall() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.flowing:
		p.flowing = make(chan struct{})
	default:
	}
}

// Flow lets bytes through again, those held back first.
func (p *Proxy) Flow() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.flowing:
	default:
		close(p.flowing)
	}
}

// Ignore accepts the next n connections and never answers what is said on them.
func (p *Proxy) Ignore(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ignore = n
}

// Drop breaks every connection; new ones work.
func (p *Proxy) Drop() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close() // breaking it is the purpose
	}
}

func (p *Proxy) close() {
	for _, l := range p.listeners {
		_ = l.Close() // the test is over
	}
	p.mu.Lock()
	p.refuse = true
	p.mu.Unlock()
	p.Drop()
	p.Flow()
	p.wg.Wait()
}

func (p *Proxy) accept(l net.Listener, server string) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		p.wg.Go(func() { p.serve(in, server) })
	}
}

func (p *Proxy) serve(in net.Conn, server string) {
	defer in.Close()
	if p.ignored() {
		if p.track(in) {
			_, _ = io.Copy(io.Discard, in) // until somebody ends it
			p.forget(in)
		}
		return
	}
	out, err := net.DialTimeout("tcp", server, 5*time.Second)
	if err != nil {
		return
	}
	defer out.Close()
	if !p.track(in, out) {
		return
	}
	var both sync.WaitGroup
	both.Go(func() { p.pump(out, in) })
	both.Go(func() { p.pump(in, out) })
	both.Wait()
	p.forget(in, out)
}

func (p *Proxy) ignored() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ignore--
	return p.ignore >= 0
}

func (p *Proxy) forget(conns ...net.Conn) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range conns {
		delete(p.conns, c)
	}
}

func (p *Proxy) track(conns ...net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.refuse {
		return false
	}
	for _, c := range conns {
		p.conns[c] = struct{}{}
	}
	return true
}

// pump copies until either side ends, waiting while the proxy stalls. An end is
// passed on only while bytes flow, as over a cut link.
func (p *Proxy) pump(to, from net.Conn) {
	defer to.Close()
	buf := make([]byte, 32<<10)
	for {
		n, err := from.Read(buf)
		p.wait()
		if n > 0 {
			if _, werr := to.Write(buf[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (p *Proxy) wait() {
	p.mu.Lock()
	flowing := p.flowing
	p.mu.Unlock()
	<-flowing
}
