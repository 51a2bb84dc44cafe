package link

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// switched is a host whose eth1 is behind the bridge br1 of Open vSwitch.
var switched = Underlay{Device: "eth0", Local: local, BridgedDevice: "br1", Port: 4789}

func goodPort() switchPort {
	return switchPort{bridge: "br1", owner: "100", vlan: 100, plain: true}
}

// goodTap is the device of that port, as the kernel has it in the datapath in user space.
func goodTap() device {
	return device{index: 12, name: "vlan100", kind: kindTUN, mtu: 1500, up: true, master: 10, ipv6: ipv6{on: true, dad: true}}
}

func bridge1500(d *device) { d.mtu = 1500 }

func withPort(change func(*switchPort)) *switchPort {
	p := goodPort()
	change(&p)
	return &p
}

// switchHost has the bridge br1, a device for each given one, and vlan100 as a port.
func switchHost(port *switchPort, devices ...device) state {
	s := host(append([]device{{index: 5, name: "br1", kind: kindTUN, mtu: 1500, up: true}}, devices...)...)
	all := switches{bridges: map[string]int{"br1": 1500}, ports: map[string]switchPort{"br1": {bridge: "br1"}, "eth1": {bridge: "br1"}}}
	if port != nil {
		all.ports["vlan100"] = *port
	}
	s.adopt(all)
	return s
}

// with1 changes one device of a host.
func with1(s state, name string, change func(*device)) state {
	s.devices[name] = with(s.devices[name], change)
	return s
}

func TestPlanMakesAnAccessPortOnABridgeOfOpenVSwitchWithoutVLANsOfTheKernel(t *testing.T) {
	g := ground{Underlay: switched, vlans: errs.Unavailablef("no VLANs here")}
	want := []string{
		"100: create bridge vmbr100",
		"100: label vmbr100 pvc:100",
		"100: switch spanning tree, delay and snooping of vmbr100 off",
		"100: set the MTU of vmbr100 to 1500",
		"100: switch duplicate address detection and router advertisements of vmbr100 off",
		"100: switch checksum offload of vmbr100 off",
		"100: set vmbr100 up",
		"100: create Open vSwitch port vlan100",
		"100: set the MTU of vlan100 to 1500",
		"100: switch IPv6 autoconfiguration of vlan100 off",
		"100: attach vlan100 to vmbr100",
		"100: set vlan100 up",
	}
	todo := plan(g, Desired{Networks: []Network{bridged(100)}}, switchHost(nil))
	if diff := cmp.Diff(want, say(todo)); diff != "" {
		t.Error(diff)
	}
	if s := todo[0].steps[7]; s.kind != kindPort {
		t.Errorf("%+v: the kernel is asked to make a port of Open vSwitch", s)
	}
}

