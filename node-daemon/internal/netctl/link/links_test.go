package link

import (
	"encoding/binary"
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
)

// ask sends a numbered datagram and waits for it to come back.
func (g *guest) ask(to *guest, number uint32, wait time.Duration) error {
	b := binary.BigEndian.AppendUint32(nil, number)
	if _, err := g.conn.WriteTo(b, net.UDPAddrFromAddrPort(to.addr)); err != nil {
		return err
	}
	if err := g.conn.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return err
	}
	answer := make([]byte, 64)
	for {
		n, _, err := g.conn.ReadFrom(answer)
		if err != nil {
			return err
		}
		if n == 4 && binary.BigEndian.Uint32(answer) == number {
			return nil
		}
	}
}

// reaches waits until the other answers.
func (g *guest) reaches(t *testing.T, to *guest) {
	t.Helper()
	number := uint32(1 << 30)
	coordtest.Eventually(t, "an answer of "+to.addr.String(), func() bool {
		number++
		return g.ask(to, number, 200*time.Millisecond) == nil
	})
}

func pair(t *testing.T, six bool) (hosts []*machine, a, b *guest) {
	hosts = cluster(t, six, 2)
	for _, m := range hosts {
		m.complete(t, desired(m, hosts, managed(100)))
	}
	a = newGuest(t, hosts[0], "vnet0", 100, "52:54:00:00:00:01", "10.0.0.1")
	b = newGuest(t, hosts[1], "vnet0", 100, "52:54:00:00:00:02", "10.0.0.2")
	t.Cleanup(func() { a.conn.Close() })
	b.echo(t)
	a.reaches(t, b)
	return hosts, a, b
}

func TestGuestsReachEachOtherOverAnUnderlayOfIPv6(t *testing.T) { pair(t, true) }

func TestApplyLosesNothingWhenNothingIsWrong(t *testing.T) {
	hosts, a, b := pair(t, false)
	stop, ended := make(chan struct{}), make(chan struct{})
	var sent, lost uint32
	go func() {
		defer close(ended)
		for {
			select {
			case <-stop:
				return
			default:
			}
			if sent++; a.ask(b, sent, time.Second) != nil {
				lost++
			}
		}
	}()
	for range 50 {
		for _, m := range hosts {
			m.apply(t, desired(m, hosts, managed(100)))
		}
	}
	close(stop)
	<-ended
	t.Logf("%d datagrams and their answers during 100 Applies, %d lost", sent, lost)
	if lost != 0 || sent < 50 {
		t.Errorf("%d of %d lost", lost, sent)
	}
}

// TestAGuestThatMovedIsReachedAtOnce: all three hosts have learned it at the old place.
func TestAGuestThatMovedIsReachedAtOnce(t *testing.T) {
	hosts := cluster(t, false, 3)
	for _, m := range hosts {
		m.complete(t, desired(m, hosts, managed(100)))
	}
	const mac, ip = "52:54:00:00:00:09", "10.0.0.9"
	asker := newGuest(t, hosts[2], "vnet0", 100, "52:54:00:00:00:03", "10.0.0.3")
	t.Cleanup(func() { asker.conn.Close() })
	source := newGuest(t, hosts[0], "vnet0", 100, mac, ip)
	source.echo(t)
	asker.reaches(t, source)
	hosts[0].must(t, on("vnet0", netlink.LinkSetDown))
	if asker.ask(source, 1, 200*time.Millisecond) == nil {
		t.Fatal("a guest whose cable is cut answers")
	}
	target := newGuest(t, hosts[1], "vnet1", 100, mac, ip)
	target.echo(t)
	if asker.ask(target, 2, 300*time.Millisecond) == nil {
		t.Log("reached even before it was announced")
	}
	target.must(t, func() error { return announce("eth0", mac) })
	coordtest.Eventually(t, "the announcement arrives at the asker's host", func() bool {
		return hosts[2].learnedAt(t, mac) == hosts[1].addr
	})
	if err := asker.ask(target, 3, time.Second); err != nil {
		t.Errorf("announced, and the first datagram is lost: %v", err)
	}
}

// learnedAt is where the host's VXLAN device believes a guest to be.
func (m *machine) learnedAt(t *testing.T, mac string) (peer netip.Addr) {
	t.Helper()
	hw, err := net.ParseMAC(mac)
	if err != nil {
		t.Fatal(err)
	}
	m.must(t, func() error {
		have, err := m.links.kernel.read(t.Context())
		for _, e := range have.entries[have.devices["vxlan100"].index] {
			if e.mac == [6]byte(hw) {
				peer = e.peer
			}
		}
		return err
	})
	return peer
}

