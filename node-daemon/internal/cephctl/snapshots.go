package cephctl

import (
	"context"
	"fmt"
	"slices"
	"syscall"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// recordsFunc is the type of [command.Outcome]'s Records.
type recordsFunc = func(*view.Snapshot) (coord.Txn, error)

// snapshotData is what a client is told of a snapshot.
type snapshotData struct {
	Pool     string `json:"pool"`
	Volume   string `json:"volume"`
	Snapshot string `json:"snapshot"`
	ID       uint64 `json:"id"`
}

// snapshotAdd makes a snapshot.
func (t *task) snapshotAdd(ctx context.Context, a command.SnapshotAdd) (command.Outcome, error) {
	image, err := t.target(ctx, a.Pool, a.Volume, false)
	if err != nil {
		return command.Outcome{}, err
	}
	made, err := decideSnapshotAdd(t.note, image, a)
	if err != nil {
		return command.Outcome{}, err
	}
	if made == nil {
		if err := t.remember(ctx, note{Image: image.ID, Absent: true}); err != nil {
			return command.Outcome{}, err
		}
		snapshot, err := t.CreateSnapshot(ctx, a.Pool, image.ID, a.Snapshot)
		if err != nil {
			return command.Outcome{}, err
		}
		made = &snapshot
		image.Snapshots = append(image.Snapshots, snapshot)
	}
	return command.Outcome{
		Message: fmt.Sprintf("snapshot %s/%s@%s is made", a.Pool, a.Volume, a.Snapshot),
		Data:    snapshotData{Pool: a.Pool, Volume: a.Volume, Snapshot: a.Snapshot, ID: made.ID}, Records: t.record(a.Pool, *image),
	}, nil
}

// decideSnapshotAdd returns the snapshot that an earlier attempt has made, nil if it is
// still to be made.
func decideSnapshotAdd(n *note, image *ceph.Image, a command.SnapshotAdd) (*ceph.Snapshot, error) {
	if image == nil {
		return nil, vanished(a.Pool, a.Volume, n.Image)
	}
	at := slices.IndexFunc(image.Snapshots, func(s ceph.Snapshot) bool { return s.Name == a.Snapshot })
	switch {
	case at < 0:
		return nil, nil
	case n == nil:
		return nil, ceph.Refused(syscall.EEXIST, fmt.Sprintf("image %s/%s has a snapshot %q already", a.Pool, a.Volume, a.Snapshot))
	}
	return &image.Snapshots[at], nil
}

// snapshotRemove removes a snapshot, then its record.
func (t *task) snapshotRemove(ctx context.Context, a command.SnapshotRemove) (command.Outcome, error) {
	image, err := t.target(ctx, a.Pool, a.Volume, true)
	if err != nil {
		return command.Outcome{}, err
	}
	snapshot, err := decideSnapshotRemove(t.note, image, a)
	if err != nil {
		return command.Outcome{}, err
	}
	if snapshot != nil {
		if err := t.remember(ctx, note{Image: image.ID, Snapshot: snapshot.ID}); err != nil {
			return command.Outcome{}, err
		}
		if err := t.RemoveSnapshot(ctx, a.Pool, image.ID, snapshot.ID); err != nil && !errs.Is(err, errs.NotFound) {
			return command.Outcome{}, err
		}
	}
	id, removed := t.note.Image, t.note.Snapshot
	return command.Outcome{
		Message: fmt.Sprintf("snapshot %s/%s@%s is removed", a.Pool, a.Volume, a.Snapshot),
		Records: build(func(e *edit) {
			v, there := e.s.Volume(a.Pool, a.Volume)
			s, snapshotThere := e.s.Snapshot(a.Pool, a.Volume, a.Snapshot)
			if there && sameImage(v, id) && snapshotThere && (s.Stats == nil || s.Stats.ID == removed) {
				e.dropSnapshot(a.Pool, a.Volume, a.Snapshot)
			}
		}),
	}, nil
}

// decideSnapshotRemove returns the snapshot to be removed, nil if an earlier attempt has
// done so.
func decideSnapshotRemove(n *note, image *ceph.Image, a command.SnapshotRemove) (*ceph.Snapshot, error) {
	if image == nil {
		return nil, nil // with its snapshots
	}
	is := func(s ceph.Snapshot) bool { return s.Name == a.Snapshot }
	if n != nil {
		is = func(s ceph.Snapshot) bool { return s.ID == n.Snapshot }
	}
	at := slices.IndexFunc(image.Snapshots, is)
	switch {
	case at >= 0 && image.Snapshots[at].Protected:
		return nil, ceph.Refused(syscall.EBUSY, fmt.Sprintf("snapshot %q is protected: it may have clones", a.Snapshot))
	case at >= 0:
		return &image.Snapshots[at], nil
	case n == nil:
		return nil, ceph.Refused(syscall.ENOENT, fmt.Sprintf("image %s/%s has no snapshot %q", a.Pool, a.Volume, a.Snapshot))
	}
	return nil, nil
}
