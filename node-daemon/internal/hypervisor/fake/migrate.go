package fake

import (
	"context"
	"fmt"
	"maps"
	"sync"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

// Step is a point of a migration.
type Step uint8

// The steps. What a failure leaves behind was measured on libvirt.
const (
	// StepPrepare: nothing is at the target yet. Failure: the source goes on.
	StepPrepare Step = iota + 1
	// StepTransfer: the target's guest waits for memory. Failure: it vanishes, the
	// source goes on.
	StepTransfer
	// StepFinish: both are complete and paused. Failure: the source goes on, the
	// target's guest stays and looks as if it had arrived.
	StepFinish
	// StepConfirm: the source is about to end. Failure: both stay paused, undecided
	// (the source's libvirtd was killed).
	StepConfirm
)

// transfer is a migration under way.
type transfer struct {
	to      *Host
	once    sync.Once
	aborted chan struct{}
	err     error // why, once aborted
}

func (t *transfer) abort(err error) { t.once.Do(func() { t.err = err; close(t.aborted) }) }

// MigratePaused implements hypervisor.Hypervisor. With a bandwidth limit it takes
// memory/bandwidth seconds, without one no time.
func (h *Host) MigratePaused(ctx context.Context, uuid string, o hypervisor.MigrateOptions) error {
	err := h.migrate(ctx, uuid, o)
	h.events.drain()
	if err != nil {
		return fmt.Errorf("migrate domain %s to %s: %w", uuid, o.URI, err)
	}
	return nil
}

func (h *Host) migrate(ctx context.Context, uuid string, o hypervisor.MigrateOptions) error {
	if err := h.faults.before(ctx, MigratePaused, uuid); err != nil {
		return err
	}
	if err := h.lockConnected(ctx); err != nil {
		return err
	}
	g, t, err := h.startSending(uuid)
	h.world.mu.Unlock()
	if err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { t.abort(errs.Conflictf("operation aborted: canceled by client")) })
	defer stop()
	if err := h.send(g, t, o); err != nil {
		return err
	}
	return h.faults.after(MigratePaused)
}

// startSending marks the guest. The caller holds the lock.
func (h *Host) startSending(uuid string) (*guest, *transfer, error) {
	g := h.guests[uuid]
	switch {
	case g == nil:
		return nil, nil, errs.NotFoundf("no active domain with uuid %s", uuid)
	case g.sending != nil, g.pause == hypervisor.PausedIncoming:
		return nil, nil, errs.Conflictf("domain %s is migrating", uuid)
	}
	g.sending = &transfer{aborted: make(chan struct{})}
	return g, g.sending, nil
}

// send goes through the steps.
func (h *Host) send(g *guest, t *transfer, o hypervisor.MigrateOptions) error {
	copied, err := h.prepare(g, t, o)
	if err != nil {
		return h.giveUp(g, err)
	}
	if err := h.carry(g, t, o.BandwidthMiB); err != nil {
		h.happen(func() { t.to.end(copied, hypervisor.StoppedFailed) })
		t.to.events.drain()
		return h.giveUp(g, err)
	}
	if err := h.switchOver(g, copied, t); err != nil {
		return h.giveUp(g, err)
	}
	if err := h.faults.step(StepConfirm, g.uuid); err != nil {
		h.happen(func() { g.sending = nil })
		return err
	}
	h.happen(func() {
		g.sending = nil
		h.end(g, hypervisor.StoppedMigrated)
	})
	return nil
}

// giveUp lets the source go on.
func (h *Host) giveUp(g *guest, err error) error {
	h.happen(func() {
		g.sending = nil
		if h.guests[g.uuid] == g && g.state == hypervisor.Paused && g.pause == hypervisor.PausedOutgoing {
			g.pause = hypervisor.PausedOther
			h.world.execute(g)
			h.emit(hypervisor.EventResumed, g, 0)
		}
	})
	return err
}

// prepare makes the guest at the target, waiting for memory.
func (h *Host) prepare(g *guest, t *transfer, o hypervisor.MigrateOptions) (*guest, error) {
	if err := h.faults.step(StepPrepare, g.uuid); err != nil {
		return nil, err
	}
	h.world.mu.Lock()
	defer h.world.mu.Unlock()
	to, err := h.world.reachable(h, o.URI)
	switch {
	case err != nil:
		return nil, err
	case to == h:
		return nil, errs.Conflictf("attempt to migrate guest to the same host %s", h.name)
	case to.down != nil:
		return nil, errs.Conflictf("the hypervisor of %s does not answer", to.name)
	}
	copied := &guest{uuid: g.uuid, name: g.name, xml: g.xml, memory: g.memory, vcpus: g.vcpus, executed: g.executed, deaf: g.deaf, disks: maps.Clone(g.disks),
		state: hypervisor.Paused, pause: hypervisor.PausedIncoming}
	if err := to.free(copied); err != nil {
		return nil, err
	}
	t.to = to
	to.guests[g.uuid] = copied
	to.emit(hypervisor.EventStarted, copied, 0)
	return copied, nil
}

// carry takes the time that the memory takes.
func (h *Host) carry(g *guest, t *transfer, bandwidth int) error {
	t.to.events.drain()
	if err := h.faults.step(StepTransfer, g.uuid); err != nil {
		return err
	}
	var takes time.Duration
	if bandwidth > 0 {
		takes = time.Duration(g.memory) * time.Second / time.Duration(bandwidth)
	}
	timer := time.NewTimer(takes)
	defer timer.Stop()
	select {
	case <-t.aborted:
		return t.err
	case <-timer.C:
	}
	select {
	case <-t.aborted: // at the same moment: the abort came first
		return t.err
	default:
		return nil
	}
}

// switchOver stops the source and completes the target. From here on an abort has no
// effect any more.
func (h *Host) switchOver(g, copied *guest, t *transfer) error {
	var lost error
	h.happen(func() {
		if h.guests[g.uuid] != g || t.to.guests[g.uuid] != copied {
			lost = errs.Conflictf("domain is not running")
			t.to.end(copied, hypervisor.StoppedFailed)
			return
		}
		g.state, g.pause = hypervisor.Paused, hypervisor.PausedOutgoing
		h.emit(hypervisor.EventSuspended, g, 0)
		copied.pause = hypervisor.PausedByRequest
		t.to.emit(hypervisor.EventSuspended, copied, 0)
	})
	t.to.events.drain()
	if lost != nil {
		return lost
	}
	return h.faults.step(StepFinish, g.uuid)
}

// AbortJob implements hypervisor.Hypervisor.
func (h *Host) AbortJob(ctx context.Context, uuid string) error {
	return h.do(ctx, AbortJob, uuid, func() error {
		if g := h.guests[uuid]; g != nil && g.sending != nil {
			g.sending.abort(errs.Conflictf("operation aborted: canceled by client"))
		}
		return nil
	})
}
