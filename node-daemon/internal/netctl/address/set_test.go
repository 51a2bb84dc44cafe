package address

import (
	"encoding/hex"
	"log/slog"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/mdlayher/ndp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// inNamespace gives the test's goroutine a network of its own with a pair of devices,
// here and there. The thread is never given back, so it ends with the goroutine.
func inNamespace(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "here"}, PeerName: "there"}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"here", "there"} {
		link, err := netlink.LinkByName(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetUp(link); err != nil {
			t.Fatal(err)
		}
	}
}

// held returns a set of addresses on the test's device, which it owns.
func held(t *testing.T, prefixes ...string) *Set {
	t.Helper()
	s := NewSet("the addresses of the test", func(device string) bool { return device == "here" }, slog.New(slog.DiscardHandler))
	var places []Place
	for _, p := range prefixes {
		places = append(places, Place{"here", netip.MustParsePrefix(p)})
	}
	if err := s.Want(places); err != nil {
		t.Fatal(err)
	}
	return s
}

// present are the addresses of the devices, without link-local ones.
func present(t *testing.T) (out []string) {
	t.Helper()
	have, err := readKernel(&netlink.Handle{})
	if err != nil {
		t.Fatal(err)
	}
	for key := range have.addrs {
		out = append(out, key.prefix.String())
	}
	slices.Sort(out)
	return out
}

func mustHave(t *testing.T, when string, want ...string) {
	t.Helper()
	if got := present(t); !slices.Equal(got, want) {
		t.Errorf("%s: %v, want %v", when, got, want)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestAnAddressExpiresInTheKernelUnlessItIsKept(t *testing.T) {
	for _, prefix := range []string{"192.0.2.7/24", "2001:db8::7/64"} {
		t.Run(prefix, func(t *testing.T) {
			inNamespace(t)
			s := held(t, prefix)
			mustHave(t, "wanted and not held")
			began := time.Now()
			must(t, s.Acquire(t.Context(), 1900*time.Millisecond))
			must(t, s.Keep(t.Context(), 3*time.Second))
			mustHave(t, "kept", prefix)
			coordtest.Eventually(t, "the kernel removes it", func() bool { return len(present(t)) == 0 })
			if lived := time.Since(began); lived < 2*time.Second || lived > 8*time.Second {
				t.Errorf("it lived %v, was kept for 3 s", lived)
			}
			must(t, s.Release(t.Context()))
		})
	}
}

func TestReleasedAddressesAreGoneAndStayAway(t *testing.T) {
	inNamespace(t)
	s := held(t, "192.0.2.7/24", "2001:db8::7/64")
	must(t, s.Acquire(t.Context(), time.Minute))
	mustHave(t, "acquired", "192.0.2.7/24", "2001:db8::7/64")
	must(t, s.Release(t.Context()))
	mustHave(t, "released")
	must(t, s.Want([]Place{{"here", netip.MustParsePrefix("192.0.2.8/24")}}))
	mustHave(t, "wanted after the release")
	if err := s.Acquire(t.Context(), 900*time.Millisecond); !errs.Is(err, errs.Unavailable) {
		t.Errorf("acquired with less than a second left: %v", err)
	}
}

func TestAHeldSetFollowsWhatIsWanted(t *testing.T) {
	inNamespace(t)
	s := held(t, "192.0.2.7/24")
	must(t, s.Acquire(t.Context(), time.Minute))
	must(t, s.Want([]Place{{"here", netip.MustParsePrefix("192.0.2.7/25")}, {"later", netip.MustParsePrefix("192.0.2.9/24")}}))
	mustHave(t, "another length", "192.0.2.7/25")
	must(t, netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: "later"}}))
	must(t, s.Keep(t.Context(), time.Minute))
	mustHave(t, "the device has come", "192.0.2.7/25", "192.0.2.9/24")
	must(t, s.Release(t.Context()))
	mustHave(t, "released")
}

