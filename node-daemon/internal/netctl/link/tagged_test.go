package link

import (
	"encoding/binary"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/testbed/frames"
)

// taggedSide names the variable that says which of two connected machines this is:
// "asks" or "answers".
const taggedSide = "PVC_TEST_TAGGED"

// The guests: on either side one in VLAN 5 and one in VLAN 6. All are in one IP
// network, so that a frame in the wrong VLAN would be understood there.
var (
	asker5  = guestOf{5, "52:54:00:00:05:01", "10.0.0.1"}
	asker6  = guestOf{6, "52:54:00:00:06:01", "10.0.0.2"}
	answer5 = guestOf{5, "52:54:00:00:05:02", "10.0.0.3"}
	answer6 = guestOf{6, "52:54:00:00:06:02", "10.0.0.4"}
)

type guestOf struct {
	vlan    int
	mac, ip string
}

// far is such a guest on the other side.
func (g guestOf) far() *guest {
	return &guest{addr: netip.AddrPortFrom(netip.MustParseAddr(g.ip), 7)}
}

func (g guestOf) start(t *testing.T, m *machine, tap string) *guest {
	here := newGuest(t, m, tap, g.vlan, g.mac, g.ip)
	t.Cleanup(func() { here.conn.Close() })
	return here
}

// Numbers of datagrams that are not just a question.
const (
	hello    = 1 << 29
	farewell = 1<<32 - 1 // the last one
)

// strayVLAN is where the asker's guest in VLAN 5 sends for a while, by a damage.
const strayVLAN = 7

// absent is how long an answer is waited for that must not come. An answer that may
// come takes a few milliseconds.
const absent = 400 * time.Millisecond

func vlans(ids ...int) (d Desired) {
	for _, id := range ids {
		d.Networks = append(d.Networks, bridged(id))
	}
	return d
}

// TestTaggedFramesReachTheirVLANOnly runs on two machines whose eth0 are connected, in
// both at the same time: package testbed/vlan boots them.
func TestTaggedFramesReachTheirVLANOnly(t *testing.T) {
	side := os.Getenv(taggedSide)
	if side == "" {
		t.Skipf("needs a second machine: testbed/vlan boots two guests, which run this with %s set", taggedSide)
	}
	m := &machine{space: newSpace(t)}
	eth0, err := netlink.LinkByName("eth0")
	if err != nil {
		t.Fatal(err)
	}
	if err := netlink.LinkSetNsFd(eth0, int(m.ns)); err != nil {
		t.Fatal(err)
	}
	m.links = New(Underlay{BridgedDevice: "eth0"}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(m.links.Close)
	for _, mtu := range []int{guestMTU, 1500} { // the second one: of a device that is changed later
		m.must(t, on("eth0", func(l netlink.Link) error { return netlink.LinkSetMTU(l, mtu) }), isUp("eth0"))
		m.complete(t, vlans(5, 6))
		m.tagged(t, 5)
		m.tagged(t, 6)
	}
	switch side {
	case "asks":
		m.askTagged(t)
	case "answers":
		m.answerTagged(t)
	default:
		t.Fatalf("%s=%q", taggedSide, side)
	}
}

// tagged demands what a bridged network is, without the eyes of the package.
func (m *machine) tagged(t *testing.T, vlan int) {
	t.Helper()
	m.must(t, on(vlanOf(vlan), func(l netlink.Link) error {
		eth0, err := netlink.LinkByName("eth0")
		if err != nil {
			return err
		}
		bridge, err := netlink.LinkByName(model.BridgeOf(vlan))
		if err != nil {
			return err
		}
		dev, ok := l.(*netlink.Vlan)
		if !ok {
			t.Errorf("%s is a %s", vlanOf(vlan), l.Type())
			return nil
		}
		a := dev.Attrs()
		if dev.VlanId != vlan || dev.VlanProtocol != netlink.VLAN_PROTOCOL_8021Q || a.ParentIndex != eth0.Attrs().Index || a.MasterIndex != bridge.Attrs().Index {
			t.Errorf("%s has VLAN %d (%v) on link %d in bridge %d; eth0 is %d, the bridge %d",
				a.Name, dev.VlanId, dev.VlanProtocol, a.ParentIndex, a.MasterIndex, eth0.Attrs().Index, bridge.Attrs().Index)
		}
		if a.MTU != eth0.Attrs().MTU || bridge.Attrs().MTU != a.MTU {
			t.Errorf("MTU of %s %d, of its bridge %d, of eth0 %d", a.Name, a.MTU, bridge.Attrs().MTU, eth0.Attrs().MTU)
		}
		if both := a.Flags & bridge.Attrs().Flags; both&net.FlagUp == 0 {
			t.Errorf("%s or its bridge is down", a.Name)
		}
		return nil
	}))
}

func (m *machine) askTagged(t *testing.T) {
	five, six := asker5.start(t, m, "vnet0"), asker6.start(t, m, "vnet1")
	five.meets(t, answer5.far())
	six.meets(t, answer6.far())
	if five.ask(answer6.far(), 1, absent) == nil || six.ask(answer5.far(), 2, absent) == nil {
		t.Error("somebody in the other VLAN answers")
	}
	m.repairTagged(t, five)

	m.must(t, on("vnet1", netlink.LinkDel)) // the guest leaves, and then its network can go
	m.complete(t, vlans(5))
	if m.index(t, "vlan6") != 0 || m.index(t, "vmbr6") != 0 {
		t.Error("devices of the removed network are there")
	}
	if err := five.ask(answer5.far(), 3, coordtest.Patience); err != nil {
		t.Errorf("the other network is cut: %v", err)
	}
	coordtest.Eventually(t, "the other side has taken leave", func() bool {
		return five.ask(answer5.far(), farewell, time.Second) == nil
	})
	m.must(t, on("vnet0", netlink.LinkDel))
	m.complete(t, Desired{})
	if m.index(t, "vlan5") != 0 || m.index(t, "vmbr5") != 0 || m.index(t, "eth0") == 0 {
		t.Error("devices of the last network are there, or eth0 is gone")
	}
}

// meets waits for a side that may boot later by far.
func (g *guest) meets(t *testing.T, other *guest) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
		if g.ask(other, hello, 200*time.Millisecond) == nil {
			return
		}
	}
	t.Fatalf("%v does not answer %v", other.addr, g.addr)
}

