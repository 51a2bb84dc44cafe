package app

import (
	"context"
	"runtime/debug"
	figures "runtime/metrics"
	"time"
)

const (
	// leastGarbage may always pile up before it is collected, in bytes: the few
	// megabytes of a small cluster would otherwise be searched dozens of times a second.
	leastGarbage = 64 << 20
	// aside is for what is not heap, and room enough for the limit not to be what the
	// collector works for, in bytes.
	aside = 48 << 20
	// memoryPace is the time between two looks at what is in use.
	memoryPace = time.Second
)

// boundMemory lets garbage pile up in the measure of what is in use, until ctx ends. A
// list of thousands of VMs is large allocations after each change: with the customary
// 100 percent of a large heap too many of them could pile up. The limit of the whole
// memory is what has freed memory given back to the system. It stays out of the
// collector's way: near it the collector would take half of the processors.
func boundMemory(ctx context.Context) error {
	live := []figures.Sample{{Name: "/gc/heap/live:bytes"}}
	ticker := time.NewTicker(memoryPace)
	defer ticker.Stop()
	now := 0
	for {
		figures.Read(live)
		// Setting it stops the world for a moment, so not for a trifle.
		use := live[0].Value.Uint64()
		if want := garbagePercent(use); want < now*9/10 || want > now*11/10 {
			debug.SetGCPercent(want)
			debug.SetMemoryLimit(int64(use + use*uint64(want)/100 + aside))
			now = want
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// garbagePercent is how much garbage may pile up beside so many bytes in use, in
// percent of them: a quarter, but at least leastGarbage.
func garbagePercent(live uint64) int {
	const mib = 1 << 20
	return int(max(leastGarbage, live/4) * 100 / max(live, 4*mib))
}
