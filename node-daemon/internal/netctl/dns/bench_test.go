package dns

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// cluster is 200 networks with 50 hosts each.
func cluster() []Zone {
	var zones []Zone
	for vni := range 200 {
		z := Zone{VNI: vni, Domain: fmt.Sprintf("net%d.example", vni), Networks: prefixes(fmt.Sprintf("10.7.%d.0/24", vni)),
			Gateways: addrs(fmt.Sprintf("10.7.%d.1", vni))}
		for h := range 50 {
			z.Hosts = append(z.Hosts, Host{fmt.Sprintf("host%d", h), addrs(fmt.Sprintf("10.7.%d.%d", vni, 10+h))})
		}
		zones = append(zones, z)
	}
	zones[0].Networks = append(zones[0].Networks, guestBlock)
	return zones
}

// BenchmarkQuestions asks over a socket: this server with 10,000 hosts, and the bare
// library whose handler answers a constant.
func BenchmarkQuestions(b *testing.B) {
	s := New(quiet(Options{}))
	s.limits.guest = 1 << 60
	at := launch(b, s, cluster()...)
	const name = "host7.net77.example."
	constant := handle(s, udpPeer(guest), question(name, dns.TypeA))
	bare := newUpstreamServer(b, func(w dns.ResponseWriter, m *dns.Msg) {
		r := *constant
		r.Id = m.Id
		w.WriteMsg(&r)
	})
	for _, network := range []string{"udp", "tcp"} {
		b.Run(network+"/server", func(b *testing.B) { benchmarkQuestions(b, network, at, name) })
		b.Run(network+"/bare", func(b *testing.B) { benchmarkQuestions(b, network, bare.at, name) })
	}
}

func benchmarkQuestions(b *testing.B, network string, at netip.AddrPort, name string) {
	b.SetParallelism(8)
	b.RunParallel(func(pb *testing.PB) {
		var c *dns.Conn
		for n := 0; pb.Next(); n++ {
			if n%100 == 0 { // a connection takes at most 128 questions
				if c != nil {
					c.Close()
				}
				var err error
				if c, err = client(network, guest).Dial(at.String()); err != nil {
					b.Error(err)
					return
				}
				c.SetDeadline(time.Now().Add(10 * time.Second))
			}
			if err := c.WriteMsg(question(name, dns.TypeA)); err != nil {
				b.Error(err)
				return
			}
			if m, err := c.ReadMsg(); err != nil || len(m.Answer) != 1 {
				b.Errorf("%v, %v", m, err)
				return
			}
		}
		if c != nil {
			c.Close()
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "questions/s")
}

// BenchmarkAnswer is the same without sockets and without the library's client.
func BenchmarkAnswer(b *testing.B) {
	s := New(quiet(Options{}))
	s.limits.guest = 1 << 60
	s.Update(cluster())
	m := question("host7.net77.example.", dns.TypeA)
	for b.Loop() {
		s.ServeDNS(sink{udpPeer(guest)}, m)
	}
}

// sink packs what is written and throws it away.
type sink struct{ *recorder }

func (sink) WriteMsg(m *dns.Msg) error {
	_, err := m.Pack()
	return err
}

// BenchmarkUpdate changes one host of 10,000.
func BenchmarkUpdate(b *testing.B) {
	s := New(quiet(Options{}))
	zones := cluster()
	s.Update(zones)
	for n := 0; b.Loop(); n++ {
		zones[77].Hosts[7].Name = []string{"here", "there"}[n%2]
		s.Update(zones)
	}
}
