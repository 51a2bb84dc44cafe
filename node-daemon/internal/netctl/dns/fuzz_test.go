package dns

import (
	"context"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/miekg/dns"
)

// alarm fails the test when something is logged as an error, as a panic is.
type alarm struct {
	slog.Handler
	t *testing.T
}

func (a alarm) Enabled(_ context.Context, l slog.Level) bool { return l >= slog.LevelError }
func (a alarm) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(v slog.Attr) bool { a.t.Log(v); return true })
	a.t.Error(r.Message)
	return nil
}

// FuzzMessages hands the server whatever may come in a packet, the way the library
// does: from a secondary, by UDP and TCP.
func FuzzMessages(f *testing.F) {
	for _, m := range []*dns.Msg{
		question("web.red.example", dns.TypeA), question("red.example", dns.TypeNS), question("red.example", dns.TypeANY).SetEdns0(1232, true),
		question("10.2.1.10.in-addr.arpa", dns.TypePTR), question("20.2.0.192.in-addr.arpa", dns.TypePTR), question(".", dns.TypeNS),
		new(dns.Msg).SetAxfr("red.example."), new(dns.Msg).SetIxfr("red.example.", 1, "a.", "b."), new(dns.Msg).SetNotify("red.example."),
		new(dns.Msg).SetUpdate("red.example."), {}, question(`\000\255\.x.red.example`, dns.TypeA), question("web.red.example", dns.TypeOPT),
	} {
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b, false)
		f.Add(b, true)
	}
	secondary := netip.MustParseAddr("127.200.0.9") // a guest at the same time
	f.Fuzz(func(t *testing.T, raw []byte, tcp bool) {
		s := New(Options{Log: slog.New(alarm{t: t}), Transfer: []netip.AddrPort{netip.AddrPortFrom(secondary, 9)}})
		s.Update([]Zone{red(), blue()})
		peer := udpPeer(secondary)
		if tcp {
			peer = tcpPeer(secondary)
		}
		m := new(dns.Msg)
		if len(raw) < 12 || accept(header(raw)) != dns.MsgAccept || m.Unpack(raw) != nil {
			return
		}
		s.ServeDNS(peer, m)
		if len(peer.wrote) == 0 && !peer.closed {
			t.Fatalf("%v was not answered", m)
		}
		for _, r := range peer.wrote {
			if !r.Response || r.Id != m.Id || !tcp && peer.size > maxUDP {
				t.Fatalf("%v was answered with %d bytes: %v", m, peer.size, r)
			}
		}
	})
}

func header(raw []byte) dns.Header {
	at := func(i int) uint16 { return uint16(raw[2*i])<<8 | uint16(raw[2*i+1]) }
	return dns.Header{Id: at(0), Bits: at(1), Qdcount: at(2), Ancount: at(3), Nscount: at(4), Arcount: at(5)}
}

// FuzzUpstreamAnswers has the outside world answer whatever it likes.
func FuzzUpstreamAnswers(f *testing.F) {
	asked := question("www.example.org", dns.TypeA)
	asked.Id = 7
	for _, edit := range []func(*dns.Msg){
		func(*dns.Msg) {},
		func(m *dns.Msg) { m.Answer = []dns.RR{addressRecord("www.example.org.", stranger).rr()} },
		func(m *dns.Msg) { m.SetEdns0(512, true); m.Rcode = dns.RcodeBadVers },
		func(m *dns.Msg) { m.Question = nil; m.Truncated = true },
	} {
		m := new(dns.Msg).SetReply(asked)
		edit(m)
		b, err := m.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		resp := new(dns.Msg)
		if err := resp.Unpack(raw); !answers(resp, asked) || err != nil {
			return
		}
		if resp.Id != asked.Id || !resp.Response || dns.CanonicalName(resp.Question[0].Name) != "www.example.org." {
			t.Fatalf("%v is taken for an answer", resp)
		}
		peer := udpPeer(guest)
		q := query{Server: New(Options{Log: slog.New(alarm{t: t})}), w: peer, req: asked, src: guest, udp: true}
		q.pass(new(dns.Msg).SetReply(asked), resp)
		if len(peer.wrote) > 1 || peer.size > dns.MinMsgSize {
			t.Fatalf("the guest got %d messages, %d bytes", len(peer.wrote), peer.size)
		}
	})
}
