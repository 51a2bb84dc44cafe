package dns

import (
	"net"
	"net/netip"
	"sync/atomic"
	"testing"

	"github.com/miekg/dns"
)

// upstreamServer is a server of the outside world that does as it is told.
type upstreamServer struct {
	at    netip.AddrPort
	asked atomic.Int32
}

type upstreamFunc func(w dns.ResponseWriter, m *dns.Msg)

func newUpstreamServer(t testing.TB, f upstreamFunc) *upstreamServer {
	t.Helper()
	u := &upstreamServer{at: loopback()}
	h := dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		u.asked.Add(1)
		f(w, m)
	})
	pc, err := net.ListenPacket("udp4", u.at.String())
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp4", u.at.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range []*dns.Server{{PacketConn: pc, Handler: h, MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }},
		{Listener: l, Handler: h}} {
		begun, ended := make(chan struct{}), make(chan error, 1)
		s.NotifyStartedFunc = func() { close(begun) }
		go func() { ended <- s.ActivateAndServe() }()
		<-begun
		t.Cleanup(func() {
			if err := s.Shutdown(); err != nil {
				t.Error(err)
			}
			<-ended
		})
	}
	return u
}

// echo answers every question with one record.
func echo(typ, text string) upstreamFunc {
	return func(w dns.ResponseWriter, m *dns.Msg) {
		rr, err := dns.NewRR(m.Question[0].Name + " 60 IN " + typ + " " + text)
		if err != nil {
			panic(err)
		}
		r := new(dns.Msg)
		r.SetReply(m)
		r.RecursionAvailable = true
		r.Answer = []dns.RR{rr}
		w.WriteMsg(r)
	}
}
