package dns

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// decision: other names
func TestGuestsQuestionsAreForwardedAndNobodyElses(t *testing.T) {
	up := newUpstreamServer(t, echo("A", "203.0.113.80"))
	_, at := start(t, Options{Forward: []netip.AddrPort{up.at}}, red())
	for _, network := range []string{"udp", "tcp"} {
		m := ask(t, network, guest, at, question("www.example.org", dns.TypeA))
		if d := cmp.Diff([]string{"A 203.0.113.80"}, data(m.Answer)); d != "" || !m.RecursionAvailable || m.Authoritative {
			t.Errorf("%s: %v %s", network, m, d)
		}
		before := up.asked.Load()
		if m := ask(t, network, stranger, at, question("www.example.org", dns.TypeA)); m.Rcode != dns.RcodeRefused || m.RecursionAvailable {
			t.Errorf("%s: a stranger got %v", network, m)
		}
		iterative := question("www.example.org", dns.TypeA)
		iterative.RecursionDesired = false
		if m := ask(t, network, guest, at, iterative); m.Rcode != dns.RcodeRefused {
			t.Errorf("%s: a question without recursion got %v", network, m)
		}
		if up.asked.Load() != before {
			t.Errorf("%s: a refused question was forwarded", network)
		}
	}
}

func TestWhatOnlyWeCanKnowIsNotForwarded(t *testing.T) {
	up := newUpstreamServer(t, echo("A", "203.0.113.80"))
	s, _ := start(t, Options{Forward: []netip.AddrPort{up.at}}, red(), blue())
	for _, name := range []string{"printer.", "PRINTER.", "9.9.9.10.in-addr.arpa.", "9.9.31.172.in-addr.arpa.", "1.0.168.192.in-addr.arpa.",
		"1.0.0.127.in-addr.arpa.", "1.64.100.in-addr.arpa.", "1.0.254.169.in-addr.arpa.", "9.2.0.192.in-addr.arpa.",
		reverseName(netip.MustParseAddr("fd12::1")), reverseName(netip.MustParseAddr("fe80::1")), "nobody.red.example.", "1.10.in-addr.arpa."} {
		m := handle(s, udpPeer(guest), question(name, dns.TypeA))
		want := dns.RcodeNameError
		if name == "1.10.in-addr.arpa." {
			want = dns.RcodeSuccess // nothing there, but a zone of ours below it (RFC 8020)
		}
		if m.Rcode != want || len(m.Answer) != 0 {
			t.Errorf("%s: %v", name, m)
		}
		if n := up.asked.Load(); n != 0 {
			t.Fatalf("%s was forwarded", name)
		}
	}
	for i, q := range []*dns.Msg{question("org", dns.TypeDS), question(".", dns.TypeNS), question("9.9.9.9.in-addr.arpa", dns.TypePTR), question("1.15.172.in-addr.arpa", dns.TypePTR)} {
		if handle(s, udpPeer(guest), q); up.asked.Load() != int32(i+1) {
			t.Errorf("%v was not forwarded", q.Question)
		}
	}
	if m := handle(s, udpPeer(stranger), question("9.9.9.10.in-addr.arpa.", dns.TypePTR)); m.Rcode != dns.RcodeRefused {
		t.Errorf("a stranger was told about private addresses: %v", m)
	}
}

func TestForwardedQuestionCarriesNothingElseOfTheGuest(t *testing.T) {
	seen := make(chan *dns.Msg, 1)
	up := newUpstreamServer(t, func(w dns.ResponseWriter, m *dns.Msg) {
		seen <- m.Copy()
		echo("A", "203.0.113.80")(w, m)
	})
	_, at := start(t, Options{Forward: []netip.AddrPort{up.at}}, red())
	m := question("wWw.example.org", dns.TypeA)
	m.SetEdns0(4096, true)
	m.CheckingDisabled = true
	opt := m.IsEdns0()
	opt.Option = append(opt.Option, &dns.EDNS0_LOCAL{Code: dns.EDNS0LOCALSTART, Data: []byte("secret")})
	resp := ask(t, "udp", guest, at, m)
	got := <-seen
	if o := got.IsEdns0(); o == nil || len(o.Option) != 0 || !o.Do() || o.UDPSize() != maxUDP || len(got.Extra) != 1 {
		t.Errorf("upstream was sent %v", got)
	}
	if got.Id == m.Id || !got.CheckingDisabled || !got.RecursionDesired || got.Question[0].Name != "wWw.example.org." {
		t.Errorf("upstream was sent %v", got)
	}
	if resp.Question[0] != m.Question[0] || resp.Id != m.Id {
		t.Errorf("the answer has another question or id: %v", resp)
	}
}

