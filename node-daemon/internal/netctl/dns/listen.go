package dns

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

const (
	maxConns     = 1024             // TCP connections of an address of ours
	connsPerPeer = 32               // of them from one address
	writeTime    = 5 * time.Second  // for one message to a slow reader
	firstTime    = 3 * time.Second  // for the first question of a connection
	idleTime     = 10 * time.Second // for the next one
)

// sockets are what the server listens on.
type sockets struct {
	mu    sync.Mutex
	open  map[netip.AddrPort]*socket
	ended bool
	wg    sync.WaitGroup // of the loops that serve them
}

// socket is one address with UDP and TCP.
type socket struct {
	servers [2]*dns.Server
	failed  chan struct{} // closed when one of them has ended
	once    sync.Once
}

// Listen makes the addresses that the server listens on, by UDP and TCP, exactly these.
// Sockets that are there stay untouched; one whose loop has failed is opened again. An
// address need not be on the host yet: it is served from when it is there. All are
// tried; the error names those that failed (in use, no permission). After the end of
// Run it returns an error of kind Unavailable.
func (s *Server) Listen(addrs []netip.AddrPort) error {
	k := &s.sockets
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.ended {
		return errs.Unavailablef("the name server has ended")
	}
	want := make(map[netip.AddrPort]bool, len(addrs))
	for _, a := range addrs {
		want[netip.AddrPortFrom(a.Addr().Unmap(), a.Port())] = true
	}
	for a, sock := range k.open {
		if !want[a] || sock.dead() {
			sock.close()
			delete(k.open, a)
		}
	}
	var failures []error
	for a := range want {
		if k.open[a] != nil {
			continue
		}
		sock, err := s.openSocket(a)
		if err != nil {
			failures = append(failures, fmt.Errorf("name server on %v: %w", a, err))
			continue
		}
		if k.open == nil {
			k.open = map[netip.AddrPort]*socket{}
		}
		k.open[a] = sock
	}
	slices.SortFunc(failures, func(a, b error) int { return cmp.Compare(a.Error(), b.Error()) })
	return errors.Join(failures...)
}

// has reports whether the server listens on that address.
func (k *sockets) has(a netip.AddrPort) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.open[netip.AddrPortFrom(a.Addr().Unmap(), a.Port())] != nil
}

// end closes everything for good and waits.
func (k *sockets) end() {
	k.mu.Lock()
	k.ended = true
	for a, sock := range k.open {
		sock.close()
		delete(k.open, a)
	}
	k.mu.Unlock()
	k.wg.Wait()
}

func (s *Server) openSocket(a netip.AddrPort) (*socket, error) {
	family := "4"
	if a.Addr().Is6() {
		family = "6"
	}
	lc := net.ListenConfig{Control: s.control}
	udp, err := lc.ListenPacket(s.ctx, "udp"+family, a.String())
	if err != nil {
		return nil, err
	}
	tcp, err := lc.Listen(s.ctx, "tcp"+family, a.String())
	if err != nil {
		return nil, errors.Join(err, udp.Close())
	}
	sock := &socket{failed: make(chan struct{})}
	sock.servers = [2]*dns.Server{
		{PacketConn: udp, UDPSize: maxUDP},
		{Listener: newListener(tcp), ReadTimeout: firstTime, IdleTimeout: func() time.Duration { return idleTime }},
	}
	for _, server := range sock.servers {
		server.Handler = s
		server.MsgAcceptFunc = accept
		s.serve(a, sock, server)
	}
	return sock, nil
}

// serve starts the loop and waits until it has begun: before that it cannot be stopped.
func (s *Server) serve(a netip.AddrPort, sock *socket, server *dns.Server) {
	begun := make(chan struct{})
	server.NotifyStartedFunc = sync.OnceFunc(func() { close(begun) })
	s.sockets.wg.Go(func() {
		err := server.ActivateAndServe()
		server.NotifyStartedFunc() // also if it never began
		sock.once.Do(func() { close(sock.failed) })
		if err != nil && s.ctx.Err() == nil {
			s.o.Log.Warn("a socket of the name server has failed", "address", a, "err", err)
		}
	})
	<-begun
}

func (k *socket) dead() bool {
	select {
	case <-k.failed:
		return true
	default:
		return false
	}
}

// close frees the address at once; answers under way are not waited for.
func (k *socket) close() {
	now, cancel := context.WithCancel(context.Background())
	cancel()
	for _, server := range k.servers {
		_ = server.ShutdownContext(now) // says that it did not wait, or has ended already
		if server.Listener != nil {
			server.Listener.Close()
		} else {
			server.PacketConn.Close()
		}
	}
}

// control lets a socket be bound before its address is there: gateways come and go,
// and an IPv6 address is not usable until the kernel has looked for duplicates.
func (s *Server) control(network, address string, c syscall.RawConn) error {
	var failed error
	err := c.Control(func(fd uintptr) {
		level, option := unix.IPPROTO_IP, unix.IP_FREEBIND
		if network == "udp6" || network == "tcp6" {
			level, option = unix.IPPROTO_IPV6, unix.IPV6_FREEBIND
		}
		failed = unix.SetsockoptInt(int(fd), level, option, 1)
	})
	if err = errors.Join(err, failed); err != nil {
		return fmt.Errorf("allow an address that is not there yet: %w", err)
	}
	if s.o.Control != nil {
		return s.o.Control(network, address, c)
	}
	return nil
}

// listener bounds the connections, in all and per peer, and the time of a write.
type listener struct {
	net.Listener
	mu    sync.Mutex
	all   int
	peers map[netip.Addr]int
}

func newListener(l net.Listener) *listener {
	return &listener{Listener: l, peers: map[netip.Addr]int{}}
}

// Accept returns the next connection that is within the bounds.
func (l *listener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if peer := addrOf(c.RemoteAddr()); l.count(peer) {
			return &conn{Conn: c, gone: sync.OnceFunc(func() { l.uncount(peer) })}, nil
		}
		c.Close()
	}
}

func (l *listener) count(peer netip.Addr) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.all >= maxConns || l.peers[peer] >= connsPerPeer {
		return false
	}
	l.all++
	l.peers[peer]++
	return true
}

func (l *listener) uncount(peer netip.Addr) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all--
	if l.peers[peer]--; l.peers[peer] == 0 {
		delete(l.peers, peer)
	}
}

type conn struct {
	net.Conn
	gone func()
}

func (c *conn) Write(b []byte) (int, error) {
	if err := c.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
		return 0, err
	}
	return c.Conn.Write(b)
}

func (c *conn) Close() error {
	c.gone()
	return c.Conn.Close()
}
