package model

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// NetworkType says who looks after a virtual network.
type NetworkType string

// The types of a network: a VLAN of the operator's switches, or a VXLAN with
// everything from addresses to firewall done by us.
const (
	NetworkBridged NetworkType = "bridged"
	NetworkManaged NetworkType = "managed"
)

// ParseNetworkType returns the type of that name.
func ParseNetworkType(s string) (NetworkType, error) {
	return parseWord("network type", s, []NetworkType{NetworkBridged, NetworkManaged})
}

// The largest VNIs: IEEE 802.1Q has 12 bits without 0 and 4095, RFC 7348 has 24 bits.
const (
	MaxVLAN  = 4094
	MaxVXLAN = 1<<24 - 1
)

// Network is a virtual network as the cluster knows it. It is immutable once
// published. Addresses and prefixes that are not set are invalid in the sense of netip.
type Network struct {
	VNI         int
	Description string // unique, its name in the API
	Type        NetworkType
	Domain      string
	MTU         int          // 0 if nobody asked for one
	NameServers []netip.Addr // for the guests; empty: the gateway

	IP4 NetworkIP4
	IP6 NetworkIP6

	Leases       []Lease       // by MAC
	Leases6      []Lease6      // by address
	Reservations []Reservation // by MAC
	In, Out      []Rule        // by position

	Gen      string // the random part of its identity child; empty if an old client made it
	Versions NetworkVersions
}

// NetworkIP4 is the IPv4 side of a managed network.
type NetworkIP4 struct {
	Network    netip.Prefix // masked
	Gateway    netip.Addr
	DHCP       bool
	Start, End netip.Addr // of the range, both included
}

// NetworkIP6 is the IPv6 side of a managed network.
type NetworkIP6 struct {
	Network netip.Prefix // masked
	Gateway netip.Addr
	DHCP    bool
}

// NetworkVersions are the znode versions a rule has looked at.
type NetworkVersions struct {
	Description, Domain, MTU, NameServers, IP4Network, IP4Gateway, DHCP4, DHCP4Start, DHCP4End, IP6Network, IP6Gateway, DHCP6 int32
}

// Lease is an address that DHCP has given to a guest.
type Lease struct {
	MAC      string // see ParseMAC
	Address  netip.Addr
	Hostname string // empty if the guest named none, or one that was refused
	ClientID string // as dnsmasq writes it: hexadecimal pairs with colons, "*" for none
	Expiry   int64  // epoch seconds of the primary's clock; 0 never
}

// Lease6 is an address that DHCPv6 has given to a guest, with the data of its znode.
type Lease6 struct {
	Address  netip.Addr `json:"-"`
	DUID     string     `json:"duid"` // of the client, hexadecimal pairs with colons
	IAID     string     `json:"iaid"` // as dnsmasq writes it
	Hostname string     `json:"hostname,omitempty"`
	Expiry   int64      `json:"expiry"` // epoch seconds of the primary's clock; 0 never
}

// MAC is the hardware address inside the DUID (RFC 8415, sections 11.2 and 11.4), in the
// form of ParseMAC; empty if there is none in it.
func (l Lease6) MAC() string {
	const ethernet = "00:01"
	for kind, at := range map[string]int{"00:01:": 8, "00:03:": 4} { // with and without a time
		rest, ok := strings.CutPrefix(l.DUID, kind+ethernet+":")
		if ok && len(l.DUID) == 3*(at+6)-1 {
			return rest[len(rest)-17:]
		}
	}
	return ""
}

// Reservation is an address that is kept for a MAC.
type Reservation struct {
	MAC      string
	Address  netip.Addr
	Hostname string // empty if none
}

// Rule is one entry of a network's firewall.
type Rule struct {
	Name    string // unique in its direction
	Order   int    // as stored; the position in Network.In or Out counts
	Text    string // nftables expressions and a verdict
	Version int32  // of the order's znode
}

// Direction is which way a rule looks at a packet, seen from the network.
type Direction string

// The directions: towards the network, from the network.
const (
	DirectionIn  Direction = "in"
	DirectionOut Direction = "out"
)

