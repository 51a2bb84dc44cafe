package dns

import (
	"net/netip"
	"slices"

	"github.com/miekg/dns"
)

const (
	maxTransfers     = 8   // at a time
	recordsPerPacket = 100 // of the longest kind they fit into 64 KiB
)

// transfer sends a whole zone to a secondary (RFC 5936). A question for the changes is
// answered the same way, or with the SOA alone if there are none or it came by UDP
// (RFC 1995 sections 2 and 4).
func (q *query) transfer(m *dns.Msg, name string) {
	asked := q.req.Question[0]
	z := q.table.zones[name]
	if !q.maySee() || q.udp && asked.Qtype == dns.TypeAXFR {
		q.refuse(m, dns.RcodeRefused)
		return
	}
	if z == nil || z.builtin {
		q.refuse(m, dns.RcodeNotAuth)
		return
	}
	m.Authoritative = true
	if asked.Qtype == dns.TypeIXFR && (q.udp || q.upToDate(z)) {
		m.Answer = []dns.RR{z.soa}
		q.send(m)
		return
	}
	select {
	case q.transfers <- struct{}{}:
		defer func() { <-q.transfers }()
		q.sendZone(m, z)
	default:
		m.Authoritative = false
		q.refuse(m, dns.RcodeServerFailure) // the secondary tries again
	}
}

// maySee reports whether the source is one of the secondaries.
func (q *query) maySee() bool {
	return slices.ContainsFunc(q.o.Transfer, func(a netip.AddrPort) bool { return a.Addr().Unmap() == q.src })
}

// upToDate reports whether the secondary says that it has this serial or a later one.
func (q *query) upToDate(z *zone) bool {
	if len(q.req.Ns) != 1 {
		return false
	}
	soa, ok := q.req.Ns[0].(*dns.SOA)
	return ok && int32(z.serial-soa.Serial) <= 0
}

// sendZone sends SOA, everything else, SOA, in as many messages as needed. A connection
// on which that fails is closed: half a zone must not look like one.
func (q *query) sendZone(m *dns.Msg, z *zone) {
	all := slices.Concat([]dns.RR{z.soa}, z.rrs, []dns.RR{z.soa})
	for part := range slices.Chunk(all, recordsPerPacket) {
		m.Answer, m.Compress = part, true
		if err := q.w.WriteMsg(m); err != nil {
			q.o.Log.Warn("zone not transferred", "zone", z.origin, "peer", q.src, "err", err)
			q.w.Close()
			return
		}
	}
	q.o.Log.Debug("zone transferred", "zone", z.origin, "serial", z.serial, "peer", q.src)
}
