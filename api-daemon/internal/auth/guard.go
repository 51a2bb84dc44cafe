package auth

import (
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"
)

const (
	maxFailures   = 10
	failureWindow = time.Minute
	blockTime     = time.Minute
	maxAddresses  = 4096
)

// guard counts failed tokens per address. An address that failed too often is not
// listened to for a while, right token or not: otherwise guessing would go on.
type guard struct {
	mu    sync.Mutex
	table map[netip.Prefix]*record
}

type record struct {
	since   time.Time // of the first failure that counts
	count   int
	blocked time.Time // until then; zero if not blocked
}

func newGuard() *guard { return &guard{table: make(map[netip.Prefix]*record)} }

// blocked returns how long the address has to wait, 0 if it need not.
func (g *guard) blocked(address netip.Prefix) time.Duration {
	g.mu.Lock()
	defer g.mu.Unlock()
	if r := g.table[address]; r != nil {
		return max(0, time.Until(r.blocked))
	}
	return 0
}

// failed notes a failure.
func (g *guard) failed(address netip.Prefix) {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	r := g.table[address]
	if r == nil || r.over(now) {
		g.makeRoom(now)
		r = &record{since: now}
		g.table[address] = r
	}
	if r.count++; r.count >= maxFailures {
		r.blocked = now.Add(blockTime)
	}
}

// over reports whether the record has no effect any more.
func (r *record) over(now time.Time) bool {
	return now.Sub(r.since) >= failureWindow && !now.Before(r.blocked)
}

// makeRoom keeps the table bounded: records without effect go first, then the oldest.
func (g *guard) makeRoom(now time.Time) {
	if len(g.table) < maxAddresses {
		return
	}
	var oldest netip.Prefix
	for address, r := range g.table {
		if r.over(now) {
			delete(g.table, address)
		} else if o := g.table[oldest]; o == nil || r.since.Before(o.since) {
			oldest = address
		}
	}
	if len(g.table) >= maxAddresses {
		delete(g.table, oldest)
	}
}

// peer is the address a request comes from; of IPv6 the /64, which is what one
// party usually has. Forwarding headers are not believed.
func peer(r *http.Request) netip.Prefix {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Prefix{}
	}
	address = address.Unmap().WithZone("")
	bits := 32
	if address.Is6() {
		bits = 64
	}
	prefix, err := address.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}
