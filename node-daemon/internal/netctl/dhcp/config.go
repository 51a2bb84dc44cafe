package dhcp

import (
	"fmt"
	"net"
	"net/netip"
	"regexp"
	"strings"
)

// The life times of leases. IPv6 also uses its own for prefixes made known by router
// advertisements.
const (
	lease4 = "48h"
	lease6 = "24h"
)

// maxLeases bounds the leases of one network. dnsmasq refuses to start with more, and a
// guest that invents MAC addresses makes at most so many records.
const maxLeases = 4096

// A router advertisement comes every 30 s and its sender is forgotten after 90 s: after
// a take-over it comes from another host with another link-local address.
const advertise = "30,90"

// paths are the places that a configuration file names.
type paths struct {
	script string // the hook
	hosts  string // the reservations
}

// config is the text of dnsmasq's configuration file. The network must have passed check:
// then no value holds anything that dnsmasq could take for an option, a separator or a comment.
func (n *Network) config(p paths) string {
	lines := []string{
		"# Made by pvcd; it is written again at each start.",
		"keep-in-foreground", "pid-file=", "log-facility=-",
		"port=0", "no-resolv", "no-hosts", // no DNS
		"bind-interfaces", "interface=" + n.Bridge, "except-interface=lo",
		"dhcp-authoritative", "dhcp-ignore-clid", "dhcp-ignore-names",
		fmt.Sprintf("dhcp-lease-max=%d", maxLeases),
		"leasefile-ro", "dhcp-script=" + p.script, "dhcp-hostsfile=" + p.hosts,
	}
	if n.Domain != "" {
		lines = append(lines, "domain="+n.Domain)
	}
	if n.serves4() {
		lines = append(lines, n.config4()...)
	}
	if n.serves6() {
		lines = append(lines, n.config6()...)
	}
	return strings.Join(lines, "\n") + "\n"
}

func (n *Network) config4() []string {
	ip := n.IP4
	mask := net.IP(net.CIDRMask(ip.Network.Bits(), 32))
	lines := []string{
		fmt.Sprintf("dhcp-range=%s,%s,%s,%s", ip.Start, ip.End, mask, lease4),
		fmt.Sprintf("dhcp-option=option:router,%s", ip.Gateway),
		fmt.Sprintf("dhcp-option=option:ntp-server,%s", ip.Gateway),
	}
	if dns := n.nameServers(netip.Addr.Is4, ip.Gateway, n.serves6()); len(dns) > 0 {
		lines = append(lines, "dhcp-option=option:dns-server,"+strings.Join(dns, ","))
	}
	if n.MTU != 0 {
		lines = append(lines, fmt.Sprintf("dhcp-option=option:mtu,%d", n.MTU))
	}
	return lines
}

func (n *Network) config6() []string {
	gateway := "[" + n.IP6.Gateway.String() + "]"
	mtu := ""
	if n.MTU >= minMTU6 {
		mtu = fmt.Sprintf("mtu:%d,", n.MTU)
	}
	lines := []string{
		"enable-ra", "ra-param=" + n.Bridge + "," + mtu + advertise,
		"dhcp-range=" + n.range6(),
		"dhcp-option=option6:sntp-server," + gateway,
	}
	if dns := n.nameServers(netip.Addr.Is6, n.IP6.Gateway, n.serves4()); len(dns) > 0 {
		lines = append(lines, "dhcp-option=option6:dns-server,["+strings.Join(dns, "],[")+"]")
	}
	if n.Domain != "" {
		lines = append(lines, "dhcp-option=option6:domain-search,"+n.Domain)
	}
	return lines
}

// range6 is the block from which addresses come. It is not derived from the bridge
// ("constructor"), as the life time of a gateway address, a few seconds, would be the
// one of the guests' addresses too. dnsmasq serves at most 64 bits of host part; of a
// larger block it gets those around the gateway.
func (n *Network) range6() string {
	block, _ := n.IP6.Gateway.Prefix(max(n.IP6.Network.Bits(), 64)) // both are in bounds: check6
	if n.slaac() {
		return fmt.Sprintf("%s,ra-stateless,%d,%s", block.Addr(), block.Bits(), lease6)
	}
	first := block.Addr().Next().Next()
	return fmt.Sprintf("%s,%s,%d,%s", first, last(block), block.Bits(), lease6)
}

// last is the last address of a prefix.
func last(p netip.Prefix) netip.Addr {
	b := p.Addr().As16()
	for i := p.Bits(); i < 128; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	return netip.AddrFrom16(b)
}

// nameServers are those of one family: those of the network, or its gateway. A guest
// that gets some of the other family is not told the gateway behind the operator's back.
func (n *Network) nameServers(family func(netip.Addr) bool, gateway netip.Addr, other bool) (out []string) {
	for _, a := range n.NameServers {
		if family(a) {
			out = append(out, a.String())
		}
	}
	if len(out) == 0 && (len(n.NameServers) == 0 || !other) {
		out = append(out, gateway.String())
	}
	return out
}

// keyword are host names that dnsmasq takes for something else in an entry: a lease
// time, or a command. Such a guest keeps its name in the DNS but is not told it.
var keyword = regexp.MustCompile(`^([0-9]+[smhdw]?|ignore|infinite)$`)

// hosts is the text of the file of reservations, and what is wrong with the entries
// that are left out.
func (n *Network) hosts() (string, error) {
	good, err := n.reservations()
	names := newNaming(n.Domain, good)
	var b strings.Builder
	for _, r := range good {
		b.WriteString(r.MAC + "," + r.Address.String())
		if name := names.byMAC[r.MAC]; name != "" && !keyword.MatchString(name) {
			b.WriteString("," + name)
		}
		b.WriteByte('\n')
	}
	return b.String(), err
}
