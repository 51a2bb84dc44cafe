package link

import (
	"context"
	"log/slog"
	"net"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

func TestRemovedNetworksGoAndOthersStay(t *testing.T) {
	hosts := cluster(t, false, 1)
	m := hosts[0]
	m.must(t, func() error { return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs("br0")}) },
		func() error { return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs("vmbr300")}) }) // nobody asked us for it
	m.complete(t, desired(m, hosts, managed(100), managed(200)))
	stay := map[string]int{}
	for _, name := range []string{"vmbr100", "vxlan100", "br0", "vmbr300"} {
		stay[name] = m.index(t, name)
	}
	m.complete(t, desired(m, hosts, managed(100)))
	for name, index := range stay {
		if now := m.index(t, name); now != index || now == 0 {
			t.Errorf("%s had number %d and has %d", name, index, now)
		}
	}
	if m.index(t, "vmbr200") != 0 || m.index(t, "vxlan200") != 0 {
		t.Error("devices of the removed network are there")
	}
}

// TestANetworkThatIsGoneKeepsItsGuestsConnected: until they leave; then it goes.
func TestANetworkThatIsGoneKeepsItsGuestsConnected(t *testing.T) {
	hosts, a, b := pair(t, false)
	m := hosts[0]
	result := m.apply(t, desired(m, hosts))
	if err := result[100]; !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "vnet0") {
		t.Errorf("result %v, want a conflict that names the port", result)
	}
	if err := a.ask(b, 1, time.Second); err != nil {
		t.Errorf("the guest is cut: %v", err)
	}
	m.must(t, on("vnet0", netlink.LinkDel))
	m.complete(t, desired(m, hosts))
	if m.index(t, "vmbr100") != 0 || m.index(t, "vxlan100") != 0 {
		t.Error("nobody uses the network, and its devices are there")
	}
}

// TestAGuestThatComesWhileItsNetworkGoesStopsThat: between reading and removing.
func TestAGuestThatComesWhileItsNetworkGoesStopsThat(t *testing.T) {
	hosts := cluster(t, false, 1)
	m := hosts[0]
	m.complete(t, desired(m, hosts, managed(100)))
	var todo []work
	m.must(t, func() error {
		have, err := m.links.kernel.read(t.Context())
		todo = plan(ground{Underlay: m.links.underlay}, Desired{}, have)
		return err
	})
	newGuest(t, m, "vnet0", 100, "52:54:00:00:00:01", "10.0.0.1").conn.Close()
	var result Result
	m.must(t, func() (err error) { result, err = m.links.execute(t.Context(), todo); return err })
	if !errs.Is(result[100], errs.Conflict) {
		t.Errorf("result %v", result)
	}
	if m.index(t, "vmbr100") == 0 || m.index(t, "vxlan100") == 0 {
		t.Error("devices of the network are gone under the guest")
	}
}

func TestDevicesOfAnEarlierDaemonAreAdoptedWithoutACut(t *testing.T) {
	hosts, a, b := pair(t, false)
	m := hosts[0]
	before := m.index(t, "vxlan100")
	m.must(t, on("vxlan100", func(l netlink.Link) error { return netlink.LinkSetAlias(l, "") }),
		on("vmbr100", func(l netlink.Link) error { return netlink.LinkSetAlias(l, "") }))
	m.complete(t, desired(m, hosts, managed(100)))
	if after := m.index(t, "vxlan100"); after != before {
		t.Errorf("vxlan100 was made anew: number %d, then %d", before, after)
	}
	if err := a.ask(b, 1, time.Second); err != nil {
		t.Errorf("cut by the adoption: %v", err)
	}
}

func TestADeviceThatStandsInTheWayIsAFaultOfThatNetworkOnly(t *testing.T) {
	hosts := cluster(t, false, 1)
	m := hosts[0]
	m.must(t, func() error { return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs("vmbr100"), PeerName: "other"}) },
		func() error {
			parent, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			return netlink.LinkAdd(&netlink.Vxlan{LinkAttrs: attrs("theirs"), VxlanId: 101, VtepDevIndex: parent.Attrs().Index, Port: 4789})
		})
	result := m.apply(t, desired(m, hosts, managed(100), managed(101), managed(102)))
	if len(result) != 2 || !errs.Is(result[100], errs.Conflict) || !errs.Is(result[101], errs.Conflict) {
		t.Errorf("result %v, want conflicts of 100 and 101", result)
	}
	if m.index(t, "vxlan100") != 0 || m.index(t, "vmbr101") == 0 || m.index(t, "vxlan102") == 0 || m.index(t, "theirs") == 0 {
		t.Error("100 has an uplink, 101 no bridge, 102 no uplink, or a device of somebody else is gone")
	}
}

