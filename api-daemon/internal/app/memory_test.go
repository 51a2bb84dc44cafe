package app

import (
	figures "runtime/metrics"
	"testing"
)

func TestTheMemoryLimitLeavesRoomWhateverIsInUse(t *testing.T) {
	const mib = 1 << 20
	for live, want := range map[uint64]int64{0: 192 * mib, 100 * mib: 192 * mib, 160 * mib: 232 * mib, 4096 * mib: 5152 * mib} {
		if got := memoryLimit(live); got != want {
			t.Errorf("with %d MiB in use the limit is %d MiB, want %d", live/mib, got/mib, want/mib)
		}
	}
}

func TestTheRuntimeTellsWhatIsInUse(t *testing.T) {
	s := []figures.Sample{{Name: "/gc/heap/live:bytes"}}
	if figures.Read(s); s[0].Value.Kind() != figures.KindUint64 {
		t.Error("this Go does not know /gc/heap/live:bytes")
	}
}
