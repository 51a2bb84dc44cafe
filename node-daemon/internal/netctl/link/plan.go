package link

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// The bytes that VXLAN puts around a frame: Ethernet, IP, UDP and its own header.
const (
	overhead4 = 14 + 20 + 8 + 8
	overhead6 = 14 + 40 + 8 + 8
)

// ground is what a plan stands on: the underlay, and what it lacks.
type ground struct {
	Underlay
	vlans     error // why the kernel has no VLANs
	switching error // why Open vSwitch could not be asked
}

// work is what there is to do for one network, and what cannot be done.
type work struct {
	vni    int
	steps  []step
	faults []error
}

func (w *work) add(s step) {
	s.vni = w.vni
	w.steps = append(w.steps, s)
}

func (w *work) fault(err error) { w.faults = append(w.faults, err) }

// planner carries what all parts of a plan look at.
type planner struct {
	ground
	have  state
	peers []netip.Addr
	stray error           // why one of the peers cannot be one
	taken map[string]bool // names of devices that a network needs
}

// plan says what has to be done to get from what is there to what is wanted. What is
// no longer needed goes first, because a new device may need its VNI or its name.
func plan(g ground, want Desired, have state) []work {
	p := &planner{ground: g, have: have, taken: map[string]bool{}}
	p.sortPeers(want.Peers)
	networks := slices.SortedStableFunc(slices.Values(want.Networks), func(a, b Network) int { return cmp.Compare(a.VNI, b.VNI) })
	var fresh []work
	for i, n := range networks {
		w := work{vni: n.VNI}
		if i > 0 && networks[i-1].VNI == n.VNI {
			w.fault(errs.Invalidf("network %d is wanted twice", n.VNI))
		} else {
			p.network(&w, n)
		}
		fresh = append(fresh, w)
	}
	return slices.DeleteFunc(append(p.leftovers(), fresh...), func(w work) bool { return len(w.steps)+len(w.faults) == 0 })
}

// sortPeers brings the peers into an order and leaves out what can be none.
func (p *planner) sortPeers(peers []netip.Addr) {
	for _, peer := range peers {
		peer = peer.Unmap()
		switch {
		case peer == p.Local:
		case !peer.IsValid() || peer.Is4() != p.Local.Is4() || peer.IsMulticast() || peer.IsUnspecified():
			p.stray = errs.Invalidf("%s cannot be a peer of %s", peer, p.Local)
		default:
			p.peers = append(p.peers, peer)
		}
	}
	slices.SortFunc(p.peers, netip.Addr.Compare)
	p.peers = slices.Compact(p.peers)
}

// network plans one: the bridge even where the way to other hosts cannot be made, so
// that guests start.
func (p *planner) network(w *work, n Network) {
	if err := checkVNI(n); err != nil {
		w.fault(err)
		p.taken[model.BridgeOf(n.VNI)], p.taken[vxlanOf(n.VNI)], p.taken[vlanOf(n.VNI)] = true, true, true // nothing goes for a mistake
		return
	}
	up, err := p.uplink(n)
	mtu := n.MTU
	if err != nil {
		w.fault(err)
	} else {
		mtu = up.mtu(w, n)
	}
	bridge := model.BridgeOf(n.VNI)
	if up.name != "" {
		p.taken[up.name] = true
	}
	d, ok := p.bridge(w, bridge, mtu)
	if ok && err == nil {
		p.port(w, up, d, mtu)
	}
}

func checkVNI(n Network) error {
	most := model.MaxVXLAN
	switch n.Type {
	case model.NetworkBridged:
		most = model.MaxVLAN
	case model.NetworkManaged:
	default:
		return errs.Invalidf("network %d has type %q", n.VNI, n.Type)
	}
	if n.VNI < 1 || n.VNI > most {
		return errs.Invalidf("a %s network cannot have VNI %d: 1 to %d", n.Type, n.VNI, most)
	}
	return nil
}

