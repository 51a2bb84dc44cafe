package dns

import (
	"maps"
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

// table is everything the server answers from. It is immutable.
type table struct {
	zones  map[string]*zone // by origin
	guests blockSet
}

// find returns the zone that answers for the canonical name, nil if none is ours.
func (t *table) find(name string) *zone {
	var found *zone
	enclosing(name, func(origin string) bool {
		z, ok := t.zones[origin]
		if ok && z.claims(name) {
			found = z
		}
		return found != nil
	})
	return found
}

// update returns the table of the contents. A zone that has not changed stays; the
// others get the serial. changed names those that a secondary should look at.
func (t *table) update(contents map[string]*content, guests blockSet, serial uint32) (next *table, changed []string) {
	next = &table{zones: make(map[string]*zone, len(contents)), guests: guests}
	for _, origin := range slices.Sorted(maps.Keys(contents)) {
		c := contents[origin]
		if old, ok := t.zones[origin]; ok && old.sameRecords(c) {
			next.zones[origin] = old
			if !slices.Equal(old.blocks, c.blocks) {
				next.zones[origin] = newZone(*c, old.serial)
			}
			continue
		}
		next.zones[origin] = newZone(*c, serial)
		if !c.builtin {
			changed = append(changed, origin)
		}
	}
	return next, changed
}

// answer fills in the reply to a question about a name that the zone claims.
func (t *table) answer(m *dns.Msg, z *zone, name string, typ uint16) {
	m.Authoritative = true
	n, ok := z.nodes[name]
	if !ok {
		m.Rcode, m.Ns = dns.RcodeNameError, z.negative
		return
	}
	if typ == dns.TypeANY {
		for _, s := range n.sets {
			m.Answer = append(m.Answer, s.rrs...)
		}
	} else {
		m.Answer = n.get(typ)
	}
	if len(m.Answer) == 0 {
		m.Ns = z.negative
	}
	if typ == dns.TypeNS {
		m.Extra = t.glue(m.Answer)
	}
}

// glue returns the addresses of the servers that are named in our zones.
func (t *table) glue(servers []dns.RR) []dns.RR {
	var extra []dns.RR
	for _, rr := range servers {
		ns, ok := rr.(*dns.NS)
		if !ok {
			continue
		}
		if z := t.find(ns.Ns); z != nil && z.nodes[ns.Ns] != nil {
			extra = append(append(extra, z.nodes[ns.Ns].get(dns.TypeA)...), z.nodes[ns.Ns].get(dns.TypeAAAA)...)
		}
	}
	return extra
}

// blockSet is a set of blocks of addresses; looking one up costs as many steps as there
// are different lengths.
type blockSet struct {
	blocks map[netip.Prefix]struct{}
	bits   []int // of IPv4 blocks and, plus 1,000, of IPv6 blocks
}

func newBlockSet(zones []Zone) blockSet {
	s := blockSet{blocks: map[netip.Prefix]struct{}{}}
	for _, z := range zones {
		for _, p := range z.Networks {
			if usable(p) {
				s.blocks[p.Masked()] = struct{}{}
			}
		}
	}
	for p := range s.blocks {
		s.bits = append(s.bits, family(p.Addr())+p.Bits())
	}
	slices.Sort(s.bits)
	s.bits = slices.Compact(s.bits)
	return s
}

func family(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1000
}

func (s blockSet) contains(a netip.Addr) bool {
	f := family(a)
	for _, b := range s.bits {
		p, err := a.WithZone("").Prefix(b - f)
		if err != nil {
			continue // of the other family
		}
		if _, ok := s.blocks[p]; ok {
			return true
		}
	}
	return false
}
