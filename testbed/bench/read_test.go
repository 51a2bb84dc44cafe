package bench

import (
	"fmt"
	"testing"
	"time"
)

// connections ask at the same time in benchmarks of reads.
const connections = 8

// BenchmarkRead compares GET /vm and GET /vm/<vm> with a bare net/http server that
// writes the same bytes. The view is that of the real program, read from ZooKeeper.
func BenchmarkRead(b *testing.B) {
	for _, vms := range []int{10, 1000, 10000} {
		b.Run(fmt.Sprintf("VMs=%d", vms), func(b *testing.B) {
			b.Log(machine())
			zoo := startZooKeeper(b, 1)
			conn := dial(b, zoo.Addrs())
			layout(b, conn, 3)
			fill(b, conn, 0, vms, 3, stopped)
			api := startAPI(b, zoo.Addrs())
			b.Run("list", func(b *testing.B) { compareReads(b, api, "/api/v1/vm") })
			b.Run("one", func(b *testing.B) { compareReads(b, api, "/api/v1/vm/"+vmName(vms/2)) })
		})
	}
}

// compareReads asks both servers in turns.
func compareReads(b *testing.B, api *apiServer, path string) {
	body := api.get(b, path)
	bare := startBare(b, body)
	span := time.Second
	if len(body) > 10<<20 {
		span = 3 * time.Second // an answer takes its time
	}
	var ours, theirs, ratios []float64
	for b.Loop() {
		for range 5 {
			ours = append(ours, rate(b, api.addr, path, span))
			theirs = append(theirs, rate(b, bare, path, span))
			ratios = append(ratios, ours[len(ours)-1]/theirs[len(theirs)-1])
		}
	}
	figures(b, map[string]float64{
		"req/s": median(ours), "bare-req/s": median(theirs), "ratio": median(ratios), "KiB": float64(len(body)) / 1024,
	})
}

func rate(b *testing.B, addr, path string, span time.Duration) float64 {
	b.Helper()
	perSecond, err := drive(addr, requestText(addr, path, token), connections, span)
	if err != nil {
		b.Fatal(err)
	}
	return perSecond
}

// BenchmarkView10000 measures what 10,000 VMs cost pvc-api: the time from its start to a
// complete view, the first list, and its memory after lists between changes.
func BenchmarkView10000(b *testing.B) {
	const vms = 10000
	b.Log(machine())
	zoo := startZooKeeper(b, 3)
	conn := dial(b, zoo.Addrs())
	layout(b, conn, 10)
	fill(b, conn, 0, vms, 10, stopped)
	var complete, first, memory, peak []float64
	for b.Loop() {
		api := startAPI(b, zoo.Addrs())
		if api.early == 0 {
			b.Error("the API refused no read before its view was complete")
		}
		complete = append(complete, api.complete.Seconds())
		began := time.Now()
		api.get(b, "/api/v1/vm")
		first = append(first, time.Since(began).Seconds())
		rate(b, api.addr, "/api/v1/vm", 2*time.Second)
		for i := range 10 {
			if err := api.setState(vmName(i*1000), "start"); err != nil {
				b.Fatal(err)
			}
			api.get(b, "/api/v1/vm") // is made anew
			if err := api.setState(vmName(i*1000), "stop"); err != nil {
				b.Fatal(err)
			}
		}
		memory = append(memory, rss(b, api.pid, "VmRSS"))
		peak = append(peak, rss(b, api.pid, "VmHWM"))
	}
	figures(b, map[string]float64{
		"complete-s": median(complete), "first-list-s": median(first), "RSS-MiB": median(memory), "peak-MiB": median(peak),
	})
}
