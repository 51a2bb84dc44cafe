package netctl

import (
	"net/netip"
	"strconv"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/address"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/dhcp"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/dns"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/link"
)

func links(networks []*model.Network) (out []link.Network) {
	for _, n := range networks {
		out = append(out, link.Network{VNI: n.VNI, Type: n.Type, MTU: n.MTU})
	}
	return out
}

// peers are the cluster addresses of the other hosts that have networks. One whose daemon is silent may
// still run guests; only one that answers nothing at all is left out.
func peers(nodes []*model.Node, self string) (out []netip.Addr) {
	for _, n := range nodes {
		a, err := netip.ParseAddr(n.Facts.Address)
		if n.Name == self || err != nil || n.Facts.NoNetworks != "" || !n.Alive() && n.Condition == model.Unreachable {
			continue
		}
		out = append(out, a)
	}
	return out
}

func managed(networks []*model.Network) (out []*model.Network) {
	for _, n := range networks {
		if n.Type == model.NetworkManaged {
			out = append(out, n)
		}
	}
	return out
}

// gateways are the addresses that the primary has in the networks.
func gateways(networks []*model.Network) (out []address.Place) {
	for _, n := range managed(networks) {
		if n.IP4.Network.IsValid() && n.IP4.Gateway.Is4() {
			out = append(out, address.Place{Device: n.Bridge(), Prefix: netip.PrefixFrom(n.IP4.Gateway, n.IP4.Network.Bits())})
		}
		if n.IP6.Network.IsValid() && n.IP6.Gateway.Is6() {
			out = append(out, address.Place{Device: n.Bridge(), Prefix: netip.PrefixFrom(n.IP6.Gateway, n.IP6.Network.Bits())})
		}
	}
	return out
}

func dhcpNetworks(networks []*model.Network) (out []dhcp.Network) {
	for _, n := range managed(networks) {
		if !n.IP4.DHCP && !n.IP6.DHCP {
			continue
		}
		out = append(out, dhcp.Network{
			VNI: n.VNI, Bridge: n.Bridge(), Domain: n.Domain, MTU: n.MTU, NameServers: n.NameServers,
			IP4: n.IP4, IP6: n.IP6, Reservations: n.Reservations,
		})
	}
	return out
}

// zones are the names of all managed networks.
func zones(networks []*model.Network) (out []dns.Zone) {
	for _, n := range managed(networks) {
		if n.Domain == "" {
			continue
		}
		z := dns.Zone{VNI: n.VNI, Domain: n.Domain, Hosts: hosts(n)}
		for _, g := range []netip.Addr{n.IP4.Gateway, n.IP6.Gateway} {
			if g.IsValid() {
				z.Gateways = append(z.Gateways, g)
			}
		}
		for _, p := range []netip.Prefix{n.IP4.Network, n.IP6.Network} {
			if p.IsValid() {
				z.Networks = append(z.Networks, p)
			}
		}
		out = append(out, z)
	}
	return out
}

// hosts are the names of a network: those reserved, and of the leases the first that
// has a name which is not taken. A guest with leases of both families has both addresses.
func hosts(n *model.Network) (out []dns.Host) {
	known := map[string]int{}
	var reserved, leased, leased6 = map[string]bool{}, map[string]bool{}, map[string]bool{}
	add := func(name string, a netip.Addr, taken ...map[string]bool) {
		name, err := model.ParseHostname(name)
		for _, t := range taken {
			if err != nil || t[name] {
				return
			}
		}
		taken[0][name] = true
		if i, there := known[name]; there {
			out[i].Addresses = append(out[i].Addresses, a)
			return
		}
		known[name] = len(out)
		out = append(out, dns.Host{Name: name, Addresses: []netip.Addr{a}})
	}
	for _, r := range n.Reservations {
		add(r.Hostname, r.Address, reserved)
	}
	for _, l := range n.Leases {
		add(l.Hostname, l.Address, leased, reserved)
	}
	for _, l := range n.Leases6 {
		add(l.Hostname, l.Address, leased6)
	}
	return out
}

// vniOf reads the name of a bridge; ours is false for any other device.
func vniOf(bridge string) (vni int, ours bool) {
	text, ok := strings.CutPrefix(bridge, model.BridgePrefix)
	vni, err := strconv.Atoi(text)
	return vni, ok && err == nil && vni > 0 && model.BridgeOf(vni) == bridge
}

// present says whether the network of a bridge is known and its bridge is there.
func present(networks []*model.Network, vni int, bridge string) error {
	for _, n := range networks {
		if n.VNI == vni {
			if !address.DeviceExists(bridge) {
				return errs.Unavailablef("the bridge %s is not there yet", bridge)
			}
			return nil
		}
	}
	return errs.NotFoundf("network %d does not exist", vni)
}
