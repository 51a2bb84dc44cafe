package dns

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The tests use the loopback network as theirs: guests ask from this block, everybody
// else from elsewhere in 127.0.0.0/8.
var (
	guestBlock = netip.MustParsePrefix("127.200.0.0/16")
	guest      = netip.MustParseAddr("127.200.0.5")
	stranger   = netip.MustParseAddr("127.0.0.1")
)

// loopback is an address that nobody else uses at the moment.
func loopback() netip.AddrPort {
	a := [4]byte{127, byte(1 + rand.N(120)), byte(rand.N(256)), byte(1 + rand.N(254))}
	return netip.AddrPortFrom(netip.AddrFrom4(a), 20053)
}

// start runs a server on an address of its own until the test ends.
func start(t testing.TB, o Options, zones ...Zone) (*Server, netip.AddrPort) {
	t.Helper()
	s := New(quiet(o))
	return s, launch(t, s, zones...)
}

func launch(t testing.TB, s *Server, zones ...Zone) netip.AddrPort {
	t.Helper()
	at := loopback()
	running(t, s)
	s.Update(zones)
	if err := s.Listen([]netip.AddrPort{at}); err != nil {
		t.Fatal(err)
	}
	return at
}

func running(t testing.TB, s *Server) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(func() { cancel(); wg.Wait() })
}

func quiet(o Options) Options {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// client asks from an address.
func client(network string, from netip.Addr) *dns.Client {
	d := &net.Dialer{LocalAddr: net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))}
	if network == "tcp" {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	return &dns.Client{Net: network, Dialer: d, Timeout: 10 * time.Second, UDPSize: dns.MaxMsgSize}
}

func question(name string, typ uint16) *dns.Msg {
	return new(dns.Msg).SetQuestion(dns.Fqdn(name), typ)
}

func ask(t testing.TB, network string, from netip.Addr, at netip.AddrPort, m *dns.Msg) *dns.Msg {
	t.Helper()
	resp, _, err := client(network, from).Exchange(m, at.String())
	if err != nil {
		t.Fatalf("ask for %v from %v: %v", m.Question, from, err)
	}
	return resp
}

// recorder is a peer without a socket: what is written to it has been packed and read.
type recorder struct {
	local, remote net.Addr
	wrote         []*dns.Msg
	size          int // of the last message
	closed        bool
}

func udpPeer(from netip.Addr) *recorder {
	return &recorder{local: &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53}, remote: net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 1024))}
}

func tcpPeer(from netip.Addr) *recorder {
	return &recorder{local: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 53}, remote: net.TCPAddrFromAddrPort(netip.AddrPortFrom(from, 1024))}
}

func (r *recorder) LocalAddr() net.Addr  { return r.local }
func (r *recorder) RemoteAddr() net.Addr { return r.remote }
func (r *recorder) TsigStatus() error    { return nil }
func (r *recorder) TsigTimersOnly(bool)  {}
func (r *recorder) Hijack()              {}
func (r *recorder) Close() error         { r.closed = true; return nil }

func (r *recorder) WriteMsg(m *dns.Msg) error {
	b, err := m.Pack()
	if err == nil {
		_, err = r.Write(b)
	}
	return err
}

func (r *recorder) Write(b []byte) (int, error) {
	m := new(dns.Msg)
	if err := m.Unpack(b); err != nil {
		return 0, err
	}
	r.wrote, r.size = append(r.wrote, m), len(b)
	return len(b), nil
}

// handle asks the server without a socket; nil for no answer.
func handle(s *Server, peer *recorder, m *dns.Msg) *dns.Msg {
	s.ServeDNS(peer, m)
	if len(peer.wrote) == 0 {
		return nil
	}
	return peer.wrote[len(peer.wrote)-1]
}

// data are the answer's records as "type data".
func data(rrs []dns.RR) []string {
	out := []string{}
	for _, rr := range rrs {
		h := rr.Header()
		out = append(out, dns.TypeToString[h.Rrtype]+" "+rr.String()[len(h.String()):])
	}
	return out
}

func addrs(texts ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range texts {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

func prefixes(texts ...string) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range texts {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// red and blue are two ordinary networks; red is the one that the tests' guest is in.
func red() Zone {
	return Zone{VNI: 10, Domain: "red.example", Gateways: addrs("10.1.2.1", "fd00:1::1"),
		Networks: append(prefixes("10.1.2.0/24", "fd00:1::/64"), guestBlock),
		Hosts: []Host{
			{"web", addrs("10.1.2.10", "fd00:1::10")},
			{"db", addrs("10.1.2.11")},
		}}
}

func blue() Zone {
	return Zone{VNI: 20, Domain: "blue.example", Gateways: addrs("192.0.2.17"), Networks: prefixes("192.0.2.16/28"),
		Hosts: []Host{{"web", addrs("192.0.2.20")}}}
}

// eventually fails if the condition is not true within a few seconds.
func eventually(t testing.TB, ok func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal("it did not come about in time")
		}
	}
}
