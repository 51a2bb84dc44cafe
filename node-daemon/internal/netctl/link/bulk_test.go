package link

import (
	"fmt"
	"net/netip"
	"testing"
	"time"
)

// TestTwoHundredNetworksAreAppliedInOneGo prints how long Apply takes. The limit is
// wide: it catches what grows with the square of the networks, not a busy machine.
func TestTwoHundredNetworksAreAppliedInOneGo(t *testing.T) {
	const networks, peers = 200, 10
	hosts := cluster(t, false, 1)
	m := hosts[0]
	var want Desired
	for i := range networks {
		want.Networks = append(want.Networks, managed(1000+i))
	}
	for i := range peers {
		want.Peers = append(want.Peers, netip.MustParseAddr(fmt.Sprintf("198.51.100.%d", 100+i)))
	}
	timed := func(what string, want Desired, limit time.Duration) {
		t.Helper()
		began := time.Now()
		if result := m.apply(t, want); len(result) != 0 {
			t.Fatalf("%s: not complete: %v", what, result)
		}
		took := time.Since(began)
		t.Logf("%d networks, %d peers, %s: %v", networks, len(want.Peers), what, took.Round(10*time.Microsecond))
		if took > limit {
			t.Errorf("%s took %v, more than %v", what, took, limit)
		}
		m.settled(t, want)
	}
	timed("from nothing", want, time.Minute)
	timed("nothing to do", want, 10*time.Second)
	want.Networks[7].MTU = 1400
	timed("one changed", want, 10*time.Second)
	want.Networks = want.Networks[1:]
	timed("one removed", want, 10*time.Second)
	want.Peers = want.Peers[1:]
	timed("one peer gone", want, 10*time.Second)
	want.Networks = want.Networks[20:] // the kernel takes 50 ms for each, waiting for readers of its tables
	timed("twenty removed", want, time.Minute)
}

func BenchmarkApplyWhenNothingIsWrong(b *testing.B) {
	hosts := cluster(b, false, 1)
	m := hosts[0]
	var want Desired
	for i := range 200 {
		want.Networks = append(want.Networks, managed(1000+i))
	}
	for i := range 10 {
		want.Peers = append(want.Peers, netip.MustParseAddr(fmt.Sprintf("198.51.100.%d", 100+i)))
	}
	m.complete(b, want)
	for b.Loop() {
		m.apply(b, want)
	}
}
