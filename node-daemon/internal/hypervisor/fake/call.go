package fake

import (
	"context"
	"fmt"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

// do is one call: counted, delayed, failed as the test wants, under the lock, and its
// events delivered before it returns.
func (h *Host) do(ctx context.Context, m Method, uuid string, fn func() error) error {
	ctx, cancel := context.WithTimeout(ctx, hypervisor.CallTimeout)
	defer cancel()
	err := h.attempt(ctx, m, uuid, fn)
	h.events.drain()
	switch {
	case err == nil:
		return nil
	case uuid == "":
		return fmt.Errorf("%s on %s: %w", m, h.name, err)
	}
	return fmt.Errorf("%s domain %s on %s: %w", m, uuid, h.name, err)
}

func (h *Host) attempt(ctx context.Context, m Method, uuid string, fn func() error) error {
	if err := h.faults.before(ctx, m, uuid); err != nil {
		return err
	}
	if err := h.lockConnected(ctx); err != nil {
		return err
	}
	err := fn()
	h.world.mu.Unlock()
	if err != nil {
		return err
	}
	return h.faults.after(m)
}

// lockConnected takes the lock once the connection is there.
func (h *Host) lockConnected(ctx context.Context) error {
	for {
		h.world.mu.Lock()
		down, closed := h.down, h.closed
		if down == nil && !closed {
			return nil
		}
		h.world.mu.Unlock()
		if closed {
			return errs.Unavailablef("the hypervisor is closed")
		}
		select {
		case <-down:
		case <-ctx.Done():
			return errs.Unavailablef("the hypervisor does not answer: %w", context.Cause(ctx))
		}
	}
}

// onGuest is do with an active guest.
func (h *Host) onGuest(ctx context.Context, m Method, uuid string, fn func(*guest) error) error {
	return h.do(ctx, m, uuid, func() error {
		g := h.guests[uuid]
		if g == nil {
			return errs.NotFoundf("no active domain with uuid %s", uuid)
		}
		return fn(g)
	})
}
