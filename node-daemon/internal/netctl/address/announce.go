package address

import (
	"fmt"
	"net"
	"net/netip"

	"github.com/mdlayher/ndp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// announcer tells neighbours where addresses are now. It must be closed.
type announcer struct {
	packets int // the socket for ARP, -1 until it is needed
}

func newAnnouncer() *announcer { return &announcer{packets: -1} }

func (a *announcer) close() {
	if a.packets >= 0 {
		unix.Close(a.packets)
	}
}

func (a *announcer) announce(p Place) (err error) {
	if p.Prefix.Addr().Is6() {
		return sendUnsolicitedNA(p.Device, p.Prefix.Addr())
	}
	if a.packets < 0 {
		if a.packets, err = openPackets(); err != nil {
			return err
		}
	}
	return sendGratuitousARP(a.packets, p.Device, p.Prefix.Addr())
}

// interfaceOf asks for one device. [net.InterfaceByName] has the kernel list all of them: with
// hundreds of networks announcing their gateways would outlast the lease.
func interfaceOf(device string) (*net.Interface, error) {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return nil, fmt.Errorf("look for device %s: %w", device, err)
	}
	a := link.Attrs()
	return &net.Interface{Index: a.Index, MTU: a.MTU, Name: a.Name, HardwareAddr: a.HardwareAddr, Flags: a.Flags}, nil
}

// allNodes is the multicast address of everybody on a link, RFC 4291 section 2.7.1.
var allNodes = netip.MustParseAddr("ff02::1")

// sendUnsolicitedNA announces an IPv6 address on a device, RFC 4861 section 7.2.6.
func sendUnsolicitedNA(device string, ip netip.Addr) error {
	dev, err := interfaceOf(device)
	if err != nil {
		return err
	}
	conn, _, err := ndp.Listen(dev, ndp.Addr(ip.String()))
	if err != nil {
		return fmt.Errorf("open an ICMPv6 socket on %s: %w", device, err)
	}
	defer conn.Close()
	na := &ndp.NeighborAdvertisement{
		Router: true, Override: true, TargetAddress: ip,
		Options: []ndp.Option{&ndp.LinkLayerAddress{Direction: ndp.Target, Addr: dev.HardwareAddr}},
	}
	if err := conn.WriteTo(na, nil, allNodes); err != nil {
		return fmt.Errorf("send on %s: %w", device, err)
	}
	return nil
}
