package cephctl

import (
	"context"
	"fmt"
	"syscall"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// volumeResize gives an image another size. A repetition finds the size that it wants.
func (t *task) volumeResize(ctx context.Context, a command.VolumeResize) (command.Outcome, error) {
	image, err := t.target(ctx, a.Pool, a.Volume, a.Shrink)
	if err != nil {
		return command.Outcome{}, err
	}
	if image == nil {
		return command.Outcome{}, vanished(a.Pool, a.Volume, t.note.Image)
	}
	before := model.Size(image.Size)
	if t.note != nil {
		before = t.note.Size
	} else if err := t.mayResize(ctx, *image, a); err != nil {
		return command.Outcome{}, err
	}
	if model.Size(image.Size) != a.Size {
		if err := t.remember(ctx, note{Image: image.ID, Size: before}); err != nil {
			return command.Outcome{}, err
		}
		if err := t.ResizeImage(ctx, a.Pool, image.ID, uint64(a.Size), a.Shrink); err != nil {
			return command.Outcome{}, err
		}
	}
	now := *image
	now.Size, now.Objects = uint64(a.Size), objects(uint64(a.Size), image.Order)
	return command.Outcome{
		Message: fmt.Sprintf("volume %s/%s is resized from %s to %s", a.Pool, a.Volume, before, a.Size),
		Data:    dataOf(a.Pool, now), Records: t.record(a.Pool, now),
	}, nil
}

// objects is how many objects of 1<<order bytes an image can have, as `rbd info` counts.
func objects(size uint64, order int) uint64 {
	n := size >> order
	if n<<order < size {
		n++
	}
	return n
}

// record writes an image that has changed. One in a pool without a record waits for the
// reconciler.
func (t *task) record(pool string, i ceph.Image) recordsFunc {
	return build(func(e *edit) {
		if _, there := e.s.Pool(pool); there {
			e.putVolume(pool, i)
		}
	})
}

// mayResize refuses what would lose data by mistake, and what there is no space for.
func (t *task) mayResize(ctx context.Context, i ceph.Image, a command.VolumeResize) error {
	now := model.Size(i.Size)
	switch {
	case a.Size < now && !a.Shrink:
		return ceph.Refused(syscall.EINVAL, fmt.Sprintf("%s is less than the %s that volume %s/%s has: what lies beyond would be lost; force allows it", a.Size, now, a.Pool, a.Volume))
	case a.Size < now:
		return t.unused(ctx, a.Pool, i, "shrunk")
	case !a.Force:
		return t.fits(a.Pool, a.Size-now)
	}
	return nil
}

// vanished says that an image disappeared between two attempts.
func vanished(pool, volume, id string) error {
	return errs.NotFoundf("image %q of pool %q, id %s, was removed by somebody else meanwhile", volume, pool, id)
}

// volumeRename gives an image another name.
func (t *task) volumeRename(ctx context.Context, a command.VolumeRename) (command.Outcome, error) {
	image, err := t.target(ctx, a.Pool, a.Volume, true)
	if err != nil {
		return command.Outcome{}, err
	}
	act, err := decideRename(t.note, image, a)
	if err != nil {
		return command.Outcome{}, err
	}
	if act {
		if err := t.mayRename(ctx, a.Pool, *image); err != nil {
			return command.Outcome{}, err
		}
		if err := t.remember(ctx, note{Image: image.ID}); err != nil {
			return command.Outcome{}, err
		}
		if err := t.RenameImage(ctx, a.Pool, image.ID, a.Name); err != nil {
			return command.Outcome{}, err
		}
	}
	now := *image
	now.Name = a.Name
	return command.Outcome{
		Message: fmt.Sprintf("volume %s/%s has the name %s now", a.Pool, a.Volume, a.Name), Data: dataOf(a.Pool, now),
		Records: build(func(e *edit) {
			if v, there := e.s.Volume(a.Pool, a.Volume); there && sameImage(v, image.ID) {
				e.dropVolume(a.Pool, a.Volume)
			}
			if _, there := e.s.Pool(a.Pool); there {
				e.putVolume(a.Pool, now)
			}
		}),
	}, nil
}

// mayRename refuses an image that is in use. What has been begun goes on unless a client has
// opened the image since.
func (t *task) mayRename(ctx context.Context, pool string, i ceph.Image) error {
	if t.note == nil {
		return t.unused(ctx, pool, i, "renamed")
	}
	if len(i.Watchers) > 0 {
		return inUse(i, "renamed")
	}
	return nil
}

// decideRename says whether the image is still to be renamed.
func decideRename(n *note, image *ceph.Image, a command.VolumeRename) (act bool, err error) {
	switch {
	case n == nil && a.Name == a.Volume:
		return false, errs.Invalidf("volume %s/%s has the name %q already", a.Pool, a.Volume, a.Name)
	case n == nil:
		return true, nil
	case image == nil:
		return false, vanished(a.Pool, a.Volume, n.Image)
	case image.Name == a.Name:
		return false, nil // by an earlier attempt
	case image.Name == a.Volume:
		return true, nil
	}
	return false, errs.Conflictf("image %s/%s was renamed to %q by somebody else meanwhile", a.Pool, a.Volume, image.Name)
}

// volumeRemove removes an image and its data. Half an image, of which a removal has left only
// data, is removed by the id that is on record.
func (t *task) volumeRemove(ctx context.Context, a command.VolumeRemove) (command.Outcome, error) {
	image, err := t.target(ctx, a.Pool, a.Volume, true)
	switch {
	case errs.Is(err, errs.NotFound):
		err = t.removeHalf(ctx, a, err)
	case err == nil && image == nil:
		err = t.finishRemoval(ctx, a.Pool, ceph.Image{ID: t.note.Image, Name: a.Volume}, nil)
	case err == nil:
		err = t.removeImage(ctx, a.Pool, *image)
	}
	if err != nil {
		return command.Outcome{}, err
	}
	id := t.note.Image
	return command.Outcome{
		Message: fmt.Sprintf("volume %s/%s is removed", a.Pool, a.Volume),
		Records: build(func(e *edit) {
			if v, there := e.s.Volume(a.Pool, a.Volume); there && sameImage(v, id) {
				e.dropVolume(a.Pool, a.Volume)
			}
		}),
	}, nil
}

// removeImage removes an image that is there. One on which an earlier attempt has begun
// may lack a part already: it is finished whatever has come to name it meanwhile.
func (t *task) removeImage(ctx context.Context, pool string, i ceph.Image) error {
	if t.note == nil {
		if n := len(i.Snapshots); n > 0 {
			return ceph.Refused(syscall.ENOTEMPTY, fmt.Sprintf("image has snapshots: %s", listed(snapshotNames(i))))
		}
		if err := t.unused(ctx, pool, i, "removed"); err != nil {
			return err
		}
	}
	return t.finishRemoval(ctx, pool, i, nil)
}

// removeHalf removes what a removal has left of the image on record; absent is the answer if
// there is nothing, or if the image has only got another name.
func (t *task) removeHalf(ctx context.Context, a command.VolumeRemove, absent error) error {
	id := t.recordedID(a.Pool, a.Volume)
	if id == "" {
		return absent
	}
	whole, err := ifThere(t.ImageByID(ctx, a.Pool, id))
	switch {
	case err != nil:
		return err
	case whole != nil:
		return absent
	}
	return t.finishRemoval(ctx, a.Pool, ceph.Image{ID: id, Name: a.Volume}, absent)
}

// recordedID is the id of the image that the record of a volume is of, empty if it has none.
func (t *task) recordedID(pool, volume string) (id string) {
	t.executor.View.Read(func(s *view.Snapshot) {
		if v, there := s.Volume(pool, volume); there && v.Stats != nil {
			id = v.Stats.ID
		}
	})
	return id
}

// finishRemoval removes an image that may be gone already, in part or, which is absent, as a
// whole.
func (t *task) finishRemoval(ctx context.Context, pool string, i ceph.Image, absent error) error {
	if err := t.remember(ctx, note{Image: i.ID}); err != nil {
		return err
	}
	err := t.RemoveImage(ctx, pool, i.ID, func(done, total uint64) { t.Progress(int64(done), int64(total), "removing "+pool+"/"+i.Name) })
	if errs.Is(err, errs.NotFound) {
		return absent
	}
	return err
}

func snapshotNames(i ceph.Image) []string {
	names := make([]string, len(i.Snapshots))
	for n, s := range i.Snapshots {
		names[n] = s.Name
	}
	return names
}

// sameImage reports whether a record may be that of an image: one of another image, made
// under the name meanwhile, stays.
func sameImage(v *model.Volume, id string) bool {
	return v.Stats == nil || v.Stats.ID == "" || v.Stats.ID == id
}
