package bench

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/node-daemon/fleet"
)

// startFleet runs nodes over a ZooKeeper.
func startFleet(b *testing.B, servers []string, nodes int, c *creations) *fleet.Fleet {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	f, err := fleet.Start(ctx, fleet.Options{
		Nodes: nodes, Coordinators: min(nodes, 3), Servers: servers, LockDir: b.TempDir(), Created: c.note,
	})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := f.Close(); err != nil {
			b.Error(err)
		}
	})
	return f
}

// startVM asks for a start and notes the times.
func (a *apiServer) startVM(i int) (started, error) {
	s := started{uuid: vmUUID(i), sent: time.Now()}
	err := a.setState(vmName(i), string(model.VMStart))
	s.accepted = time.Now()
	return s, err
}

func (a *apiServer) startVMs(b *testing.B, from, to int) []started {
	b.Helper()
	var list []started
	for i := from; i < to; i++ {
		s, err := a.startVM(i)
		if err != nil {
			b.Fatal(err)
		}
		list = append(list, s)
	}
	return list
}

func waitGuests(b *testing.B, f *fleet.Fleet, want int) {
	b.Helper()
	waitFor(b, fmt.Sprintf("%d guests", want), func() (string, bool) {
		n, err := f.Guests(context.Background())
		if err != nil {
			b.Fatal(err)
		}
		return fmt.Sprint(n), n == want
	})
}

// BenchmarkAcceptedToCreate measures one start after the other on three idle nodes.
func BenchmarkAcceptedToCreate(b *testing.B) {
	b.Log(machine())
	const vms, nodes = 300, 3
	zoo := startZooKeeper(b, 3)
	created := newCreations()
	startFleet(b, zoo.Addrs(), nodes, created)
	fill(b, dial(b, zoo.Addrs()), 0, vms, nodes, stopped)
	api := startAPI(b, zoo.Addrs())
	for b.Loop() {
		l := new(startLatency)
		for i := range vms {
			s := api.startVMs(b, i, i+1)
			one := created.latency(b, s)
			l.request, l.accepted, l.whole = append(l.request, one.request...), append(l.accepted, one.accepted...), append(l.whole, one.whole...)
		}
		figures(b, l.figures(""))
	}
}

// BenchmarkStartDuringShutdowns measures starts on a node on which 50 guests do not
// follow the power button, beside starts on the same node before.
func BenchmarkStartDuringShutdowns(b *testing.B) {
	b.Log(machine())
	const deaf, extra = 50, 10
	zoo := startZooKeeper(b, 3)
	created := newCreations()
	f := startFleet(b, zoo.Addrs(), 1, created)
	fill(b, dial(b, zoo.Addrs()), 0, deaf+2*extra, 1, func(i int) model.VMState {
		if i < deaf {
			return model.VMStart
		}
		return model.VMStop
	})
	api := startAPI(b, zoo.Addrs())
	for b.Loop() {
		waitGuests(b, f, deaf)
		before := created.latency(b, api.startVMs(b, deaf, deaf+extra))
		for i := range deaf {
			if !f.IgnoreShutdown(fleet.Name(0), vmUUID(i)) {
				b.Fatalf("%s is not running", vmName(i))
			}
			if err := api.setState(vmName(i), string(model.VMShutdown)); err != nil {
				b.Fatal(err)
			}
		}
		waitFor(b, "50 shutdowns", func() (string, bool) {
			n := f.Shutdowns(fleet.Name(0))
			return fmt.Sprint(n), n >= deaf
		})
		during := created.latency(b, api.startVMs(b, deaf+extra, deaf+2*extra))
		waitGuests(b, f, deaf+2*extra) // none of the 50 has ended: they were being shut down all the time
		figures(b, map[string]float64{
			"p50-ms": millis(median(during.whole)), "max-ms": millis(percentile(during.whole, 1)),
			"before-p50-ms": millis(median(before.whole)), "before-max-ms": millis(percentile(before.whole, 1)),
		})
	}
}