func TestExtrasBetweenUsAndTheUpstreamStayThere(t *testing.T) {
	up := newUpstreamServer(t, func(w dns.ResponseWriter, m *dns.Msg) {
		r := new(dns.Msg).SetReply(m).SetEdns0(1400, false)
		r.Extra = append(r.Extra, addressRecord("glue.example.org.", stranger).rr())
		w.WriteMsg(r)
	})
	_, at := start(t, Options{Forward: []netip.AddrPort{up.at}}, red())
	plain := ask(t, "udp", guest, at, question("example.org", dns.TypeNS))
	if d := cmp.Diff([]string{"A 127.0.0.1"}, data(plain.Extra)); d != "" {
		t.Errorf("guest without EDNS: %s", d)
	}
	m := ask(t, "udp", guest, at, question("example.org", dns.TypeNS).SetEdns0(600, false))
	if opt := m.IsEdns0(); len(m.Extra) != 2 || opt == nil || opt.UDPSize() != maxUDP {
		t.Errorf("guest with EDNS: %v", m.Extra)
	}
}

// broken upstream servers; each has the good one after it.
var broken = map[string]upstreamFunc{
	"loses packets": func(w dns.ResponseWriter, m *dns.Msg) {},
	"fails": func(w dns.ResponseWriter, m *dns.Msg) {
		w.WriteMsg(new(dns.Msg).SetRcode(m, dns.RcodeServerFailure))
	},
	"refuses": func(w dns.ResponseWriter, m *dns.Msg) { w.WriteMsg(new(dns.Msg).SetRcode(m, dns.RcodeRefused)) },
	"lies with another id": func(w dns.ResponseWriter, m *dns.Msg) {
		m.Id++
		echo("A", "6.6.6.6")(w, m)
	},
	"lies with another question": func(w dns.ResponseWriter, m *dns.Msg) {
		m.Question[0].Name = "bank.example.org."
		echo("A", "6.6.6.6")(w, m)
	},
	"lies with another type": func(w dns.ResponseWriter, m *dns.Msg) {
		m.Question[0].Qtype = dns.TypeAAAA
		echo("A", "6.6.6.6")(w, m)
	},
	"sends the question back": func(w dns.ResponseWriter, m *dns.Msg) { w.WriteMsg(m) },
	"talks nonsense":          func(w dns.ResponseWriter, m *dns.Msg) { w.Write([]byte("nonsense, and more of it")) },
	"truncates without TCP": func(w dns.ResponseWriter, m *dns.Msg) {
		if isTCP(w) {
			w.Close()
			return
		}
		r := new(dns.Msg).SetReply(m)
		r.Truncated = true
		w.WriteMsg(r)
	},
	"truncates in the middle, fails by TCP": func(w dns.ResponseWriter, m *dns.Msg) {
		if isTCP(w) {
			m.Id++
		}
		r := new(dns.Msg).SetReply(m)
		r.Truncated = true
		r.Answer = []dns.RR{record{name: "a.", typ: dns.TypeNS, target: "b."}.rr()}
		b, _ := r.Pack()
		w.Write(b[:len(b)-2])
	},
}

func isTCP(w dns.ResponseWriter) bool { return w.RemoteAddr().Network() == "tcp" }

func TestNextUpstreamAnswersWhenOneIsBroken(t *testing.T) {
	for name, f := range broken {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bad, good := newUpstreamServer(t, f), newUpstreamServer(t, echo("A", "203.0.113.80"))
			_, at := start(t, Options{Forward: []netip.AddrPort{bad.at, good.at}}, red())
			for i := range 2 {
				m := ask(t, "udp", guest, at, question(fmt.Sprintf("www%d.example.org", i), dns.TypeA))
				if d := cmp.Diff([]string{"A 203.0.113.80"}, data(m.Answer)); d != "" || m.Rcode != dns.RcodeSuccess {
					t.Errorf("%v %s", m, d)
				}
			}
			if most := int32(2); bad.asked.Load() == 0 || bad.asked.Load() > most { // by UDP and TCP, for the first question only
				t.Errorf("the broken server was asked %d times", bad.asked.Load())
			}
		})
	}
}

func TestForgedAnswersAreOutwaitedForTheTrueOne(t *testing.T) {
	up := newUpstreamServer(t, func(w dns.ResponseWriter, m *dns.Msg) {
		for _, lie := range []string{"lies with another id", "lies with another question", "talks nonsense", "sends the question back"} {
			broken[lie](w, m.Copy())
		}
		echo("A", "203.0.113.80")(w, m)
	})
	_, at := start(t, Options{Forward: []netip.AddrPort{up.at}}, red())
	m := ask(t, "udp", guest, at, question("www.example.org", dns.TypeA))
	if d := cmp.Diff([]string{"A 203.0.113.80"}, data(m.Answer)); d != "" || up.asked.Load() != 1 {
		t.Errorf("asked %d times: %s", up.asked.Load(), d)
	}
}

