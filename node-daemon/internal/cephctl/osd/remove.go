package osd

import (
	"context"
	"fmt"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// Noted is what an attempt at a removal keeps for those after it: an id can be given to
// another OSD as soon as Ceph has forgotten the first.
type Noted struct {
	UUID   string `json:"uuid"`
	Device string `json:"device"` // empty if it was not found
	// Elsewhere is the host with the disk if that is no node of the cluster: only Ceph
	// is told of the removal.
	Elsewhere string `json:"elsewhere,omitempty"`
}

// Removal is what Remove needs beside the command.
type Removal struct {
	Record   *model.OSD                 // what is recorded of the OSD, nil if nothing
	Presence func(node string) Presence // of other hosts
	Noted    *Noted                     // what an earlier attempt has kept, nil if nothing
	// Keep keeps it for those after this one, before anything is changed.
	Keep func(ctx context.Context, n Noted) error
	Tell Progress
}

// remover is one attempt.
type remover struct {
	*Host
	Removal
	calls ceph.OSDCalls
	args  command.OSDRemove
	osd   Identity
	now   *ceph.OSD // as Ceph knows it, nil if it does not
	note  Noted
	said  string // what was not done, for the message
}

// Removed is what came of Remove.
type Removed struct {
	Message string
	// Reused says that the id belongs to another OSD by now: its record has to stay.
	Reused bool
}

// Remove takes an OSD out of the cluster: out, until its data is safe elsewhere (unless
// forced), stopped, forgotten by Ceph, its disk erased. One that Ceph does
// not know needs nothing but the end of its record. Interrupted anywhere it can be
// repeated, and errs.Unknown asks for that; a disk that cannot be erased is told, and no failure.
func (h *Host) Remove(ctx context.Context, calls ceph.OSDCalls, args command.OSDRemove, r Removal) (Removed, error) {
	m := &remover{Host: h, Removal: r, calls: calls, args: args}
	if err := m.look(ctx); err != nil {
		return Removed{}, m.failed(ctx, err)
	}
	if m.osd.UUID == "" {
		return Removed{Message: fmt.Sprintf("%s is unknown to Ceph; what was recorded of it was removed", name(args.OSD))}, nil
	}
	if err := m.do(ctx); err != nil {
		return Removed{}, m.failed(ctx, err)
	}
	now, err := find(ctx, calls, withID(args.OSD))
	if err != nil {
		return Removed{}, m.failed(ctx, err)
	}
	return Removed{Message: fmt.Sprintf("%s was removed%s", name(args.OSD), m.said), Reused: now != nil}, nil
}

// failed is a failure with what was tried. What Ceph or the host does not answer once
// something was begun is for the next attempt.
func (m *remover) failed(ctx context.Context, err error) error {
	err = fmt.Errorf("remove %s: %w", name(m.args.OSD), err)
	if m.note.UUID != "" && errs.Is(err, errs.Unavailable) && ctx.Err() == nil {
		return errs.New(errs.Unknown, "%w", err)
	}
	return err
}

// look finds the OSD and its disk, and keeps who it is.
func (m *remover) look(ctx context.Context) (err error) {
	if m.Noted != nil {
		m.note = *m.Noted
		m.osd = Identity{ID: m.args.OSD, UUID: m.note.UUID}
		m.now, err = find(ctx, m.calls, withUUID(m.note.UUID))
		return err
	}
	if m.now, err = find(ctx, m.calls, withID(m.args.OSD)); err != nil {
		return err
	}
	elsewhere, err := m.owned(m.now, m.Record, m.Presence)
	if err != nil || m.now == nil {
		return err
	}
	m.osd = Identity{ID: m.args.OSD, UUID: m.now.UUID}
	device := ""
	if m.Record != nil {
		device = m.Record.Device
	}
	m.note = Noted{UUID: m.now.UUID, Elsewhere: elsewhere}
	if elsewhere != "" {
		return m.Keep(ctx, m.note)
	}
	found, err := m.Disks.Find(ctx, m.osd, device)
	switch {
	case err == nil:
		m.note.Device = found
	case ctx.Err() != nil:
		return err
	default:
		m.remark("its disk was not erased: %v", err)
	}
	return m.Keep(ctx, m.note)
}

func (m *remover) remark(format string, args ...any) {
	m.said += "; " + fmt.Sprintf(format, args...)
}

const removeSteps = 4

// do goes through the steps that are left.
func (m *remover) do(ctx context.Context) error {
	if m.now != nil {
		if err := m.drain(ctx); err != nil {
			return err
		}
		m.step(StepDrained)
		if err := m.end(ctx); err != nil {
			return err
		}
		m.Tell(2, removeSteps, "removing the OSD from Ceph")
		if err := m.purge(ctx); err != nil {
			return err
		}
		m.step(StepPurged)
	}
	if m.note.Elsewhere != "" {
		m.remark("its disk in host %s was not erased: that is no node of the cluster", m.note.Elsewhere)
		return nil
	}
	m.Tell(3, removeSteps, "erasing the disk")
	return m.wipe(ctx)
}

// end stops the daemon; one on a host that is none of the cluster's does not run.
func (m *remover) end(ctx context.Context) error {
	if m.note.Elsewhere != "" {
		return nil
	}
	m.Tell(1, removeSteps, "stopping the OSD")
	if err := m.stop(ctx, m.osd); err != nil {
		return err
	}
	m.step(StepStopped)
	return nil
}

// drain has the data of the OSD moved elsewhere.
func (m *remover) drain(ctx context.Context) error {
	m.Tell(0, removeSteps, "marking the OSD out")
	if err := m.calls.SetOSDIn(ctx, m.osd.ID, false); err != nil {
		return err
	}
	m.step(StepOut)
	if m.args.Force {
		return nil
	}
	w := &drainage{remover: m, changed: time.Now()}
	err := m.await(ctx, 0, func() (bool, error) { return w.look(ctx) })
	if err != nil && !ended(ctx, err) {
		return fmt.Errorf("%w; it is out of the cluster's data and still runs: mark it in again to keep it, or remove it once more", err)
	}
	return err
}

// drainage is what is seen of the data's leaving.
type drainage struct {
	*remover
	total   int // groups at the beginning
	left    int
	changed time.Time // when groups left last
}

// look reports whether the OSD holds nothing any more that is not safe elsewhere.
func (d *drainage) look(ctx context.Context) (bool, error) {
	safe, why, err := d.calls.SafeToDestroy(ctx, d.osd.ID)
	if safe || err != nil {
		return safe, err
	}
	o, err := find(ctx, d.calls, withUUID(d.osd.UUID))
	if err != nil {
		return false, err
	}
	if o == nil {
		return true, nil
	}
	left := d.left
	if o.Stats != nil {
		left = o.Stats.PGs
	}
	if left != d.left {
		d.left, d.total, d.changed = left, max(d.total, left), time.Now()
	}
	if time.Since(d.changed) > d.limits().Stall {
		return false, errs.Conflictf("no placement group has left it for %v: %s", d.limits().Stall, why)
	}
	d.Tell(int64(d.total-d.left), int64(d.total), fmt.Sprintf("waiting until its data is safe elsewhere, %d placement groups are left: %s", d.left, why))
	return false, nil
}

// purge has Ceph forget the OSD.
func (m *remover) purge(ctx context.Context) error {
	if err := m.waitDown(ctx, m.calls, m.osd.UUID); err != nil {
		return err
	}
	err := m.calls.PurgeOSD(ctx, m.osd.ID, m.osd.UUID)
	if errs.Is(err, errs.NotFound) {
		return nil
	}
	return err
}

// wipe erases the disk. A broken disk is a reason to remove an OSD, and none to fail. The
// folder may belong to another OSD by now: Wipe looks.
func (m *remover) wipe(ctx context.Context) error {
	err := m.Disks.Wipe(ctx, m.note.Device, m.osd)
	if ctx.Err() != nil {
		return errs.Unavailablef("interrupted: %w", ctx.Err())
	}
	if err != nil {
		m.remark("its disk %s was not erased: %v", m.note.Device, err)
	}
	m.step(StepWiped)
	return nil
}
