package link

import (
	"fmt"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

var (
	local = netip.MustParseAddr("192.0.2.1")
	peer2 = netip.MustParseAddr("192.0.2.2")
	peer3 = netip.MustParseAddr("192.0.2.3")
)

var under = Underlay{Device: "eth0", Local: local, BridgedDevice: "eth1", Port: 4789}

func managed(vni int) Network { return Network{VNI: vni, Type: model.NetworkManaged} }
func bridged(vni int) Network { return Network{VNI: vni, Type: model.NetworkBridged} }

// host builds a state: hardware below, and the devices given.
func host(devices ...device) state {
	s := state{devices: map[string]device{}, entries: map[int][]entry{}, ipv6: true}
	for _, d := range append([]device{{index: 1, name: "eth0", mtu: 1500, up: true}, {index: 2, name: "eth1", mtu: 9000, up: true}}, devices...) {
		s.devices[d.name] = d
	}
	return s
}

// The devices of network 100 as they ought to be, to be spoilt by a test.
func goodBridge() device {
	return device{index: 10, name: "vmbr100", kind: kindBridge, alias: "pvc:100", mtu: 1450, up: true, ipv6: ipv6{on: true, autoconf: true}}
}

func goodVXLAN() device {
	return device{index: 11, name: "vxlan100", kind: kindVXLAN, alias: "pvc:100", mtu: 1450, up: true, master: 10,
		vxlan: vxlan{vni: 100, port: 4789, device: 1, local: local, learning: true}, ipv6: ipv6{on: true, dad: true}}
}

func goodVLAN() device {
	return device{index: 12, name: "vlan100", kind: kindVLAN, alias: "pvc:100", mtu: 9000, up: true, master: 10, vlan: 100, parent: 2}
}

func with(d device, change func(*device)) device {
	change(&d)
	return d
}

// say renders a plan: the steps, and the faults behind an exclamation mark.
func say(todo []work) []string {
	var lines []string
	for _, w := range todo {
		for _, s := range w.steps {
			lines = append(lines, fmt.Sprintf("%d: %s", w.vni, s))
		}
		for _, err := range w.faults {
			lines = append(lines, fmt.Sprintf("%d! %s: %v", w.vni, errs.KindOf(err), err))
		}
	}
	return lines
}

func floodTo(peers ...netip.Addr) (out []entry) {
	for _, p := range peers {
		out = append(out, entry{peer: p})
	}
	return out
}

func TestPlanMakesANetworkFromNothing(t *testing.T) {
	for name, test := range map[string]struct {
		want Desired
		plan []string
	}{
		"managed": {Desired{Networks: []Network{managed(100)}, Peers: []netip.Addr{peer3, peer2, local, peer2}}, []string{
			"100: create bridge vmbr100",
			"100: label vmbr100 pvc:100",
			"100: switch spanning tree, delay and snooping of vmbr100 off",
			"100: set the MTU of vmbr100 to 1450",
			"100: switch duplicate address detection and router advertisements of vmbr100 off",
			"100: switch checksum offload of vmbr100 off",
			"100: set vmbr100 up",
			"100: create vxlan vxlan100",
			"100: label vxlan100 pvc:100",
			"100: set the MTU of vxlan100 to 1450",
			"100: switch IPv6 autoconfiguration of vxlan100 off",
			"100: attach vxlan100 to vmbr100",
			"100: flood from vxlan100 to 192.0.2.2",
			"100: flood from vxlan100 to 192.0.2.3",
			"100: set vxlan100 up",
		}},
		"bridged": {Desired{Networks: []Network{bridged(7)}, Peers: []netip.Addr{peer2}}, []string{
			"7: create bridge vmbr7",
			"7: label vmbr7 pvc:7",
			"7: switch spanning tree, delay and snooping of vmbr7 off",
			"7: set the MTU of vmbr7 to 9000",
			"7: switch duplicate address detection and router advertisements of vmbr7 off",
			"7: switch checksum offload of vmbr7 off",
			"7: set vmbr7 up",
			"7: create vlan vlan7",
			"7: label vlan7 pvc:7",
			"7: set the MTU of vlan7 to 9000",
			"7: switch IPv6 autoconfiguration of vlan7 off",
			"7: attach vlan7 to vmbr7",
			"7: set vlan7 up",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.plan, say(plan(ground{Underlay: under}, test.want, host()))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlanOfACompleteHostIsEmpty(t *testing.T) {
	have := host(goodBridge(), goodVXLAN(), device{index: 20, name: "vnet0", kind: "tun", master: 10, mtu: 1450})
	have.entries[11] = append(floodTo(peer2, peer3), entry{mac: [6]byte{2, 1}, peer: peer2, learned: true},
		entry{mac: [6]byte{2, 2}, peer: netip.MustParseAddr("192.0.2.9"), learned: true})
	want := Desired{Networks: []Network{managed(100)}, Peers: []netip.Addr{peer2, peer3}}
	if lines := say(plan(ground{Underlay: under}, want, have)); lines != nil {
		t.Error(lines)
	}
	want = Desired{Networks: []Network{bridged(100)}}
	have = host(with(goodBridge(), func(d *device) { d.mtu = 9000 }), goodVLAN())
	if lines := say(plan(ground{Underlay: under}, want, have)); lines != nil {
		t.Error(lines)
	}
}

func TestPlanRepairsOnlyWhatIsWrong(t *testing.T) {
	remake := []string{"100: remove vxlan100", "100: create vxlan vxlan100", "100: label vxlan100 pvc:100",
		"100: set the MTU of vxlan100 to 1450", "100: switch IPv6 autoconfiguration of vxlan100 off", "100: attach vxlan100 to vmbr100",
		"100: flood from vxlan100 to 192.0.2.2", "100: set vxlan100 up"}
	onBridge := func(change func(*device)) []device { return []device{with(goodBridge(), change), goodVXLAN()} }
	onVXLAN := func(change func(*device)) []device { return []device{goodBridge(), with(goodVXLAN(), change)} }
	for name, test := range map[string]struct {
		devices []device
		plan    []string
	}{
		"bridge down":                 {onBridge(func(d *device) { d.up = false }), []string{"100: set vmbr100 up"}},
		"bridge with STP":             {onBridge(func(d *device) { d.bridge.stp = true }), []string{"100: switch spanning tree, delay and snooping of vmbr100 off"}},
		"bridge with delay":           {onBridge(func(d *device) { d.bridge.forwardDelay = 1500 }), []string{"100: switch spanning tree, delay and snooping of vmbr100 off"}},
		"bridge snooping":             {onBridge(func(d *device) { d.bridge.snooping = true }), []string{"100: switch spanning tree, delay and snooping of vmbr100 off"}},
		"bridge that follows routers": {onBridge(func(d *device) { d.ipv6.ra = true }), []string{"100: switch duplicate address detection and router advertisements of vmbr100 off"}},
		"bridge with DAD":             {onBridge(func(d *device) { d.ipv6.dad = true }), []string{"100: switch duplicate address detection and router advertisements of vmbr100 off"}},
		"bridge offloads":             {onBridge(func(d *device) { d.bridge.checksum = true }), []string{"100: switch checksum offload of vmbr100 off"}},
		"bridge MTU":                  {onBridge(func(d *device) { d.mtu = 1500 }), []string{"100: set the MTU of vmbr100 to 1450"}},
		"bridge adopted":              {onBridge(func(d *device) { d.alias = "" }), []string{"100: label vmbr100 pvc:100"}},
		"VXLAN down":                  {onVXLAN(func(d *device) { d.up = false }), []string{"100: set vxlan100 up"}},
		"VXLAN MTU":                   {onVXLAN(func(d *device) { d.mtu = 1500 }), []string{"100: set the MTU of vxlan100 to 1450"}},
		"VXLAN autoconf":              {onVXLAN(func(d *device) { d.ipv6.autoconf = true }), []string{"100: switch IPv6 autoconfiguration of vxlan100 off"}},
		"VXLAN loose":                 {onVXLAN(func(d *device) { d.master = 0 }), []string{"100: attach vxlan100 to vmbr100"}},
		"VXLAN elsewhere":             {onVXLAN(func(d *device) { d.master = 1 }), []string{"100: attach vxlan100 to vmbr100"}},
		"VXLAN adopted":               {onVXLAN(func(d *device) { d.alias = "" }), []string{"100: label vxlan100 pvc:100"}},
		"VXLAN not learning":          {onVXLAN(func(d *device) { d.vxlan.learning = false }), remake},
		"VXLAN port":                  {onVXLAN(func(d *device) { d.vxlan.port = 8472 }), remake},
		"VXLAN VNI":                   {onVXLAN(func(d *device) { d.vxlan.vni = 101 }), remake},
		"VXLAN local":                 {onVXLAN(func(d *device) { d.vxlan.local = peer3 }), remake},
		"VXLAN below":                 {onVXLAN(func(d *device) { d.vxlan.device = 2 }), remake},
		"VXLAN multicast":             {onVXLAN(func(d *device) { d.vxlan.group = netip.MustParseAddr("239.1.1.1") }), remake},
		"adopted and wrong": {onVXLAN(func(d *device) { d.alias, d.vxlan.learning = "", false }),
			remake},
		"bridge missing": {[]device{with(goodVXLAN(), func(d *device) { d.master = 0 })}, []string{
			"100: create bridge vmbr100", "100: label vmbr100 pvc:100", "100: switch spanning tree, delay and snooping of vmbr100 off",
			"100: set the MTU of vmbr100 to 1450", "100: switch duplicate address detection and router advertisements of vmbr100 off",
			"100: switch checksum offload of vmbr100 off", "100: set vmbr100 up", "100: attach vxlan100 to vmbr100"}},
		"VXLAN missing": {[]device{goodBridge()}, remake[1:]},
	} {
		t.Run(name, func(t *testing.T) {
			have := host(test.devices...)
			have.entries[11] = floodTo(peer2)
			want := Desired{Networks: []Network{managed(100)}, Peers: []netip.Addr{peer2}}
			if diff := cmp.Diff(test.plan, say(plan(ground{Underlay: under}, want, have))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlanFollowsThePeersAndForgetsWhatWasLearnedFromOneThatWent(t *testing.T) {
	have := host(goodBridge(), goodVXLAN())
	mac := [6]byte{2, 0, 0, 0, 0, 9}
	have.entries[11] = append(floodTo(peer3),
		entry{mac: mac, peer: peer3, learned: true},
		entry{mac: [6]byte{2, 8}, peer: peer3},                // set by somebody
		entry{mac: [6]byte{2, 7}, peer: local, learned: true}) // from nobody that goes
	got := say(plan(ground{Underlay: under}, Desired{Networks: []Network{managed(100)}, Peers: []netip.Addr{peer2}}, have))
	want := []string{
		"100: flood no longer from vxlan100 to 192.0.2.3",
		"100: forget that vxlan100 knows 020000000009 at 192.0.2.3",
		"100: flood from vxlan100 to 192.0.2.2",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestPlanNeverTouchesWhatBelongsToSomebodyElse(t *testing.T) {
	stranger := func(d device) []device { return []device{d, {index: 30, name: "docker0", kind: kindBridge}} }
	for name, test := range map[string]struct {
		devices []device
		want    []Network
		plan    []string
	}{
		"unlabelled, no longer wanted": {stranger(with(goodBridge(), func(d *device) { d.alias = "" })), nil, nil},
		"labelled by somebody":         {stranger(with(goodBridge(), func(d *device) { d.alias = "pvc:0100" })), nil, nil},
		"hardware with our label":      {stranger(device{index: 31, name: "eth9", alias: "pvc:100"}), nil, nil},
		"name taken by another kind": {stranger(device{index: 31, name: "vmbr100", kind: "dummy"}), []Network{managed(100)}, []string{
			`100! conflict: device vmbr100 is not one of ours: kind "dummy", alias ""`}},
		"name taken by another label": {stranger(with(goodBridge(), func(d *device) { d.alias = "uplink of the printers" })), []Network{managed(100)}, []string{
			`100! conflict: device vmbr100 is not one of ours: kind "bridge", alias "uplink of the printers"`}},
		"VXLAN name with another VNI": {[]device{goodBridge(), with(goodVXLAN(), func(d *device) { d.alias, d.vxlan.vni = "", 5 })}, []Network{managed(100)}, []string{
			`100! conflict: device vxlan100 is not one of ours: kind "vxlan", alias ""`}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.plan, say(plan(ground{Underlay: under}, Desired{Networks: test.want}, host(test.devices...)))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlanRemovesWhatIsNotWantedButNeverCutsAGuest(t *testing.T) {
	tap := device{index: 20, name: "vnet0", kind: "tun", master: 10}
	for name, test := range map[string]struct {
		devices []device
		want    []Network
		plan    []string
	}{
		"unused":       {[]device{goodBridge(), goodVXLAN()}, nil, []string{"100: remove vmbr100", "100: remove vxlan100"}},
		"in use":       {[]device{goodBridge(), goodVXLAN(), tap}, nil, []string{"100: flood from vxlan100 to 192.0.2.2", "100! conflict: network is gone, but its bridge vmbr100 is in use by vnet0"}},
		"in use, VLAN": {[]device{goodBridge(), goodVLAN(), tap}, nil, []string{"100! conflict: network is gone, but its bridge vmbr100 is in use by vnet0"}},
		"loose port": {[]device{goodBridge(), with(goodVXLAN(), func(d *device) { d.master = 0 }), tap}, nil, []string{
			"100: remove vxlan100", "100! conflict: network is gone, but its bridge vmbr100 is in use by vnet0"}},
		"renamed": {[]device{goodBridge(), goodVXLAN(), with(goodBridge(), func(d *device) { d.name, d.index = "old", 40 })}, []Network{managed(100)}, []string{
			"100: remove old", "100: flood from vxlan100 to 192.0.2.2"}},
		"of another type now": {[]device{goodBridge(), goodVXLAN(), tap}, []Network{bridged(100)}, []string{
			"100: remove vxlan100",
			"100: set the MTU of vmbr100 to 9000", "100: create vlan vlan100", "100: label vlan100 pvc:100",
			"100: set the MTU of vlan100 to 9000", "100: switch IPv6 autoconfiguration of vlan100 off", "100: attach vlan100 to vmbr100",
			"100: set vlan100 up"}},
		"wanted by mistake": {[]device{goodBridge(), goodVLAN()}, []Network{{VNI: 100, Type: "brigded"}}, []string{
			`100! invalid: network 100 has type "brigded"`}},
	} {
		t.Run(name, func(t *testing.T) {
			got := say(plan(ground{Underlay: under}, Desired{Networks: test.want, Peers: []netip.Addr{peer2}}, host(test.devices...)))
			if diff := cmp.Diff(test.plan, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlanSaysWhyANetworkIsNotComplete(t *testing.T) {
	have := host(goodBridge(), goodVXLAN(), goodVLAN())
	have.entries[11] = floodTo(peer2)
	noVLANs := errs.Unavailablef("no VLANs here")
	for name, test := range map[string]struct {
		ground  ground
		network Network
		peers   []netip.Addr
		plan    []string
	}{
		"no cluster device": {ground{Underlay: Underlay{Device: "bond0", Local: local, Port: 4789}}, managed(100), nil,
			[]string{"100: remove vlan100", `100! unavailable: device "bond0" of the cluster network does not exist`}},
		"no cluster address": {ground{Underlay: Underlay{Device: "eth0", Port: 4789}}, managed(100), nil,
			[]string{"100: remove vlan100", `100! unavailable: the host has no address on the cluster network`}},
		"no bridged device": {ground{Underlay: Underlay{Device: "eth0", Local: local}}, bridged(100), nil,
			[]string{"100: remove vxlan100", `100! unavailable: network 100 is bridged and this host has no device for bridged networks`}},
		"bridged device missing": {ground{Underlay: Underlay{BridgedDevice: "eth7"}}, bridged(100), nil,
			[]string{"100: remove vxlan100", `100! unavailable: device "eth7" for bridged networks does not exist`}},
		"no VLANs": {ground{Underlay: under, vlans: noVLANs}, bridged(100), nil,
			[]string{"100: remove vxlan100", `100! unavailable: no VLANs here`}},
		"MTU too large": {ground{Underlay: under}, Network{VNI: 100, Type: model.NetworkManaged, MTU: 1500}, []netip.Addr{peer2},
			[]string{"100: remove vlan100", `100! conflict: network 100 wants MTU 1500: device eth0 has 1500, so 1450 fit`}},
		"peer of another family": {ground{Underlay: under}, managed(100), []netip.Addr{peer2, netip.MustParseAddr("2001:db8::2")},
			[]string{"100: remove vlan100", `100! invalid: 2001:db8::2 cannot be a peer of 192.0.2.1`}},
		"VLAN out of range": {ground{Underlay: under}, bridged(4095), nil,
			[]string{"100: remove vmbr100", "100: remove vlan100", "100: remove vxlan100", `4095! invalid: a bridged network cannot have VNI 4095: 1 to 4094`}},
	} {
		t.Run(name, func(t *testing.T) {
			got := say(plan(test.ground, Desired{Networks: []Network{test.network}, Peers: test.peers}, have))
			if diff := cmp.Diff(test.plan, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlanRefusesANetworkThatIsWantedTwice(t *testing.T) {
	have := host(goodBridge(), goodVXLAN())
	got := say(plan(ground{Underlay: under}, Desired{Networks: []Network{managed(100), bridged(100)}}, have))
	if diff := cmp.Diff([]string{"100! invalid: network 100 is wanted twice"}, got); diff != "" {
		t.Error(diff)
	}
}

// TestPlanKnowsThatIPv6NeedsAnMTU: it goes below 1280 and comes back as on a new device.
func TestPlanKnowsThatIPv6NeedsAnMTU(t *testing.T) {
	small := func(d *device) { d.mtu, d.ipv6 = 600, ipv6{} }
	have := host(with(goodBridge(), small), with(goodVXLAN(), small))
	got := say(plan(ground{Underlay: under}, Desired{Networks: []Network{managed(100)}}, have))
	want := []string{
		"100: set the MTU of vmbr100 to 1450", "100: switch duplicate address detection and router advertisements of vmbr100 off",
		"100: set the MTU of vxlan100 to 1450", "100: switch IPv6 autoconfiguration of vxlan100 off"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	tiny := Network{VNI: 100, Type: model.NetworkManaged, MTU: 600}
	if lines := say(plan(ground{Underlay: under}, Desired{Networks: []Network{tiny}}, have)); lines != nil {
		t.Error(lines)
	}
}

func TestPlanLeavesRoomForTheUnderlaysHeaders(t *testing.T) {
	six := Underlay{Device: "eth1", Local: netip.MustParseAddr("2001:db8::1"), Port: 4789}
	got := plan(ground{Underlay: six}, Desired{Networks: []Network{managed(100)}}, host())
	for _, s := range got[0].steps {
		if s.op == setMTU && s.n != 9000-70 {
			t.Errorf("%s over IPv6 on a device of 9000", s)
		}
	}
	wish := Network{VNI: 100, Type: model.NetworkManaged, MTU: 1400}
	have := host(goodBridge(), goodVXLAN())
	want := []string{"100: set the MTU of vmbr100 to 1400", "100: set the MTU of vxlan100 to 1400"}
	if diff := cmp.Diff(want, say(plan(ground{Underlay: under}, Desired{Networks: []Network{wish}}, have))); diff != "" {
		t.Error(diff)
	}
}

func TestAFailedStepLeavesOutOnlyWhatDependsOnIt(t *testing.T) {
	want := Desired{Networks: []Network{managed(100)}, Peers: []netip.Addr{peer2}}
	todo := plan(ground{Underlay: under}, want, host())[0]
	for refused, lost := range map[string]int{ // a step: how many others cannot be done
		"create bridge vmbr100":                  7, // all of the bridge, and the attachment
		"create vxlan vxlan100":                  6,
		"set the MTU of vxlan100 to 1450":        0,
		"flood from vxlan100 to 192.0.2.2":       0,
		"switch checksum offload of vmbr100 off": 0,
	} {
		done := 0
		count, faults := perform(todo, func(s step) error {
			if s.String() == refused {
				return errs.Conflictf("no")
			}
			done++
			return nil
		}, slog.New(slog.DiscardHandler))
		if len(faults) != 1 || faults[0].Error() != refused+": no" || !errs.Is(faults[0], errs.Conflict) {
			t.Errorf("%s: faults %v", refused, faults)
		}
		if want := len(todo.steps) - 1 - lost; done != want || count != want {
			t.Errorf("%s: %d of the %d other steps done, want %d", refused, done, len(todo.steps)-1, want)
		}
	}
}

func TestABridgeThatIsInUseAfterAllKeepsItsUplink(t *testing.T) {
	todo := plan(ground{Underlay: under}, Desired{}, host(goodBridge(), goodVXLAN()))[0]
	_, faults := perform(todo, func(s step) error {
		if s.device == "vmbr100" {
			return inUse("vmbr100", []string{"vnet0"})
		}
		t.Errorf("%s, though the bridge is in use", s)
		return nil
	}, slog.New(slog.DiscardHandler))
	if len(faults) != 1 {
		t.Errorf("faults %v", faults)
	}
}

func TestOwnerReadsOnlyAliasesThatWeWrite(t *testing.T) {
	for alias, want := range map[string]int{"pvc:1": 1, "pvc:16777215": 16777215, "": 0, "pvc:": 0, "pvc:0": 0, "pvc:01": 0, "pvc:+1": 0, "pvc:1 ": 0, "PVC:1": 0} {
		if got, ok := owner(alias); got != want || ok != (want != 0) {
			t.Errorf("owner(%q) = %d, %v", alias, got, ok)
		}
	}
}