func TestLongAnswerIsFetchedByTCPAndGivenInTheGuestsSize(t *testing.T) {
	up := newUpstreamServer(t, func(w dns.ResponseWriter, m *dns.Msg) {
		r := new(dns.Msg).SetReply(m)
		for i := range 300 {
			r.Answer = append(r.Answer, addressRecord(m.Question[0].Name, netip.AddrFrom4([4]byte{203, 0, byte(i >> 8), byte(i)})).rr())
		}
		if !isTCP(w) {
			r.Truncate(dns.MinMsgSize)
		}
		w.WriteMsg(r)
	})
	_, at := start(t, Options{Forward: []netip.AddrPort{up.at}}, red())
	if m := ask(t, "udp", guest, at, question("www.example.org", dns.TypeA)); !m.Truncated || len(m.Answer) == 0 {
		t.Errorf("by UDP: %d records, truncated %v", len(m.Answer), m.Truncated)
	}
	if m := ask(t, "tcp", guest, at, question("www.example.org", dns.TypeA)); m.Truncated || len(m.Answer) != 300 {
		t.Errorf("by TCP: %d records, truncated %v", len(m.Answer), m.Truncated)
	}
}

func TestNoUpstreamThatAnswersIsAServerFailureInTime(t *testing.T) {
	silent := newUpstreamServer(t, broken["loses packets"])
	for name, forward := range map[string][]netip.AddrPort{"silent": {silent.at}, "absent": {loopback()}} {
		_, at := start(t, Options{Forward: forward}, red())
		began := time.Now()
		m := ask(t, "udp", guest, at, question("www.example.org", dns.TypeA))
		if took := time.Since(began); m.Rcode != dns.RcodeServerFailure || took > forwardTime {
			t.Errorf("%s: %s after %v", name, dns.RcodeToString[m.Rcode], took)
		}
	}
}

func TestUpstreamThatIsThisServerIsNotAsked(t *testing.T) {
	at := netip.AddrPortFrom(stranger, uint16(20_000+rand.N(10_000))) // of our own addresses the one that we ask from
	s := New(quiet(Options{Forward: []netip.AddrPort{at}}))
	s.upstream.slots.each, s.upstream.slots.all = 1<<30, 1<<30 // they would end the circle too
	running(t, s)
	z := red()
	z.Networks = append(z.Networks, netip.PrefixFrom(at.Addr(), 16)) // the server's address is that of a gateway
	s.Update([]Zone{z})
	if err := s.Listen([]netip.AddrPort{at}); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	m := ask(t, "udp", guest, at, question("www.example.org", dns.TypeA))
	if took := time.Since(began); m.Rcode != dns.RcodeServerFailure || took > attemptTime {
		t.Errorf("%s after %v", dns.RcodeToString[m.Rcode], took)
	}
}

func TestOneGuestCannotTakeAllTheForwarding(t *testing.T) {
	hold := make(chan struct{})
	up := newUpstreamServer(t, func(w dns.ResponseWriter, m *dns.Msg) {
		if strings.HasPrefix(m.Question[0].Name, "slow") {
			<-hold
		}
		echo("A", "203.0.113.80")(w, m)
	})
	s := New(quiet(Options{Forward: []netip.AddrPort{up.at}}))
	s.upstream.slots.each = 2
	at := launch(t, s, red())
	answers := make(chan *dns.Msg)
	for i := range 2 {
		go func() {
			m, _, err := client("udp", guest).Exchange(question(fmt.Sprintf("slow%d.example.org", i), dns.TypeA), at.String())
			if err != nil {
				t.Error(err)
			}
			answers <- m
		}()
	}
	eventually(t, func() bool { return up.asked.Load() == 2 })
	if m := ask(t, "udp", guest, at, question("www.example.org", dns.TypeA)); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("the third question got %v", m)
	}
	if m := ask(t, "udp", guest, at, question("web.red.example", dns.TypeA)); len(m.Answer) != 1 {
		t.Errorf("a name of ours got %v", m)
	}
	if m := ask(t, "udp", guest.Next(), at, question("www.example.org", dns.TypeA)); len(m.Answer) != 1 {
		t.Errorf("another guest got %v", m)
	}
	close(hold)
	for range 2 {
		if m := <-answers; m == nil || len(m.Answer) != 1 {
			t.Errorf("a slow question got %v", m)
		}
	}
	eventually(t, func() bool {
		s.upstream.slots.mu.Lock()
		defer s.upstream.slots.mu.Unlock()
		return s.upstream.slots.taken == 0 && len(s.upstream.slots.by) == 0
	})
}
