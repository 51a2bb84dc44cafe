package bench

import (
	"bytes"
	"fmt"
	"net/http"
	"testing"
	"time"
)

// create50 makes 50 volumes at once, in each way, and removes them again.
func (r *storageRig) create50(b *testing.B) {
	const volumes, rounds = 50, 3
	var s samples
	for b.Loop() {
		for range rounds {
			add, remove := volumeJobs[0], func(n string) apiRequest {
				return request(http.MethodDelete, "/volume/"+volumePool+"/"+n)
			}
			var ours, removals []apiRequest
			var direct, tools, cleared []step
			for i := range volumes {
				name := func(way string) string { return fmt.Sprintf("many%d-%s", i, way) }
				ours, removals = append(ours, add.ours(name("ours"))), append(removals, remove(name("ours")))
				direct, tools = append(direct, add.direct(name("direct"))), append(tools, add.tools(name("tool"))...)
				for _, way := range []string{"direct", "tool"} {
					cleared = append(cleared, step{Call: "volume-remove", Args: []string{volumePool, name(way)}})
				}
			}
			s.ours = append(s.ours, must(b)(r.api.do(ours...)))
			s.direct = append(s.direct, must(b)(r.all(direct...)))
			s.tools = append(s.tools, must(b)(r.all(tools...)))
			must(b)(r.api.do(removals...))
			must(b)(r.all(cleared...))
		}
	}
	figures(b, map[string]float64{
		"all-50-ms": millis(median(s.ours)), "direct-all-50-ms": millis(median(s.direct)), "tool-all-50-ms": millis(median(s.tools)),
	})
}

// list1000 makes 1,000 volumes behind the back of our daemons, waits until they are
// known, and lists them.
func (r *storageRig) list1000(b *testing.B) {
	const volumes, atOnce, pool = 1000, 25, "thousand"
	r.pool(b, pool)
	for from := 0; from < volumes; from += atOnce {
		var steps []step
		for i := range atOnce {
			steps = append(steps, direct("volume-add", pool, fmt.Sprintf("v%04d", from+i), "1073741824"))
		}
		must(b)(r.all(steps...))
	}
	path := storagePath + "/volume?pool=" + pool
	began := time.Now()
	waitFor(b, "the records of the volumes", func() (string, bool) {
		n := bytes.Count(r.api.get(b, path), []byte(`"object_size"`))
		return fmt.Sprint(n), n == volumes
	})
	seen := time.Since(began)
	jobs := []job{{"list",
		func(string) apiRequest { return request(http.MethodGet, "/volume?pool="+pool) },
		func(string) step { return direct("volume-list", pool) }, one("rbd ls -l " + pool + "%.0s")}}
	taken := map[string]*samples{}
	for b.Loop() {
		for range 2 { // the baselines take many seconds
			r.lap(b, jobs, "", taken)
		}
	}
	values := map[string]float64{"seen-s": seen.Seconds()}
	s := taken["list"]
	values["list-p50-ms"], values["list-direct-p50-ms"], values["list-tool-p50-ms"] = millis(median(s.ours)), millis(median(s.direct)), millis(median(s.tools))
	figures(b, values)
}

// must fails the benchmark for a time that could not be measured.
func must(b *testing.B) func(time.Duration, error) time.Duration {
	return func(took time.Duration, err error) time.Duration {
		b.Helper()
		if err != nil {
			b.Fatal(err)
		}
		return took
	}
}
