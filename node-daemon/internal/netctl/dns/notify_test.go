package dns

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// told is a NOTIFY as a secondary saw it.
type told struct {
	zone   string
	serial uint32
	from   netip.Addr
}

func secondaryServer(t *testing.T, answer func(n int) bool) (netip.AddrPort, <-chan told) {
	ch := make(chan told, 100)
	var n atomic.Int32
	u := newUpstreamServer(t, func(w dns.ResponseWriter, m *dns.Msg) {
		if !answer(int(n.Add(1))) {
			return
		}
		w.WriteMsg(new(dns.Msg).SetReply(m))
		ch <- told{m.Question[0].Name, m.Answer[0].(*dns.SOA).Serial, addrOf(w.RemoteAddr())}
	})
	return u.at, ch
}

func always(int) bool { return true }

func hear(t *testing.T, ch <-chan told, zones ...string) map[string]told {
	t.Helper()
	got := map[string]told{}
	deadline := time.After(20 * time.Second)
	for len(got) < len(zones) {
		select {
		case n := <-ch:
			got[n.zone] = n
		case <-deadline:
			t.Fatalf("heard of %v, want %v", got, zones)
		}
	}
	for _, z := range zones {
		if _, ok := got[z]; !ok {
			t.Fatalf("heard of %v, want %v", got, zones)
		}
	}
	return got
}

func TestSecondariesAreToldOfWhatHasChangedAndNothingElse(t *testing.T) {
	at, ch := secondaryServer(t, always)
	floating := netip.MustParseAddr("127.0.0.77")
	s, _ := start(t, Options{Transfer: []netip.AddrPort{at}, Addresses: []netip.Prefix{netip.PrefixFrom(floating, 24)}}, blue())
	first := hear(t, ch, "blue.example.", "2.0.192.in-addr.arpa.")
	if n := first["blue.example."]; n.serial != s.Serial() || n.from != floating {
		t.Errorf("told %v, want serial %d from %v", n, s.Serial(), floating)
	}
	s.Update([]Zone{blue()}) // nothing
	z := blue()
	z.Hosts[0].Name = "www"
	s.Update([]Zone{z})
	second := hear(t, ch, "blue.example.", "2.0.192.in-addr.arpa.")
	if a, b := first["blue.example."].serial, second["blue.example."].serial; int32(b-a) <= 0 || b != s.Serial() {
		t.Errorf("serial %d after %d; the highest is %d", b, a, s.Serial())
	}
	z.Hosts = append(z.Hosts, Host{"elsewhere", addrs("8.8.8.8")}) // has no reverse zone of ours
	s.Update([]Zone{z})
	hear(t, ch, "blue.example.")
	s.Update([]Zone{z, red()})
	for zone := range hear(t, ch, "red.example.", "2.1.10.in-addr.arpa.", "0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa.", "200.127.in-addr.arpa.") {
		if zone == "blue.example." {
			t.Error("told of a zone that has not changed")
		}
	}
}

func TestSecondaryThatDoesNotAnswerIsToldAgain(t *testing.T) {
	at, ch := secondaryServer(t, func(n int) bool { return n > 2 })
	s := New(quiet(Options{Transfer: []netip.AddrPort{at}}))
	s.secondaries[0].first = time.Millisecond
	launch(t, s, blue())
	hear(t, ch, "blue.example.", "2.0.192.in-addr.arpa.")
}

func TestASecondaryIsToldFromAnAddressInItsNetwork(t *testing.T) {
	own := []netip.Prefix{netip.MustParsePrefix("192.0.2.10/24"), netip.MustParsePrefix("10.0.0.250/8"), netip.MustParsePrefix("fd00::250/64")}
	for to, want := range map[string]string{
		"192.0.2.99": "192.0.2.10", "10.9.9.9": "10.0.0.250", "198.51.100.1": "192.0.2.10", "fd00::1": "fd00::250", "2001:db8::1": "fd00::250",
	} {
		if got := source(own, netip.MustParseAddr(to)); got.String() != want {
			t.Errorf("%s is told from %s, want %s", to, got, want)
		}
	}
	if got := source(own[:2], netip.MustParseAddr("2001:db8::1")); got.IsValid() {
		t.Errorf("an IPv6 secondary is told from %s", got)
	}
}
