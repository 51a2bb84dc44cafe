package httpapi

import (
	"cmp"
	"net/netip"
	"strconv"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// networkJSON is a network as clients see it. Texts that are not set are "None".
type networkJSON struct {
	VNI         int      `json:"vni"`
	Description string   `json:"description"`
	Type        string   `json:"type"`
	MTU         int      `json:"mtu"` // 0 is that of the hosts
	Domain      string   `json:"domain"`
	NameServers []string `json:"name_servers"`
	IP4         ip4JSON  `json:"ip4"`
	IP6         ip6JSON  `json:"ip6"`
}

// ip4JSON is the IPv4 side. The flag is text on purpose: "True", "False".
type ip4JSON struct {
	Network string `json:"network"`
	Gateway string `json:"gateway"`
	DHCP    string `json:"dhcp_flag"`
	Start   string `json:"dhcp_start"`
	End     string `json:"dhcp_end"`
}

// ip6JSON is the IPv6 side.
type ip6JSON struct {
	Network string `json:"network"`
	Gateway string `json:"gateway"`
	DHCP    string `json:"dhcp_flag"`
}

// leaseJSON is a lease or a reservation; all of it is text.
type leaseJSON struct {
	Hostname  string `json:"hostname"`
	Address   string `json:"ip4_address"`
	Address6  string `json:"ip6_address"`
	MAC       string `json:"mac_address"`
	Timestamp string `json:"timestamp"` // epoch seconds of its end, or "static"
}

// aclJSON is a rule of a network's firewall.
type aclJSON struct {
	Direction   string `json:"direction"`
	Order       int    `json:"order"` // position in its direction, from 0
	Description string `json:"description"`
	Rule        string `json:"rule"`
}

// unset is the text of a network's field that has no value.
const unset = "None"

func networkAnswer(n *model.Network) networkJSON {
	out := networkJSON{
		VNI: n.VNI, Description: n.Description, Type: string(n.Type), MTU: n.MTU, Domain: cmp.Or(n.Domain, unset), NameServers: []string{},
		IP4: ip4JSON{prefixOrNone(n.IP4.Network), addressOrNone(n.IP4.Gateway), schema.Flag(n.IP4.DHCP), addressOrNone(n.IP4.Start), addressOrNone(n.IP4.End)},
		IP6: ip6JSON{prefixOrNone(n.IP6.Network), addressOrNone(n.IP6.Gateway), schema.Flag(n.IP6.DHCP)},
	}
	for _, a := range n.NameServers {
		out.NameServers = append(out.NameServers, a.String())
	}
	return out
}

func addressOrNone(a netip.Addr) string {
	if !a.IsValid() {
		return unset
	}
	return a.String()
}

func prefixOrNone(p netip.Prefix) string {
	if !p.IsValid() {
		return unset
	}
	return p.String()
}

// staticLease is the time stamp of an address that is reserved.
const staticLease = "static"

func reservationAnswer(r model.Reservation) leaseJSON {
	return leaseJSON{cmp.Or(r.Hostname, unset), addressOrNone(r.Address), unset, r.MAC, staticLease}
}

// leaseAnswer renders a lease; one of an address that is reserved for it is static.
func leaseAnswer(n *model.Network, l model.Lease) leaseJSON {
	out := leaseJSON{cmp.Or(l.Hostname, unset), addressOrNone(l.Address), unset, l.MAC, strconv.FormatInt(l.Expiry, 10)}
	for _, r := range n.Reservations {
		if r.MAC == l.MAC && r.Address == l.Address {
			out.Timestamp = staticLease
			out.Hostname = cmp.Or(r.Hostname, out.Hostname)
		}
	}
	return out
}

// lease6Answer renders a lease of DHCPv6.
func lease6Answer(l model.Lease6) leaseJSON {
	return leaseJSON{cmp.Or(l.Hostname, unset), unset, l.Address.String(), cmp.Or(l.MAC(), unset), strconv.FormatInt(l.Expiry, 10)}
}

func ruleAnswer(d model.Direction, position int, r model.Rule) aclJSON {
	return aclJSON{string(d), position, r.Name, r.Text}
}
