package dns

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
)

// said is what of an answer the tests look at.
type said struct {
	Code   string
	Answer []string
	SOA    string // owner of the SOA record of a negative answer
}

func saidBy(m *dns.Msg) said {
	s := said{Code: dns.RcodeToString[m.Rcode], Answer: data(m.Answer)}
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			s.SOA = fmt.Sprintf("%s %d", soa.Hdr.Name, soa.Hdr.Ttl)
		}
	}
	return s
}

func TestAnswersOverUDPAndTCPAreThoseOfTheZones(t *testing.T) {
	_, at := start(t, Options{Addresses: prefixes("198.51.100.5/24")}, red(), blue())
	no := func(code, origin string) said { return said{code, []string{}, origin + " 10"} }
	yes := func(rrs ...string) said { return said{"NOERROR", rrs, ""} }
	const v6 = "0.1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.1.0.0.0.0.0.d.f.ip6.arpa"
	tests := []struct {
		name string
		typ  uint16
		want said
	}{
		{"web.red.example", dns.TypeA, yes("A 10.1.2.10")},
		{"web.red.example", dns.TypeAAAA, yes("AAAA fd00:1::10")},
		{"web.red.example", dns.TypeANY, yes("A 10.1.2.10", "AAAA fd00:1::10")},
		{"WeB.rED.Example", dns.TypeA, yes("A 10.1.2.10")}, // RFC 4343
		{"web.blue.example", dns.TypeA, yes("A 192.0.2.20")},
		{"db.red.example", dns.TypeAAAA, no("NOERROR", "red.example.")},
		{"web.red.example", dns.TypeMX, no("NOERROR", "red.example.")},
		{"nobody.red.example", dns.TypeA, no("NXDOMAIN", "red.example.")},
		{"www.web.red.example", dns.TypeA, no("NXDOMAIN", "red.example.")},
		{`web\.red.example`, dns.TypeA, said{"REFUSED", []string{}, ""}},
		{"red.example", dns.TypeA, no("NOERROR", "red.example.")},
		{"red.example", dns.TypeNS, yes("NS pvc-ns.red.example.")},
		{"pvc-ns.red.example", dns.TypeA, yes("A 10.1.2.1", "A 198.51.100.5")},
		{"pvc-ns.red.example", dns.TypeAAAA, yes("AAAA fd00:1::1")},
		{"10.2.1.10.in-addr.arpa", dns.TypePTR, yes("PTR web.red.example.")},
		{"1.2.1.10.in-addr.arpa", dns.TypePTR, yes("PTR pvc-ns.red.example.")},
		{"99.2.1.10.in-addr.arpa", dns.TypePTR, no("NXDOMAIN", "2.1.10.in-addr.arpa.")},
		{v6, dns.TypePTR, yes("PTR web.red.example.")},
		{v6[2:], dns.TypePTR, no("NOERROR", v6[32:]+".")}, // only has names below it
		{"20.2.0.192.in-addr.arpa", dns.TypePTR, yes("PTR web.blue.example.")},
		{"21.2.0.192.in-addr.arpa", dns.TypePTR, no("NXDOMAIN", "2.0.192.in-addr.arpa.")},
		{"2.0.192.in-addr.arpa", dns.TypeNS, yes("NS pvc-ns.blue.example.")},
		{"gone.example", dns.TypeA, said{"REFUSED", []string{}, ""}},
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, tt := range tests {
			for _, from := range []netip.Addr{guest, stranger} {
				m := ask(t, network, from, at, question(tt.name, tt.typ))
				if d := cmp.Diff(tt.want, saidBy(m)); d != "" {
					t.Errorf("%s %s %s from %v: %s", network, tt.name, dns.TypeToString[tt.typ], from, d)
				}
				if ours := tt.want.Code != "REFUSED"; m.Authoritative != ours {
					t.Errorf("%s: authority %v", tt.name, m.Authoritative)
				}
			}
		}
	}
}

func TestNSAnswerCarriesTheAddressesOfTheServer(t *testing.T) {
	s := New(quiet(Options{}))
	s.Update([]Zone{red(), blue()})
	for origin, want := range map[string][]string{
		"red.example":          {"A 10.1.2.1", "AAAA fd00:1::1"},
		"2.1.10.in-addr.arpa":  {"A 10.1.2.1", "AAAA fd00:1::1"},
		"2.0.192.in-addr.arpa": {"A 192.0.2.17"},
	} {
		m := handle(s, udpPeer(stranger), question(origin, dns.TypeNS))
		if d := cmp.Diff(want, data(m.Extra)); d != "" {
			t.Errorf("%s: %s", origin, d)
		}
	}
}

