package cluster

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// The MTUs that can be asked for: every IPv4 host takes a packet of 576 bytes (RFC 791),
// and no common network card sends more than 9216. A network with IPv6 needs 1280 (RFC 8200).
const (
	MinMTU    = 576
	MinMTU6   = 1280
	MaxMTU    = 9216
	maxServer = 8 // name servers of a network; a DHCP option has room for 63
)

// The lengths of the blocks a network may have.
const (
	minBits4, maxBits4 = 8, 30
	minBits6, maxBits6 = 48, 126
)

// NetworkValues are what can be said about a network beside its number, name and type.
// An empty value, or 0, is not set.
type NetworkValues struct {
	MTU                    int
	Domain                 string
	NameServers            []string
	IP4Network, IP4Gateway string
	DHCP4                  bool
	DHCP4Start, DHCP4End   string
	IP6Network, IP6Gateway string
}

// checkVNI says whether a network of that type may have the number.
func checkVNI(vni int, typ model.NetworkType) error {
	most, what := model.MaxVXLAN, "managed network (VXLAN)"
	if typ == model.NetworkBridged {
		most, what = model.MaxVLAN, "bridged network (VLAN)"
	}
	if vni < 1 || vni > most {
		return errs.Invalidf("value %q: %d is not a number from 1 to %d, as a %s needs it", "vni", vni, most, what)
	}
	return nil
}

// checked is a network whose values fit together.
type checked struct {
	network *model.Network
	remarks []string // what was decided without being asked for
}

// checkValues puts the values into a copy of a network. It knows nothing of other
// networks. Errors are errs.Invalid and name the value.
func checkValues(of *model.Network, v NetworkValues) (checked, error) {
	n := *of
	c := checked{network: &n}
	n.MTU = v.MTU
	if v.MTU != 0 && (v.MTU < MinMTU || v.MTU > MaxMTU) {
		return c, errs.Invalidf("value %q: %d is not a number from %d to %d", "mtu", v.MTU, MinMTU, MaxMTU)
	}
	if n.Type == model.NetworkBridged {
		return c, nil // the rest belongs to somebody else there
	}
	n.Domain, n.NameServers, n.IP4, n.IP6 = "", nil, model.NetworkIP4{}, model.NetworkIP6{}
	var err error
	if v.Domain != "" {
		if n.Domain, err = model.ParseDomain(v.Domain); err != nil {
			return c, about("domain", err)
		}
	}
	if n.NameServers, err = parseServers(v.NameServers); err != nil {
		return c, err
	}
	if n.IP4, err = checkIP4(v); err != nil {
		return c, err
	}
	if err := c.checkIP6(v); err != nil {
		return c, err
	}
	return c, nil
}

func about(value string, err error) error { return errs.New(errs.Invalid, "value %q: %w", value, err) }

// given is whether a value that only a managed network has was given.
type given struct {
	name string
	is   bool
}

// ignored is the remark about values that a bridged network does not have.
func ignored(values ...given) []string {
	var names []string
	for _, v := range values {
		if v.is {
			names = append(names, v.name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return []string{"ignored, as it is bridged: " + strings.Join(names, ", ")}
}

func (v NetworkValues) managedOnly() []given {
	return []given{
		{"domain", v.Domain != ""}, {"name_servers", len(v.NameServers) > 0}, {"ip4_network", v.IP4Network != ""},
		{"ip4_gateway", v.IP4Gateway != ""}, {"dhcp4", v.DHCP4}, {"dhcp4_start", v.DHCP4Start != ""}, {"dhcp4_end", v.DHCP4End != ""},
		{"ip6_network", v.IP6Network != ""}, {"ip6_gateway", v.IP6Gateway != ""},
	}
}

// defaultDomain is the domain of a network for which nobody asked for another: its
// description with '-' for what a domain cannot contain.
func defaultDomain(vni int, description string) string {
	plain := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '.' {
			return r
		}
		return '-'
	}, strings.ToLower(description))
	var labels []string
	for label := range strings.SplitSeq(plain, ".") {
		if label = strings.Trim(label[:min(len(label), 63)], "-"); label != "" {
			labels = append(labels, label)
		}
	}
	if len(labels) == 0 {
		labels = []string{fmt.Sprintf("net%d", vni)}
	}
	return strings.Join(labels, ".") + ".local"
}

func parseServers(texts []string) (servers []netip.Addr, err error) {
	for _, s := range texts {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" || a.Is4In6() || a.IsUnspecified() || a.IsMulticast() || a.IsLoopback() {
			return nil, errs.Invalidf("value %q: %q is not the address of a host", "name_servers", model.Clip(s))
		}
		if !slices.Contains(servers, a) {
			servers = append(servers, a)
		}
	}
	if len(servers) > maxServer {
		return nil, errs.Invalidf("value %q: %d addresses are too many, at most %d are allowed", "name_servers", len(servers), maxServer)
	}
	return servers, nil
}