func TestChecksumOffloadOfABridgeIsSwitchedOff(t *testing.T) {
	hosts := cluster(t, false, 1)
	m := hosts[0]
	want := desired(m, hosts, managed(100))
	m.complete(t, want)
	m.must(t, func() error {
		if m.links.kernel.checksumOffload("vmbr100") {
			t.Error("it is on after Apply")
		}
		if !m.links.kernel.checksumOffload("eth0") {
			t.Error("it is off at the cluster device too, so the test says nothing")
		}
		return m.links.kernel.ethtool("vmbr100", &ethtoolValue{command: 0x17, data: 1})
	}, func() error {
		if !m.links.kernel.checksumOffload("vmbr100") {
			t.Error("it could not be switched on")
		}
		return nil
	})
	m.complete(t, want)
}

func TestABridgeMadeAnewHasTheSameAddress(t *testing.T) {
	hosts := cluster(t, false, 2)
	macs := map[string]int{}
	for _, m := range hosts {
		for range 2 {
			m.complete(t, desired(m, hosts, managed(100), managed(200)))
			for _, name := range []string{"vmbr100", "vmbr200"} {
				m.must(t, on(name, func(l netlink.Link) error { macs[l.Attrs().HardwareAddr.String()]++; return netlink.LinkDel(l) }))
			}
		}
	}
	if len(macs) != 4 {
		t.Errorf("addresses %v, want one per host and network, twice each", macs)
	}
}

// TestWhoeverAppliesWhenToldRepairsAtOnce is what a caller does with Subscribe.
func TestWhoeverAppliesWhenToldRepairsAtOnce(t *testing.T) {
	hosts := cluster(t, false, 2)
	m := hosts[0]
	want := desired(m, hosts, managed(100))
	m.complete(t, want)
	ctx, cancel := context.WithCancel(t.Context())
	changes := m.subscribe(t, ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for range changes {
			m.in(func() {
				if _, err := m.links.Apply(ctx, want); err != nil && ctx.Err() == nil {
					t.Error(err)
				}
			})
		}
	}()
	defer func() { cancel(); <-ended }() // the channel is closed, or this never ends
	for why, damage := range map[string]func() error{
		"bridge deleted": on("vmbr100", netlink.LinkDel),
		"VXLAN down":     on("vxlan100", netlink.LinkSetDown),
		"VXLAN loose":    on("vxlan100", netlink.LinkSetNoMaster),
		"entry gone": func() error {
			return m.links.kernel.do(step{op: unflood, device: "vxlan100", peer: hosts[1].addr})
		},
	} {
		m.must(t, damage)
		coordtest.Eventually(t, "repaired: "+why, func() bool { return len(m.toDo(t, want)) == 0 })
	}
}

func TestSubscribersAreToldOfAddressesThatVanish(t *testing.T) {
	m := &machine{space: newSpace(t), links: New(Underlay{}, slog.New(slog.DiscardHandler))}
	addr, err := netlink.ParseAddr("192.0.2.1/32")
	if err != nil {
		t.Fatal(err)
	}
	m.must(t, isUp("lo"), hasAddr("lo", "192.0.2.1/32"))
	changes := m.subscribe(t, t.Context())
	m.must(t, on("lo", func(l netlink.Link) error { return netlink.AddrDel(l, addr) }))
	select {
	case _, open := <-changes:
		if !open {
			t.Error("the channel is closed")
		}
	case <-time.After(coordtest.Patience):
		t.Error("nothing is told")
	}
}

func (m *machine) subscribe(t *testing.T, ctx context.Context) (changes <-chan struct{}) {
	t.Helper()
	m.must(t, func() (err error) { changes, err = m.links.Subscribe(ctx); return err })
	return changes
}

