package dns

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// Bounds of forwarding. A stub resolver asks again after 5 s.
const (
	forwardTime      = 5 * time.Second         // for a question in all
	attemptTime      = 1200 * time.Millisecond // for one server
	forwardRounds    = 2
	forwardsAtOnce   = 512
	forwardsPerGuest = 64
)

// upstream are the servers that questions are forwarded to.
type upstream struct {
	servers []netip.AddrPort
	self    func(netip.AddrPort) bool // a server that is us would ask itself for ever
	good    *atomic.Int32             // the one that answered last, asked first
	slots   *slots
}

func newUpstream(servers []netip.AddrPort, self func(netip.AddrPort) bool) upstream {
	return upstream{servers, self, new(atomic.Int32),
		&slots{all: forwardsAtOnce, each: forwardsPerGuest, by: map[netip.Addr]int{}}}
}

// forward has the upstream servers answer and passes their answer on.
func (q *query) forward(m *dns.Msg) {
	free, ok := q.upstream.slots.take(q.src)
	if !ok {
		q.refuse(m, dns.RcodeServerFailure)
		return
	}
	defer free()
	ctx, cancel := context.WithTimeout(q.ctx, forwardTime)
	defer cancel()
	resp, err := q.upstream.ask(ctx, q.upstreamQuestion())
	if err != nil {
		q.o.Log.Debug("question not forwarded", "name", q.req.Question[0].Name, "err", err)
		q.refuse(m, dns.RcodeServerFailure)
		return
	}
	q.pass(m, resp)
}

// pass makes the reply of what an upstream server has answered.
func (q *query) pass(m, resp *dns.Msg) {
	m.Rcode, m.AuthenticatedData = resp.Rcode, resp.AuthenticatedData
	m.Answer, m.Ns = resp.Answer, resp.Ns
	for _, rr := range resp.Extra {
		switch rr.Header().Rrtype {
		case dns.TypeOPT, dns.TypeTSIG, dns.TypeSIG: // between the two of us
		default:
			m.Extra = append(m.Extra, rr)
		}
	}
	q.send(m)
}

// upstreamQuestion is the guest's question as ours: what else it had in its message
// stays here.
func (q *query) upstreamQuestion() *dns.Msg {
	m := new(dns.Msg)
	m.Id = dns.Id()
	m.RecursionDesired = true
	m.CheckingDisabled, m.AuthenticatedData = q.req.CheckingDisabled, q.req.AuthenticatedData
	m.Question = q.req.Question
	return m.SetEdns0(maxUDP, q.opt != nil && q.opt.Do())
}

// ask asks one server after the other until one has an answer.
func (u *upstream) ask(ctx context.Context, m *dns.Msg) (*dns.Msg, error) {
	var failures []error
	first := int(u.good.Load())
	for i := range forwardRounds * len(u.servers) {
		n := (first + i) % len(u.servers)
		if u.self(u.servers[n]) {
			failures = append(failures, errs.Invalidf("%v is this server itself", u.servers[n]))
			continue
		}
		resp, err := askServer(ctx, u.servers[n], m)
		if err == nil {
			u.good.Store(int32(n))
			return resp, nil
		}
		failures = append(failures, fmt.Errorf("ask %v: %w", u.servers[n], err))
		if ctx.Err() != nil {
			break
		}
	}
	return nil, errors.Join(failures...)
}

// askServer asks by UDP and, for what does not fit, by TCP.
func askServer(ctx context.Context, server netip.AddrPort, m *dns.Msg) (*dns.Msg, error) {
	resp, err := exchange(ctx, "udp", server, netip.Addr{}, m)
	if err == nil && resp.Truncated {
		resp, err = exchange(ctx, "tcp", server, netip.Addr{}, m)
	}
	if err != nil {
		return nil, err
	}
	switch resp.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
		return resp, nil
	}
	return nil, errs.Unavailablef("answered %s", dns.RcodeToString[resp.Rcode])
}

// exchange sends m and returns the first message that answers it. By UDP it passes over
// those that do not: they are late, lost or forged. Each attempt has a port of its own.
func exchange(ctx context.Context, network string, server netip.AddrPort, from netip.Addr, m *dns.Msg) (*dns.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, attemptTime)
	defer cancel()
	d := net.Dialer{}
	if from.IsValid() {
		d.LocalAddr = net.UDPAddrFromAddrPort(netip.AddrPortFrom(from, 0))
	}
	c, err := d.DialContext(ctx, network, server.String())
	if err != nil {
		return nil, err
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })()
	peer := &dns.Conn{Conn: c}
	if err := peer.WriteMsg(m); err != nil {
		return nil, err
	}
	size := dns.MaxMsgSize
	if network == "udp" {
		size = 4 * maxUDP // should somebody send more than we say we take
	}
	buf := make([]byte, size)
	for {
		n, err := peer.Read(buf)
		if err != nil {
			return nil, err
		}
		resp := new(dns.Msg)
		err = resp.Unpack(buf[:n])
		if answers(resp, m) && (err == nil || resp.Truncated && network == "udp") {
			return resp, nil
		}
		if network != "udp" {
			return nil, errs.Unavailablef("answer by TCP is none: %w", errors.Join(err, errUnrelated))
		}
	}
}

var errUnrelated = errors.New("id or question differ, or it cannot be read")

// answers reports whether resp is a reply to exactly this question. Servers may leave
// the question out of their reply to a NOTIFY (RFC 1996 section 4.7 has it copied).
func answers(resp, m *dns.Msg) bool {
	if !resp.Response || resp.Id != m.Id || resp.Opcode != m.Opcode {
		return false
	}
	if len(resp.Question) == 0 {
		return m.Opcode == dns.OpcodeNotify
	}
	a, b := resp.Question[0], m.Question[0]
	return len(resp.Question) == 1 && a.Qtype == b.Qtype && a.Qclass == b.Qclass &&
		dns.CanonicalName(a.Name) == dns.CanonicalName(b.Name)
}
