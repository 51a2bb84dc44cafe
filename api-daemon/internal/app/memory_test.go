package app

import (
	figures "runtime/metrics"
	"testing"
)

func TestGarbageHasRoomWhateverIsInUse(t *testing.T) {
	const mib = 1 << 20
	for live, want := range map[uint64]int{0: 1600, 10 * mib: 640, 64 * mib: 100, 200 * mib: 32, 4000 * mib: 25} {
		if got := garbagePercent(live); got != want {
			t.Errorf("beside %d MiB in use %d percent may pile up, want %d", live/mib, got, want)
		}
	}
}

func TestTheRuntimeTellsWhatIsInUse(t *testing.T) {
	s := []figures.Sample{{Name: "/gc/heap/live:bytes"}}
	if figures.Read(s); s[0].Value.Kind() != figures.KindUint64 {
		t.Error("this Go does not know /gc/heap/live:bytes")
	}
}
