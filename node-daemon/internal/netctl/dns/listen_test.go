package dns

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/miekg/dns"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

func TestListenMakesTheSocketsExactlyThoseGiven(t *testing.T) {
	s := New(quiet(Options{}))
	first := launch(t, s, red())
	a, b, six := loopback(), loopback(), netip.MustParseAddrPort("[::1]:20053")
	for i, want := range [][]netip.AddrPort{{a}, {a, b, six}, {b}, {}, {b, b, six}} {
		kept := s.sockets.open[b]
		if err := s.Listen(want); err != nil {
			t.Fatal(err)
		}
		if i == 2 && s.sockets.open[b] != kept {
			t.Error("a socket that stays was opened again")
		}
		for _, at := range []netip.AddrPort{first, a, b, six} {
			wanted := false
			for _, w := range want {
				wanted = wanted || w == at
			}
			for _, network := range []string{"udp", "tcp"} {
				c := &dns.Client{Net: network}
				m, _, err := c.Exchange(question("web.red.example", dns.TypeA), at.String())
				if got := err == nil && len(m.Answer) == 1; got != wanted {
					t.Errorf("step %d: %s %v answers: %v, want %v (%v)", i, network, at, got, wanted, err)
				}
			}
		}
	}
}

func TestAddressThatIsTakenIsNamedAndTriedAgain(t *testing.T) {
	taken, free := loopback(), loopback()
	l, err := net.Listen("tcp4", taken.String())
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	s := New(quiet(Options{}))
	running(t, s)
	s.Update([]Zone{red()})
	if err := s.Listen([]netip.AddrPort{taken, free}); err == nil || !strings.Contains(err.Error(), taken.String()) || strings.Contains(err.Error(), free.String()) {
		t.Errorf("error %v, want one that names %v only", err, taken)
	}
	if m := ask(t, "udp", guest, free, question("web.red.example", dns.TypeA)); len(m.Answer) != 1 {
		t.Errorf("the other address: %v", m)
	}
	l.Close()
	if err := s.Listen([]netip.AddrPort{taken, free}); err != nil {
		t.Fatal(err)
	}
	for _, network := range []string{"udp", "tcp"} {
		if m := ask(t, network, guest, taken, question("web.red.example", dns.TypeA)); len(m.Answer) != 1 {
			t.Errorf("%s: %v", network, m)
		}
	}
}

func TestSocketThatHasFailedIsOpenedAgain(t *testing.T) {
	s, at := start(t, Options{}, red())
	s.sockets.open[at].servers[0].PacketConn.Close()
	eventually(t, s.sockets.open[at].dead)
	if err := s.Listen([]netip.AddrPort{at}); err != nil {
		t.Fatal(err)
	}
	if m := ask(t, "udp", guest, at, question("web.red.example", dns.TypeA)); len(m.Answer) != 1 {
		t.Errorf("%v", m)
	}
}

// TestAddressMayComeLater: the gateway is not on the host yet, or is being checked for
// duplicates. 192.0.2.0/24 is on no host.
func TestAddressMayComeLater(t *testing.T) {
	var mu sync.Mutex
	seen := map[string]bool{}
	s := New(quiet(Options{Control: func(network, address string, _ syscall.RawConn) error {
		mu.Lock()
		defer mu.Unlock()
		seen[network+" "+address] = true
		return nil
	}}))
	running(t, s)
	if err := s.Listen([]netip.AddrPort{netip.MustParseAddrPort("192.0.2.99:20053"), netip.MustParseAddrPort("[2001:db8::99]:20053")}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"udp4 192.0.2.99:20053", "tcp4 192.0.2.99:20053", "udp6 [2001:db8::99]:20053", "tcp6 [2001:db8::99]:20053"} {
		if !seen[want] {
			t.Errorf("%s was not shown; shown were %v", want, seen)
		}
	}
}

func TestEndClosesEverythingWhileQuestionsAreUnderWay(t *testing.T) {
	up := newUpstreamServer(t, broken["loses packets"])
	s, at := New(quiet(Options{Forward: []netip.AddrPort{up.at}})), loopback()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Run(ctx) }()
	s.Update([]Zone{red()})
	if err := s.Listen([]netip.AddrPort{at}); err != nil {
		t.Fatal(err)
	}
	idle, err := net.Dial("tcp", at.String())
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	asked := make(chan error)
	go func() {
		_, _, err := client("tcp", guest).Exchange(question("www.example.org", dns.TypeA), at.String())
		asked <- err
	}()
	eventually(t, func() bool { return up.asked.Load() > 0 })
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	<-asked // answered or cut off, but over
	if err := s.Listen([]netip.AddrPort{at}); !errs.Is(err, errs.Unavailable) {
		t.Errorf("after the end: %v", err)
	}
	if l, err := net.Listen("tcp4", at.String()); err != nil {
		t.Errorf("the address is still taken: %v", err)
	} else {
		l.Close()
	}
}

// TestEverythingAtOnce is for the race detector; every answer must be of one of the
// two states.
func TestEverythingAtOnce(t *testing.T) {
	secondary := netip.MustParseAddr("127.0.0.9")
	s, at := start(t, Options{Transfer: []netip.AddrPort{netip.AddrPortFrom(secondary, 20054)}}, red(), blue())
	other := loopback()
	moved := red()
	moved.Hosts = []Host{{"web", addrs("10.1.2.77")}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := range 100 {
			s.Update([][]Zone{{red(), blue()}, {moved}}[i%2])
			if err := s.Listen([][]netip.AddrPort{{at, other}, {at}}[i%2]); err != nil {
				t.Error(err)
			}
			s.Serial()
		}
	})
	for w := range 4 {
		wg.Go(func() {
			c := client([]string{"udp", "tcp"}[w%2], guest)
			for range 100 {
				m, _, err := c.Exchange(question("web.red.example", dns.TypeA), at.String())
				if err != nil {
					t.Error(err)
					return
				}
				if got := fmt.Sprint(data(m.Answer)); got != "[A 10.1.2.10]" && got != "[A 10.1.2.77]" {
					t.Errorf("answer %s", got)
				}
			}
		})
	}
	wg.Go(func() {
		for range 50 {
			rrs, err := axfr(secondary, at, new(dns.Msg).SetAxfr("red.example."))
			if err != nil || rrs[0].String() != rrs[len(rrs)-1].String() {
				t.Errorf("transfer: %v, %v", rrs, err)
				return
			}
		}
	})
	wg.Wait()
}
