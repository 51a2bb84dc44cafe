package dns

import (
	"cmp"
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// Zone is what one managed network has to say. Several networks may have one domain:
// their hosts are merged, and of two hosts with one name that of the lower VNI counts.
type Zone struct {
	VNI      int
	Domain   string // without the dot at its end; empty: no names, see Networks
	Hosts    []Host
	Gateways []netip.Addr   // where guests reach this server: the addresses of its name
	Networks []netip.Prefix // its blocks: reverse zones, and whose names are forwarded
}

// Host is a name in a network. Of two hosts with one name in a Zone the first counts.
type Host struct {
	Name      string // one label
	Addresses []netip.Addr
}

// The seconds that others may remember an answer. Leases come and go, so both times
// are short.
const (
	hostTTL     = 60
	negativeTTL = 10
	serverTTL   = 3600
)

// The times of a SOA record in seconds (RFC 1035 section 3.3.13): secondaries hear of
// changes by NOTIFY and ask every hour in case they did not.
const (
	refresh = 3600
	retry   = 600
	expire  = 7 * 86400
)

// record is a resource record other than SOA, as a value that can be compared.
type record struct {
	name   string // canonical
	typ    uint16
	addr   netip.Addr // A, AAAA
	target string     // NS, PTR
}

func compareRecords(a, b record) int {
	return cmp.Or(cmp.Compare(a.name, b.name), cmp.Compare(a.typ, b.typ), a.addr.Compare(b.addr), cmp.Compare(a.target, b.target))
}

func addressRecord(name string, a netip.Addr) record {
	if a.Is4() {
		return record{name: name, typ: dns.TypeA, addr: a}
	}
	return record{name: name, typ: dns.TypeAAAA, addr: a}
}

func (r record) rr() dns.RR {
	h := dns.RR_Header{Name: r.name, Rrtype: r.typ, Class: dns.ClassINET, Ttl: hostTTL}
	switch r.typ {
	case dns.TypeA:
		return &dns.A{Hdr: h, A: r.addr.AsSlice()}
	case dns.TypeAAAA:
		return &dns.AAAA{Hdr: h, AAAA: r.addr.AsSlice()}
	case dns.TypePTR:
		return &dns.PTR{Hdr: h, Ptr: r.target}
	default:
		h.Ttl = serverTTL
		return &dns.NS{Hdr: h, Ns: r.target}
	}
}

// content is what a zone is to hold, before it has a serial.
type content struct {
	origin          string
	server, contact string // of the SOA record
	records         []record
	// blocks, if there are any, are the only addresses that a reverse zone answers
	// for: the rest of its octet is not ours.
	blocks []netip.Prefix
	// builtin zones keep questions about private addresses in the cluster. Only
	// guests see them.
	builtin bool
}

// sameRecords reports whether a secondary could not tell c from d.
func (c *content) sameRecords(d *content) bool {
	return c.server == d.server && c.contact == d.contact && c.builtin == d.builtin && slices.Equal(c.records, d.records)
}

// zone is a content with serial, ready to be answered from. It is immutable.
type zone struct {
	content
	serial   uint32
	soa      dns.RR
	negative []dns.RR         // what goes with an answer that says no (RFC 2308 section 3)
	rrs      []dns.RR         // all but SOA, in the order of records
	nodes    map[string]*node // by canonical name, with those that only have names below them
}

// node is a name with its sets of records.
type node struct{ sets []rrset }

type rrset struct {
	typ uint16
	rrs []dns.RR
}

func (n *node) get(typ uint16) []dns.RR {
	for _, s := range n.sets {
		if s.typ == typ {
			return s.rrs
		}
	}
	return nil
}

func (n *node) add(rr dns.RR) {
	typ := rr.Header().Rrtype
	for i := range n.sets {
		if n.sets[i].typ == typ {
			n.sets[i].rrs = slices.Clip(append(n.sets[i].rrs, rr))
			return
		}
	}
	n.sets = append(n.sets, rrset{typ, slices.Clip([]dns.RR{rr})})
}

func newZone(c content, serial uint32) *zone {
	z := &zone{content: c, serial: serial, nodes: map[string]*node{}}
	z.soa = z.makeSOA(hostTTL)
	z.negative = slices.Clip([]dns.RR{z.makeSOA(negativeTTL)})
	z.node(c.origin).add(z.soa)
	for _, r := range c.records {
		rr := r.rr()
		z.rrs = append(z.rrs, rr)
		z.node(r.name).add(rr)
	}
	return z
}

func (z *zone) makeSOA(ttl uint32) dns.RR {
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: z.origin, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:  z.server, Mbox: z.contact, Serial: z.serial,
		Refresh: refresh, Retry: retry, Expire: expire, Minttl: negativeTTL,
	}
}

// node returns the node of the name; it and those between it and the origin are made.
func (z *zone) node(name string) *node {
	n, ok := z.nodes[name]
	if !ok {
		n = &node{}
		z.nodes[name] = n
		if above, _ := dns.NextLabel(name, 0); name != z.origin {
			z.node(name[above:])
		}
	}
	return n
}

// claims reports whether the zone, which is above or at the name, answers for it.
func (z *zone) claims(name string) bool {
	if z.blocks == nil || name == z.origin {
		return true
	}
	last, ok := octetAbove(name, z.origin)
	if !ok {
		return false
	}
	a4 := z.blocks[0].Addr().As4() // all blocks are in one /24
	a4[3] = last
	return inAny(z.blocks, netip.AddrFrom4(a4))
}

func inAny(blocks []netip.Prefix, a netip.Addr) bool {
	return slices.ContainsFunc(blocks, func(p netip.Prefix) bool { return p.Contains(a) })
}
