package lease

import (
	"context"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord/ensemble"
)

// Keeper renews a lease. It does nothing else: nothing slow may stand between two
// requests.
type Keeper struct {
	// Proven is renewed by answered requests alone. May be nil.
	Proven *Lease
	// Held is renewed by answered requests and in an outage: who holds a role by the
	// session keeps it for that long. May be nil.
	Held *Lease

	// Every is the time between requests; each has half of it to be answered.
	Every time.Duration
	// Request goes through the leader and is answered only while the session lives.
	Request func(ctx context.Context) error
	// TouchEvery, if it is less than Every, is the time between cheap requests that
	// keep the servers' picture of the session fresh.
	TouchEvery time.Duration
	// Touch is the cheap request; its outcome does not matter.
	Touch func(ctx context.Context)

	// Servers are asked directly when a request has failed; none: they are not asked.
	Servers []string
	// Failed is told of each failed request and what the servers say. May be nil.
	Failed func(err error, v ensemble.Verdict)
}

// retryPace is the time between requests after one has failed.
const retryPace = 500 * time.Millisecond

// Run renews until ctx ends and returns nil.
func (k *Keeper) Run(ctx context.Context) error {
	tick := k.Every
	if k.Touch != nil && k.TouchEvery > 0 {
		tick = min(tick, k.TouchEvery)
	}
	next := time.Now() // of the next request
	for {
		if !time.Now().Before(next) {
			next = time.Now().Add(k.Every)
			if !k.renew(ctx) {
				next = time.Now().Add(min(retryPace, k.Every))
			}
		} else {
			k.touch(ctx)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(max(min(tick, time.Until(next)), 0)):
		}
	}
}

func (k *Keeper) touch(ctx context.Context) {
	if k.Touch == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, k.TouchEvery)
	defer cancel()
	k.Touch(ctx)
}

// renew makes one request and reports whether it was answered.
func (k *Keeper) renew(ctx context.Context) bool {
	sent := Now()
	rctx, cancel := context.WithTimeout(ctx, k.Every/2)
	err := k.Request(rctx)
	cancel()
	if err == nil {
		k.answered(sent, k.Proven, k.Held)
		return true
	}
	if ctx.Err() == nil {
		k.ask(ctx, err)
	}
	return false
}

func (k *Keeper) ask(ctx context.Context, err error) {
	verdict := ensemble.CutOff
	if len(k.Servers) > 0 {
		sent := Now()
		actx, cancel := context.WithTimeout(ctx, min(time.Second, k.Every))
		verdict = ensemble.Ask(actx, k.Servers)
		cancel()
		if verdict == ensemble.Outage {
			k.answered(sent, k.Held)
		}
	}
	if k.Failed != nil && ctx.Err() == nil {
		k.Failed(err, verdict)
	}
}

func (k *Keeper) answered(sent Moment, leases ...*Lease) {
	for _, l := range leases {
		if l != nil {
			l.Answered(sent)
		}
	}
}
