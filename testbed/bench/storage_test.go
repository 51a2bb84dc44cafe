package bench

import (
	"fmt"
	"net/http"
	"testing"
	"time"
)

// job is one thing done in three ways: through the API, with go-ceph, and with Ceph's
// tools, of which it may take several. %[1]s is the name of what it works on.
type job struct {
	name   string
	ours   func(name string) apiRequest
	direct func(name string) step
	tools  func(name string) []step
}

// samples of one job.
type samples struct{ ours, direct, tools []time.Duration }

// aim of a command: 1.3 times what the direct call takes, and 5 ms.
func aim(direct time.Duration) time.Duration { return direct*13/10 + 5*time.Millisecond }

// figures of a job: beyond is what the median is above the aim, so below 0 it is met.
func (s *samples) figures(name string, into map[string]float64) {
	ours, direct, tools := median(s.ours), median(s.direct), median(s.tools)
	into[name+"-p50-ms"], into[name+"-p95-ms"] = millis(ours), millis(percentile(s.ours, 0.95))
	into[name+"-direct-p50-ms"], into[name+"-tool-p50-ms"] = millis(direct), millis(tools)
	into[name+"-beyond-ms"] = millis(ours - aim(direct))
}

// lap does the jobs one after the other, each in the three ways one after the other; each
// way has a name of its own.
func (r *storageRig) lap(b *testing.B, jobs []job, name string, into map[string]*samples) {
	b.Helper()
	for _, j := range jobs {
		s := into[j.name]
		if s == nil {
			s = new(samples)
			into[j.name] = s
		}
		ours, err := r.api.do(j.ours(name + "-ours"))
		if err != nil {
			b.Fatal(err)
		}
		direct, err := r.all(j.direct(name + "-direct"))
		if err != nil {
			b.Fatal(err)
		}
		var tools time.Duration
		for _, t := range j.tools(name + "-tool") {
			took, err := r.all(t)
			if err != nil {
				b.Fatal(err)
			}
			tools += took
		}
		s.ours, s.direct, s.tools = append(s.ours, ours), append(s.direct, direct), append(s.tools, tools)
	}
}

func (r *storageRig) measure(b *testing.B, jobs []job, laps int) {
	b.Helper()
	taken := map[string]*samples{}
	for b.Loop() {
		for range laps {
			r.lap(b, jobs, fmt.Sprintf("x%d", len(taken[jobs[0].name].taken())), taken)
		}
	}
	values := map[string]float64{}
	for name, s := range taken {
		s.figures(name, values)
	}
	figures(b, values)
}

// taken are the samples so far, also of a job that was not done yet.
func (s *samples) taken() []time.Duration {
	if s == nil {
		return nil
	}
	return s.ours
}

// one is a single tool.
func one(format string) func(string) []step {
	return func(name string) []step { return []step{tool(fmt.Sprintf(format, name))} }
}

// The life of a volume, step by step.
const volumePool = "bench"

var volumeJobs = []job{
	{"volume-add",
		func(n string) apiRequest {
			return request(http.MethodPost, "/volume", "pool="+volumePool, "volume="+n, "size=1G")
		},
		func(n string) step { return direct("volume-add", volumePool, n, "1073741824") },
		one("rbd create --size 1G " + volumePool + "/%s")},
	{"volume-grow",
		func(n string) apiRequest { return request(http.MethodPut, "/volume/"+volumePool+"/"+n, "size=2G") },
		func(n string) step { return direct("volume-grow", volumePool, n, "2147483648") },
		one("rbd resize --no-progress --size 2G " + volumePool + "/%s")},
	{"snapshot-add",
		func(n string) apiRequest {
			return request(http.MethodPost, "/volume/snapshot", "pool="+volumePool, "volume="+n, "snapshot=s")
		},
		func(n string) step { return direct("snapshot-add", volumePool, n, "s") },
		one("rbd snap create --no-progress " + volumePool + "/%s@s")},
	{"snapshot-remove",
		func(n string) apiRequest {
			return request(http.MethodDelete, "/volume/snapshot/"+volumePool+"/"+n+"/s")
		},
		func(n string) step { return direct("snapshot-remove", volumePool, n, "s") },
		one("rbd snap rm --no-progress " + volumePool + "/%s@s")},
	{"volume-rename",
		func(n string) apiRequest {
			return request(http.MethodPut, "/volume/"+volumePool+"/"+n, "name="+n+"-new")
		},
		func(n string) step { return direct("volume-rename", volumePool, n, n+"-new") },
		one("rbd rename " + volumePool + "/%[1]s " + volumePool + "/%[1]s-new")},
	{"volume-remove",
		func(n string) apiRequest { return request(http.MethodDelete, "/volume/"+volumePool+"/"+n+"-new") },
		func(n string) step { return direct("volume-remove", volumePool, n+"-new") },
		one("rbd rm --no-progress " + volumePool + "/%s-new")},
}

