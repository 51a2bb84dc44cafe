package bench

import (
	"context"
	"errors"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/node-daemon/fleet"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

const (
	scaleNodes = 100
	scaleVMs   = 5000
	scaleRate  = 20 // changes of state per second
	lostNode   = 49 // number of the node that is lost after a third of the time
)

// scale is a cluster of simulated nodes under load.
type scale struct {
	b       *testing.B
	zoo     *ensemble.Ensemble
	fleet   *fleet.Fleet
	api     *apiServer
	created *creations

	mu      sync.Mutex
	started []started
	up      map[int]bool // VMs that were last asked to start
	busy    int          // answers 503, after which the same was asked again
}

// BenchmarkScale runs 100 nodes with 5,000 VMs, half of them started, through a minute
// of changes, ten in the long form, and takes a node away meanwhile. The nodes are
// pvcd's own code over hypervisors in memory, all in this process.
func BenchmarkScale(b *testing.B) {
	b.Log(machine())
	span := time.Minute
	if long() {
		span = 10 * time.Minute
	} else {
		b.Log("one minute of changes; PVC_TEST_LONG=1 makes it ten")
	}
	for b.Loop() {
		s := &scale{b: b, zoo: startZooKeeper(b, 3), created: newCreations(), up: map[int]bool{}}
		values := s.build()
		values["idle-txn/s"] = s.transactions(func() { <-time.After(15 * time.Second) }) // what is measured is that nothing happens
		values["txn/s"] = s.transactions(func() { s.load(span) })
		s.settle()
		for unit, v := range s.created.latency(b, s.started).figures("") {
			values[unit] = v
		}
		values["answers-503"] = float64(s.busy)
		values["api-RSS-MiB"] = rss(b, s.api.pid, "VmRSS")
		values["nodes-heap-MiB"] = heap()
		figures(b, values)
	}
}

// build starts everything and measures how long that takes.
func (s *scale) build() map[string]float64 {
	b, values := s.b, map[string]float64{}
	lap := func(unit string, fn func()) {
		began := time.Now()
		fn()
		values[unit] = time.Since(began).Seconds()
	}
	lap("register-s", func() { s.fleet = startFleet(b, s.zoo.Addrs(), scaleNodes, s.created) })
	lap("define+start-s", func() {
		for i := range scaleVMs {
			s.up[i] = i/scaleNodes%2 == 0
		}
		fill(b, dial(b, s.zoo.Addrs()), 0, scaleVMs, scaleNodes, func(i int) model.VMState { // several ask at once
			if s.up[i] {
				return model.VMStart
			}
			return model.VMStop
		})
		waitGuests(b, s.fleet, scaleVMs/2)
	})
	s.api = startAPI(b, s.zoo.Addrs())
	values["view-s"] = s.api.complete.Seconds()
	return values
}

// load changes states for a while, one VM after the other, never one of the node that
// gets lost.
func (s *scale) load(span time.Duration) {
	var g errgroup.Group
	ticker := time.NewTicker(time.Second / scaleRate)
	defer ticker.Stop()
	total := int(span.Seconds()) * scaleRate
	for n, k := 0, 0; n < total; k++ {
		i := k * 37 % scaleVMs
		if i%scaleNodes == lostNode {
			continue
		}
		<-ticker.C
		if n++; n == total/3 {
			if err := s.fleet.Lose(fleet.Name(lostNode)); err != nil {
				s.b.Fatal(err)
			}
		}
		g.Go(func() error { return s.change(i) })
	}
	if err := g.Wait(); err != nil {
		s.b.Fatal(err)
	}
}

// change starts a VM or shuts it down.
func (s *scale) change(i int) error {
	s.mu.Lock()
	up := !s.up[i]
	s.up[i] = up
	s.mu.Unlock()
	for again := false; ; again = true {
		st, err := s.ask(i, up)
		s.mu.Lock()
		busy := errors.Is(err, errBusy)
		if busy {
			s.busy++
		} else if up && err == nil && !again { // the first request may have had its effect before the second was sent
			s.started = append(s.started, st)
		}
		s.mu.Unlock()
		if !busy {
			return err
		}
	}
}

// ask sends one change of state.
func (s *scale) ask(i int, up bool) (started, error) {
	if up {
		return s.api.startVM(i)
	}
	return started{}, s.api.setState(vmName(i), string(model.VMShutdown))
}

// settle waits until every wish is fulfilled, and looks whether a guest ran twice.
func (s *scale) settle() {
	up := 0
	for _, is := range s.up {
		if is {
			up++
		}
	}
	waitGuests(s.b, s.fleet, up)
	s.api.waitStates(s.b, map[string]int{"start": up, "stop": scaleVMs - up})
	for i, is := range s.up {
		if on := s.fleet.Running(vmUUID(i)); is && (len(on) != 1 || on[0] != fleet.Name(i%scaleNodes)) {
			s.b.Errorf("%s runs on %v, not on %s", vmName(i), on, fleet.Name(i%scaleNodes))
		}
	}
	for _, t := range s.fleet.Twice() {
		s.b.Error(t)
	}
}

// transactions is the number of transactions of the ensemble per second while fn runs.
func (s *scale) transactions(fn func()) float64 {
	began, from := time.Now(), zxid(s.b, s.zoo.Addrs()[0])
	fn()
	return float64(zxid(s.b, s.zoo.Addrs()[0])-from) / time.Since(began).Seconds()
}

// zxid is the number of the last transaction a server has seen.
func zxid(b *testing.B, addr string) int64 {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	answer, err := ensemble.Ask(ctx, addr, "srvr")
	if err != nil {
		b.Fatal(err)
	}
	_, rest, _ := strings.Cut(answer, "Zxid: 0x")
	number, _, _ := strings.Cut(rest, "\n")
	n, err := strconv.ParseInt(strings.TrimSpace(number), 16, 64)
	if err != nil {
		b.Fatalf("%v in %q", err, answer)
	}
	return n
}

// heap is what this process, and so all nodes, hold in memory, in MiB.
func heap() float64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return float64(m.HeapAlloc+m.StackInuse) / (1 << 20)
}
