package command

import (
	"context"
	"log/slog"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// How long a command stays after its end, for those who ask again.
const (
	DefaultKeepUnkeyed = 2 * time.Minute
	DefaultKeepKeyed   = time.Hour
)

// Purger removes commands that have ended. It is for one host, the primary; two would
// only remove too early. It measures time with its own clock, from when it first sees
// that a command has ended.
type Purger struct {
	Session Session
	View    *view.View
	// Unkeyed and Keyed are how long commands without and with an idempotency key stay; 0
	// is the default.
	Unkeyed, Keyed time.Duration
	Logger         *slog.Logger
}

// Run removes what is due until ctx ends or the registration is lost.
func (p *Purger) Run(ctx context.Context) error {
	seen := map[string]time.Time{} // by nonce
	for {
		changed := p.View.Changed()
		p.forgetEnded(ctx)
		due, next := p.due(seen, time.Now())
		for _, c := range due {
			if !p.remove(ctx, c) {
				next = min(next, lastPause)
			}
		}
		timer := time.NewTimer(next)
		select {
		case <-changed:
		case <-timer.C:
		case <-p.Session.Lost():
		case <-ctx.Done():
		}
		timer.Stop()
		if ctx.Err() != nil {
			return nil
		}
		select {
		case <-p.Session.Lost():
			return nil
		default:
		}
	}
}

// due are the commands to remove now, and how long it is until the next one is. What was
// seen is kept by nonce; commands that are gone are forgotten.
func (p *Purger) due(seen map[string]time.Time, now time.Time) (due []*Command, next time.Duration) {
	var ended []*Command
	p.View.Read(func(s *view.Snapshot) {
		for _, c := range s.Commands() {
			if c.Finished() && suspect(s, c) == nil { // else it reserves something
				ended = append(ended, c)
			}
		}
	})
	next = time.Hour
	there := make(map[string]bool, len(ended))
	for _, c := range ended {
		there[c.Nonce] = true
		since, known := seen[c.Nonce]
		if !known {
			since = now
			seen[c.Nonce] = now
		}
		if left := p.keep(c) - now.Sub(since); left > 0 {
			next = min(next, left)
		} else {
			due = append(due, c)
		}
	}
	for nonce := range seen {
		if !there[nonce] {
			delete(seen, nonce)
		}
	}
	return due, next
}

func (p *Purger) keep(c *Command) time.Duration {
	keep, standard := p.Unkeyed, DefaultKeepUnkeyed
	if c.Key != "" {
		keep, standard = p.Keyed, DefaultKeepKeyed
	}
	if keep == 0 {
		return standard
	}
	return keep
}

// forgetEnded deletes what is kept of lost executors whose processes are known to be gone:
// a host that is away again later does not reserve anything anew.
func (p *Purger) forgetEnded(ctx context.Context) {
	over := map[*Command][]coord.Txn{}
	p.View.Read(func(s *view.Snapshot) {
		for _, c := range s.Commands() {
			for _, lost := range c.Lost {
				if ended(s, lost) {
					over[c] = append(over[c], forget(c, lost))
				}
			}
		}
	})
	for c, txns := range over {
		for _, gone := range txns {
			var txn coord.Txn
			p.Session.Check(&txn)
			p.commit(ctx, c, *txn.Append(gone), "cannot end the reservation of a name")
		}
	}
}

// remove deletes a command as it was seen; false if that has to be tried again.
func (p *Purger) remove(ctx context.Context, c *Command) bool {
	var txn coord.Txn
	p.Session.Check(&txn)
	remove(&txn, c)
	return p.commit(ctx, c, txn, "cannot remove a finished command")
}

// commit reports whether a transaction about a command went well. One that does not fit any more is looked
// at again.
func (p *Purger) commit(ctx context.Context, c *Command, txn coord.Txn, failure string) bool {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := p.Session.Client().Commit(ctx, txn)
	if err != nil && !errs.Is(err, errs.Conflict) && p.Logger != nil {
		p.Logger.Warn(failure, "command", c.ID, "verb", c.Verb, "err", err)
	}
	return err == nil
}
