package dhcp

import (
	"context"
	"runtime"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// starter is the thread from which all servers are started. They get their death signal
// when it ends, so it must not end before the daemon, as any other thread may.
type starter struct {
	jobs   chan func()
	gone   chan struct{} // closed when Run has ended
	inside func() error  // done first on the thread; for tests
}

// Run keeps the thread until ctx ends.
func (t *starter) Run(ctx context.Context) error {
	defer close(t.gone)
	runtime.LockOSThread() // and never unlocked: the thread ends with this function
	if t.inside != nil {
		if err := t.inside(); err != nil {
			return err
		}
	}
	for {
		select {
		case job := <-t.jobs:
			job()
		case <-ctx.Done():
			return nil
		}
	}
}

// do executes job on the thread.
func (t *starter) do(job func() error) error {
	done := make(chan error, 1)
	select {
	case t.jobs <- func() { done <- job() }:
		return <-done
	case <-t.gone:
		return errs.Unavailablef("DHCP has ended")
	}
}
