package primary

import (
	"encoding/hex"
	"log/slog"
	"math/bits"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"
	"time"

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

func floating(prefix string) *Address {
	return &Address{Device: "here", Prefix: netip.MustParsePrefix(prefix), Logger: slog.New(slog.DiscardHandler)}
}

func mustBe(t *testing.T, a *Address, want bool, when string) {
	t.Helper()
	if got, err := a.present(); err != nil || got != want {
		t.Errorf("%s: on the device %v (%v), want %v", when, got, err, want)
	}
}

func TestAnAddressExpiresInTheKernelUnlessItIsKept(t *testing.T) {
	for _, prefix := range []string{"192.0.2.7/24", "2001:db8::7/64"} {
		t.Run(prefix, func(t *testing.T) {
			inNamespace(t)
			a := floating(prefix)
			began := time.Now()
			if err := a.Acquire(t.Context(), 1900*time.Millisecond); err != nil {
				t.Fatal(err)
			}
			if err := a.Keep(t.Context(), 3*time.Second); err != nil {
				t.Fatal(err)
			}
			mustBe(t, a, true, "kept")
			coordtest.Eventually(t, "the kernel removes it", func() bool {
				there, err := a.present()
				return err == nil && !there
			})
			if lived := time.Since(began); lived < 2*time.Second || lived > 8*time.Second {
				t.Errorf("it lived %v, was kept for 3 s", lived)
			}
			if err := a.Release(t.Context()); err != nil {
				t.Errorf("release of an expired address: %v", err)
			}
		})
	}
}

func TestAReleasedAddressIsGone(t *testing.T) {
	inNamespace(t)
	a := floating("192.0.2.7/24")
	if err := a.Acquire(t.Context(), time.Minute); err != nil {
		t.Fatal(err)
	}
	mustBe(t, a, true, "acquired")
	if err := a.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
	mustBe(t, a, false, "released")
	if err := a.Acquire(t.Context(), 900*time.Millisecond); !errs.Is(err, errs.Unavailable) {
		t.Errorf("acquired with less than a second left: %v", err)
	}
	a.Device = "nowhere"
	if err := a.Acquire(t.Context(), time.Minute); err == nil {
		t.Error("acquired on a device that does not exist")
	}
	if err := a.Release(t.Context()); err != nil {
		t.Errorf("release without the device: %v", err)
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
	if err := floating("192.0.2.7/24").Acquire(t.Context(), time.Minute); err != nil {
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
