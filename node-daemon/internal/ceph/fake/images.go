package fake

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// order of every image: objects of 4 MiB.
const order = 22

func objects(size uint64) uint64 { return (size + 1<<order - 1) >> order }

// inPool is do with a pool.
func (c calls) inPool(ctx context.Context, m Method, pool, object string, e effect, fn func(*World, *storedPool) error) error {
	return c.do(ctx, m, object, e, func(w *World) error {
		p, err := w.pool(pool)
		if err != nil {
			return err
		}
		return fn(w, p)
	})
}

// onImage is do with an image.
func (c calls) onImage(ctx context.Context, m Method, pool, id string, e effect, fn func(*World, *storedPool, *storedImage) error) error {
	return c.inPool(ctx, m, pool, pool+"/"+id, e, func(w *World, p *storedPool) error {
		i := p.images[id]
		if i == nil {
			return ceph.Refused(syscall.ENOENT, fmt.Sprintf("no image with id %q in pool %q", id, pool))
		}
		return fn(w, p, i)
	})
}

// Images implements ceph.Calls.
func (c calls) Images(ctx context.Context, pool string) ([]ceph.Image, error) {
	return c.list(ctx, Images, pool)
}

// Survey implements ceph.Calls.
func (c calls) Survey(ctx context.Context, pool string) ([]ceph.Image, error) {
	return c.list(ctx, Survey, pool)
}

func (c calls) list(ctx context.Context, m Method, pool string) (images []ceph.Image, err error) {
	err = c.inPool(ctx, m, pool, pool, reads, func(_ *World, p *storedPool) error {
		for _, i := range p.images {
			images = append(images, i.copied())
		}
		for _, i := range p.halves {
			if p.byName(i.Name) == nil {
				images = append(images, i.copied())
			}
		}
		slices.SortFunc(images, func(a, b ceph.Image) int { return cmp.Compare(a.Name, b.Name) })
		return nil
	})
	return images, err
}

// Image implements ceph.Calls.
func (c calls) Image(ctx context.Context, pool, name string) (found ceph.Image, err error) {
	err = c.inPool(ctx, Image, pool, pool+"/"+name, reads, func(_ *World, p *storedPool) error {
		i := p.byName(name)
		if i == nil {
			return ceph.Refused(syscall.ENOENT, fmt.Sprintf("no image %q in pool %q", name, pool))
		}
		found = i.copied()
		return nil
	})
	return found, err
}

// Look implements ceph.Calls.
func (c calls) Look(ctx context.Context, pool, name string) (ceph.Image, error) {
	found, err := c.Image(ctx, pool, name)
	if err == nil && found.Parent == "" && len(found.Snapshots) == 0 && !found.OldFormat {
		found.Watchers, found.Unwatched = nil, true
	}
	return found, err
}

// ImageByID implements ceph.Calls.
func (c calls) ImageByID(ctx context.Context, pool, id string) (found ceph.Image, err error) {
	err = c.onImage(ctx, ImageByID, pool, id, reads, func(_ *World, _ *storedPool, i *storedImage) error {
		found = i.copied()
		return nil
	})
	return found, err
}

// Trash implements ceph.Calls.
func (c calls) Trash(ctx context.Context, pool string) (trash []ceph.Trashed, err error) {
	err = c.inPool(ctx, Trash, pool, pool, reads, func(_ *World, p *storedPool) error {
		trash = slices.Clone(p.trash)
		return nil
	})
	return trash, err
}

// Watchers implements ceph.Calls.
func (c calls) Watchers(ctx context.Context, pool, imageID string) (watchers []string, err error) {
	err = c.onImage(ctx, Watchers, pool, imageID, reads, func(_ *World, _ *storedPool, i *storedImage) error {
		watchers = slices.Sorted(slices.Values(i.watchers))
		return nil
	})
	return watchers, err
}

// CreateImage implements ceph.Calls.
func (c calls) CreateImage(ctx context.Context, pool, name string, size uint64) (made ceph.Image, err error) {
	err = c.inPool(ctx, CreateImage, pool, pool+"/"+name, writes, func(w *World, p *storedPool) error {
		if p.byName(name) != nil {
			return ceph.Refused(syscall.EEXIST, fmt.Sprintf("pool %q has an image %q already", pool, name))
		}
		w.lastImage++
		id := fmt.Sprintf("%x", 0x1000+w.lastImage)
		i := &storedImage{Image: ceph.Image{
			ID: id, Name: name, Size: size, Objects: objects(size), Order: order, Prefix: "rbd_data." + id,
			Features: slices.Clone(DefaultFeatures), Created: w.now(),
		}}
		p.images[id] = i
		made = i.copied()
		return nil
	})
	return made, err
}

