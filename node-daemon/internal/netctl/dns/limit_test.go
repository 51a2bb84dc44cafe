package dns

import (
	"net/netip"
	"testing"
	"time"

	"github.com/miekg/dns"
)

func TestSourceThatAsksTooMuchWaitsForTheNextSecond(t *testing.T) {
	s := New(quiet(Options{}))
	now := time.Unix(1_800_000_000, 0)
	s.now = func() time.Time { return now }
	s.Update([]Zone{red()})
	s.limits.guest, s.limits.other = 6, 3
	answered := func(from netip.Addr) int {
		n := 0
		for range 10 {
			if handle(s, udpPeer(from), question("web.red.example", dns.TypeA)) != nil {
				n++
			}
		}
		return n
	}
	six, same, next := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8::2"), netip.MustParseAddr("2001:db8:0:1::1")
	for _, tt := range []struct {
		from netip.Addr
		want int
	}{{guest, 6}, {stranger, 3}, {stranger.Next(), 3}, {six, 3}, {same, 0}, {next, 3}, {guest, 0}} {
		if got := answered(tt.from); got != tt.want {
			t.Errorf("%v: %d of 10 questions answered, want %d", tt.from, got, tt.want)
		}
	}
	peer := tcpPeer(stranger)
	if handle(s, peer, question("web.red.example", dns.TypeA)) != nil || !peer.closed {
		t.Error("the connection of a source that asks too much stays open")
	}
	now = now.Add(time.Second)
	if got := answered(stranger); got != 3 {
		t.Errorf("in the next second: %d", got)
	}
}

func TestSourcesBeyondTheTableCountAsOne(t *testing.T) {
	l := newLimits()
	l.other = 2
	now := time.Unix(1_800_000_000, 0)
	a := netip.MustParseAddr("10.0.0.0")
	for range maxSources {
		if a = a.Next(); !l.allow(a, false, now) {
			t.Fatal("a first question is too much")
		}
	}
	over := 0
	for range 10 {
		if a = a.Next(); l.allow(a, false, now) {
			over++
		}
	}
	if over != 2 || len(l.seen) > maxSources+1 {
		t.Errorf("%d questions of new sources were allowed, %d sources are kept", over, len(l.seen))
	}
}