// announce sends what QEMU sends when a guest resumes: a reverse ARP request (RFC 903)
// from the guest's hardware address to everybody.
func announce(device, mac string) error {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return err
	}
	frame := append([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, hw...)
	frame = append(frame, 0x80, 0x35, 0, 1, 8, 0, 6, 4, 0, 3)
	for range 2 { // sender and target
		frame = append(append(frame, hw...), 0, 0, 0, 0)
	}
	frame = append(frame, make([]byte, 60-len(frame))...)
	dev, err := net.InterfaceByName(device)
	if err != nil {
		return err
	}
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return unix.Sendto(fd, frame, 0, &unix.SockaddrLinklayer{Ifindex: dev.Index})
}

func TestOneApplyRepairsWhateverWasDone(t *testing.T) {
	hosts, a, b := pair(t, false)
	m := hosts[0]
	want := desired(m, hosts, managed(100))
	entryTo := func(ip string, change func(*netlink.Neigh) error) func() error {
		return on("vxlan100", func(l netlink.Link) error {
			return change(&netlink.Neigh{LinkIndex: l.Attrs().Index, Family: unix.AF_BRIDGE, Flags: unix.NTF_SELF,
				State: unix.NUD_PERMANENT, IP: net.ParseIP(ip), HardwareAddr: make(net.HardwareAddr, 6)})
		})
	}
	other := func(change func(*netlink.Vxlan)) func() error {
		return on("vxlan100", func(l netlink.Link) error {
			parent, err := netlink.LinkByName("eth0")
			if err != nil {
				return err
			}
			v := &netlink.Vxlan{LinkAttrs: attrs("vxlan100"), VxlanId: 100, VtepDevIndex: parent.Attrs().Index,
				SrcAddr: m.addr.AsSlice(), Port: 4789, Learning: true}
			change(v)
			if err := netlink.LinkDel(l); err != nil {
				return err
			}
			if err := netlink.LinkAdd(v); err != nil {
				return err
			}
			return netlink.LinkSetAlias(v, "pvc:100")
		})
	}
	set := func(option int, value []byte) func() error {
		return on("vmbr100", func(l netlink.Link) error { return m.links.kernel.setBridge(l.Attrs().Index, option, value) })
	}
	for name, damage := range map[string][]func() error{
		"VXLAN deleted":     {on("vxlan100", netlink.LinkDel)},
		"bridge down":       {on("vmbr100", netlink.LinkSetDown)},
		"VXLAN down":        {on("vxlan100", netlink.LinkSetDown)},
		"bridge MTU":        {on("vmbr100", func(l netlink.Link) error { return netlink.LinkSetMTU(l, 1300) })},
		"VXLAN MTU":         {on("vxlan100", func(l netlink.Link) error { return netlink.LinkSetMTU(l, 600) })},
		"out of the bridge": {on("vxlan100", netlink.LinkSetNoMaster)},
		"in another bridge": {func() error { return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs("other")}) },
			inBridge("vxlan100", "other")},
		"entry missing":      {entryTo("198.51.100.2", netlink.NeighDel)},
		"entry surplus":      {entryTo("198.51.100.77", netlink.NeighAppend)},
		"other VNI":          {other(func(v *netlink.Vxlan) { v.VxlanId = 101 })},
		"other port":         {other(func(v *netlink.Vxlan) { v.Port = 8472 })},
		"other local":        {other(func(v *netlink.Vxlan) { v.SrcAddr = net.ParseIP("198.51.100.9") })},
		"not learning":       {other(func(v *netlink.Vxlan) { v.Learning = false })},
		"STP":                {set(nl.IFLA_BR_STP_STATE, nl.Uint32Attr(1))},
		"delay, snooping":    {set(nl.IFLA_BR_FORWARD_DELAY, nl.Uint32Attr(1500)), set(nl.IFLA_BR_MCAST_SNOOPING, nl.Uint8Attr(1))},
		"DAD":                {func() error { return os.WriteFile("/proc/sys/net/ipv6/conf/vmbr100/accept_dad", []byte("1"), 0) }},
		"aliases taken away": {on("vxlan100", func(l netlink.Link) error { return netlink.LinkSetAlias(l, "") }), on("vmbr100", func(l netlink.Link) error { return netlink.LinkSetAlias(l, "") })},
	} {
		t.Run(name, func(t *testing.T) {
			m.must(t, damage...)
			todo := m.toDo(t, want)
			if len(todo) == 0 {
				t.Fatal("the damage is not seen")
			}
			t.Logf("%q", todo)
			m.complete(t, want)
			a.reaches(t, b)
		})
	}
}