// now is a second after the last time it was asked. The caller holds the lock.
func (w *World) now() time.Time {
	w.clock = w.clock.Add(time.Second)
	return w.clock
}

// ResizeImage implements ceph.Calls.
func (c calls) ResizeImage(ctx context.Context, pool, id string, size uint64, shrink bool) error {
	return c.onImage(ctx, ResizeImage, pool, id, longWrite, func(_ *World, _ *storedPool, i *storedImage) error {
		if size < i.Size && !shrink {
			return ceph.Refused(syscall.EINVAL, fmt.Sprintf("shrinking from %d to %d bytes was not asked for", i.Size, size))
		}
		i.Size, i.Objects = size, objects(size)
		return nil
	})
}

// RenameImage implements ceph.Calls.
func (c calls) RenameImage(ctx context.Context, pool, id, to string) error {
	return c.onImage(ctx, RenameImage, pool, id, longWrite, func(_ *World, p *storedPool, i *storedImage) error {
		switch {
		case i.Name == to:
			return nil
		case p.byName(to) != nil:
			return ceph.Refused(syscall.EEXIST, fmt.Sprintf("pool %q has an image %q already", pool, to))
		}
		i.Name = to
		return nil
	})
}

// RemoveImage implements ceph.Calls.
func (c calls) RemoveImage(ctx context.Context, pool, id string, progress func(done, total uint64)) error {
	return c.inPool(ctx, RemoveImage, pool, pool+"/"+id, longWrite, func(w *World, p *storedPool) error {
		i := cmp.Or(p.images[id], p.halves[id])
		switch {
		case i == nil:
			return ceph.Refused(syscall.ENOENT, fmt.Sprintf("no image with id %q in pool %q", id, pool))
		case slices.ContainsFunc(i.watchers, func(by string) bool { _, cutOff := w.blocklist[by]; return !cutOff }):
			return ceph.Refused(syscall.EBUSY, fmt.Sprintf("image is open by %q", i.watchers))
		case len(i.Image.Snapshots) > 0:
			return ceph.Refused(syscall.ENOTEMPTY, "image has snapshots")
		}
		delete(p.images, id)
		delete(p.halves, id)
		if progress != nil {
			progress(i.Objects, i.Objects)
		}
		return nil
	})
}

// Snapshots implements ceph.Calls.
func (c calls) Snapshots(ctx context.Context, pool, imageID string) (snapshots []ceph.Snapshot, err error) {
	err = c.onImage(ctx, Snapshots, pool, imageID, reads, func(_ *World, _ *storedPool, i *storedImage) error {
		snapshots = slices.Clone(i.Image.Snapshots)
		return nil
	})
	return snapshots, err
}

// CreateSnapshot implements ceph.Calls.
func (c calls) CreateSnapshot(ctx context.Context, pool, imageID, name string) (made ceph.Snapshot, err error) {
	err = c.onImage(ctx, CreateSnapshot, pool, imageID, longWrite, func(w *World, _ *storedPool, i *storedImage) error {
		if slices.ContainsFunc(i.Image.Snapshots, func(s ceph.Snapshot) bool { return s.Name == name }) {
			return ceph.Refused(syscall.EEXIST, fmt.Sprintf("image has a snapshot %q already", name))
		}
		i.lastSnap++
		made = ceph.Snapshot{ID: i.lastSnap, Name: name, Size: i.Size, Created: w.now()}
		i.Image.Snapshots = append(i.Image.Snapshots, made)
		return nil
	})
	return made, err
}

// RemoveSnapshot implements ceph.Calls.
func (c calls) RemoveSnapshot(ctx context.Context, pool, imageID string, snapID uint64) error {
	return c.onImage(ctx, RemoveSnapshot, pool, imageID, longWrite, func(_ *World, _ *storedPool, i *storedImage) error {
		n := slices.IndexFunc(i.Image.Snapshots, func(s ceph.Snapshot) bool { return s.ID == snapID })
		switch {
		case n < 0:
			return ceph.Refused(syscall.ENOENT, fmt.Sprintf("image has no snapshot %d", snapID))
		case i.Image.Snapshots[n].Protected:
			return ceph.Refused(syscall.EBUSY, fmt.Sprintf("snapshot %q is protected", i.Image.Snapshots[n].Name))
		}
		i.Image.Snapshots = slices.Delete(i.Image.Snapshots, n, n+1)
		return nil
	})
}
