package command

import (
	"fmt"
	"sync"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// BenchmarkCommand measures what the queue costs, from the request to the answer with
// its records in the view; the executor itself takes no time. Three servers, without
// fsync, on the same machine.
func BenchmarkCommand(b *testing.B) {
	for _, clients := range []int{1, 50} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			l := newLab(b, 3)
			l.host("hv1", nil)
			l.host("hv2", nil)
			b.Run("multi", func(b *testing.B) { each(b, clients, l.bare) })
			b.Run("queue", func(b *testing.B) { each(b, clients, l.through) })
		})
	}
}

// bare is the same change of the records, by itself.
func (l *lab) bare(i int) error {
	name := fmt.Sprintf("bare%d-%p", i, l)
	txn := new(coord.Txn).Create(schema.Volume("vms", name), nil).Create(schema.Volume("vms", name, schema.StorageStats), nil).Create(schema.VolumeSnapshots("vms", name), nil)
	return l.view.Commit(l.t.Context(), schema.Volume("vms", name), *txn)
}

func (l *lab) through(i int) error {
	_, err := l.do(l.queue, Request{Args: volume(fmt.Sprintf("queued%d", i)), Node: "hv1", Key: fmt.Sprint(i)})
	return err
}

var benchCounter int

func each(b *testing.B, clients int, do func(i int) error) {
	var wg sync.WaitGroup
	work := make(chan int)
	for range clients {
		wg.Go(func() {
			for i := range work {
				if err := do(i); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for b.Loop() {
		benchCounter++
		work <- benchCounter
	}
	close(work)
	wg.Wait()
}
