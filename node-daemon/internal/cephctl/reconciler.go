package cephctl

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// Session is the daemon's registration.
type Session = command.Session

const (
	// DefaultEvery is the time from the beginning of one pass to that of the next.
	DefaultEvery = 10 * time.Second
	// breath is the least time between two passes.
	breath = time.Second
	// syncTimeout bounds the wait for records that are up to date.
	syncTimeout = 10 * time.Second
)

// Reconciler has the records follow Ceph, and publishes what Ceph tells of itself. It is
// for one host, the primary: two would only do the same twice.
type Reconciler struct {
	Session Session
	Cluster ceph.Cluster
	View    *view.View    // view.StorageHost or more
	Every   time.Duration // 0 is DefaultEvery
	// Health, if set, is told after each pass what keeps the records from being true; empty
	// if nothing does.
	Health func(sentence string)
	Logger *slog.Logger

	writer writer
	texts  *texts
	failed bool // in the last pass
}

// Run makes a pass every now and then until ctx ends.
func (r *Reconciler) Run(ctx context.Context) error {
	if r.Every == 0 {
		r.Every = DefaultEvery
	}
	r.writer = writer{session: r.Session, conflicts: map[string]int{}}
	r.texts = &texts{session: r.Session}
	if r.Health != nil {
		defer r.Health("") // it is somebody else's now
	}
	for ctx.Err() == nil {
		if _, stale := r.View.Stale(); stale { // said by others; Ceph is not to blame
			pause(ctx, breath)
			continue
		}
		began := time.Now()
		if err := r.pass(ctx); ctx.Err() == nil {
			r.tell(err)
		}
		pause(ctx, max(r.Every-time.Since(began), min(breath, r.Every)))
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}

// tell keeps the outcome of a pass and logs when it has become another one.
func (r *Reconciler) tell(err error) {
	switch {
	case !r.failed && err != nil:
		r.Logger.Warn("the records of storage do not follow Ceph", "err", err)
	case r.failed && err == nil:
		r.Logger.Info("the records of storage follow Ceph again")
	}
	if r.failed = err != nil; r.Health == nil {
		return
	}
	if err == nil {
		r.Health("")
		return
	}
	r.Health("the records of storage do not follow Ceph: " + err.Error())
}

// pass compares once. What is listed may be older than what a command does meanwhile:
// its objects wait for the next pass.
func (r *Reconciler) pass(ctx context.Context) error {
	var before map[string]bool
	r.View.Read(func(s *view.Snapshot) { before = finished(s) })
	seen, unread := observe(ctx, r.Cluster)
	if seen == nil {
		return fmt.Errorf("ask Ceph: %w", r.silent(ctx, unread))
	}
	changes, err := r.compare(ctx, seen, before)
	if err != nil {
		return err
	}
	words, err := r.texts.changes(ctx, seen)
	if err != nil {
		return err
	}
	made, err := r.writer.write(ctx, append(changes, words...))
	r.texts.wrote(made)
	for _, c := range made {
		if c.news != "" {
			r.Logger.Info("Ceph has changed, its record follows", "object", c.label(), "news", c.news)
		}
	}
	if err != nil {
		return fmt.Errorf("write the records of storage: %w", err)
	}
	return unread
}

// compare finds what to write. Figures are bound to the versions of the records; before
// anything comes or goes the records are read up to date, which costs a transaction.
func (r *Reconciler) compare(ctx context.Context, seen *sight, before map[string]bool) (changes []change, err error) {
	look := func() { r.View.Read(func(s *view.Snapshot) { changes = compare(s, seen, busySince(s, before)) }) }
	look()
	if !slices.ContainsFunc(changes, func(c change) bool { return c.news != "" }) {
		return changes, nil
	}
	sctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	if err := r.View.Sync(sctx); err != nil {
		return nil, fmt.Errorf("read the records of storage: %w", err)
	}
	look()
	return changes, nil
}

// silent publishes instead of the status that Ceph does not answer. Records stay.
func (r *Reconciler) silent(ctx context.Context, why error) error {
	if ctx.Err() != nil {
		return why
	}
	words, err := r.texts.unavailable(ctx, why)
	if err == nil && len(words) > 0 {
		words, err = r.writer.write(ctx, words)
		r.texts.wrote(words)
	}
	if err != nil {
		r.Logger.Warn("cannot publish that Ceph does not answer", "err", err)
	}
	return why
}