func TestNameServerWithANameOfItsOwnIsNamedInEveryZone(t *testing.T) {
	s := New(quiet(Options{NameServer: "NS1.red.example", Addresses: prefixes("198.51.100.5/24")}))
	s.Update([]Zone{red(), blue()})
	for _, origin := range []string{"red.example", "blue.example", "2.1.10.in-addr.arpa"} {
		m := handle(s, udpPeer(stranger), question(origin, dns.TypeNS))
		if d := cmp.Diff([]string{"NS ns1.red.example."}, data(m.Answer)); d != "" {
			t.Errorf("%s: %s", origin, d)
		}
		if d := cmp.Diff([]string{"A 198.51.100.5"}, data(m.Extra)); d != "" {
			t.Errorf("%s: %s", origin, d)
		}
		soa := handle(s, udpPeer(stranger), question(origin, dns.TypeSOA)).Answer[0].(*dns.SOA)
		if soa.Ns != "ns1.red.example." {
			t.Errorf("%s: SOA names %s", origin, soa.Ns)
		}
	}
	if m := handle(s, udpPeer(stranger), question("pvc-ns.red.example", dns.TypeA)); m.Rcode != dns.RcodeNameError {
		t.Errorf("the name that is not needed is there: %v", m)
	}
}

func TestSharedOctetAnswersOnlyForTheBlocksOfOurNetworks(t *testing.T) {
	public := func(vni int, domain, block, host string) Zone {
		return Zone{VNI: vni, Domain: domain, Networks: prefixes(block), Hosts: []Host{{"h", addrs(host)}}}
	}
	upstream := newUpstreamServer(t, echo("PTR", "somebody.else."))
	_, at := start(t, Options{Forward: []netip.AddrPort{upstream.at}}, red(),
		public(30, "a.example", "93.184.1.0/28", "93.184.1.2"), public(31, "b.example", "93.184.1.32/28", "93.184.1.34"))
	for name, want := range map[string]said{
		"2.1.184.93.in-addr.arpa":   {"NOERROR", []string{"PTR h.a.example."}, ""},
		"34.1.184.93.in-addr.arpa":  {"NOERROR", []string{"PTR h.b.example."}, ""},
		"3.1.184.93.in-addr.arpa":   {"NXDOMAIN", []string{}, "1.184.93.in-addr.arpa. 10"},
		"20.1.184.93.in-addr.arpa":  {"NOERROR", []string{"PTR somebody.else."}, ""}, // between the two
		"200.1.184.93.in-addr.arpa": {"NOERROR", []string{"PTR somebody.else."}, ""},
	} {
		if d := cmp.Diff(want, saidBy(ask(t, "udp", guest, at, question(name, dns.TypePTR)))); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if m := ask(t, "udp", stranger, at, question("20.1.184.93.in-addr.arpa", dns.TypePTR)); m.Rcode != dns.RcodeRefused {
		t.Errorf("a stranger is told about an address that is not ours: %v", m)
	}
}

// TestBlockThatBringsNoRecordsIsAnsweredFor: its octet is shared and known already.
func TestBlockThatBringsNoRecordsIsAnsweredFor(t *testing.T) {
	s := New(quiet(Options{}))
	first := Zone{VNI: 30, Domain: "a.example", Networks: prefixes("93.184.1.0/28")}
	second := Zone{VNI: 31, Domain: "a.example", Networks: prefixes("93.184.1.32/28")}
	code := func() int {
		return handle(s, udpPeer(stranger), question("34.1.184.93.in-addr.arpa", dns.TypePTR)).Rcode
	}
	s.Update([]Zone{first})
	serial := s.Serial()
	if got := code(); got != dns.RcodeRefused {
		t.Errorf("before: %s", dns.RcodeToString[got])
	}
	s.Update([]Zone{first, second})
	if got := code(); got != dns.RcodeNameError || s.Serial() != serial {
		t.Errorf("after: %s, serial %d after %d", dns.RcodeToString[got], s.Serial(), serial)
	}
}

func TestHostThatIsTooLongWithItsDomainIsLeftOutAlone(t *testing.T) {
	s := New(quiet(Options{}))
	z := red()
	z.Domain = strings.Repeat("long.", 46) + "example"
	z.Hosts = append(z.Hosts, Host{strings.Repeat("x", 63), addrs("10.1.2.12", "10.1.2.12")}, Host{"twice", addrs("10.1.2.13", "10.1.2.13")})
	s.Update([]Zone{z})
	for name, want := range map[string]said{
		"web." + z.Domain:         {"NOERROR", []string{"A 10.1.2.10"}, ""},
		"twice." + z.Domain:       {"NOERROR", []string{"A 10.1.2.13"}, ""},
		"12.2.1.10.in-addr.arpa.": {"NXDOMAIN", []string{}, "2.1.10.in-addr.arpa. 10"},
	} {
		typ := dns.TypeA
		if strings.HasSuffix(name, "arpa.") {
			typ = dns.TypePTR
		}
		if d := cmp.Diff(want, saidBy(handle(s, udpPeer(guest), question(name, typ)))); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestRemovedNamesGoWithTheUpdate(t *testing.T) {
	s, at := start(t, Options{}, red(), blue())
	z := red()
	z.Hosts = z.Hosts[1:]
	s.Update([]Zone{z})
	for name, code := range map[string]int{
		"web.red.example": dns.RcodeNameError, "10.2.1.10.in-addr.arpa": dns.RcodeNameError,
		"db.red.example": dns.RcodeSuccess, "web.blue.example": dns.RcodeRefused, "20.2.0.192.in-addr.arpa": dns.RcodeRefused,
	} {
		if m := ask(t, "udp", stranger, at, question(name, dns.TypeANY)); m.Rcode != code {
			t.Errorf("%s: %s", name, dns.RcodeToString[m.Rcode])
		}
	}
}

// decision: names of networks
func TestLowerVNIKeepsANameOfASharedDomainAndOnlyNewConflictsAreLogged(t *testing.T) {
	var log bytes.Buffer
	s := New(Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	b := blue()
	b.Domain = "Red.Example"
	b.Hosts = append(b.Hosts, Host{"mail", addrs("192.0.2.21")}, Host{"MAIL", addrs("192.0.2.22")}, Host{"no_name", addrs("192.0.2.23")},
		Host{"pvc-ns", addrs("192.0.2.24")}, Host{"x\nevil", addrs("192.0.2.25")})
	s.Update([]Zone{b, red()})
	for name, want := range map[string][]string{
		"web.red.example":         {"A 10.1.2.10", "AAAA fd00:1::10"},
		"mail.red.example":        {"A 192.0.2.21"},
		"pvc-ns.red.example":      {"A 10.1.2.1", "A 192.0.2.17", "AAAA fd00:1::1"},
		"21.2.0.192.in-addr.arpa": {"PTR mail.red.example."},
		"20.2.0.192.in-addr.arpa": {}, // the name it had is another host's
		"22.2.0.192.in-addr.arpa": {},
	} {
		if d := cmp.Diff(want, data(handle(s, udpPeer(stranger), question(name, dns.TypeANY)).Answer)); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
	if n := strings.Count(log.String(), "\n"); n != 5 {
		t.Errorf("%d lines were logged:\n%s", n, &log)
	}
	log.Reset()
	s.Update([]Zone{red(), b})
	if log.Len() > 0 {
		t.Errorf("logged again:\n%s", &log)
	}
}

func TestDomainBelowAnotherIsDelegatedByIt(t *testing.T) {
	s := New(quiet(Options{Transfer: []netip.AddrPort{netip.AddrPortFrom(stranger, 0)}}))
	child := blue()
	child.Domain = "web.red.example" // "web" is also a host in red
	s.Update([]Zone{red(), child})
	if got := saidBy(handle(s, udpPeer(guest), question("web.web.red.example", dns.TypeA))); !slices.Equal(got.Answer, []string{"A 192.0.2.20"}) {
		t.Errorf("host of the lower domain: %v", got)
	}
	if got := saidBy(handle(s, udpPeer(guest), question("web.red.example", dns.TypeA))); got.SOA != "web.red.example. 10" {
		t.Errorf("origin of the lower domain: %v", got)
	}
	var parent []string
	for _, rr := range s.table.Load().zones["red.example."].rrs {
		if strings.HasSuffix(rr.Header().Name, "web.red.example.") {
			parent = append(parent, rr.Header().Name+" "+data([]dns.RR{rr})[0])
		}
	}
	want := []string{"pvc-ns.web.red.example. A 192.0.2.17", "web.red.example. NS pvc-ns.web.red.example."}
	if d := cmp.Diff(want, parent); d != "" {
		t.Error(d)
	}
}

func TestDomainOfOneLabelIsADomain(t *testing.T) {
	s := New(quiet(Options{Forward: []netip.AddrPort{loopback()}}))
	z := red()
	z.Domain = "lan"
	s.Update([]Zone{z})
	for name, want := range map[string]said{
		"web.lan": {"NOERROR", []string{"A 10.1.2.10"}, ""},
		"lan":     {"NOERROR", []string{}, "lan. 10"},
		"no.lan":  {"NXDOMAIN", []string{}, "lan. 10"},
	} {
		if d := cmp.Diff(want, saidBy(handle(s, udpPeer(guest), question(name, dns.TypeA)))); d != "" {
			t.Errorf("%s: %s", name, d)
		}
	}
}

func TestNetworkWithoutUsableDomainStillHasGuests(t *testing.T) {
	up := newUpstreamServer(t, echo("A", "203.0.113.80"))
	for _, domain := range []string{"", "not a domain", strings.Repeat("long.", 49) + "example"} {
		s := New(quiet(Options{Forward: []netip.AddrPort{up.at}}))
		z := red()
		z.Domain = domain
		s.Update([]Zone{z})
		if m := handle(s, udpPeer(guest), question("www.example.org", dns.TypeA)); len(m.Answer) != 1 {
			t.Errorf("domain %q: %v", domain, m)
		}
		if got := saidBy(handle(s, udpPeer(guest), question("10.2.1.10.in-addr.arpa", dns.TypePTR))); got.SOA != "2.1.10.in-addr.arpa. 10" {
			t.Errorf("domain %q: %v", domain, got)
		}
	}
}

func TestMessagesThatAreNoQuestionsGetTheirCode(t *testing.T) {
	_, at := start(t, Options{}, red())
	edit := func(f func(*dns.Msg)) *dns.Msg {
		m := question("web.red.example", dns.TypeA)
		f(m)
		return m
	}
	for name, tt := range map[string]struct {
		m    *dns.Msg
		code int
	}{
		"update":        {new(dns.Msg).SetUpdate("red.example."), dns.RcodeNotImplemented},
		"notify":        {new(dns.Msg).SetNotify("red.example."), dns.RcodeNotImplemented},
		"chaos class":   {edit(func(m *dns.Msg) { m.Question[0].Qclass = dns.ClassCHAOS }), dns.RcodeRefused},
		"EDNS 1":        {edit(func(m *dns.Msg) { m.SetEdns0(512, false).IsEdns0().SetVersion(1) }), dns.RcodeBadVers},
		"two OPTs":      {edit(func(m *dns.Msg) { m.SetEdns0(512, false).SetEdns0(512, false) }), dns.RcodeFormatError},
		"two questions": {edit(func(m *dns.Msg) { m.Question = append(m.Question, m.Question[0]) }), dns.RcodeFormatError},
		"an answer":     {edit(func(m *dns.Msg) { m.Answer = []dns.RR{record{name: "a.", typ: dns.TypeNS, target: "b."}.rr()} }), dns.RcodeFormatError},
	} {
		m, _, err := client("udp", stranger).Exchange(tt.m, at.String())
		if err != nil || m.Rcode != tt.code || m.Id != tt.m.Id {
			t.Errorf("%s: %v, %v; want %s", name, m, err, dns.RcodeToString[tt.code])
		}
	}
	if s := New(quiet(Options{})); handle(s, udpPeer(stranger), new(dns.Msg)).Rcode != dns.RcodeFormatError {
		t.Error("a message without a question is not a format error")
	}
}

func TestAnswersFitWhatThePeerTakesAndTheRestComesByTCP(t *testing.T) {
	z := red()
	var many []netip.Addr
	for i := range 200 {
		many = append(many, netip.AddrFrom4([4]byte{10, 1, 2, byte(20 + i)}))
	}
	z.Hosts = []Host{{"many", many}}
	s, at := start(t, Options{}, z)
	for size, most := range map[uint16]int{0: 512, 100: 512, 512: 512, 900: 900, 1232: 1232, 65535: 1232} {
		m := question("many.red.example", dns.TypeA)
		if size > 0 {
			m.SetEdns0(size, true)
		}
		peer := udpPeer(guest)
		resp := handle(s, peer, m)
		if peer.size > most || peer.size < most/2 || !resp.Truncated {
			t.Errorf("peer that takes %d: %d bytes, truncated %v", size, peer.size, resp.Truncated)
		}
		if opt := resp.IsEdns0(); (opt != nil) != (size > 0) || opt != nil && (!opt.Do() || opt.UDPSize() != maxUDP) {
			t.Errorf("peer that takes %d: OPT %v", size, opt)
		}
	}
	if m := ask(t, "tcp", guest, at, question("many.red.example", dns.TypeA)); len(m.Answer) != 200 || m.Truncated {
		t.Errorf("by TCP: %d records, truncated %v", len(m.Answer), m.Truncated)
	}
}
