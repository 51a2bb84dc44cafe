package address

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
)

// kernel is what the host has now.
type kernel struct {
	links map[string]int
	names map[int]string
	addrs map[placeKey]netlink.Addr // without link-local ones
}

type placeKey struct {
	link   int
	prefix netip.Prefix
}

func (p Place) key(have kernel) placeKey { return placeKey{have.links[p.Device], p.Prefix} }

// dumpTries is how often the kernel is asked when what it tells changed meanwhile: such
// an answer may lack what was there all the time.
const dumpTries = 5

// readKernel asks twice, however many devices there are.
func readKernel(from *netlink.Handle) (have kernel, err error) {
	for range dumpTries {
		if have, err = readOnce(from); !errors.Is(err, netlink.ErrDumpInterrupted) {
			break
		}
	}
	return have, err
}

func readOnce(from *netlink.Handle) (kernel, error) {
	have := kernel{links: map[string]int{}, names: map[int]string{}, addrs: map[placeKey]netlink.Addr{}}
	links, err := from.LinkList()
	if err != nil {
		return have, fmt.Errorf("list the devices: %w", err)
	}
	for _, l := range links {
		have.links[l.Attrs().Name], have.names[l.Attrs().Index] = l.Attrs().Index, l.Attrs().Name
	}
	addrs, err := from.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return have, fmt.Errorf("list the addresses: %w", err)
	}
	for _, a := range addrs {
		ip, ok := netip.AddrFromSlice(a.IP)
		bits, _ := a.Mask.Size()
		if !ok || ip.IsLinkLocalUnicast() {
			continue
		}
		have.addrs[placeKey{a.LinkIndex, netip.PrefixFrom(ip.Unmap(), bits)}] = a
	}
	return have, nil
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

// DeviceExists reports whether the host has a device of that name.
func DeviceExists(name string) bool {
	_, err := netlink.LinkByName(name)
	return err == nil
}
