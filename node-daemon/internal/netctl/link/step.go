package link

import (
	"fmt"
	"net/netip"
)

// op is something the kernel is told.
type op int

const (
	create   op = iota // the device, of a kind
	remove             // the device
	label              // with the alias of the network
	setMTU             // to n
	quiet              // bridge: no STP, no delay, no snooping
	checksum           // bridge: computed before a frame leaves
	host6              // bridge: the host searches no duplicates of its IPv6 addresses and follows no router of the network
	noAuto             // no link-local address
	attach             // to a bridge
	up                 // begin to work
	flood              // what goes to everybody, to this peer
	unflood            // the contrary
	forget             // that a MAC is at a peer
)

// step is one request to the kernel. Devices are named, because the number of one
// that is yet to be made is not known.
type step struct {
	op     op
	device string
	vni    int
	kind   string     // create; remove, of a bridge: only if nobody uses it
	n      int        // setMTU
	to     string     // attach; remove: only if that bridge could be removed
	peer   netip.Addr // flood, unflood, forget
	mac    [6]byte    // forget
}

// String says the step in words, for logs, errors and tests.
func (s step) String() string {
	switch s.op {
	case create:
		return fmt.Sprintf("create %s %s", s.kind, s.device)
	case remove:
		return "remove " + s.device
	case label:
		return fmt.Sprintf("label %s %s", s.device, aliasOf(s.vni))
	case setMTU:
		return fmt.Sprintf("set the MTU of %s to %d", s.device, s.n)
	case quiet:
		return fmt.Sprintf("switch spanning tree, delay and snooping of %s off", s.device)
	case checksum:
		return fmt.Sprintf("switch checksum offload of %s off", s.device)
	case host6:
		return fmt.Sprintf("switch duplicate address detection and router advertisements of %s off", s.device)
	case noAuto:
		return fmt.Sprintf("switch IPv6 autoconfiguration of %s off", s.device)
	case attach:
		return fmt.Sprintf("attach %s to %s", s.device, s.to)
	case up:
		return "set " + s.device + " up"
	case flood:
		return fmt.Sprintf("flood from %s to %s", s.device, s.peer)
	case unflood:
		return fmt.Sprintf("flood no longer from %s to %s", s.device, s.peer)
	case forget:
		return fmt.Sprintf("forget that %s knows %x at %s", s.device, s.mac[:], s.peer)
	}
	return fmt.Sprintf("step %d of %s", s.op, s.device)
}