// parseBlock reads a network in CIDR notation.
func parseBlock(value, s string, least, most int) (netip.Prefix, error) {
	family, four := "IPv6", most == maxBits4
	if four {
		family = "IPv4"
	}
	p, err := netip.ParsePrefix(s)
	if err != nil || p.Addr().Is4() != four || p.Addr().Is4In6() {
		return p, errs.Invalidf("value %q: %q is not an %s network as address/length", value, model.Clip(s), family)
	}
	if p.Bits() < least || p.Bits() > most {
		return p, errs.Invalidf("value %q: the length of %q is not from /%d to /%d", value, model.Clip(s), least, most)
	}
	if p != p.Masked() {
		return p, errs.Invalidf("value %q: %q is an address in the network %s, not a network", value, model.Clip(s), p.Masked())
	}
	for _, special := range specialBlocks {
		if p.Overlaps(special.block) {
			return p, errs.Invalidf("value %q: %q has addresses of %s, which are %s", value, model.Clip(s), special.block, special.what)
		}
	}
	return p, nil
}

// specialBlocks cannot be routed to guests (RFC 6890).
var specialBlocks = []struct {
	block netip.Prefix
	what  string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "not addresses of hosts"},
	{netip.MustParsePrefix("127.0.0.0/8"), "local to every host"},
	{netip.MustParsePrefix("169.254.0.0/16"), "local to a link"},
	{netip.MustParsePrefix("224.0.0.0/3"), "for multicast or reserved"},
	{netip.MustParsePrefix("::/32"), "reserved"},
	{netip.MustParsePrefix("fe80::/10"), "local to a link"},
	{netip.MustParsePrefix("ff00::/8"), "for multicast"},
}

// parseHost reads the address of a host in a block: neither the block's own address nor
// its broadcast address.
func parseHost(value, s string, block netip.Prefix) (netip.Addr, error) {
	a, err := netip.ParseAddr(s)
	if err != nil || a.Is4() != block.Addr().Is4() || a.Zone() != "" || a.Is4In6() {
		family := "IPv6"
		if block.Addr().Is4() {
			family = "IPv4"
		}
		return netip.Addr{}, errs.Invalidf("value %q: %q is not an %s address", value, model.Clip(s), family)
	}
	if err := checkHost(a, block); err != nil {
		return netip.Addr{}, about(value, err)
	}
	return a, nil
}

func checkHost(a netip.Addr, block netip.Prefix) error {
	switch {
	case !block.Contains(a):
		return errs.Invalidf("%s is not in the network %s", a, block)
	case a == block.Addr():
		return errs.Invalidf("%s is the address of the network %s itself", a, block)
	case a.Is4() && !block.Contains(a.Next()):
		return errs.Invalidf("%s is the broadcast address of the network %s", a, block)
	}
	return nil
}

func checkIP4(v NetworkValues) (ip model.NetworkIP4, err error) {
	if v.IP4Network == "" {
		return ip, v.needNoIP4()
	}
	if ip.Network, err = parseBlock("ip4_network", v.IP4Network, minBits4, maxBits4); err != nil {
		return ip, err
	}
	if v.IP4Gateway == "" {
		return ip, errs.Invalidf("value %q is missing: the network %s needs a gateway", "ip4_gateway", ip.Network)
	}
	if ip.Gateway, err = parseHost("ip4_gateway", v.IP4Gateway, ip.Network); err != nil {
		return ip, err
	}
	ip.DHCP = v.DHCP4
	if !v.DHCP4 && v.DHCP4Start == "" && v.DHCP4End == "" {
		return ip, nil
	}
	return ip, checkRange(v, &ip)
}

// needNoIP4 refuses what means nothing without an IPv4 network.
func (v NetworkValues) needNoIP4() error {
	switch {
	case v.IP4Gateway != "":
		return errs.Invalidf("value %q: %q has no network: %q is not set", "ip4_gateway", model.Clip(v.IP4Gateway), "ip4_network")
	case v.DHCP4:
		return errs.Invalidf("value %q: DHCP has no network to serve: %q is not set", "dhcp4", "ip4_network")
	case v.DHCP4Start != "":
		return errs.Invalidf("value %q: %q has no network: %q is not set", "dhcp4_start", model.Clip(v.DHCP4Start), "ip4_network")
	case v.DHCP4End != "":
		return errs.Invalidf("value %q: %q has no network: %q is not set", "dhcp4_end", model.Clip(v.DHCP4End), "ip4_network")
	}
	return nil
}

