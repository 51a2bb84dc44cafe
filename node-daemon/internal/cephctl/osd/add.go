package osd

import (
	"context"
	"fmt"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// Added is what came of Add.
type Added struct {
	// OSD is the one that is in the cluster now: the new one, or one that Add could not
	// take back because it may hold data. nil if there is none.
	OSD     *ceph.OSD
	Message string
}

// adder is one attempt at an OSD.
type adder struct {
	*Host
	calls  ceph.OSDCalls
	args   command.OSDAdd
	tell   Progress
	device string   // once it was checked
	osd    Identity // once Ceph knows it
	seen   *ceph.OSD
}

// Add makes an OSD with the uuid of args, or finishes what an earlier attempt has begun, and
// returns when Ceph has taken it in. On failure it undoes everything and says so; what it
// cannot undo because Ceph does not answer is errs.Unknown, for the next attempt. An OSD
// that has been up and may hold data stays, with the failure.
func (h *Host) Add(ctx context.Context, calls ceph.OSDCalls, args command.OSDAdd, attempt int, tell Progress) (Added, error) {
	a := &adder{Host: h, calls: calls, args: args, tell: tell}
	err := a.known(ctx, attempt)
	if err == nil {
		err = a.do(ctx)
	}
	if err == nil {
		return Added{a.seen, fmt.Sprintf("%s was added on device %s of host %s", name(a.osd.ID), args.Device, h.Node)}, nil
	}
	err = fmt.Errorf("add an OSD on device %s of host %s: %w", args.Device, h.Node, err)
	if ended(ctx, err) || a.osd.UUID == "" {
		return Added{}, err
	}
	return a.undo(ctx, err)
}

// known looks for what an earlier attempt has left in Ceph.
func (a *adder) known(ctx context.Context, attempt int) error {
	if a.args.Node != a.Node {
		return errs.Conflictf("this is host %s", a.Node)
	}
	if attempt == 1 {
		return nil
	}
	o, err := find(ctx, a.calls, withUUID(a.args.UUID))
	if err != nil {
		// An earlier attempt may have registered it.
		return errs.New(errs.Unknown, "look for an earlier attempt: %w", err)
	}
	if o != nil {
		a.osd = Identity{ID: o.ID, UUID: a.args.UUID}
	}
	return nil
}

const addSteps = 6

// do goes through the steps. Each finds what is done already.
func (a *adder) do(ctx context.Context) error {
	for n, step := range []struct {
		status string
		do     func(ctx context.Context) error
		name   string
	}{
		{"checking the device", a.check, ""},
		{"registering the OSD with Ceph", a.register, StepRegistered},
		{"preparing the device", a.prepare, StepPrepared},
		{"placing the OSD in the CRUSH map", a.place, StepPlaced},
		{"starting the OSD", a.start, StepStarted},
		{"waiting until Ceph takes the OSD in", a.waitUp, StepUp},
	} {
		a.tell(int64(n), addSteps, step.status)
		if err := step.do(ctx); err != nil {
			return err
		}
		if step.name != "" {
			a.step(step.name)
		}
	}
	a.tell(addSteps, addSteps, "recording the OSD")
	return nil
}

func (a *adder) check(ctx context.Context) (err error) {
	a.device, err = a.Disks.Check(ctx, a.args.Device, a.args.UUID)
	return err
}

func (a *adder) register(ctx context.Context) error {
	id, secret, err := a.calls.NewOSD(ctx, a.args.UUID)
	if err == nil {
		a.osd = Identity{ID: id, UUID: a.args.UUID, Secret: secret}
	}
	return err
}

func (a *adder) prepare(ctx context.Context) error { return a.Disks.Prepare(ctx, a.device, a.osd) }

func (a *adder) place(ctx context.Context) error {
	return a.calls.CrushAdd(ctx, a.osd.ID, a.args.Weight, a.Node)
}

func (a *adder) start(ctx context.Context) error {
	boot, err := a.Disks.BootUnits(ctx, a.osd)
	if err != nil {
		return err
	}
	for _, unit := range boot {
		if err := a.Units.Enable(ctx, unit); err != nil {
			return err
		}
	}
	return a.Units.Start(ctx, Unit(a.osd.ID))
}

func (a *adder) waitUp(ctx context.Context) error {
	err := a.await(ctx, a.limits().Up, func() (bool, error) {
		o, err := find(ctx, a.calls, withUUID(a.args.UUID))
		if err != nil {
			return false, err
		}
		if o == nil {
			return false, errs.Conflictf("%s was removed from the cluster meanwhile", name(a.osd.ID))
		}
		a.seen = o
		return o.Up, nil
	})
	if err != errTime {
		return err
	}
	runs, err := a.Units.Active(ctx, Unit(a.osd.ID))
	if err != nil {
		return fmt.Errorf("%s has not come up within %v: %w", name(a.osd.ID), a.limits().Up, err)
	}
	how := "its daemon does not run: see its log"
	if runs {
		how = "its daemon runs, and Ceph does not take it in: see its log, and the flags noup and noin"
	}
	return errs.Conflictf("%s has not come up within %v; %s", name(a.osd.ID), a.limits().Up, how)
}

// undo takes back what this and earlier attempts have done, because of the failure.
func (a *adder) undo(ctx context.Context, failure error) (Added, error) {
	a.tell(0, 0, "undoing: "+failure.Error())
	kept, err := a.takeBack(ctx)
	switch {
	case err != nil && (ended(ctx, err) || errs.Is(err, errs.Unavailable)):
		return Added{}, errs.New(errs.Unknown, "%w; %s is still to be undone: %w", failure, name(a.osd.ID), err)
	case err != nil:
		return Added{OSD: kept}, fmt.Errorf("%w; %s could not be undone: %w", failure, name(a.osd.ID), err)
	case kept != nil:
		return Added{OSD: kept}, fmt.Errorf("%w; %s has been up and may hold data: it stays, and can be removed as any other", failure, name(a.osd.ID))
	}
	return Added{}, fmt.Errorf("%w; everything was undone: %s is not in the cluster, and its device is empty", failure, name(a.osd.ID))
}

// takeBack removes the OSD from Ceph and the host, unless it may hold data.
func (a *adder) takeBack(ctx context.Context) (kept *ceph.OSD, err error) {
	o, err := find(ctx, a.calls, withUUID(a.args.UUID))
	if err != nil {
		return nil, err
	}
	if o != nil && o.Booted {
		if safe, _, err := a.calls.SafeToDestroy(ctx, o.ID); err != nil || !safe {
			return o, err
		}
	}
	if err := a.stop(ctx, a.osd); err != nil {
		return o, err
	}
	if o != nil {
		if kept, err := a.forget(ctx, o); err != nil || kept {
			return o, err
		}
	}
	return nil, a.Disks.Wipe(ctx, a.device, a.osd)
}

// forget has Ceph forget an OSD whose daemon was stopped. It is kept if it came up at the
// last moment.
func (a *adder) forget(ctx context.Context, o *ceph.OSD) (kept bool, err error) {
	if err := a.waitDown(ctx, a.calls, a.args.UUID); err != nil {
		return true, err
	}
	now, err := find(ctx, a.calls, withUUID(a.args.UUID))
	if err != nil || now == nil {
		return false, err
	}
	if now.Booted && !o.Booted {
		return true, a.start(ctx)
	}
	err = a.calls.PurgeOSD(ctx, o.ID, a.args.UUID)
	if errs.Is(err, errs.NotFound) || err == nil {
		return false, nil
	}
	return true, err
}
