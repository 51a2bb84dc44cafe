package config

import (
	"fmt"
	"io/fs"
	"net/netip"
	"strconv"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// checkNode looks at values that depend on each other and at what this release
// does not act on.
func checkNode(l *loader, c *Node, raw *rawNode) {
	host := c.Name
	c.Name = shortName(raw.name)
	checkName(l, c.Name, host)
	l.checkZooKeeper("pvc.cluster.zookeeper", c.Cluster.ZooKeeper)
	if strings.HasPrefix(c.Migration.PeerTemplate, "qemu+tcp:") {
		l.warn("pvc.system.migration.peer_uri", "plain TCP: who reaches the port commands the hypervisor; qemu+tls is the safe choice")
	}
	warnFenceAction(l, "pvc.system.fencing.actions.successful_fence", raw.onSuccess)
	warnFenceAction(l, "pvc.system.fencing.actions.failed_fence", raw.onFailure)
	checkNetworks(l, c, raw)
	warnNotYet(l, c)
}

func checkName(l *loader, name, host string) {
	if err := model.CheckNodeName(name); err != nil {
		l.fail("pvc.node", "%v", err)
		return
	}
	if name != host {
		l.warn("pvc.node", "the node is called %s although the host is called %s", name, model.Clip(host))
	}
}

func warnFenceAction(l *loader, key, word string) {
	switch word {
	case "", "migrate", "None", "none":
	default:
		l.warn(key, "%q is not migrate and means None", model.Clip(word))
	}
}

func checkNetworks(l *loader, c *Node, raw *rawNode) {
	const networks, interfaces = "pvc.cluster.networks.", "pvc.system.configuration.networking."
	for _, n := range []struct {
		name    string
		network Network
		own     ownAddress
		to      *netip.Prefix
	}{
		{"upstream", c.Cluster.Upstream, raw.upstream, &c.Networking.Upstream.Address},
		{"cluster", c.Cluster.Internal, raw.cluster, &c.Networking.Cluster.Address},
		{"storage", c.Cluster.Storage, raw.storage, &c.Networking.Storage.Address},
	} {
		if n.network.Floating.IsValid() && n.network.Network.IsValid() && !usable(n.network.Network, n.network.Floating.Addr()) {
			l.fail(networks+n.name+".floating_ip", "%s is not an address for a host of %s", n.network.Floating, n.network.Network)
		}
		var err error
		if *n.to, err = n.own.resolve(n.network.Network, c.Name); err != nil {
			l.fail(interfaces+n.name+".address", "%v", err)
		}
	}
	if g, n := c.Cluster.Upstream.Gateway, c.Cluster.Upstream.Network; g.IsValid() && n.IsValid() && !usable(n, g) {
		l.fail(networks+"upstream.gateway", "%s is not an address for a host of %s", g, n)
	}
}

// warnNotYet names what the file asks for and this release does not do.
func warnNotYet(l *loader, c *Node) {
	if _, ok := l.lines["pvc.system.fencing"]; ok {
		l.warn("pvc.system.fencing", "fence_intervals, actions and ipmi are without effect yet: this release fences no host")
	}
}

// resolve returns the host's own address with its prefix length; invalid if it has
// none. By id it is the address of that number in the network.
func (a ownAddress) resolve(network netip.Prefix, node string) (netip.Prefix, error) {
	if !a.byID {
		return a.prefix, nil
	}
	if !network.IsValid() {
		return netip.Prefix{}, nil // where it is needed its absence is a problem of its own
	}
	id, err := nodeID(node)
	if err != nil {
		return netip.Prefix{}, err
	}
	addr, ok := nthHost(network, id)
	if !ok {
		return netip.Prefix{}, fmt.Errorf("by-id: %s has no address for a host of number %d", network, id)
	}
	return netip.PrefixFrom(addr, network.Bits()), nil
}

// nodeID is the last group of digits in the name of a node, 1 if there is none.
func nodeID(node string) (uint32, error) {
	end := strings.LastIndexAny(node, "0123456789") + 1
	if end == 0 {
		return 1, nil
	}
	start := end
	for start > 0 && node[start-1] >= '0' && node[start-1] <= '9' {
		start--
	}
	id, err := strconv.ParseUint(node[start:end], 10, 32)
	if err != nil || id == 0 {
		return 0, fmt.Errorf("by-id: the number %s in the node's name is not between 1 and 4294967295", node[start:end])
	}
	return uint32(id), nil
}

// nthHost is the address of that number in the network, counted from its start.
func nthHost(network netip.Prefix, n uint32) (netip.Addr, bool) {
	b := network.Masked().Addr().AsSlice()
	for i, carry := len(b)-1, uint64(n); i >= 0 && carry > 0; i-- {
		carry += uint64(b[i])
		b[i] = byte(carry)
		carry >>= 8
	}
	addr, _ := netip.AddrFromSlice(b)
	return addr, usable(network, addr)
}

// usable reports whether a host may have the address: it is in the network, and
// neither its first nor, with IPv4, its last address.
func usable(network netip.Prefix, a netip.Addr) bool {
	if !network.Contains(a) || a == network.Masked().Addr() {
		return false
	}
	return !a.Is4() || network.Contains(a.Next())
}

func readableByAll(path string, mode fs.FileMode) Warning {
	return Warning{File: path, Text: fmt.Sprintf("holds secrets and may be read by everyone (mode %04o; 0640 is better)", mode)}
}
