package primary

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Role is something that only the primary has or does.
type Role interface {
	// Name is for logs.
	Name() string
	// Acquire takes the role; an error means that nothing of it was taken. A role that
	// is held already is no error. until is how long the role may be held without Keep.
	Acquire(ctx context.Context, until time.Duration) error
	// Keep prolongs what was taken: until is how long from now it may last.
	Keep(ctx context.Context, until time.Duration) error
	// Release gives it up, whether it was held or not, without asking ZooKeeper. It
	// returns when nothing of it is left.
	Release(ctx context.Context) error
}

// releaseTimeout bounds the release of one role.
const releaseTimeout = 10 * time.Second

// acquireAll takes the roles in order; when one fails, those before it are given up.
func acquireAll(ctx context.Context, roles []Role, left func() time.Duration) error {
	for i, r := range roles {
		if err := r.Acquire(ctx, left()); err != nil {
			err = fmt.Errorf("take over %s: %w", r.Name(), err)
			return errors.Join(err, releaseAll(ctx, roles[:i]))
		}
	}
	return nil
}

// releaseAll gives the roles up in reverse order; it goes on past errors and past the
// end of ctx.
func releaseAll(ctx context.Context, roles []Role) error {
	ctx = context.WithoutCancel(ctx)
	var all []error
	for i := len(roles) - 1; i >= 0; i-- {
		rctx, cancel := context.WithTimeout(ctx, releaseTimeout)
		if err := roles[i].Release(rctx); err != nil {
			all = append(all, fmt.Errorf("give up %s: %w", roles[i].Name(), err))
		}
		cancel()
	}
	return errors.Join(all...)
}

// Duty is a loop that runs while the node is primary.
type Duty struct {
	name   string
	run    func(ctx context.Context) error
	failed func(err error)
	cancel context.CancelFunc
	done   chan struct{}
}

// NewDuty makes a role of a loop. run ends with its context; an error that it returns
// before that is handed to failed, which must not block.
func NewDuty(name string, run func(ctx context.Context) error, failed func(err error)) *Duty {
	return &Duty{name: name, run: run, failed: failed}
}

// Name is the duty's name.
func (d *Duty) Name() string { return d.name }

// Acquire starts the loop.
func (d *Duty) Acquire(ctx context.Context, _ time.Duration) error {
	if d.done != nil {
		return nil
	}
	ctx, d.cancel = context.WithCancel(context.WithoutCancel(ctx))
	d.done = make(chan struct{})
	go func() { // Release waits for it
		defer close(d.done)
		if err := d.run(ctx); err != nil && ctx.Err() == nil {
			d.failed(fmt.Errorf("%s: %w", d.name, err))
		}
	}()
	return nil
}

// Keep does nothing: the loop runs until it is released.
func (d *Duty) Keep(context.Context, time.Duration) error { return nil }

// Release ends the loop and waits for it.
func (d *Duty) Release(ctx context.Context) error {
	if d.done == nil {
		return nil
	}
	d.cancel()
	select {
	case <-d.done:
		d.done = nil
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the loop has not ended: %w", ctx.Err())
	}
}
