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

// volumeData is what a client is told of a volume.
type volumeData struct {
	Pool   string     `json:"pool"`
	Volume string     `json:"volume"`
	ID     string     `json:"id"`
	Size   model.Size `json:"size"` // bytes
}

func dataOf(pool string, i ceph.Image) volumeData {
	return volumeData{Pool: pool, Volume: i.Name, ID: i.ID, Size: model.Size(i.Size)}
}

// ifThere turns "no such object" into nil.
func ifThere[T any](value T, err error) (*T, error) {
	if errs.Is(err, errs.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &value, nil
}

// volumeAdd makes an image.
func (t *task) volumeAdd(ctx context.Context, a command.VolumeAdd) (command.Outcome, error) {
	if t.note == nil && !a.Force {
		if err := t.fits(a.Pool, a.Size); err != nil {
			return command.Outcome{}, err
		}
	}
	// In a pool that does not exist the image does not either: its creation says so.
	found, err := ifThere(t.Image(ctx, a.Pool, a.Volume))
	if err != nil {
		return command.Outcome{}, err
	}
	make, err := decideVolumeAdd(t.note, found, a)
	if err != nil {
		return command.Outcome{}, err
	}
	if make {
		if err := t.remember(ctx, note{Absent: true}); err != nil {
			return command.Outcome{}, err
		}
		image, err := t.CreateImage(ctx, a.Pool, a.Volume, uint64(a.Size))
		if err != nil {
			return command.Outcome{}, err
		}
		found = &image
	}
	pool, err := t.unrecorded(ctx, a.Pool)
	if err != nil { // the next pass of the reconciler records it
		t.executor.Logger.Warn("a new volume has no record yet", "pool", a.Pool, "volume", a.Volume, "err", err)
	}
	return command.Outcome{
		Message: fmt.Sprintf("volume %s/%s of %s is made", a.Pool, a.Volume, model.Size(found.Size)), Data: dataOf(a.Pool, *found),
		Records: build(func(e *edit) {
			if _, there := e.s.Pool(a.Pool); !there && pool == nil {
				return
			} else if !there {
				e.putPool(*pool)
			}
			e.putVolume(a.Pool, *found)
		}),
	}, nil
}

// decideVolumeAdd says whether the image is still to be made, given what is there.
func decideVolumeAdd(n *note, found *ceph.Image, a command.VolumeAdd) (make bool, err error) {
	switch {
	case found == nil:
		return true, nil
	case n == nil:
		return false, ceph.Refused(syscall.EEXIST, fmt.Sprintf("pool %q has an image %q already", a.Pool, a.Volume))
	case model.Size(found.Size) != a.Size: // not the one that an earlier attempt made
		return false, ceph.Refused(syscall.EEXIST, fmt.Sprintf("an image %q of %s has appeared in pool %q meanwhile", a.Volume, model.Size(found.Size), a.Pool))
	}
	return false, nil
}

// fits refuses a size that is larger than what the pool has space for, as far as that is
// known: of a new pool it is not, until the reconciler has seen it.
func (t *task) fits(pool string, size model.Size) (err error) {
	t.executor.View.Read(func(s *view.Snapshot) {
		p, there := s.Pool(pool)
		if there && p.Stats != nil && p.Stats.Free > 0 && size > p.Stats.Free {
			err = errs.Conflictf("%s is more than the %s that pool %q has space for; force allows it", size, p.Stats.Free, pool)
		}
	})
	return err
}

// unrecorded returns a pool that the records do not have yet, nil if they do.
func (t *task) unrecorded(ctx context.Context, name string) (*ceph.Pool, error) {
	there := false
	t.executor.View.Read(func(s *view.Snapshot) { _, there = s.Pool(name) })
	if there {
		return nil, nil
	}
	pools, err := t.Pools(ctx)
	for _, p := range pools {
		if p.Name == name {
			return &p, nil
		}
	}
	return nil, err
}

// target is the image that a command is about: by name at first, by id once an attempt
// has begun. nil says that the image of the note is gone. Who has it open is known if watched.
func (t *task) target(ctx context.Context, pool, volume string, watched bool) (*ceph.Image, error) {
	if t.note != nil {
		image, err := ifThere(t.ImageByID(ctx, pool, t.note.Image))
		if image != nil {
			image.Watchers = t.others(image.Watchers)
		}
		return image, err
	}
	read := t.Look
	if watched {
		read = t.Image
	}
	image, err := read(ctx, pool, volume)
	if err == nil && image.OldFormat {
		err = errs.Conflictf("image %s/%s has format 1, which has no ids: convert it with `rbd migration` first", pool, volume)
	}
	return &image, err
}

// unused refuses a volume that a VM names or a client has open.
func (t *task) unused(ctx context.Context, pool string, i ceph.Image, what string) error {
	if len(i.Watchers) > 0 {
		return inUse(i, what)
	}
	users, err := t.executor.Users(ctx, pool, i.Name)
	if err != nil {
		return fmt.Errorf("find out which VMs use volume %s/%s: %w", pool, i.Name, err)
	}
	if by := users[i.Name]; len(by) > 0 {
		return errs.Conflictf("volume %s/%s cannot be %s: it is a disk of %s", pool, i.Name, what, listed(by))
	}
	return nil
}

func inUse(i ceph.Image, what string) error {
	return ceph.Refused(syscall.EBUSY, fmt.Sprintf("image %q is open by %s and cannot be %s", i.Name, listed(i.Watchers), what))
}

// mostListed bounds the length of messages.
const mostListed = 5

// listed names some of many.
func listed(names []string) string {
	text := ""
	for n, name := range names {
		switch {
		case n == mostListed:
			return fmt.Sprintf("%s and %d more", text, len(names)-n)
		case n > 0:
			text += ", "
		}
		text += name
	}
	return text
}
