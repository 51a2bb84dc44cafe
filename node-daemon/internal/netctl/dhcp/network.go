package dhcp

import (
	"errors"
	"net/netip"
	"regexp"
	"slices"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// Network is what dnsmasq needs to know of a managed network. It has a server if DHCP
// of IPv4 or IPv6 is switched on and the gateway of that family is set.
type Network struct {
	VNI          int
	Bridge       string       // with the gateway addresses
	Domain       string       // of the guests; empty: none is told
	MTU          int          // told to the guests; 0: it is not
	NameServers  []netip.Addr // told to the guests; none: the gateway
	IP4          model.NetworkIP4
	IP6          model.NetworkIP6
	Reservations []model.Reservation // IPv4
}

// The bounds of what is told to guests: RFC 791, and RFC 8200 section 5 for IPv6.
const (
	minMTU  = 68
	minMTU6 = 1280
	maxMTU  = 65535
)

// interfaceName leaves out what means something to dnsmasq, as '*' and ','.
var interfaceName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,14}$`)

func (n *Network) serves4() bool { return n.IP4.DHCP && n.IP4.Gateway.IsValid() }
func (n *Network) serves6() bool { return n.IP6.DHCP && n.IP6.Gateway.IsValid() }

// slaac says whether guests make their IPv6 addresses themselves: where they have IPv4
// leases to be known by, and the prefix is what SLAAC needs (RFC 4862 section 5.5.3).
func (n *Network) slaac() bool { return n.serves4() && n.IP6.Network.Bits() == 64 }

// check looks again at each value that gets into a file, whoever has checked it before.
func (n *Network) check() error {
	var all []error
	must := func(ok bool, format string, args ...any) {
		if !ok {
			all = append(all, errs.Invalidf(format, args...))
		}
	}
	must(n.VNI >= 1 && n.VNI <= model.MaxVXLAN, "VNI %d", n.VNI)
	must(interfaceName.MatchString(n.Bridge), "bridge %q", model.Clip(n.Bridge))
	must(n.MTU == 0 || n.MTU >= minMTU && n.MTU <= maxMTU, "MTU %d: %d to %d are possible", n.MTU, minMTU, maxMTU)
	if n.Domain != "" {
		d, err := model.ParseDomain(n.Domain)
		must(err == nil && d == n.Domain, "domain %q", model.Clip(n.Domain))
	}
	for _, a := range n.NameServers {
		must(plain(a) && !a.IsUnspecified(), "name server %s", a)
	}
	if n.serves4() {
		all = append(all, check4(n.IP4))
	}
	if n.serves6() {
		all = append(all, check6(n.IP6))
	}
	return errors.Join(all...)
}

// plain says whether the text of a is an address and nothing else.
func plain(a netip.Addr) bool { return a.IsValid() && a.Zone() == "" && !a.Is4In6() }

func check4(ip model.NetworkIP4) error {
	if !ip.Network.IsValid() || !ip.Network.Addr().Is4() || ip.Network.Bits() < 1 || ip.Network.Bits() > 30 {
		return errs.Invalidf("IPv4 network %s", ip.Network)
	}
	for what, a := range map[string]netip.Addr{"gateway": ip.Gateway, "first address for DHCP": ip.Start, "last address for DHCP": ip.End} {
		if !ip.Network.Contains(a) {
			return errs.Invalidf("%s %s is not in the network %s", what, a, ip.Network)
		}
	}
	if ip.End.Less(ip.Start) {
		return errs.Invalidf("last address for DHCP %s is before the first, %s", ip.End, ip.Start)
	}
	return nil
}

func check6(ip model.NetworkIP6) error {
	if !ip.Network.IsValid() || !ip.Network.Addr().Is6() || ip.Network.Addr().Is4In6() || ip.Network.Bits() < 1 || ip.Network.Bits() > 126 {
		return errs.Invalidf("IPv6 network %s", ip.Network)
	}
	if !plain(ip.Gateway) || !ip.Network.Contains(ip.Gateway) {
		return errs.Invalidf("gateway %s is not in the network %s", ip.Gateway, ip.Network)
	}
	return nil
}

// reservations are those that can be served, by MAC, and what is wrong with the others.
// One bad entry must not cost the others their addresses.
func (n *Network) reservations() (good []model.Reservation, err error) {
	if !n.serves4() {
		return nil, nil
	}
	var all []error
	macs, addresses := map[string]bool{}, map[netip.Addr]bool{}
	for _, r := range n.Reservations {
		switch err := n.checkReservation(r); {
		case err != nil:
			all = append(all, err)
		case macs[r.MAC]:
			all = append(all, errs.Conflictf("reservation of %s: there is another for this MAC", r.MAC))
		case addresses[r.Address]:
			all = append(all, errs.Conflictf("reservation of %s: %s is reserved for another MAC", r.MAC, r.Address))
		default:
			macs[r.MAC], addresses[r.Address] = true, true
			good = append(good, r)
		}
	}
	slices.SortFunc(good, func(a, b model.Reservation) int { return a.Address.Compare(b.Address) })
	return good, errors.Join(all...)
}

func (n *Network) checkReservation(r model.Reservation) error {
	mac, err := model.ParseMAC(r.MAC)
	if err != nil || mac != r.MAC {
		return errs.Invalidf("reservation of %q: this is not a MAC address as written here", model.Clip(r.MAC))
	}
	if !n.IP4.Network.Contains(r.Address) || r.Address == n.IP4.Gateway {
		return errs.Invalidf("reservation of %s: %s cannot be given to a guest of the network %s", mac, r.Address, n.IP4.Network)
	}
	if r.Hostname == "" {
		return nil
	}
	if h, err := model.ParseHostname(r.Hostname); err != nil || h != r.Hostname {
		return errs.Invalidf("reservation of %s: host name %q", mac, model.Clip(r.Hostname))
	}
	return nil
}
