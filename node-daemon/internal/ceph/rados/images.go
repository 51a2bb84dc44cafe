package rados

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	gorados "github.com/ceph/go-ceph/rados"
	gorbd "github.com/ceph/go-ceph/rbd"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// inPool is call with a pool opened.
func inPool[T any](ctx context.Context, c calls, what, pool string, p purpose, e effect, fn func(*link, *gorados.IOContext) (T, error)) (T, error) {
	return call(ctx, c, what, p, e, func(l *link, conn *gorados.Conn) (T, error) {
		io, err := openPool(conn, pool)
		if err != nil {
			var none T
			return none, notSent{err}
		}
		defer io.Destroy()
		return fn(l, io)
	})
}

func openPool(conn *gorados.Conn, pool string) (*gorados.IOContext, error) {
	io, err := conn.OpenIOContext(pool)
	switch numberOf(err) {
	case 0:
		return io, err
	case syscall.ENOENT:
		return nil, ceph.Refused(syscall.ENOENT, fmt.Sprintf("no such pool %q", pool))
	}
	return nil, refusal(err, "")
}

// onImage is inPool with an image opened by id, for reading.
func onImage[T any](ctx context.Context, c calls, what, pool, id string, fn func(*link, *gorbd.Image) (T, error)) (T, error) {
	return inPool(ctx, c, fmt.Sprintf("%s %s/%s", what, pool, id), pool, short, reads, func(l *link, io *gorados.IOContext) (T, error) {
		return withImage(io, pool, id, gorbd.OpenImageByIdReadOnly, func(image *gorbd.Image) (T, error) { return fn(l, image) })
	})
}

// withImage opens an image by what open takes, and closes it.
func withImage[T any](io *gorados.IOContext, pool, key string, open func(*gorados.IOContext, string, string) (*gorbd.Image, error), fn func(*gorbd.Image) (T, error)) (value T, err error) {
	image, err := open(io, key, gorbd.NoSnapshot)
	if err != nil {
		if numberOf(err) == syscall.ENOENT {
			return value, noImage(pool, key)
		}
		return value, refusal(err, "")
	}
	defer func() {
		if closing := image.Close(); err == nil {
			err = refusal(closing, "")
		}
	}()
	return fn(image)
}

// Image implements ceph.Calls.
func (c calls) Image(ctx context.Context, pool, name string) (ceph.Image, error) {
	what := fmt.Sprintf("read image %s/%s", pool, name)
	return inPool(ctx, c, what, pool, short, reads, func(l *link, io *gorados.IOContext) (ceph.Image, error) {
		if none, err := absent(io, name); err != nil || none {
			return ceph.Image{}, cmp.Or(err, noImage(pool, name))
		}
		i, err := readImage(l, io, pool, name)
		if err != nil || i.OldFormat {
			return i, err
		}
		// librbd still opens the name that a renaming has left behind.
		if id, err := absentIsEmpty(idOf(io, name)); err != nil || id != i.ID {
			return ceph.Image{}, cmp.Or(err, noImage(pool, name))
		}
		return i, nil
	})
}

func noImage(pool, key string) error {
	return ceph.Refused(syscall.ENOENT, fmt.Sprintf("no image %q in pool %q", key, pool))
}

// ImageByID implements ceph.Calls.
func (c calls) ImageByID(ctx context.Context, pool, id string) (ceph.Image, error) {
	what := fmt.Sprintf("read image %s/%s", pool, id)
	return inPool(ctx, c, what, pool, short, reads, func(l *link, io *gorados.IOContext) (ceph.Image, error) {
		name, err := named(io, pool, id)
		if err != nil {
			return ceph.Image{}, err
		}
		return withImage(io, pool, id, gorbd.OpenImageByIdReadOnly, func(image *gorbd.Image) (ceph.Image, error) {
			return describe(l, image, name)
		})
	})
}