func TestPlanRepairsOnlyWhatIsWrongWithAPort(t *testing.T) {
	attached := []string{"100: switch IPv6 autoconfiguration of vlan100 off", "100: attach vlan100 to vmbr100", "100: set vlan100 up"}
	anew := append([]string{"100: create Open vSwitch port vlan100", "100: set the MTU of vlan100 to 1500"}, attached...)
	remake := append([]string{"100: remove vlan100"}, anew...)
	tap := func(change func(*device)) *device { d := with(goodTap(), change); return &d }
	right, whole := goodPort(), goodTap()
	for name, test := range map[string]struct {
		port *switchPort
		tap  *device
		plan []string
	}{
		"nothing":                   {&right, &whole, nil},
		"kernel's datapath":         {&right, tap(func(d *device) { d.kind = kindOpenVSwitch }), nil},
		"port missing":              {nil, nil, anew},
		"another tag":               {withPort(func(p *switchPort) { p.vlan = 7 }), &whole, remake},
		"a trunk":                   {withPort(func(p *switchPort) { p.plain = false }), &whole, remake},
		"in another bridge":         {withPort(func(p *switchPort) { p.bridge = "br2" }), &whole, remake},
		"another MTU":               {&right, tap(func(d *device) { d.mtu = 1400 }), []string{"100: set the MTU of vlan100 to 1500"}},
		"made anew by Open vSwitch": {&right, tap(func(d *device) { d.master, d.up, d.ipv6.autoconf = 0, false, true }), attached},
		"VLAN device of before":     {nil, tap(func(d *device) { d.kind, d.alias, d.vlan, d.parent = kindVLAN, "pvc:100", 100, 2 }), remake},
	} {
		t.Run(name, func(t *testing.T) {
			devices := []device{with(goodBridge(), bridge1500)}
			if test.tap != nil {
				devices = append(devices, *test.tap)
			}
			got := say(plan(ground{Underlay: switched}, Desired{Networks: []Network{bridged(100)}}, switchHost(test.port, devices...)))
			if diff := cmp.Diff(test.plan, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlanChangesBackToAVLANDevice(t *testing.T) {
	have := switchHost(withPort(func(*switchPort) {}), with(goodBridge(), func(d *device) { d.mtu = 9000 }), goodTap())
	want := []string{"100: remove vlan100", "100: create vlan vlan100", "100: label vlan100 pvc:100", "100: set the MTU of vlan100 to 9000",
		"100: switch IPv6 autoconfiguration of vlan100 off", "100: attach vlan100 to vmbr100", "100: set vlan100 up"}
	todo := plan(ground{Underlay: under}, Desired{Networks: []Network{bridged(100)}}, have)
	if diff := cmp.Diff(want, say(todo)); diff != "" {
		t.Error(diff)
	}
	if s := todo[0].steps[0]; s.kind != kindPort {
		t.Errorf("%+v: the kernel is asked to remove a port of Open vSwitch", s)
	}
}

func TestPlanNeverTouchesAPortOfSomebodyElse(t *testing.T) {
	theirs := withPort(func(p *switchPort) { p.owner = "" })
	for name, test := range map[string]struct {
		have state
		want []Network
		plan []string
	}{
		"not labelled":        {switchHost(theirs, goodTap()), nil, nil},
		"labelled otherwise":  {switchHost(withPort(func(p *switchPort) { p.owner = "0100" }), goodTap()), nil, nil},
		"without a device":    {switchHost(theirs), nil, nil},
		"a TAP of that name":  {switchHost(nil, goodTap()), nil, nil},
		"in the way":          {switchHost(theirs, with(goodBridge(), bridge1500), goodTap()), []Network{bridged(100)}, []string{`100! conflict: device vlan100 is not one of ours: kind "Open vSwitch port", alias ""`}},
		"in the way, no tap":  {switchHost(theirs, with(goodBridge(), bridge1500)), []Network{bridged(100)}, []string{`100! conflict: device vlan100 is not one of ours: kind "Open vSwitch port", alias ""`}},
		"of another network":  {switchHost(withPort(func(p *switchPort) { p.owner = "7" }), with(goodBridge(), bridge1500), goodTap()), []Network{bridged(100)}, []string{`100! conflict: device vlan100 is not one of ours: kind "Open vSwitch port", alias "pvc:7"`}},
		"a TAP is in the way": {switchHost(nil, with(goodBridge(), bridge1500), goodTap()), []Network{bridged(100)}, []string{`100! conflict: device vlan100 is not one of ours: kind "tun", alias ""`}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(test.plan, say(plan(ground{Underlay: switched}, Desired{Networks: test.want}, test.have))); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlanRemovesThePortOfANetworkThatIsGoneUnlessGuestsUseIt(t *testing.T) {
	right, alone := goodPort(), with(goodTap(), func(d *device) { d.master = 0 })
	tap := device{index: 20, name: "vnet0", kind: kindTUN, master: 10}
	down := errs.Unavailablef("Open vSwitch is down")
	blind := switchHost(nil, goodBridge(), goodTap())
	for name, test := range map[string]struct {
		have      state
		switching error
		plan      []string
	}{
		"unused":           {switchHost(&right, goodBridge(), goodTap()), nil, []string{"100: remove vmbr100", "100: remove vlan100"}},
		"only the port":    {switchHost(&right, alone), nil, []string{"100: remove vlan100"}},
		"without a device": {switchHost(&right), nil, []string{"100: remove vlan100"}},
		"in use":           {switchHost(&right, goodBridge(), goodTap(), tap), nil, []string{"100! conflict: network is gone, but its bridge vmbr100 is in use by vnet0"}},
		"ovs-vswitchd down": {switchHost(&right, goodBridge(), with(goodTap(), func(d *device) { d.idle = true })), nil, []string{
			"100: remove vmbr100", `100! unavailable: bridge "br1" of Open vSwitch does not work: ovs-vswitchd does not run`}},
		"unknown": {blind, down, []string{"100! conflict: network is gone, but its bridge vmbr100 is in use by vlan100",
			"100! unavailable: Open vSwitch is down"}},
	} {
		t.Run(name, func(t *testing.T) {
			todo := plan(ground{Underlay: switched, switching: test.switching}, Desired{}, test.have)
			if diff := cmp.Diff(test.plan, say(todo)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestPlanSaysWhyABridgedNetworkIsNotCompleteOverOpenVSwitch(t *testing.T) {
	down := errs.Unavailablef("Open vSwitch is down")
	vmbr := with(goodBridge(), bridge1500)
	right := goodPort()
	alone := host(vmbr)
	alone.adopt(switches{bridges: map[string]int{"br1": 1500}, ports: map[string]switchPort{"br1": {bridge: "br1"}}})
	for name, test := range map[string]struct {
		have      state
		switching error
		mtu       int
		plan      []string
	}{
		"daemon down, datapath in user space": {host(vmbr), down, 0, []string{
			`100! unavailable: device "br1" for bridged networks does not exist, nor is it known whether it is a bridge: Open vSwitch is down`}},
		"daemon down, datapath of the kernel": {host(vmbr, device{index: 5, name: "br1", kind: kindOpenVSwitch, mtu: 1500}), down, 0, []string{
			`100! unavailable: Open vSwitch is down`}},
		"no such bridge": {host(vmbr), nil, 0, []string{`100! unavailable: device "br1" for bridged networks does not exist`}},
		"bridge without a device": {alone, nil, 0, []string{
			`100! unavailable: bridge "br1" of Open vSwitch has no device: ovs-vswitchd does not run or cannot make it`}},
		"port without a device": {switchHost(&right, vmbr), nil, 0, []string{
			`100! unavailable: port vlan100 of Open vSwitch has no device: ovs-vswitchd does not run`}},
		"port with a fault": {switchHost(withPort(func(p *switchPort) { p.fault = "File exists" }), vmbr), nil, 0, []string{
			`100! unavailable: port vlan100 of Open vSwitch has no device: File exists`}},
		"ovs-vswitchd down": {with1(switchHost(&right, vmbr, goodTap()), "br1", func(d *device) { d.idle = true }), nil, 0, []string{
			`100! unavailable: bridge "br1" of Open vSwitch does not work: ovs-vswitchd does not run`}},
		"MTU too large": {switchHost(&right, vmbr, goodTap()), nil, 9000, []string{
			`100! conflict: network 100 wants MTU 9000: device br1 has 1500, so 1500 fit`}},
	} {
		t.Run(name, func(t *testing.T) {
			n := Network{VNI: 100, Type: model.NetworkBridged, MTU: test.mtu}
			got := say(plan(ground{Underlay: switched, switching: test.switching}, Desired{Networks: []Network{n}}, test.have))
			if diff := cmp.Diff(test.plan, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestPlanKeepsToTheMTUThatOpenVSwitchEnforces, or the two would change it in turns.
func TestPlanKeepsToTheMTUThatOpenVSwitchEnforces(t *testing.T) {
	right := goodPort()
	have := with1(switchHost(&right, with(goodBridge(), bridge1500), goodTap()), "br1", func(d *device) { d.mtu = 9000 })
	if lines := say(plan(ground{Underlay: switched}, Desired{Networks: []Network{bridged(100)}}, have)); lines != nil {
		t.Errorf("9000 on the bridge's own device, 1500 for others: %q", lines)
	}
	have.switches.bridges["br1"] = 9000
	want := []string{"100: set the MTU of vmbr100 to 9000", "100: set the MTU of vlan100 to 9000"}
	if diff := cmp.Diff(want, say(plan(ground{Underlay: switched}, Desired{Networks: []Network{bridged(100)}}, have))); diff != "" {
		t.Error(diff)
	}
}

func TestOpenVSwitchIsAskedOnlyWhereItMatters(t *testing.T) {
	br1 := device{index: 5, name: "br1", kind: kindTUN}
	for name, test := range map[string]struct {
		below string
		want  []Network
		have  state
		asked bool
	}{
		"no bridged network":          {"br1", []Network{managed(5)}, host(br1), false},
		"a bridged one":               {"br1", []Network{managed(5), bridged(6)}, host(br1), true},
		"on another kind of device":   {"eth1", []Network{bridged(6)}, host(br1), false},
		"on a device that is not":     {"br2", []Network{bridged(6)}, host(br1), true},
		"on no device at all":         {"", []Network{bridged(6)}, host(br1), false},
		"a port is left":              {"eth1", nil, host(goodTap()), true},
		"a VLAN device is left":       {"br1", nil, host(br1, goodVLAN()), false},
		"a guest":                     {"br1", nil, host(br1, device{index: 9, name: "vnet0", kind: kindTUN}), false},
		"a TAP that is no VLAN":       {"br1", nil, host(device{index: 9, name: "vlan4095", kind: kindTUN}), false},
		"a TAP of a similar name":     {"br1", nil, host(device{index: 9, name: "vlan07", kind: kindTUN}), false},
		"a TAP with a name of digits": {"br1", nil, host(device{index: 9, name: "7", kind: kindTUN}), false},
	} {
		if got := switching(Underlay{BridgedDevice: test.below}, Desired{Networks: test.want}, test.have); got != test.asked {
			t.Errorf("%s: asked %v", name, got)
		}
	}
}
