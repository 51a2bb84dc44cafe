package link

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// TestParseLinkReadsWhatTheKernelSays of devices that the library made.
func TestParseLinkReadsWhatTheKernelSays(t *testing.T) {
	hosts := cluster(t, false, 1)
	m := hosts[0]
	m.complete(t, desired(m, hosts, managed(100)))
	var have state
	m.must(t, func() (err error) { have, err = m.links.kernel.read(t.Context()); return err })
	b, v, below := have.devices["vmbr100"], have.devices["vxlan100"], have.devices["eth0"]
	want := device{index: b.index, name: "vmbr100", kind: kindBridge, alias: "pvc:100", mtu: 1450, up: true,
		ipv6: ipv6{on: true, autoconf: true}}
	if diff := cmp.Diff(want, b, cmp.AllowUnexported(device{}, bridge{}, vxlan{}, ipv6{}, switchPort{}), cmp.Comparer(sameVXLAN)); diff != "" {
		t.Error(diff)
	}
	want = device{index: v.index, name: "vxlan100", kind: kindVXLAN, alias: "pvc:100", mtu: 1450, up: true, master: b.index,
		vxlan: vxlan{vni: 100, port: 4789, device: below.index, local: m.addr, learning: true}, ipv6: ipv6{on: true, dad: true, ra: true}}
	if diff := cmp.Diff(want, v, cmp.AllowUnexported(device{}, bridge{}, vxlan{}, ipv6{}, switchPort{}), cmp.Comparer(sameVXLAN)); diff != "" {
		t.Error(diff)
	}
}

func sameVXLAN(a, b vxlan) bool { return a == b }

func FuzzParseLink(f *testing.F) {
	req := nl.NewIfInfomsg(unix.AF_UNSPEC).Serialize()
	f.Add([]byte{})
	f.Add(req)
	name := nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated("vmbr1")).Serialize()
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.ZeroTerminated(kindVXLAN))
	info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(nl.IFLA_VXLAN_ID, nl.Uint32Attr(1))
	f.Add(append(append(req, name...), info.Serialize()...))
	f.Add(append(req, nl.NewRtAttr(unix.IFLA_MTU, []byte{1}).Serialize()...))
	f.Fuzz(func(t *testing.T, m []byte) {
		d, err := parseLink(m)
		if err == nil && len(m) < unix.SizeofIfInfomsg {
			t.Errorf("%d bytes are a link: %+v", len(m), d)
		}
	})
}

// TestOnlyEntriesOfVXLANDevicesCount: those of bridges, and neighbours, are nobody's peers.
func TestOnlyEntriesOfVXLANDevicesCount(t *testing.T) {
	mac := make([]byte, 6)
	for name, test := range map[string]struct {
		n             netlink.Neigh
		want, learned bool
	}{
		"set":       {netlink.Neigh{IP: local.AsSlice(), HardwareAddr: mac, Flags: unix.NTF_SELF, State: unix.NUD_PERMANENT | unix.NUD_NOARP}, true, false},
		"learned":   {netlink.Neigh{IP: local.AsSlice(), HardwareAddr: mac, Flags: unix.NTF_SELF, State: unix.NUD_REACHABLE}, true, true},
		"of EVPN":   {netlink.Neigh{IP: local.AsSlice(), HardwareAddr: mac, Flags: unix.NTF_SELF | unix.NTF_EXT_LEARNED, State: unix.NUD_REACHABLE}, true, false},
		"no peer":   {netlink.Neigh{HardwareAddr: mac, Flags: unix.NTF_SELF}, false, false},
		"neighbour": {netlink.Neigh{IP: local.AsSlice(), HardwareAddr: mac}, false, false},
		"no MAC":    {netlink.Neigh{IP: local.AsSlice(), Flags: unix.NTF_SELF}, false, false},
	} {
		e, ok := forwarding(test.n)
		if ok != test.want || e.learned != test.learned || ok && (e.peer != local || !e.flood()) {
			t.Errorf("%s: %+v, %v", name, e, ok)
		}
	}
}
