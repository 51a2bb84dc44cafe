package link

import (
	"cmp"
	"strconv"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

func vxlanOf(vni int) string { return "vxlan" + strconv.Itoa(vni) }
func vlanOf(vni int) string  { return "vlan" + strconv.Itoa(vni) }

// uplink is what the way of a network to the other hosts has to be.
type uplink struct {
	name, kind    string
	below         device
	most          int               // the largest MTU that fits
	similar, fits func(device) bool // see planner.claim
}

// uplink returns it, or why it cannot be.
func (p *planner) uplink(n Network) (uplink, error) {
	if n.Type == model.NetworkBridged {
		return p.bridged(n.VNI)
	}
	return p.vxlan(n.VNI)
}

// bridged is a VLAN device, or a port where the device below is a bridge of Open vSwitch.
func (p *planner) bridged(vni int) (uplink, error) {
	name := p.BridgedDevice
	below, ok := p.have.devices[name]
	most, known := p.have.switches.bridges[name]
	u := uplink{name: vlanOf(vni), kind: kindVLAN, below: below}
	switch {
	case name == "":
		return u, errs.Unavailablef("network %d is bridged and this host has no device for bridged networks", vni)
	case !ok || below.index < 0:
		return u, noDevice(name, known, p.switching)
	case known && below.idle:
		return u, notRunning(name)
	case known:
		u.most = min(below.mtu, most)
		return p.access(u, vni)
	case p.switching != nil:
		return u, p.switching
	case p.vlans != nil:
		return u, p.vlans
	}
	return p.vlan(u, vni)
}

// noDevice says why there is none of that name, which is perhaps a bridge of Open vSwitch.
func noDevice(name string, bridge bool, switching error) error {
	switch {
	case bridge:
		return errs.Unavailablef("bridge %q of Open vSwitch has no device: ovs-vswitchd does not run or cannot make it", name)
	case switching != nil:
		return errs.Unavailablef("device %q for bridged networks does not exist, nor is it known whether it is a bridge: %w", name, switching)
	}
	return errs.Unavailablef("device %q for bridged networks does not exist", name)
}

func notRunning(bridge string) error {
	return errs.Unavailablef("bridge %q of Open vSwitch does not work: ovs-vswitchd does not run", bridge)
}

// access is an access port. One that nobody has labelled is never ours.
func (p *planner) access(u uplink, vni int) (uplink, error) {
	u.kind = kindPort
	if d := p.have.devices[u.name]; d.index < 0 && d.ours(vni) {
		return u, errs.Unavailablef("port %s of Open vSwitch has no device: %s", u.name, cmp.Or(d.port.fault, "ovs-vswitchd does not run"))
	}
	u.similar = func(device) bool { return false }
	u.fits = func(d device) bool {
		return d.port.plain && d.port.vlan == vni && d.port.bridge == u.below.name
	}
	return u, nil
}

func (p *planner) vlan(u uplink, vni int) (uplink, error) {
	below := u.below
	u.most = below.mtu
	u.similar = func(d device) bool { return d.vlan == vni }
	u.fits = func(d device) bool { return d.vlan == vni && d.parent == below.index }
	return u, nil
}

func (p *planner) vxlan(vni int) (uplink, error) {
	u := uplink{name: vxlanOf(vni), kind: kindVXLAN}
	if !p.Local.IsValid() {
		return u, errs.Unavailablef("the host has no address on the cluster network")
	}
	below, ok := p.have.devices[p.Device]
	if !ok {
		return u, errs.Unavailablef("device %q of the cluster network does not exist", p.Device)
	}
	u.below, u.most = below, below.mtu-overhead4
	if p.Local.Is6() {
		u.most = below.mtu - overhead6
	}
	right := vxlan{vni: vni, port: p.Port, device: below.index, local: p.Local, learning: true}
	u.similar = func(d device) bool { return d.vxlan.vni == vni }
	u.fits = func(d device) bool { return d.vxlan == right }
	return u, nil
}

// mtu is that of the network's devices: as wanted, or the most that fits. A smaller one
// than wanted is a fault, because the guests are told the wanted one.
func (u uplink) mtu(w *work, n Network) int {
	if n.MTU > u.most {
		w.fault(errs.Conflictf("network %d wants MTU %d: device %s has %d, so %d fit", n.VNI, n.MTU, u.below.name, u.below.mtu, u.most))
	}
	if n.MTU == 0 || n.MTU > u.most {
		return u.most
	}
	return n.MTU
}
