package link

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// dumpTries is how often a dump is asked for that changed while it was sent.
const dumpTries = 5

// read asks the kernel for all links and all forwarding entries.
func (k *kernel) read(ctx context.Context) (state, error) {
	links, err := again(ctx, func() ([][]byte, error) { return k.dumpLinks(0) })
	if err != nil {
		return state{}, err
	}
	s := state{devices: make(map[string]device, len(links)), entries: map[int][]entry{}}
	for _, m := range links {
		d, err := parseLink(m)
		if err != nil {
			return state{}, err
		}
		if d.kind == kindBridge && strings.HasPrefix(d.name, model.BridgePrefix) {
			d.bridge.checksum = k.checksumOffload(d.name)
		}
		s.devices[d.name] = d
		s.ipv6 = s.ipv6 || d.ipv6.on
	}
	neighbours, err := again(ctx, func() ([]netlink.Neigh, error) { return k.handle.NeighList(0, unix.AF_BRIDGE) })
	if err != nil {
		return state{}, err
	}
	for _, n := range neighbours {
		if e, ok := forwarding(n); ok {
			s.entries[n.LinkIndex] = append(s.entries[n.LinkIndex], e)
		}
	}
	k.remember(s)
	return s, nil
}

// again repeats a dump that was interrupted by a change, for such a dump may lack what
// was there all the time.
func again[T any](ctx context.Context, dump func() ([]T, error)) ([]T, error) {
	for range dumpTries {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		out, err := dump()
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			return out, err
		}
	}
	return nil, errs.Unavailablef("the network devices change faster than they can be read")
}

// filterSkipStats is RTEXT_FILTER_SKIP_STATS of linux/rtnetlink.h.
const filterSkipStats = 1 << 3

// dumpLinks returns the links as messages; with a master only the ports of that bridge.
func (k *kernel) dumpLinks(master int) ([][]byte, error) {
	req := k.request(unix.RTM_GETLINK, unix.NLM_F_DUMP)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(filterSkipStats)))
	if master != 0 {
		req.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(master))))
	}
	return req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
}

// lookUp asks for one link; one that is not there is no error.
func (k *kernel) lookUp(name string) (d device, there bool, err error) {
	req := k.request(unix.RTM_GETLINK, 0)
	req.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	req.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	answers, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWLINK)
	if gone(err) || err == nil && len(answers) == 0 {
		return d, false, nil
	}
	if err != nil {
		return d, false, fmt.Errorf("look up device %s: %w", name, err)
	}
	d, err = parseLink(answers[0])
	return d, err == nil, err
}

// forwarding returns an entry of a VXLAN device; those of bridges have no peer.
func forwarding(n netlink.Neigh) (entry, bool) {
	peer, ok := netip.AddrFromSlice(n.IP)
	if !ok || len(n.HardwareAddr) != 6 || n.Flags&unix.NTF_SELF == 0 {
		return entry{}, false
	}
	const set = unix.NUD_PERMANENT | unix.NUD_NOARP
	return entry{mac: [6]byte(n.HardwareAddr), peer: peer.Unmap(),
		learned: n.State&set == 0 && n.Flags&unix.NTF_EXT_LEARNED == 0}, true
}

// attributes calls f for each of a message (rtnetlink(7)); a value shorter than
// least[type] is an error that f does not see. The library's own reader panics where
// the last one is not padded.
func attributes(b []byte, least map[uint16]int, f func(kind uint16, value []byte) error) error {
	for len(b) >= unix.SizeofRtAttr {
		size, kind := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])&^unix.NLA_F_NESTED
		if size < unix.SizeofRtAttr || size > len(b) || size-unix.SizeofRtAttr < least[kind] {
			return errs.New(errs.Internal, "attribute %d of a link has %d of %d bytes", kind, size, len(b))
		}
		if err := f(kind, b[unix.SizeofRtAttr:size]); err != nil {
			return err
		}
		padded := (size + unix.RTA_ALIGNTO - 1) &^ (unix.RTA_ALIGNTO - 1)
		b = b[min(padded, len(b)):]
	}
	return nil
}

func number(b []byte) int { return int(int32(binary.NativeEndian.Uint32(b))) }

var linkSizes = map[uint16]int{unix.IFLA_MTU: 4, unix.IFLA_MASTER: 4, unix.IFLA_LINK: 4, unix.IFLA_CARRIER: 1}

// parseLink reads an RTM_NEWLINK message (rtnetlink(7)).
func parseLink(m []byte) (device, error) {
	if len(m) < unix.SizeofIfInfomsg {
		return device{}, errs.New(errs.Internal, "a link has %d bytes", len(m))
	}
	info := nl.DeserializeIfInfomsg(m)
	d := device{index: int(info.Index), up: info.Flags&unix.IFF_UP != 0}
	err := attributes(m[unix.SizeofIfInfomsg:], linkSizes, func(kind uint16, v []byte) error {
		switch kind {
		case unix.IFLA_IFNAME:
			d.name = unix.ByteSliceToString(v)
		case unix.IFLA_IFALIAS:
			d.alias = unix.ByteSliceToString(v)
		case unix.IFLA_MTU:
			d.mtu = number(v)
		case unix.IFLA_MASTER:
			d.master = number(v)
		case unix.IFLA_CARRIER:
			d.idle = v[0] == 0
		case unix.IFLA_LINK:
			d.parent = number(v)
		case unix.IFLA_LINKINFO:
			return d.parseInfo(v)
		case unix.IFLA_AF_SPEC:
			return attributes(v, nil, func(family uint16, v []byte) error {
				if family == unix.AF_INET6 {
					return d.ipv6.parse(v)
				}
				return nil
			})
		}
		return nil
	})
	return d, err
}