var poolJobs = []job{
	{"pool-add",
		func(n string) apiRequest { return request(http.MethodPost, "/pool", "pool="+n, "pgs=4") },
		func(n string) step { return direct("pool-add", n, "4") },
		func(n string) []step {
			return []step{tool("ceph osd pool create " + n + " 4 4 replicated --autoscale-mode=off"), tool("rbd pool init " + n)}
		}},
	{"pool-remove",
		func(n string) apiRequest { return request(http.MethodDelete, "/pool/"+n, "yes_i_really_mean_it=True") },
		func(n string) step { return direct("pool-remove", n) },
		one("ceph osd pool delete %[1]s %[1]s --yes-i-really-really-mean-it")},
}

// optionJobs set and clear another flag in each way.
var optionJobs = []job{
	{"option-set",
		func(string) apiRequest {
			return request(http.MethodPost, "/cluster-option", "action=set", "option=nobackfill")
		},
		func(string) step { return direct("option", "set", "norebalance") }, one("ceph osd set norecover%.0s")},
	{"option-unset",
		func(string) apiRequest {
			return request(http.MethodPost, "/cluster-option", "action=unset", "option=nobackfill")
		},
		func(string) step { return direct("option", "unset", "norebalance") }, one("ceph osd unset norecover%.0s")},
}

var readJobs = []job{
	{"status", func(string) apiRequest { return request(http.MethodGet, "/status") },
		func(string) step { return direct("status") }, one("ceph status%.0s")},
	{"df", func(string) apiRequest { return request(http.MethodGet, "/df") },
		func(string) step { return direct("df") }, one("rados df%.0s")},
}

// BenchmarkStorage compares commands and reads through the API with the same calls of
// go-ceph and with Ceph's tools, one at a time, on three OSDs and three ZooKeeper servers.
func BenchmarkStorage(b *testing.B) {
	r := startStorage(b)
	r.pool(b, volumePool)
	b.Run("Volumes", func(b *testing.B) { r.measure(b, volumeJobs, 25) })
	b.Run("Pools", func(b *testing.B) { r.measure(b, poolJobs, 8) })
	b.Run("Options", func(b *testing.B) { r.measure(b, optionJobs, 10) })
	b.Run("Reads", func(b *testing.B) { r.measure(b, readJobs, 25) })
	b.Run("Create50", r.create50)
	b.Run("List1000", r.list1000)
}

func TestBeyondIsWhatIsAboveTheAim(t *testing.T) {
	ms := func(n int) []time.Duration { return []time.Duration{time.Duration(n) * time.Millisecond} }
	for want, s := range map[float64]samples{
		0:  {ours: ms(18), direct: ms(10), tools: ms(50)},
		2:  {ours: ms(20), direct: ms(10), tools: ms(50)},
		-3: {ours: ms(2), direct: ms(0), tools: ms(50)},
	} {
		got := map[string]float64{}
		s.figures("x", got)
		if got["x-beyond-ms"] != want || got["x-tool-p50-ms"] != 50 {
			t.Errorf("%+v: %v, want %v beyond", s, got, want)
		}
	}
}
