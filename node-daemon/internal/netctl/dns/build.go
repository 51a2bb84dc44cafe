package dns

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// serverLabel is the name of this server in each domain; no host can have it.
const serverLabel = "pvc-ns"

// A zone has SOA, NS and names; a longer name does not fit into a message.
const maxName = 254

// builder makes the contents of the zones from what the networks say.
type builder struct {
	nameServer string       // canonical; empty: a name in each domain
	addresses  []netip.Addr // of the server besides the gateways

	zones   map[string]*content
	taken   map[string]int // owner of a host's name: its VNI
	remarks []string       // what was left out, and why
}

// build returns the contents of all zones by origin. What cannot be published is left
// out; the remarks say what and why, in the same words as long as it is so.
func build(zones []Zone, nameServer string, addresses []netip.Addr) (map[string]*content, []string) {
	b := &builder{nameServer: nameServer, addresses: addresses, zones: map[string]*content{}, taken: map[string]int{}}
	zones = slices.SortedStableFunc(slices.Values(zones), func(x, y Zone) int { return cmp.Compare(x.VNI, y.VNI) })
	domains := make([]string, len(zones))
	for i, z := range zones {
		domains[i] = b.forward(z)
		b.reverse(z, domains[i])
	}
	for _, origin := range privateZones {
		b.zone(origin, &content{builtin: true, server: origin, contact: "nobody.invalid."})
	}
	for i, z := range zones {
		b.hosts(z, domains[i])
		b.servers(z, domains[i])
	}
	b.cuts()
	for _, c := range b.zones {
		c.records = append(c.records, record{name: c.origin, typ: dns.TypeNS, target: c.server})
		slices.SortFunc(c.records, compareRecords)
		c.records = slices.Compact(c.records)
		slices.SortFunc(c.blocks, netip.Prefix.Compare)
	}
	return b.zones, b.remarks
}

func (b *builder) remark(format string, args ...any) {
	b.remarks = append(b.remarks, fmt.Sprintf(format, args...))
}

// zone returns the zone of that origin, which is the new one if there was none.
func (b *builder) zone(origin string, c *content) *content {
	if old, ok := b.zones[origin]; ok {
		return old
	}
	c.origin = origin
	b.zones[origin] = c
	return c
}

// forward makes the zone of the network's domain and returns its origin; empty if the
// network has none.
func (b *builder) forward(z Zone) string {
	if z.Domain == "" {
		return ""
	}
	domain, err := model.ParseDomain(z.Domain)
	if err != nil {
		b.remark("network %d has no names: %v", z.VNI, err)
		return ""
	}
	origin := domain + "."
	if len(origin)+len("hostmaster.") > maxName {
		b.remark("network %d has no names: its domain %q leaves no room for them", z.VNI, domain)
		return ""
	}
	b.zone(origin, &content{server: b.serverOf(origin), contact: "hostmaster." + origin})
	return origin
}

func (b *builder) serverOf(origin string) string {
	if b.nameServer != "" {
		return b.nameServer
	}
	return serverLabel + "." + origin
}

// reverse makes the zones of the network's blocks.
func (b *builder) reverse(z Zone, domain string) {
	for _, block := range z.Networks {
		if !usable(block) {
			b.remark("network %d: block %v has no reverse zone", z.VNI, block)
			continue
		}
		origins, partial := reverseZones(block.Masked())
		partial = partial && !slices.Contains(privateZones, origins[0]) // else nobody has the rest
		for _, origin := range origins {
			c := &content{server: b.serverOf(domain), contact: "hostmaster." + domain}
			if domain == "" {
				c.server, c.contact = cmp.Or(b.nameServer, origin), "nobody.invalid."
			}
			_, known := b.zones[origin]
			c = b.zone(origin, c)
			switch {
			case !partial:
				c.blocks = nil // another network has the whole of it
			case !known || c.blocks != nil:
				c.blocks = append(c.blocks, block.Masked())
			}
		}
	}
}

// usable leaves out blocks that are no network's: everything, and IPv4 in disguise.
func usable(p netip.Prefix) bool {
	return p.IsValid() && p.Bits() > 0 && !p.Addr().Is4In6()
}

// hosts adds the names of the network and, for names that it got, the addresses'.
func (b *builder) hosts(z Zone, domain string) {
	if domain == "" {
		return
	}
	c := b.zones[domain]
	for _, h := range z.Hosts {
		label, err := model.ParseHostname(h.Name)
		name := label + "." + domain
		switch vni, taken := b.taken[name]; {
		case err != nil:
			b.remark("network %d: %v", z.VNI, err)
		case len(name) > maxName:
			b.remark("network %d: host name %q is too long with its domain", z.VNI, label)
		case name == c.server:
			b.remark("network %d: host name %q is that of the name server", z.VNI, label)
		case b.zones[name] != nil:
			b.remark("network %d: host name %q in %s is that of a domain", z.VNI, label, domain)
		case taken:
			b.remark("network %d: host name %q in %s is that of a host of network %d", z.VNI, label, domain, vni)
		default:
			b.taken[name] = z.VNI
			b.addressesOf(c, name, h.Addresses)
			b.pointers(name, h.Addresses)
		}
	}
}

// servers adds the addresses of this server's name, if the name is in the zone.
func (b *builder) servers(z Zone, domain string) {
	if domain == "" {
		return
	}
	c := b.zones[domain]
	if b.nameServer == "" {
		b.addressesOf(c, c.server, z.Gateways)
		b.addressesOf(c, c.server, b.addresses)
		b.pointers(c.server, z.Gateways)
		return
	}
	if _, above, _ := strings.Cut(b.nameServer, "."); above == domain {
		b.addressesOf(c, c.server, b.addresses)
	}
}

func (b *builder) addressesOf(c *content, name string, addrs []netip.Addr) {
	for _, a := range addrs {
		if a = a.Unmap().WithZone(""); a.IsValid() {
			c.records = append(c.records, addressRecord(name, a))
		}
	}
}

// pointers adds the PTR records of addresses in blocks of ours.
func (b *builder) pointers(target string, addrs []netip.Addr) {
	for _, a := range addrs {
		if a = a.Unmap().WithZone(""); !a.IsValid() {
			continue
		}
		name := reverseName(a)
		enclosing(name, func(origin string) bool {
			c, ok := b.zones[origin]
			if !ok || c.blocks != nil && !inAny(c.blocks, a) {
				return false
			}
			if !c.builtin {
				c.records = append(c.records, record{name: name, typ: dns.TypePTR, target: target})
			}
			return true
		})
	}
}

// cuts makes each zone known to the one above it, if that is ours too, with the
// addresses of its server (glue).
func (b *builder) cuts() {
	for _, origin := range slices.Sorted(maps.Keys(b.zones)) {
		child := b.zones[origin]
		_, rest, _ := strings.Cut(origin, ".")
		enclosing(rest, func(name string) bool {
			parent, ok := b.zones[name]
			if ok {
				b.cut(parent, child)
			}
			return ok
		})
	}
}

func (b *builder) cut(parent, child *content) {
	parent.records = append(parent.records, record{name: child.origin, typ: dns.TypeNS, target: child.server})
	for _, r := range child.records {
		if r.name == child.server && (r.typ == dns.TypeA || r.typ == dns.TypeAAAA) {
			parent.records = append(parent.records, r)
		}
	}
}
