package dns

import (
	"net/netip"
	"sync"
	"time"
)

// Questions that are answered in a second: of one guest, and of one other source,
// which may be forged. IPv6 sources count by their /64.
const (
	guestRate = 10_000
	otherRate = 1_000
)

const maxSources = 1 << 16 // that are told apart in a second; the rest counts as one

// limits count the questions of the current second by their source.
type limits struct {
	guest, other int

	mu     sync.Mutex
	second int64
	seen   map[netip.Addr]int
}

func newLimits() limits {
	return limits{guest: guestRate, other: otherRate, seen: map[netip.Addr]int{}}
}

// allow counts a question and says whether it may be answered.
func (l *limits) allow(src netip.Addr, guest bool, now time.Time) bool {
	if src.Is6() {
		p, _ := src.Prefix(64)
		src = p.Addr()
	}
	most := l.other
	if guest {
		most = l.guest
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if second := now.Unix(); second != l.second {
		l.second = second
		clear(l.seen)
	}
	if _, known := l.seen[src]; !known && len(l.seen) >= maxSources {
		src = netip.Addr{}
	}
	l.seen[src]++
	return l.seen[src] <= most
}

// slots bound what happens at the same time, in all and for one source.
type slots struct {
	all, each int

	mu    sync.Mutex
	taken int
	by    map[netip.Addr]int
}

// take returns what gives the slot back; false if there is none.
func (s *slots) take(src netip.Addr) (free func(), ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.taken >= s.all || s.by[src] >= s.each {
		return nil, false
	}
	s.taken++
	s.by[src]++
	return func() { s.free(src) }, true
}

func (s *slots) free(src netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken--
	if s.by[src]--; s.by[src] == 0 {
		delete(s.by, src)
	}
}