// parseInfo reads what depends on the kind, which the kernel sends first.
func (d *device) parseInfo(b []byte) error {
	return attributes(b, nil, func(kind uint16, v []byte) error {
		switch {
		case kind == unix.IFLA_INFO_KIND:
			d.kind = unix.ByteSliceToString(v)
		case kind == unix.IFLA_INFO_DATA && d.kind == kindBridge:
			return d.bridge.parse(v)
		case kind == unix.IFLA_INFO_DATA && d.kind == kindVXLAN:
			return d.vxlan.parse(v)
		case kind == unix.IFLA_INFO_DATA && d.kind == kindVLAN:
			return attributes(v, map[uint16]int{nl.IFLA_VLAN_ID: 2}, func(kind uint16, v []byte) error {
				if kind == nl.IFLA_VLAN_ID {
					d.vlan = int(binary.NativeEndian.Uint16(v))
				}
				return nil
			})
		}
		return nil
	})
}

var bridgeSizes = map[uint16]int{nl.IFLA_BR_STP_STATE: 4, nl.IFLA_BR_FORWARD_DELAY: 4, nl.IFLA_BR_MCAST_SNOOPING: 1}

func (b *bridge) parse(data []byte) error {
	return attributes(data, bridgeSizes, func(kind uint16, v []byte) error {
		switch kind {
		case nl.IFLA_BR_STP_STATE:
			b.stp = number(v) != 0
		case nl.IFLA_BR_FORWARD_DELAY:
			b.forwardDelay = number(v)
		case nl.IFLA_BR_MCAST_SNOOPING:
			b.snooping = v[0] != 0
		}
		return nil
	})
}

var vxlanSizes = map[uint16]int{nl.IFLA_VXLAN_ID: 4, nl.IFLA_VXLAN_LINK: 4, nl.IFLA_VXLAN_PORT: 2, nl.IFLA_VXLAN_LEARNING: 1,
	nl.IFLA_VXLAN_LOCAL: 4, nl.IFLA_VXLAN_GROUP: 4, nl.IFLA_VXLAN_LOCAL6: 16, nl.IFLA_VXLAN_GROUP6: 16}

func (x *vxlan) parse(data []byte) error {
	return attributes(data, vxlanSizes, func(kind uint16, v []byte) error {
		switch kind {
		case nl.IFLA_VXLAN_ID:
			x.vni = number(v)
		case nl.IFLA_VXLAN_LINK:
			x.device = number(v)
		case nl.IFLA_VXLAN_PORT:
			x.port = int(binary.BigEndian.Uint16(v))
		case nl.IFLA_VXLAN_LEARNING:
			x.learning = v[0] != 0
		case nl.IFLA_VXLAN_LOCAL, nl.IFLA_VXLAN_LOCAL6:
			x.local, _ = netip.AddrFromSlice(v)
		case nl.IFLA_VXLAN_GROUP, nl.IFLA_VXLAN_GROUP6:
			x.group, _ = netip.AddrFromSlice(v)
		}
		return nil
	})
}

// Of linux/if_link.h and linux/ipv6.h, which the libraries lack.
const (
	inet6Conf        = 2  // IFLA_INET6_CONF: an array of numbers
	inet6AddrGenMode = 8  // IFLA_INET6_ADDR_GEN_MODE
	confAcceptDAD    = 27 // DEVCONF_ACCEPT_DAD, an index of that array
	confAcceptRA     = 3  // DEVCONF_ACCEPT_RA
	addrGenNone      = 1  // IN6_ADDR_GEN_MODE_NONE
)

func (i *ipv6) parse(data []byte) error {
	i.on = true
	return attributes(data, map[uint16]int{inet6Conf: 4 * (confAcceptDAD + 1), inet6AddrGenMode: 1}, func(kind uint16, v []byte) error {
		switch kind {
		case inet6Conf:
			i.dad, i.ra = number(v[4*confAcceptDAD:]) > 0, number(v[4*confAcceptRA:]) > 0
		case inet6AddrGenMode:
			i.autoconf = v[0] != addrGenNone
		}
		return nil
	})
}

// hardware is an address in the form of the libraries.
func hardware(mac [6]byte) net.HardwareAddr { return net.HardwareAddr(mac[:]) }

// gone says that the kernel does not know the device, or entry, any more.
func gone(err error) bool {
	return errors.Is(err, syscall.ENODEV) || errors.Is(err, syscall.ENOENT)
}
