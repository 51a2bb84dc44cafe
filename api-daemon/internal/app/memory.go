package app

import (
	"context"
	"runtime/debug"
	figures "runtime/metrics"
	"time"
)

const (
	// garbagePercent of what is in use may pile up before it is collected, while
	// memory is below its bound: the few megabytes of a small cluster would otherwise
	// be searched dozens of times a second.
	garbagePercent = 400
	// leastMemory is the lowest bound, in bytes.
	leastMemory = 192 << 20
	// spareMemory is the room for what comes and goes at once, in bytes.
	spareMemory = 32 << 20
	// memoryPace is the time between two looks at what is in use.
	memoryPace = time.Second
)

// boundMemory sets a soft limit that follows what is in use, until ctx ends. A list of
// thousands of VMs is one large allocation after each change: in proportion to a large
// heap too many of them could pile up.
func boundMemory(ctx context.Context) error {
	debug.SetGCPercent(garbagePercent)
	live := []figures.Sample{{Name: "/gc/heap/live:bytes"}}
	ticker := time.NewTicker(memoryPace)
	defer ticker.Stop()
	for {
		figures.Read(live)
		debug.SetMemoryLimit(memoryLimit(live[0].Value.Uint64()))
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// memoryLimit is the bound for so many bytes in use. It always leaves a fifth of it
// free: a collector without room would run without end.
func memoryLimit(live uint64) int64 { return int64(max(leastMemory, live+live/4+spareMemory)) }
