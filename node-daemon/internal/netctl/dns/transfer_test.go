package dns

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// axfr transfers a zone from an address.
func axfr(from netip.Addr, at netip.AddrPort, m *dns.Msg) ([]dns.RR, error) {
	c, err := client("tcp", from).Dial(at.String())
	if err != nil {
		return nil, err
	}
	tr := &dns.Transfer{Conn: c, ReadTimeout: 10 * time.Second}
	defer tr.Close()
	envelopes, err := tr.In(m, at.String())
	if err != nil {
		return nil, err
	}
	var all []dns.RR
	for e := range envelopes {
		if e.Error != nil {
			err = e.Error
		}
		all = append(all, e.RR...)
	}
	return all, err
}

func TestTransferIsTheWholeZone(t *testing.T) {
	z := red()
	for i := range 500 {
		z.Hosts = append(z.Hosts, Host{fmt.Sprintf("h%d", i), addrs(fmt.Sprintf("10.1.%d.%d", 3+i/250, 1+i%250))})
	}
	z.Networks = append(z.Networks, prefixes("10.1.3.0/24", "10.1.4.0/24")...)
	secondary := netip.MustParseAddr("127.0.0.9")
	s, at := start(t, Options{Transfer: []netip.AddrPort{netip.AddrPortFrom(secondary, 9)}}, z, blue())
	for _, origin := range []string{"red.example.", "RED.example.", "blue.example.", "2.1.10.in-addr.arpa.", "2.0.192.in-addr.arpa.",
		"0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa."} {
		got, err := axfr(secondary, at, new(dns.Msg).SetAxfr(origin))
		if err != nil {
			t.Fatalf("%s: %v", origin, err)
		}
		z := s.table.Load().zones[dns.CanonicalName(origin)]
		want := slices.Concat([]dns.RR{z.soa}, z.rrs, []dns.RR{z.soa})
		if d := cmp.Diff(data(want), data(got)); d != "" {
			t.Errorf("%s: %s", origin, d)
		}
		for _, rr := range got { // whatever is transferred is also answered
			m := ask(t, "tcp", guest, at, question(rr.Header().Name, rr.Header().Rrtype))
			if !slices.Contains(data(m.Answer), data([]dns.RR{rr})[0]) {
				t.Errorf("%s: %v is not answered: %v", origin, rr, m.Answer)
			}
		}
	}
	if n := len(s.table.Load().zones["red.example."].rrs); n < 500 {
		t.Errorf("the zone has only %d records: it fits into one message", n)
	}
}

// decision: zone transfers
func TestTransferIsRefusedToEverybodyElse(t *testing.T) {
	secondary := netip.MustParseAddr("127.0.0.9")
	_, at := start(t, Options{Transfer: []netip.AddrPort{netip.AddrPortFrom(secondary, 9)}}, red())
	ixfr := new(dns.Msg).SetIxfr("red.example.", 1, "a.", "b.")
	for name, tt := range map[string]struct {
		network string
		from    netip.Addr
		m       *dns.Msg
		code    int
	}{
		"stranger":             {"tcp", stranger, new(dns.Msg).SetAxfr("red.example."), dns.RcodeRefused},
		"guest":                {"tcp", guest, new(dns.Msg).SetAxfr("red.example."), dns.RcodeRefused},
		"stranger for changes": {"tcp", stranger, ixfr, dns.RcodeRefused},
		"by UDP":               {"udp", secondary, new(dns.Msg).SetAxfr("red.example."), dns.RcodeRefused},
		"not a zone":           {"tcp", secondary, new(dns.Msg).SetAxfr("web.red.example."), dns.RcodeNotAuth},
		"private zone":         {"tcp", secondary, new(dns.Msg).SetAxfr("10.in-addr.arpa."), dns.RcodeNotAuth},
	} {
		if m := ask(t, tt.network, tt.from, at, tt.m); m.Rcode != tt.code || len(m.Answer) != 0 {
			t.Errorf("%s: %v", name, m)
		}
	}
}

func TestChangesAreTransferredAsAWholeUnlessThereAreNone(t *testing.T) {
	secondary := netip.MustParseAddr("127.0.0.9")
	s, at := start(t, Options{Transfer: []netip.AddrPort{netip.AddrPortFrom(secondary, 9)}}, red())
	serial := s.Serial()
	records := len(s.table.Load().zones["red.example."].rrs) + 2
	for name, tt := range map[string]struct {
		network string
		serial  uint32
		records int
	}{
		"current": {"tcp", serial, 1}, "newer than ours": {"tcp", serial + 1, 1}, "older": {"tcp", serial - 1, records}, "older by UDP": {"udp", serial - 1, 1},
	} {
		m := ask(t, tt.network, secondary, at, new(dns.Msg).SetIxfr("red.example.", tt.serial, "a.", "b."))
		if soa, ok := m.Answer[0].(*dns.SOA); len(m.Answer) != tt.records || !ok || soa.Serial != serial {
			t.Errorf("%s: %d records, want %d: %v", name, len(m.Answer), tt.records, m.Answer)
		}
	}
}

func TestConnectionsOfOnePeerAreBounded(t *testing.T) {
	_, at := start(t, Options{}, red())
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	for range connsPerPeer {
		c, err := net.Dial("tcp", at.String())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	c := &dns.Conn{Conn: conns[connsPerPeer-1]}
	if err := c.WriteMsg(question("web.red.example", dns.TypeA)); err != nil {
		t.Fatal(err)
	}
	if m, err := c.ReadMsg(); err != nil || len(m.Answer) != 1 {
		t.Fatalf("the last connection that is allowed: %v, %v", m, err)
	}
	over, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer over.Close()
	over.SetReadDeadline(time.Now().Add(firstTime / 2))
	if n, err := over.Read(make([]byte, 1)); err == nil || isTimeout(err) {
		t.Errorf("one more is not closed: %d bytes, %v", n, err)
	}
	if m := ask(t, "tcp", guest, at, question("web.red.example", dns.TypeA)); len(m.Answer) != 1 {
		t.Errorf("another peer: %v", m)
	}
	conns[0].Close()
	eventually(t, func() bool {
		m, _, err := client("tcp", stranger).Exchange(question("web.red.example", dns.TypeA), at.String())
		return err == nil && len(m.Answer) == 1
	})
}

func isTimeout(err error) bool {
	ne, ok := err.(net.Error)
	return ok && ne.Timeout()
}
