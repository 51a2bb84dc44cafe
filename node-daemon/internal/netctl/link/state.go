package link

import (
	"net/netip"
	"strconv"
	"strings"
)

// The kinds of devices we make, in the kernel's words.
const (
	kindBridge = "bridge"
	kindVXLAN  = "vxlan"
	kindVLAN   = "vlan"
)

// kindPort is an internal port of Open vSwitch. In the kernel it is of one of the kinds
// below: the first is the kernel's own datapath, the other the one in user space.
const (
	kindPort        = "Open vSwitch port"
	kindOpenVSwitch = "openvswitch"
	kindTUN         = "tun"
)

// device is a link as the kernel has it, as far as it matters here.
type device struct {
	index  int
	name   string
	kind   string // empty for hardware
	alias  string
	mtu    int
	up     bool
	idle   bool // has no carrier: of a port, that nobody is behind it
	master int  // index of the bridge it is a port of, or 0
	parent int  // index of the device below, or 0

	vxlan  vxlan
	vlan   int
	bridge bridge
	port   switchPort
	ipv6   ipv6
}

// vxlan are the parameters of a VXLAN device that cannot be changed in place.
type vxlan struct {
	vni, port int
	device    int // index of the device below
	local     netip.Addr
	group     netip.Addr // of multicast, or a default peer; never set by us
	learning  bool
}

// bridge are the options of a bridge.
type bridge struct {
	stp, snooping bool
	forwardDelay  int  // hundredths of a second
	checksum      bool // leaves checksums to hardware that a tap does not have
}

// ipv6 is what IPv6 does by itself on a device. Without IPv6 there all is false.
type ipv6 struct {
	on       bool
	dad      bool // looks for duplicates of its addresses
	ra       bool // takes addresses and routes from any router that says it is one
	autoconf bool // makes itself a link-local address
}

// entry is an entry of a VXLAN device's forwarding table.
type entry struct {
	mac     [6]byte
	peer    netip.Addr
	learned bool // by the device itself, rather than set by somebody
}

// flood says that it holds for what goes to everybody.
func (e entry) flood() bool { return e.mac == [6]byte{} }

// state is what a host has.
type state struct {
	devices map[string]device
	entries map[int][]entry // by the index of the device
	ipv6    bool            // new devices will have it

	switches switches // empty if Open vSwitch was not asked
}

// adopt marks the devices that are ports of Open vSwitch: what their owner is called
// there is their alias. A port whose device is missing is a device without a number.
func (s *state) adopt(all switches) {
	s.switches = all
	for name, p := range all.ports {
		d, there := s.devices[name]
		if there && !d.switchable() {
			continue
		}
		if !there {
			d = device{index: -1, name: name}
		}
		d.kind, d.alias, d.port = kindPort, "", p
		if p.owner != "" {
			d.alias = aliasPrefix + p.owner
		}
		s.devices[name] = d
	}
}

// switchable says whether the device may be a bridge or a port of Open vSwitch.
func (d device) switchable() bool { return d.kind == kindOpenVSwitch || d.kind == kindTUN }

// ports of a bridge, except those of the network itself.
func (s state) foreignPorts(of device, vni int) []string {
	var names []string
	for _, d := range s.devices {
		if d.master == of.index && !d.ours(vni) {
			names = append(names, d.name)
		}
	}
	return names
}

// ours says whether the device is one we made, or adopted, for that network.
func (d device) ours(vni int) bool { return d.makeable() && d.alias == aliasOf(vni) }

// makeable says whether we make devices of that kind.
func (d device) makeable() bool {
	return d.kind == kindBridge || d.kind == kindVXLAN || d.kind == kindVLAN || d.kind == kindPort
}

const aliasPrefix = "pvc:"

func aliasOf(vni int) string { return aliasPrefix + strconv.Itoa(vni) }

// owner returns the network that an alias names.
func owner(alias string) (vni int, ok bool) {
	text, ok := strings.CutPrefix(alias, aliasPrefix)
	if !ok {
		return 0, false
	}
	vni, err := strconv.Atoi(text)
	if err != nil || aliasOf(vni) != alias || vni < 1 {
		return 0, false
	}
	return vni, true
}