// TestEverydayEventsAreNotWorthALook, or every guest that speaks would cause an Apply.
func TestEverydayEventsAreNotWorthALook(t *testing.T) {
	neighbour := func(family int, mac string, peer []byte) []byte {
		n := netlink.Ndmsg{Family: uint8(family), Flags: unix.NTF_SELF}
		hw, err := net.ParseMAC(mac)
		if err != nil {
			t.Fatal(err)
		}
		return append(append(n.Serialize(), nl.NewRtAttr(netlink.NDA_LLADDR, hw).Serialize()...), nl.NewRtAttr(netlink.NDA_DST, peer).Serialize()...)
	}
	const zero, guest = "00:00:00:00:00:00", "52:54:00:00:00:01"
	for name, test := range map[string]struct {
		kind uint16
		data []byte
		want bool
	}{
		"link":                  {unix.RTM_NEWLINK, nil, true},
		"link gone":             {unix.RTM_DELLINK, nil, true},
		"address gone":          {unix.RTM_DELADDR, nil, true},
		"address prolonged":     {unix.RTM_NEWADDR, nil, false},
		"flood entry":           {unix.RTM_NEWNEIGH, neighbour(unix.AF_BRIDGE, zero, []byte{192, 0, 2, 2}), true},
		"flood entry gone":      {unix.RTM_DELNEIGH, neighbour(unix.AF_BRIDGE, zero, []byte{192, 0, 2, 2}), true},
		"guest learned":         {unix.RTM_NEWNEIGH, neighbour(unix.AF_BRIDGE, guest, []byte{192, 0, 2, 2}), false},
		"neighbour resolved":    {unix.RTM_NEWNEIGH, neighbour(unix.AF_INET, guest, []byte{192, 0, 2, 2}), false},
		"neighbour unreachable": {unix.RTM_DELNEIGH, neighbour(unix.AF_INET, zero, []byte{192, 0, 2, 2}), false},
	} {
		if got := relevant([]syscall.NetlinkMessage{{Header: syscall.NlMsghdr{Type: test.kind}, Data: test.data}}); got != test.want {
			t.Errorf("%s: worth a look: %v", name, got)
		}
	}
}

// TestWhatWasLearnedFromAPeerGoesWithIt, so that its guests are sought elsewhere.
func TestWhatWasLearnedFromAPeerGoesWithIt(t *testing.T) {
	hosts, _, b := pair(t, false)
	const mac = "52:54:00:00:00:02"
	if at := hosts[0].learnedAt(t, mac); at != hosts[1].addr {
		t.Fatalf("%s was learned at %v", b.addr, at)
	}
	hosts[1].must(t, on("eth0", netlink.LinkSetDown)) // it can say nothing more
	hosts[0].complete(t, Desired{Networks: []Network{managed(100)}})
	if at := hosts[0].learnedAt(t, mac); at.IsValid() {
		t.Errorf("%s is still believed at %v", b.addr, at)
	}
}

func TestVLANDevicesOrTheReasonWhyNot(t *testing.T) {
	hosts := cluster(t, false, 1)
	m := hosts[0]
	m.links = New(Underlay{Device: "eth0", Local: m.addr, BridgedDevice: "eth0"}, m.links.log)
	t.Cleanup(m.links.Close)
	want := Desired{Networks: []Network{{VNI: 5, Type: model.NetworkBridged}, managed(100)}}
	result := m.apply(t, want)
	if m.index(t, "vmbr5") == 0 || m.index(t, "vxlan100") == 0 {
		t.Error("the bridge of the bridged network, or the other network, is missing")
	}
	if err := m.vlans(t); err != nil {
		if !errs.Is(err, errs.Unavailable) || !errs.Is(result[5], errs.Unavailable) || len(result) != 1 {
			t.Errorf("VLANs: %v; result %v", err, result)
		}
		t.Skipf("without VLAN devices only the reason was tested: %v", err)
	}
	m.complete(t, want)
	m.must(t, on("vlan5", netlink.LinkDel))
	m.complete(t, want)
	if m.index(t, "vlan5") == 0 {
		t.Error("vlan5 is missing")
	}
	m.complete(t, Desired{})
}

func (m *machine) vlans(t *testing.T) (err error) {
	m.in(func() { err = m.links.VLANs(t.Context()) })
	return err
}

func TestApplyStopsWhenItsContextEnds(t *testing.T) {
	hosts := cluster(t, false, 1)
	m := hosts[0]
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	m.in(func() {
		if _, err := m.links.Apply(ctx, desired(m, hosts, managed(100))); err == nil {
			t.Error("applied without time")
		}
	})
	m.complete(t, desired(m, hosts, managed(100)))
}