// checkRange reads the range that DHCP gives addresses of.
func checkRange(v NetworkValues, ip *model.NetworkIP4) (err error) {
	if v.DHCP4Start == "" {
		return errs.Invalidf("value %q is missing: a range for DHCP has two ends", "dhcp4_start")
	}
	if v.DHCP4End == "" {
		return errs.Invalidf("value %q is missing: a range for DHCP has two ends", "dhcp4_end")
	}
	if ip.Start, err = parseHost("dhcp4_start", v.DHCP4Start, ip.Network); err != nil {
		return err
	}
	if ip.End, err = parseHost("dhcp4_end", v.DHCP4End, ip.Network); err != nil {
		return err
	}
	if ip.End.Less(ip.Start) {
		return errs.Invalidf("value %q: %s is below %s, where the range starts", "dhcp4_end", ip.End, ip.Start)
	}
	if within(ip, ip.Gateway) {
		return errs.Invalidf("value %q: the range from %s to %s contains the gateway %s", "dhcp4_start", ip.Start, ip.End, ip.Gateway)
	}
	return nil
}

// within reports whether an address is in the range for DHCP.
func within(ip *model.NetworkIP4, a netip.Addr) bool {
	return ip.Start.IsValid() && !a.Less(ip.Start) && !ip.End.Less(a)
}

// checkIP6 is milder than its sibling, as the manual says: a gateway that is missing or
// wrong becomes the first address, and the answer says so.
func (c *checked) checkIP6(v NetworkValues) (err error) {
	ip := &c.network.IP6
	if v.IP6Network == "" {
		if v.IP6Gateway != "" {
			return errs.Invalidf("value %q: %q has no network: %q is not set", "ip6_gateway", model.Clip(v.IP6Gateway), "ip6_network")
		}
		return nil
	}
	if ip.Network, err = parseBlock("ip6_network", v.IP6Network, minBits6, maxBits6); err != nil {
		return err
	}
	if v.MTU != 0 && v.MTU < MinMTU6 {
		return errs.Invalidf("value %q: %d is too little for IPv6, which needs %d", "mtu", v.MTU, MinMTU6)
	}
	ip.DHCP = true
	first := ip.Network.Addr().Next()
	if v.IP6Gateway == "" {
		ip.Gateway = first
		c.remarks = append(c.remarks, fmt.Sprintf("its IPv6 gateway is the first address, %s", first))
		return nil
	}
	if ip.Gateway, err = parseHost("ip6_gateway", v.IP6Gateway, ip.Network); err != nil {
		ip.Gateway = first
		c.remarks = append(c.remarks, fmt.Sprintf("its IPv6 gateway is the first address, %s, because of %v", first, err))
	}
	return nil
}

// checkReservations refuses values with which addresses that are kept for guests would
// fall out of the network.
func checkReservations(n *model.Network) error {
	for _, r := range n.Reservations {
		if err := checkReserved(n, r.Address); err != nil {
			return errs.Conflictf("the address reserved for %s does not fit: %w; remove the reservation first", r.MAC, err)
		}
	}
	return nil
}

// checkReserved says whether an address can be kept for a guest.
func checkReserved(n *model.Network, a netip.Addr) error {
	if !n.IP4.Network.IsValid() {
		return errs.Invalidf("the network has no IPv4 network for %s", a)
	}
	if a == n.IP4.Gateway {
		return errs.Invalidf("%s is the gateway of the network", a)
	}
	return checkHost(a, n.IP4.Network)
}

// checkOverlap refuses addresses that another managed network has: the primary routes
// between them.
func checkOverlap(s *view.Snapshot, n *model.Network) error {
	for _, o := range s.Networks() {
		if o.VNI == n.VNI || o.Type != model.NetworkManaged {
			continue
		}
		if n.IP4.Network.Overlaps(o.IP4.Network) {
			return errs.Conflictf("value %q: %s overlaps %s of network %q (VNI %d)", "ip4_network", n.IP4.Network, o.IP4.Network, o.Description, o.VNI)
		}
		if n.IP6.Network.Overlaps(o.IP6.Network) {
			return errs.Conflictf("value %q: %s overlaps %s of network %q (VNI %d)", "ip6_network", n.IP6.Network, o.IP6.Network, o.Description, o.VNI)
		}
	}
	return nil
}
