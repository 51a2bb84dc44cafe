package dns

import (
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// TestServedAddressFollowsTheKernel: a gateway is bound before it is there, answers when
// it is, and again after it has expired and come back, without another Listen.
func TestServedAddressFollowsTheKernel(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root: it makes a network name space")
	}
	runtime.LockOSThread() // never unlocked: the thread ends with the test, and the name space with it
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network name space can be made: %v", err)
	}
	lo, err := netlink.LinkByName("lo")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetUp(lo); err != nil {
		t.Fatal(err)
	}
	s := New(quiet(Options{}))
	running(t, s)
	s.Update([]Zone{red()})
	gateways := []netip.AddrPort{netip.MustParseAddrPort("10.1.2.1:53"), netip.MustParseAddrPort("[fd00:1::1]:53")}
	if err := s.Listen(gateways); err != nil {
		t.Fatal(err)
	}
	for round := range 2 {
		for _, at := range gateways {
			addr, err := netlink.ParseAddr(netip.PrefixFrom(at.Addr(), at.Addr().BitLen()).String())
			if err != nil {
				t.Fatal(err)
			}
			if answersAt(at) {
				t.Errorf("round %d: %v answers and is not there", round, at)
			}
			if err := netlink.AddrAdd(lo, addr); err != nil {
				t.Fatal(err)
			}
			eventually(t, func() bool { return answersAt(at) })
			if err := netlink.AddrDel(lo, addr); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func answersAt(at netip.AddrPort) bool {
	for _, network := range []string{"udp", "tcp"} {
		c := &dns.Client{Net: network, Timeout: 200 * time.Millisecond}
		m, _, err := c.Exchange(question("web.red.example", dns.TypeA), at.String())
		if err != nil || len(m.Answer) != 1 {
			return false
		}
	}
	return true
}
