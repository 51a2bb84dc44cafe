package dns

import (
	"net"
	"net/netip"
	"runtime/debug"

	"github.com/miekg/dns"
)

// maxUDP is the largest message by UDP, whatever the peer would take: it fits into
// every packet (the DNS flag day 2020).
const maxUDP = 1232

// accept looks at the header before the rest is read.
func accept(h dns.Header) dns.MsgAcceptAction {
	const response = 1 << 15
	switch {
	case h.Bits&response != 0:
		return dns.MsgIgnore
	case h.Bits>>11&0xf != dns.OpcodeQuery:
		return dns.MsgRejectNotImplemented
	case h.Qdcount != 1 || h.Ancount != 0 || h.Nscount > 1 || h.Arcount > 2:
		return dns.MsgReject // a SOA in the authority section is an IXFR's
	}
	return dns.MsgAccept
}

// ServeDNS answers one message. It is for the library's loops and never panics.
func (s *Server) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	q := query{Server: s, table: s.table.Load(), w: w, req: req, src: addrOf(w.RemoteAddr())}
	_, q.udp = w.LocalAddr().(*net.UDPAddr)
	defer func() {
		if p := recover(); p != nil {
			s.o.Log.Error("a question made the name server panic", "source", q.src, "question", req.Question,
				"panic", p, "stack", string(debug.Stack()))
			m := new(dns.Msg)
			_ = w.WriteMsg(m.SetRcode(req, dns.RcodeServerFailure)) // nothing else can be done
		}
	}()
	q.guest = q.table.guests.contains(q.src)
	if !s.limits.allow(q.src, q.guest, s.now()) {
		if !q.udp {
			w.Close()
		}
		return
	}
	q.serve()
}

// addrOf is the address of the peer; the library only has these two kinds.
func addrOf(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap()
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}

// query is one question on its way to its answer.
type query struct {
	*Server
	table *table
	w     dns.ResponseWriter
	req   *dns.Msg
	src   netip.Addr
	udp   bool
	guest bool
	opt   *dns.OPT // of the request
}

func (q *query) serve() {
	m := new(dns.Msg)
	m.SetReply(q.req)
	m.RecursionAvailable = q.guest && len(q.upstream.servers) > 0
	for _, rr := range q.req.Extra {
		if opt, ok := rr.(*dns.OPT); ok {
			if q.opt != nil {
				q.refuse(m, dns.RcodeFormatError)
				return
			}
			q.opt = opt
		}
	}
	switch {
	case len(q.req.Question) != 1:
		q.refuse(m, dns.RcodeFormatError)
	case q.opt != nil && q.opt.Version() != 0:
		q.refuse(m, dns.RcodeBadVers)
	case q.req.Question[0].Qclass != dns.ClassINET:
		q.refuse(m, dns.RcodeRefused)
	default:
		q.question(m)
	}
}

func (q *query) question(m *dns.Msg) {
	asked := q.req.Question[0]
	name := dns.CanonicalName(asked.Name)
	if asked.Qtype == dns.TypeAXFR || asked.Qtype == dns.TypeIXFR {
		q.transfer(m, name)
		return
	}
	z := q.table.find(name)
	switch {
	case z != nil && (q.guest || !z.builtin):
		q.table.answer(m, z, name, asked.Qtype)
		q.send(m)
	case !q.guest || !q.req.RecursionDesired || len(q.upstream.servers) == 0:
		q.refuse(m, dns.RcodeRefused)
	case plain(name, asked.Qtype):
		// Nobody outside knows our hosts. Without a SOA nobody remembers it either.
		q.refuse(m, dns.RcodeNameError)
	default:
		q.forward(m)
	}
}

// plain reports whether this asks for a host without a domain. What a validating
// resolver asks about a top-level domain is something else.
func plain(name string, typ uint16) bool {
	switch typ {
	case dns.TypeNS, dns.TypeSOA, dns.TypeDS, dns.TypeDNSKEY:
		return false
	}
	return dns.CountLabel(name) == 1
}

// refuse sends the reply with nothing but the code.
func (q *query) refuse(m *dns.Msg, rcode int) {
	m.Rcode = rcode
	q.send(m)
}

// send writes the reply in the size that the peer can take.
func (q *query) send(m *dns.Msg) {
	size := dns.MaxMsgSize
	if q.udp {
		size = dns.MinMsgSize
	}
	if q.opt != nil {
		opt := &dns.OPT{Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeOPT}}
		opt.SetUDPSize(maxUDP)
		opt.SetDo(q.opt.Do())
		m.Extra = append(m.Extra[:len(m.Extra):len(m.Extra)], opt)
		if q.udp {
			size = min(max(size, int(q.opt.UDPSize())), maxUDP)
		}
	}
	m.Truncate(size)
	if err := q.w.WriteMsg(m); err != nil {
		q.o.Log.Debug("answer of the name server not sent", "peer", q.src, "err", err)
	}
}
