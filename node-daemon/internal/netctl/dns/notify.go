package dns

import (
	"context"
	"maps"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// A secondary that does not answer is asked again after these times, doubled each time.
const (
	notifyFirst = 1 * time.Second
	notifyLast  = 1 * time.Minute
)

// secondary is a server that is told which zones have changed.
type secondary struct {
	server *Server
	addr   netip.AddrPort
	from   netip.Addr // a floating address, by which it knows us; invalid if there is none
	first  time.Duration

	wake chan struct{}
	mu   sync.Mutex
	due  map[string]struct{} // origins of the zones it has not answered for
}

func newSecondary(a netip.AddrPort, s *Server) *secondary {
	n := &secondary{server: s, addr: netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), first: notifyFirst,
		wake: make(chan struct{}, 1), due: map[string]struct{}{}}
	if a.Port() == 0 {
		n.addr = netip.AddrPortFrom(n.addr.Addr(), 53)
	}
	n.from = source(s.o.Addresses, n.addr.Addr())
	return n
}

// source is the address of this server that a secondary knows it by: the one in its own
// network, otherwise the first of its family. Without any it is invalid.
func source(own []netip.Prefix, to netip.Addr) (from netip.Addr) {
	for _, p := range own {
		if p.Contains(to) {
			return p.Addr()
		}
		if !from.IsValid() && p.Addr().Is4() == to.Is4() {
			from = p.Addr()
		}
	}
	return from
}

// tell notes the zones and does not wait.
func (n *secondary) tell(origins []string) {
	n.mu.Lock()
	for _, o := range origins {
		n.due[o] = struct{}{}
	}
	n.mu.Unlock()
	select {
	case n.wake <- struct{}{}:
	default:
	}
}

// run tells the secondary what is due until ctx ends.
func (n *secondary) run(ctx context.Context) {
	delay := n.first
	for {
		var again <-chan time.Time
		if err := n.flush(ctx); err == nil {
			delay = n.first
		} else if ctx.Err() == nil {
			if delay == n.first {
				n.server.o.Log.Warn("a secondary name server does not hear of changes", "address", n.addr, "err", err)
			}
			again = time.After(delay)
			delay = min(2*delay, notifyLast)
		}
		select {
		case <-ctx.Done():
			return
		case <-again:
		case <-n.wakeUnless(again != nil):
		}
	}
}

// wakeUnless is the channel of changes, or none while the secondary is waited for.
func (n *secondary) wakeUnless(waiting bool) <-chan struct{} {
	if waiting {
		return nil
	}
	return n.wake
}

// flush tells everything that is due; it stops at the first that is not answered.
func (n *secondary) flush(ctx context.Context) error {
	n.mu.Lock()
	origins := slices.Sorted(maps.Keys(n.due))
	n.mu.Unlock()
	for _, origin := range origins {
		n.mu.Lock()
		delete(n.due, origin) // first: a change meanwhile makes it due again
		n.mu.Unlock()
		if err := n.notify(ctx, origin); err != nil {
			n.tell([]string{origin})
			return err
		}
	}
	return nil
}

// notify sends one NOTIFY (RFC 1996). Any answer to it will do: it is the secondary's
// affair which zones it wants.
func (n *secondary) notify(ctx context.Context, origin string) error {
	z := n.server.table.Load().zones[origin]
	if z == nil || z.builtin {
		return nil
	}
	m := new(dns.Msg)
	m.SetNotify(origin)
	m.Authoritative = true
	m.Answer = []dns.RR{z.soa}
	_, err := exchange(ctx, "udp", n.addr, n.from, m)
	return err
}
