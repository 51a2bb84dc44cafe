package link

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// answerTime is how long the kernel may take for one answer: it makes devices under a
// lock that others hold too.
const answerTime = 10 * time.Second

// kernel executes steps. It belongs to the network name space it was opened in.
type kernel struct {
	underlay Underlay
	handle   *netlink.Handle
	socket   *nl.SocketHandle // for requests that the library cannot make
	ioctl    int              // a socket for ethtool
	index    map[string]int   // of the devices, by name
	switches switches         // as they were read last
}

func openKernel(u Underlay) (_ *kernel, err error) {
	k := &kernel{underlay: u, ioctl: -1}
	defer func() {
		if err != nil {
			k.close()
		}
	}()
	if k.handle, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return nil, err
	}
	if err = k.handle.SetSocketTimeout(answerTime); err != nil {
		return nil, err
	}
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE) // to nothing
	if err != nil {
		return nil, err
	}
	k.socket = &nl.SocketHandle{Socket: socket}
	limit := unix.NsecToTimeval(answerTime.Nanoseconds())
	if err = errors.Join(socket.SetSendTimeout(&limit), socket.SetReceiveTimeout(&limit)); err != nil {
		return nil, err
	}
	k.ioctl, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	return k, err
}

func (k *kernel) close() {
	if k.handle != nil {
		k.handle.Close()
	}
	if k.socket != nil {
		k.socket.Socket.Close()
	}
	if k.ioctl >= 0 {
		unix.Close(k.ioctl)
	}
}

func (k *kernel) request(proto, flags int) *nl.NetlinkRequest {
	req := nl.NewNetlinkRequest(proto, flags)
	req.Sockets = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: k.socket}
	return req
}

func (k *kernel) remember(s state) {
	k.switches = s.switches
	k.index = make(map[string]int, len(s.devices))
	for name, d := range s.devices {
		k.index[name] = d.index
	}
}

// device names a link to the library.
func (k *kernel) device(name string) netlink.Link {
	return &netlink.GenericLink{LinkAttrs: netlink.LinkAttrs{Name: name, Index: k.index[name]}}
}

// do executes one step. What is already as the step would make it is no error.
func (k *kernel) do(s step) error {
	dev := k.device(s.device)
	switch s.op {
	case create:
		return k.create(s)
	case remove:
		return k.remove(s)
	case label:
		return k.handle.LinkSetAlias(dev, aliasOf(s.vni))
	case setMTU:
		return k.handle.LinkSetMTU(dev, s.n)
	case quiet:
		return k.quiet(dev.Attrs().Index)
	case checksum:
		return k.stopChecksumOffload(s.device)
	case host6:
		conf := "/proc/sys/net/ipv6/conf/" + s.device
		return errors.Join(os.WriteFile(conf+"/accept_dad", []byte("0"), 0), os.WriteFile(conf+"/accept_ra", []byte("0"), 0))
	case noAuto:
		return k.handle.LinkSetIP6AddrGenMode(dev, addrGenNone)
	case attach:
		return k.handle.LinkSetMasterByIndex(dev, k.index[s.to])
	case up:
		return k.handle.LinkSetUp(dev)
	case flood, unflood, forget:
		return k.forward(s)
	}
	return errs.New(errs.Internal, "unknown step %d", s.op)
}

// create makes the device and asks for its number.
func (k *kernel) create(s step) error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = s.device
	var dev netlink.Link
	switch s.kind {
	case kindBridge:
		attrs.HardwareAddr = bridgeMAC(k.underlay.Local, s.vni)
		dev = &netlink.Bridge{LinkAttrs: attrs}
	case kindVXLAN:
		dev = &netlink.Vxlan{LinkAttrs: attrs, VxlanId: s.vni, VtepDevIndex: k.index[k.underlay.Device],
			SrcAddr: k.underlay.Local.AsSlice(), Port: k.underlay.Port, Learning: true}
	case kindVLAN:
		attrs.ParentIndex = k.index[k.underlay.BridgedDevice]
		dev = &netlink.Vlan{LinkAttrs: attrs, VlanId: s.vni}
	}
	if err := k.handle.LinkAdd(dev); errors.Is(err, unix.EEXIST) { // the name was free
		return errs.Conflictf("another device has VNI %d: %w", s.vni, err)
	} else if err != nil {
		return err
	}
	if dev.Attrs().Index == 0 {
		return errs.NotFoundf("device %s is gone again", s.device)
	}
	k.index[s.device] = dev.Attrs().Index
	return nil
}