// claim takes a device for the network: as it is, or made anew if it is missing or
// wrong. It returns the device as it will be then, and false if it belongs to somebody
// else. similar says whether an unlabelled one may be taken over, fits whether it
// can stay.
func (p *planner) claim(w *work, name, kind string, similar, fits func(device) bool) (device, bool) {
	p.taken[name] = true
	d, there := p.have.devices[name]
	switch {
	case there && !d.ours(w.vni) && (d.kind != kind || d.alias != "" || !similar(d)):
		w.fault(errs.Conflictf("device %s is not one of ours: kind %q, alias %q", name, d.kind, d.alias))
		return device{}, false
	case there && d.kind == kind && fits(d):
		if d.alias == "" {
			w.add(step{op: label, device: name})
		}
		return d, true
	case there:
		w.add(step{op: remove, device: name, kind: d.kind})
	}
	w.add(step{op: create, device: name, kind: kind})
	if kind != kindPort { // which is made with its label
		w.add(step{op: label, device: name})
	}
	return p.unborn(name, kind), true
}

// unborn is a device as the kernel makes it; where that is uncertain, as it must not stay.
func (p *planner) unborn(name, kind string) device {
	return device{name: name, kind: kind, index: -1,
		bridge: bridge{stp: true, checksum: true},
		ipv6:   ipv6{on: p.have.ipv6, dad: p.have.ipv6, ra: p.have.ipv6, autoconf: p.have.ipv6}}
}

func anyDevice(device) bool { return true }

func (p *planner) bridge(w *work, name string, mtu int) (device, bool) {
	d, ok := p.claim(w, name, kindBridge, anyDevice, anyDevice)
	if !ok {
		return d, false
	}
	if d.bridge.stp || d.bridge.forwardDelay != 0 || d.bridge.snooping {
		w.add(step{op: quiet, device: name})
	}
	if mtu != 0 && d.mtu != mtu {
		w.add(step{op: setMTU, device: name, n: mtu})
	}
	if after := p.ipv6After(d, mtu); after.dad || after.ra {
		w.add(step{op: host6, device: name})
	}
	if d.bridge.checksum {
		w.add(step{op: checksum, device: name})
	}
	if !d.up {
		w.add(step{op: up, device: name})
	}
	return d, true
}

// leastIPv6 is the smallest MTU with which the kernel has IPv6 on a device (RFC 8200).
const leastIPv6 = 1280

// ipv6After is what IPv6 does when the device has that MTU (0: the one it has). With one
// that is too small it goes, and later comes back as on a new device.
func (p *planner) ipv6After(d device, mtu int) ipv6 {
	switch {
	case mtu != 0 && mtu < leastIPv6:
		return ipv6{}
	case p.have.ipv6 && !d.ipv6.on && d.mtu != mtu:
		return p.unborn(d.name, d.kind).ipv6
	}
	return d.ipv6
}

// port plans the bridge's way to the other hosts.
func (p *planner) port(w *work, u uplink, bridge device, mtu int) {
	d, ok := p.claim(w, u.name, u.kind, u.similar, u.fits)
	if !ok {
		return
	}
	if d.mtu != mtu {
		w.add(step{op: setMTU, device: d.name, n: mtu})
	}
	if p.ipv6After(d, mtu).autoconf {
		w.add(step{op: noAuto, device: d.name})
	}
	if d.master != bridge.index || d.index < 0 {
		w.add(step{op: attach, device: d.name, to: bridge.name})
	}
	if u.kind == kindVXLAN {
		p.flooding(w, d)
	}
	if !d.up {
		w.add(step{op: up, device: d.name})
	}
}

// flooding gives the device one entry per peer. What was learned from a peer that
// goes is forgotten with it, so that its guests are sought where they are now.
func (p *planner) flooding(w *work, d device) {
	if p.stray != nil {
		w.fault(p.stray)
	}
	var there, gone []netip.Addr
	for _, e := range p.have.entries[d.index] {
		if !e.flood() {
			continue
		}
		there = append(there, e.peer)
		if !slices.Contains(p.peers, e.peer) {
			gone = append(gone, e.peer)
			w.add(step{op: unflood, device: d.name, peer: e.peer})
		}
	}
	for _, e := range p.have.entries[d.index] {
		if e.learned && !e.flood() && slices.Contains(gone, e.peer) {
			w.add(step{op: forget, device: d.name, peer: e.peer, mac: e.mac})
		}
	}
	for _, peer := range p.peers {
		if !slices.Contains(there, peer) {
			w.add(step{op: flood, device: d.name, peer: peer})
		}
	}
}