func TestStraysAreRemovedFromDevicesThatAreOurs(t *testing.T) {
	inNamespace(t)
	there, err := netlink.LinkByName("there")
	must(t, err)
	here, err := netlink.LinkByName("here")
	must(t, err)
	add := func(link netlink.Link, prefix string, seconds int) {
		must(t, netlink.AddrAdd(link, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix(prefix)), ValidLft: seconds, PreferedLft: seconds}))
	}
	add(there, "198.51.100.1/24", 0)
	add(here, "198.51.100.2/24", 0)
	add(here, "192.0.2.7/24", 60) // of an earlier daemon, which may come back to it
	s := held(t, "192.0.2.7/24")
	must(t, s.Want(s.wanted))
	mustHave(t, "not held", "192.0.2.7/24", "198.51.100.1/24")
	must(t, s.Release(t.Context()))
	mustHave(t, "given up", "198.51.100.1/24")
	must(t, s.Acquire(t.Context(), time.Minute))
	add(here, "198.51.100.3/24", 0)
	must(t, s.Keep(t.Context(), time.Minute))
	mustHave(t, "held", "192.0.2.7/24", "198.51.100.1/24")
}

func TestAnImpossibleAddressCostsTheOthersNothing(t *testing.T) {
	inNamespace(t)
	s := held(t, "192.0.2.7/24", "ff05::9/64", "192.0.2.8/24") // the kernel refuses a multicast address of IPv6
	must(t, s.Acquire(t.Context(), time.Minute))
	mustHave(t, "acquired", "192.0.2.7/24", "192.0.2.8/24")
	if s.trouble == "" {
		t.Error("nobody is told")
	}
	must(t, s.Release(t.Context()))
	mustHave(t, "released")
}

func TestAnAddressThatWasTakenAwayComesBack(t *testing.T) {
	inNamespace(t)
	s := held(t, "192.0.2.7/24")
	must(t, s.Acquire(t.Context(), time.Minute))
	here, err := netlink.LinkByName("here")
	must(t, err)
	must(t, netlink.AddrDel(here, &netlink.Addr{IPNet: ipNet(netip.MustParsePrefix("192.0.2.7/24"))}))
	must(t, s.Keep(t.Context(), time.Minute))
	mustHave(t, "kept", "192.0.2.7/24")
}

func TestATakenIPv6AddressIsAnnounced(t *testing.T) {
	inNamespace(t)
	dev, err := net.InterfaceByName("there")
	must(t, err)
	var conn *ndp.Conn
	coordtest.Eventually(t, "a link-local address to listen on", func() bool {
		conn, _, err = ndp.Listen(dev, ndp.LinkLocal)
		return err == nil
	})
	defer conn.Close()
	must(t, conn.JoinGroup(allNodes))
	must(t, conn.SetReadDeadline(time.Now().Add(20*time.Second)))
	must(t, held(t, "2001:db8::7/64").Acquire(t.Context(), time.Minute))
	for {
		m, _, _, err := conn.ReadFrom()
		must(t, err)
		if na, ok := m.(*ndp.NeighborAdvertisement); ok {
			if na.TargetAddress != netip.MustParseAddr("2001:db8::7") || !na.Override || len(na.Options) != 1 {
				t.Errorf("announced %+v", na)
			}
			return
		}
	}
}

func TestATakenAddressIsAnnounced(t *testing.T) {
	inNamespace(t)
	proto := bits.ReverseBytes16(unix.ETH_P_ARP) // network order
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, int(proto))
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	there, err := net.InterfaceByName("there")
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: proto, Ifindex: there.Index}); err != nil {
		t.Fatal(err)
	}
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 10}); err != nil {
		t.Fatal(err)
	}
	s := held(t, "192.0.2.7/24")
	if err := s.Acquire(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	here, err := net.InterfaceByName("here")
	if err != nil {
		t.Fatal(err)
	}
	for _, operation := range announcements {
		buf := make([]byte, 128)
		n, err := unix.Read(fd, buf)
		if err != nil {
			t.Fatalf("nothing was announced: %v", err)
		}
		want := gratuitousARP(here.HardwareAddr, netip.MustParseAddr("192.0.2.7"), operation)
		if got := hex.EncodeToString(buf[:n]); got != hex.EncodeToString(want) {
			t.Errorf("announced %s, want %s", got, hex.EncodeToString(want))
		}
	}
}