func readImage(l *link, io *gorados.IOContext, pool, name string) (ceph.Image, error) {
	return withImage(io, pool, name, gorbd.OpenImageReadOnly, func(image *gorbd.Image) (ceph.Image, error) {
		return describe(l, image, name)
	})
}

// describe reads what an open image knows, and asks the OSD who has it open.
func describe(l *link, image *gorbd.Image, name string) (i ceph.Image, err error) {
	i.Name = name
	if i.OldFormat, err = image.IsOldFormat(); err != nil {
		return i, refusal(err, "")
	}
	if !i.OldFormat {
		if i.ID, err = image.GetId(); err != nil {
			return i, refusal(err, "")
		}
	}
	info, err := image.Stat()
	if err != nil {
		return i, refusal(err, "")
	}
	i.Size, i.Objects, i.Order, i.Prefix = info.Size, info.Num_objs, info.Order, info.Block_name_prefix
	features, err := image.GetFeatures()
	if err != nil {
		return i, refusal(err, "")
	}
	i.Features = featureNames(features)
	created, err := image.GetCreateTimestamp()
	if err != nil {
		return i, refusal(err, "")
	}
	i.Created = time.Unix(created.Sec, created.Nsec).UTC()
	if i.Parent, err = parentOf(image); err != nil {
		return i, err
	}
	if i.Snapshots, err = snapshotsOf(image); err != nil {
		return i, err
	}
	watchers, err := watchersOf(l, image)
	if len(watchers) > 0 {
		i.Watchers = watchers
	}
	return i, err
}

func parentOf(image *gorbd.Image) (string, error) {
	parent, err := image.GetParent()
	switch {
	case numberOf(err) == syscall.ENOENT:
		return "", nil
	case err != nil:
		return "", refusal(err, "")
	}
	return fmt.Sprintf("%s/%s@%s", parent.Image.PoolName, parent.Image.ImageName, parent.Snap.SnapName), nil
}

// featureBits are the names of features in the order of their bits, as `rbd info` has them.
var featureBits = []string{
	"layering", "striping", "exclusive-lock", "object-map", "fast-diff", "deep-flatten", "journaling", "data-pool",
	"operations", "migrating",
}

func featureNames(bits uint64) []string {
	names := []string{}
	for n, name := range featureBits {
		if bits&(1<<n) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// Trash implements ceph.Calls.
func (c calls) Trash(ctx context.Context, pool string) ([]ceph.Trashed, error) {
	what := fmt.Sprintf("list the trash of pool %q", pool)
	return inPool(ctx, c, what, pool, short, reads, func(_ *link, io *gorados.IOContext) ([]ceph.Trashed, error) {
		list, err := gorbd.GetTrashList(io)
		if err != nil {
			return nil, refusal(err, "")
		}
		trash := make([]ceph.Trashed, 0, len(list))
		for _, t := range list {
			trash = append(trash, ceph.Trashed{ID: t.Id, Name: t.Name, Deleted: t.DeletionTime.UTC(), Expires: t.DefermentEndTime.UTC()})
		}
		slices.SortFunc(trash, func(a, b ceph.Trashed) int { return cmp.Compare(a.ID, b.ID) })
		return trash, nil
	})
}

// Watchers implements ceph.Calls.
func (c calls) Watchers(ctx context.Context, pool, imageID string) ([]string, error) {
	return onImage(ctx, c, "list who has open image", pool, imageID, watchersOf)
}

// watchersOf leaves out this daemon's own clients: long work of another call may have the
// image open.
func watchersOf(l *link, image *gorbd.Image) ([]string, error) {
	list, err := image.ListWatchers()
	if err != nil {
		return nil, refusal(err, "")
	}
	watchers := []string{}
	for _, w := range list {
		address, err := plainAddress(w.Addr)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(l.clients, address) {
			watchers = append(watchers, address)
		}
	}
	return sorted(watchers), nil
}
