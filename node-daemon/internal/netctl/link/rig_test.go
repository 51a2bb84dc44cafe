package link

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"runtime"
	"testing"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/testbed/frames"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// space is a network name space with a thread of its own, in which functions are
// executed. It goes with the test.
type space struct {
	ns   netns.NsHandle
	todo chan func()
}

func newSpace(t testing.TB) *space {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a network name space needs root")
	}
	s := &space{todo: make(chan func())}
	ready, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		var err error
		if s.ns, err = netns.New(); err != nil {
			ready <- err
			return
		}
		defer s.ns.Close()
		ready <- nil
		for f := range s.todo {
			f()
		}
	}()
	if err := <-ready; err != nil {
		<-ended
		t.Skipf("no network name space: %v", err)
	}
	t.Cleanup(func() { close(s.todo); <-ended })
	return s
}

// in executes f in the name space. f must not end the test.
func (s *space) in(f func()) {
	done := make(chan struct{})
	s.todo <- func() { defer close(done); f() }
	<-done
}

// must executes steps in the name space; the first error ends the test.
func (s *space) must(t testing.TB, steps ...func() error) {
	t.Helper()
	var err error
	s.in(func() {
		for i, step := range steps {
			if err = step(); err != nil {
				err = fmt.Errorf("step %d: %w", i, err)
				return
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

func attrs(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

// on applies change to the device of that name.
func on(name string, change func(netlink.Link) error) func() error {
	return func() error {
		dev, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return change(dev)
	}
}

func isUp(name string) func() error { return on(name, netlink.LinkSetUp) }

func inBridge(name, bridge string) func() error {
	return on(name, func(l netlink.Link) error {
		b, err := netlink.LinkByName(bridge)
		if err != nil {
			return err
		}
		return netlink.LinkSetMaster(l, b)
	})
}

func hasAddr(name, prefix string) func() error {
	return on(name, func(l netlink.Link) error {
		addr, err := netlink.ParseAddr(prefix)
		if err != nil {
			return err
		}
		addr.Flags = unix.IFA_F_NODAD
		return netlink.AddrAdd(l, addr)
	})
}

// cable makes a pair of devices, one here and one in another name space.
func cable(name, peer string, there *space) func() error {
	return func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs(name), PeerName: peer, PeerNamespace: netlink.NsFd(there.ns)})
	}
}

// machine is a host of a cluster.
type machine struct {
	*space
	links *Links
	addr  netip.Addr
}

// cluster makes hosts whose eth0 are at one switch.
func cluster(t testing.TB, six bool, hosts int) []*machine {
	t.Helper()
	sw := newSpace(t)
	sw.must(t, func() error { return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs("sw")}) }, isUp("sw"))
	var out []*machine
	for i := 1; i <= hosts; i++ {
		m := &machine{space: newSpace(t), addr: netip.AddrFrom4([4]byte{198, 51, 100, byte(i)})}
		prefix := m.addr.String() + "/24"
		if six {
			m.addr = netip.MustParseAddr(fmt.Sprintf("2001:db8::%d", i))
			prefix = m.addr.String() + "/64"
		}
		port := fmt.Sprintf("port%d", i)
		sw.must(t, cable(port, "eth0", m.space), inBridge(port, "sw"), isUp(port))
		m.must(t, isUp("lo"), isUp("eth0"), hasAddr("eth0", prefix))
		m.links = New(Underlay{Device: "eth0", Local: m.addr}, slog.New(slog.DiscardHandler))
		t.Cleanup(m.links.Close)
		out = append(out, m)
	}
	return out
}

// desired are the networks with the other hosts as peers.
func desired(of *machine, all []*machine, networks ...Network) Desired {
	d := Desired{Networks: networks}
	for _, m := range all {
		if m != of {
			d.Peers = append(d.Peers, m.addr)
		}
	}
	return d
}

func (m *machine) apply(t testing.TB, want Desired) Result {
	t.Helper()
	var result Result
	m.must(t, func() (err error) { result, err = m.links.Apply(t.Context(), want); return err })
	return result
}

// complete applies and demands that nothing is left to say, or to do.
func (m *machine) complete(t testing.TB, want Desired) {
	t.Helper()
	if result := m.apply(t, want); len(result) != 0 {
		t.Fatalf("not complete: %v", result)
	}
	m.settled(t, want)
}

// settled demands that the kernel is as it was wanted.
func (m *machine) settled(t testing.TB, want Desired) {
	t.Helper()
	if left := m.toDo(t, want); len(left) != 0 {
		t.Fatalf("applied, and still to do: %q", left)
	}
}

// toDo is what an Apply would do.
func (m *machine) toDo(t testing.TB, want Desired) (lines []string) {
	t.Helper()
	m.must(t, func() error {
		have, err := m.links.kernel.read(t.Context())
		if err != nil {
			return err
		}
		fault := m.links.readSwitches(t.Context(), want, &have)
		lines = say(plan(ground{Underlay: m.links.underlay, switching: fault}, want, have))
		return nil
	})
	return lines
}

// index of a device, 0 if there is none.
func (m *machine) index(t testing.TB, name string) (index int) {
	t.Helper()
	m.must(t, func() error {
		dev, err := netlink.LinkByName(name)
		if errors.As(err, new(netlink.LinkNotFoundError)) {
			return nil
		}
		if err == nil {
			index = dev.Attrs().Index
		}
		return err
	})
	return index
}

// guest is a machine with one cable, whose host's end is named like a tap.
type guest struct {
	*space
	conn net.PacketConn
	addr netip.AddrPort
}

const guestMTU = 1400

// newGuest starts a guest with that hardware address in a network of the host.
func newGuest(t testing.TB, m *machine, tap string, vni int, mac, ip string) *guest {
	t.Helper()
	g := &guest{space: newSpace(t), addr: netip.AddrPortFrom(netip.MustParseAddr(ip), 7)}
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	m.must(t, cable(tap, "eth0", g.space), inBridge(tap, model.BridgeOf(vni)), isUp(tap))
	g.must(t, isUp("lo"), on("eth0", func(l netlink.Link) error { return netlink.LinkSetHardwareAddr(l, hw) }),
		on("eth0", func(l netlink.Link) error { return netlink.LinkSetMTU(l, guestMTU) }),
		isUp("eth0"), hasAddr("eth0", ip+"/24"),
		func() error { g.conn, err = net.ListenPacket("udp4", g.addr.String()); return err })
	return g
}

// echo answers what arrives until the guest ends.
func (g *guest) echo(t testing.TB) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b := make([]byte, 2048)
		for {
			n, from, err := g.conn.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = g.conn.WriteTo(b[:n], from) // a loss is the caller's finding
		}
	}()
	t.Cleanup(func() { g.conn.Close(); <-ended })
}

// watch notes the frames that a device of the name space receives.
func (s *space) watch(t *testing.T, device string) *frames.Watcher {
	t.Helper()
	var file *os.File
	s.must(t, func() (err error) { file, err = frames.Open(device); return err })
	return frames.Watch(t, file)
}
