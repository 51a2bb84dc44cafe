package command

import (
	"context"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// progressPace is the time between two reports of progress.
const progressPace = 500 * time.Millisecond

// progress publishes how far an attempt is, beside its work.
type progress struct {
	latest chan model.CommandProgress // holds at most one
	ended  chan struct{}
	cancel context.CancelFunc
}

func (k *claim) startProgress(ctx context.Context) *progress {
	ctx, cancel := context.WithCancel(ctx)
	p := &progress{latest: make(chan model.CommandProgress, 1), ended: make(chan struct{}), cancel: cancel}
	go func() {
		defer close(p.ended)
		p.publish(ctx, k)
	}()
	return p
}

func (p *progress) publish(ctx context.Context, k *claim) {
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-p.latest:
			txn := new(coord.Txn).Set(schema.Command(k.c.ID, schema.CommandProgress), schema.EncodeProgress(now), coord.AnyVersion)
			// It is for the curious: what is lost is made up for by the next.
			_ = k.commit(ctx, *txn)
			pause(ctx, progressPace)
		}
	}
}

// tell replaces what is not published yet.
func (p *progress) tell(current, total int64, status string) {
	now := model.CommandProgress{Current: current, Total: total, Status: status}
	for {
		select {
		case p.latest <- now:
			return
		default:
		}
		select {
		case <-p.latest:
		default:
		}
	}
}

// stop ends the publishing; what was not published yet is not any more.
func (p *progress) stop() {
	p.cancel()
	<-p.ended
}