// bridgeMAC gives a bridge an address of its own, which stays when ports come and go
// and when the bridge is made anew: neighbours of a gateway must not have to learn it
// again. Without one a bridge has the lowest of its ports' addresses.
func bridgeMAC(local netip.Addr, vni int) net.HardwareAddr {
	hash := sha256.Sum256(binary.BigEndian.AppendUint32(local.AsSlice(), uint32(vni)))
	return append(net.HardwareAddr{0x02}, hash[:5]...) // 02: administered locally, unicast
}

// remove looks again whether guests use a bridge, because one may just have started.
func (k *kernel) remove(s step) error {
	index := k.index[s.device]
	if s.kind == kindBridge {
		ports, err := k.portsInUse(index, s.vni)
		if err != nil {
			return err
		}
		if len(ports) > 0 {
			return inUse(s.device, ports)
		}
	}
	if err := k.handle.LinkDel(k.device(s.device)); err != nil && !gone(err) {
		return err
	}
	delete(k.index, s.device)
	return nil
}

func (k *kernel) portsInUse(bridge, vni int) ([]string, error) {
	links, err := k.dumpLinks(bridge)
	if err != nil {
		return nil, fmt.Errorf("list the ports: %w", err)
	}
	s := state{devices: map[string]device{}}
	for _, m := range links {
		d, err := parseLink(m)
		if err != nil {
			return nil, err
		}
		s.devices[d.name] = d
	}
	s.adopt(k.switches)
	return s.foreignPorts(device{index: bridge}, vni), nil
}

// quiet switches spanning tree off before it sets the delay, which the kernel refuses
// to be 0 otherwise.
func (k *kernel) quiet(index int) error {
	for _, option := range []struct {
		kind  int
		value []byte
	}{
		{nl.IFLA_BR_STP_STATE, nl.Uint32Attr(0)},
		{nl.IFLA_BR_FORWARD_DELAY, nl.Uint32Attr(0)},
		{nl.IFLA_BR_MCAST_SNOOPING, nl.Uint8Attr(0)},
	} {
		if err := k.setBridge(index, option.kind, option.value); err != nil {
			return err
		}
	}
	return nil
}

// setBridge sets one option (IFLA_BR_*) of a bridge.
func (k *kernel) setBridge(index, option int, value []byte) error {
	req := k.request(unix.RTM_NEWLINK, unix.NLM_F_ACK)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	req.AddData(msg)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(nl.IFLA_INFO_KIND, nl.NonZeroTerminated(kindBridge))
	info.AddRtAttr(nl.IFLA_INFO_DATA, nil).AddRtAttr(option, value)
	req.AddData(info)
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	return err
}

// forward changes one entry of the forwarding table of a VXLAN device.
func (k *kernel) forward(s step) error {
	n := &netlink.Neigh{LinkIndex: k.index[s.device], Family: unix.AF_BRIDGE, Flags: unix.NTF_SELF,
		State: unix.NUD_PERMANENT | unix.NUD_NOARP, IP: s.peer.AsSlice(), HardwareAddr: hardware(s.mac)}
	if s.op == flood {
		if err := k.handle.NeighAppend(n); !errors.Is(err, unix.EEXIST) {
			return err
		}
		return nil
	}
	if err := k.handle.NeighDel(n); !gone(err) {
		return err
	}
	return nil
}