// repairTagged damages network 5 in ways that cut it, and has them repaired.
func (m *machine) repairTagged(t *testing.T, five *guest) {
	want, number := vlans(5, 6), uint32(100)
	for name, damage := range map[string][]func() error{
		"VLAN deleted":      {on("vlan5", netlink.LinkDel)},
		"VLAN down":         {on("vlan5", netlink.LinkSetDown)},
		"out of the bridge": {on("vlan5", netlink.LinkSetNoMaster)},
		"bridge down":       {on("vmbr5", netlink.LinkSetDown)},
		"another VLAN": {on("vlan5", netlink.LinkDel), m.remakeVLAN("vlan5", strayVLAN), inBridge("vlan5", "vmbr5"), isUp("vlan5"),
			on("vlan5", func(l netlink.Link) error { return netlink.LinkSetAlias(l, aliasOf(5)) })},
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			m.must(t, damage...)
			if number++; five.ask(answer5.far(), number, absent) == nil {
				t.Error("the damage does no harm, so the test says nothing")
			}
			m.complete(t, want)
			m.tagged(t, 5)
			m.tagged(t, 6)
			five.reaches(t, answer5.far())
		})
	}
}

func (m *machine) remakeVLAN(name string, id int) func() error {
	return on("eth0", func(below netlink.Link) error {
		a := attrs(name)
		a.ParentIndex = below.Attrs().Index
		return netlink.LinkAdd(&netlink.Vlan{LinkAttrs: a, VlanId: id})
	})
}

// answerTagged looks at what arrives from the asking side: at eth0 with its tag, at the
// guest of the same VLAN without, at the other guest not at all.
func (m *machine) answerTagged(t *testing.T) {
	five, six := answer5.start(t, m, "vnet0"), answer6.start(t, m, "vnet1")
	wire, in5, in6 := m.watch(t, "eth0"), five.watch(t, "eth0"), six.watch(t, "eth0")
	six.echo(t)
	five.echoToTheEnd(t)
	from5, from6 := asker5.mac, asker6.mac
	for _, c := range []struct {
		where string
		at    *frames.Watcher
		want  map[string][]int
	}{
		{"eth0", wire, map[string][]int{from5: {5, strayVLAN}, from6: {6}}},
		{"the guest in VLAN 5", in5, map[string][]int{from5: {frames.Untagged}}},
		{"the guest in VLAN 6", in6, map[string][]int{from6: {frames.Untagged}}},
	} {
		if diff := cmp.Diff(c.want, c.at.Tags(t, from5, from6)); diff != "" {
			t.Errorf("tags by sender at %s (-want +got):\n%s", c.where, diff)
		}
	}
	m.must(t, on("vnet0", netlink.LinkDel), on("vnet1", netlink.LinkDel))
	m.complete(t, Desired{})
}

// echoToTheEnd answers until the asker takes leave.
func (g *guest) echoToTheEnd(t *testing.T) {
	t.Helper()
	b := make([]byte, 2048)
	for last := false; !last; {
		if err := g.conn.SetReadDeadline(time.Now().Add(2 * time.Minute)); err != nil {
			t.Fatal(err)
		}
		n, from, err := g.conn.ReadFrom(b)
		if err != nil {
			t.Fatalf("waiting for questions: %v", err)
		}
		if _, err := g.conn.WriteTo(b[:n], from); err != nil {
			t.Fatal(err)
		}
		last = n == 4 && binary.BigEndian.Uint32(b) == farewell
	}
}