// ParseDirection returns the direction of that name.
func ParseDirection(s string) (Direction, error) {
	return parseWord("direction", s, []Direction{DirectionIn, DirectionOut})
}

// Rules returns the rules of one direction.
func (n *Network) Rules(d Direction) []Rule {
	if d == DirectionIn {
		return n.In
	}
	return n.Out
}

// Bridge is the name of the network's bridge on every host.
func (n *Network) Bridge() string { return BridgeOf(n.VNI) }

var macText = regexp.MustCompile(`^[0-9a-f]{2}(:[0-9a-f]{2}){5}$`)

// ParseMAC accepts a MAC address with colons, dashes, dots or nothing between its
// digits, in any case, and returns it in lower case with colons. Multicast addresses and
// the zero address belong to no interface.
func ParseMAC(s string) (string, error) {
	digits := strings.NewReplacer(":", "", "-", "", ".", "").Replace(strings.ToLower(s))
	if len(digits) == 12 && len(s) <= 17 {
		var b strings.Builder
		for i := 0; i < 12; i += 2 {
			if i > 0 {
				b.WriteByte(':')
			}
			b.WriteString(digits[i : i+2])
		}
		if mac := b.String(); macText.MatchString(mac) {
			if strings.ContainsRune("13579bdf", rune(mac[1])) {
				return "", errs.Invalidf("MAC address %q is a multicast address", Clip(s))
			}
			if mac == "00:00:00:00:00:00" {
				return "", errs.Invalidf("MAC address %q belongs to no interface", Clip(s))
			}
			return mac, nil
		}
	}
	return "", errs.Invalidf("%q is not a MAC address: six pairs of hexadecimal digits are needed", Clip(s))
}

var (
	hostLabel   = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$`)
	description = regexp.MustCompile(`^[^\s/\p{C}]{1,64}$`)
	digitsOnly  = regexp.MustCompile(`^[0-9]+$`)
)

// ParseHostname returns a host name in lower case: one label of RFC 1123 section 2.1.
func ParseHostname(s string) (string, error) {
	h := strings.ToLower(s)
	if !hostLabel.MatchString(h) {
		return "", errs.Invalidf("host name %q: 1 to 63 letters, digits or '-' are needed, '-' neither first nor last", Clip(s))
	}
	return h, nil
}

// ParseDomain returns a domain in lower case and without the dot at its end: labels of
// RFC 1123, at most 253 characters.
func ParseDomain(s string) (string, error) {
	d := strings.TrimSuffix(strings.ToLower(s), ".")
	ok := len(d) <= 253
	for label := range strings.SplitSeq(d, ".") {
		ok = ok && hostLabel.MatchString(label)
	}
	if !ok {
		return "", errs.Invalidf("domain %q: labels of 1 to 63 letters, digits or '-' with dots between them are needed, at most 253 characters", Clip(s))
	}
	return d, nil
}

// CheckDescription says whether s may name a network: 1 to 64 characters without white
// space, '/' or control characters, and not only digits, which would be a VNI.
func CheckDescription(s string) error {
	if !description.MatchString(s) || s == "." || s == ".." {
		return errs.Invalidf("description %q: 1 to 64 characters without white space and '/' are needed", Clip(s))
	}
	if digitsOnly.MatchString(s) {
		return errs.Invalidf("description %q has only digits and would be taken for a VNI", Clip(s))
	}
	return nil
}

var ruleName = regexp.MustCompile(`^[^/\p{C}]{1,128}$`)

// CheckRuleName says whether s may name a rule: 1 to 128 printable characters without '/'.
func CheckRuleName(s string) error {
	if !ruleName.MatchString(s) || strings.TrimSpace(s) != s || s == "." || s == ".." {
		return errs.Invalidf("rule description %q: 1 to 128 printable characters without '/' are needed, no white space at its ends", Clip(s))
	}
	return nil
}

// BridgePrefix begins the name of every bridge of a virtual network.
const BridgePrefix = "vmbr"

// BridgeOf is the name of the bridge of a VNI on every host.
func BridgeOf(vni int) string { return BridgePrefix + strconv.Itoa(vni) }
