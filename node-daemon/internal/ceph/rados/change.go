package rados

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	gorados "github.com/ceph/go-ceph/rados"
	gorbd "github.com/ceph/go-ceph/rbd"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// The features that an image may get by default, and those it gets in any case.
const (
	usualFeatures  = gorbd.FeatureLayering | gorbd.FeatureExclusiveLock | gorbd.FeatureObjectMap | gorbd.FeatureFastDiff | gorbd.FeatureDeepFlatten
	neededFeatures = gorbd.FeatureLayering | gorbd.FeatureExclusiveLock
)

// CreateImage implements ceph.Calls.
func (c calls) CreateImage(ctx context.Context, pool, name string, size uint64) (ceph.Image, error) {
	made, err := c.createImage(ctx, pool, name, size, nil)
	var half unfinished
	if !errors.As(err, &half) {
		return made, err
	}
	age := time.NewTimer(remnantAge)
	defer age.Stop()
	select {
	case <-age.C:
		return c.createImage(ctx, pool, name, size, &half.found)
	case <-ctx.Done():
		return made, err
	}
}

// createImage makes an image, and clears away first what is left of one and was seen before.
func (c calls) createImage(ctx context.Context, pool, name string, size uint64, seen *anatomy) (ceph.Image, error) {
	what := fmt.Sprintf("create image %s/%s", pool, name)
	return call(ctx, c, what, short, changes, func(_ *link, conn *gorados.Conn) (none ceph.Image, err error) {
		io, err := openPool(conn, pool)
		if err != nil {
			return none, notSent{err}
		}
		defer io.Destroy()
		features, err := defaultFeatures(conn)
		if err != nil {
			return none, notSent{err}
		}
		err = newImage(io, name, size, features)
		if ceph.NumberOf(err) == syscall.EEXIST {
			if err := clearName(io, pool, name, seen); err != nil {
				return none, err
			}
			err = newImage(io, name, size, features)
		}
		if err != nil {
			return none, err
		}
		return describeNew(io, name, features)
	})
}

func newImage(io *gorados.IOContext, name string, size, features uint64) error {
	options := gorbd.NewRbdImageOptions()
	defer options.Destroy()
	if err := options.SetUint64(gorbd.ImageOptionFeatures, features); err != nil {
		return notSent{refusal(err, "")}
	}
	return refusal(gorbd.CreateImage(io, name, size, options), "")
}

func taken(pool, name string) error {
	return ceph.Refused(syscall.EEXIST, fmt.Sprintf("pool %q has an image %q already", pool, name))
}

// defaultFeatures are those of the configuration, as far as this system can use them.
func defaultFeatures(conn *gorados.Conn) (uint64, error) {
	text, err := conn.GetConfigOption("rbd_default_features")
	if err != nil {
		return 0, refusal(err, "")
	}
	bits, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		bits = uint64(gorbd.FeatureSetFromNames(strings.Split(text, ",")))
	}
	bits = bits&usualFeatures | neededFeatures
	if bits&gorbd.FeatureObjectMap == 0 {
		bits &^= gorbd.FeatureFastDiff
	}
	return bits, nil
}

// found is what was found out about an image before its removal.
type found struct {
	name    string
	removed bool // in part: see beingRemoved
}

// find looks for an image on the connection for short work: if Ceph does not answer, nothing
// has been sent yet.
func (c calls) find(ctx context.Context, what, pool, id string) (found, error) {
	return inPool(ctx, c, what, pool, short, reads, func(_ *link, io *gorados.IOContext) (f found, err error) {
		f.name, err = named(io, pool, id)
		if ceph.NumberOf(err) == syscall.ENOENT {
			var failed error
			if f.removed, failed = beingRemoved(io, id); failed != nil {
				err = failed
			}
		}
		return f, err
	})
}

// longWork runs fn on the connection for long work.
func (c calls) longWork(ctx context.Context, what, pool string, fn func(*gorados.IOContext) error) error {
	_, err := inPool(ctx, c, what, pool, long, changes, func(_ *link, io *gorados.IOContext) (struct{}, error) {
		return struct{}{}, fn(io)
	})
	return err
}

// onOpen is longWork with an image opened for writing, after a glance at it on the
// connection for short work: if Ceph does not answer, nothing has been sent yet.
func onOpen[T any](ctx context.Context, c calls, what, pool, id string, fn func(*gorbd.Image) (T, error)) (none T, err error) {
	if _, err := inPool(ctx, c, what, pool, short, reads, func(_ *link, io *gorados.IOContext) (string, error) {
		return glance(io, pool, id)
	}); err != nil {
		return none, err
	}
	return inPool(ctx, c, what, pool, long, changes, func(_ *link, io *gorados.IOContext) (T, error) {
		return withImage(io, pool, id, gorbd.OpenImageById, fn)
	})
}

// ResizeImage implements ceph.Calls.
func (c calls) ResizeImage(ctx context.Context, pool, id string, size uint64, shrink bool) error {
	what := fmt.Sprintf("resize image %s/%s to %d bytes", pool, id, size)
	_, err := onOpen(ctx, c, what, pool, id, func(image *gorbd.Image) (struct{}, error) {
		return struct{}{}, resizeImage(image, size, shrink)
	})
	return err
}

func resizeImage(image *gorbd.Image, size uint64, shrink bool) error {
	now, err := image.GetSize()
	if err != nil {
		return notSent{refusal(err, "")}
	}
	if size < now && !shrink {
		return notSent{ceph.Refused(syscall.EINVAL, fmt.Sprintf("shrinking from %d to %d bytes was not asked for", now, size))}
	}
	return refusal(image.Resize2(size, shrink, func(_, _ uint64, _ any) int { return 0 }, nil), "")
}

// RenameImage implements ceph.Calls.
func (c calls) RenameImage(ctx context.Context, pool, id, to string) error {
	what := fmt.Sprintf("rename image %s/%s to %q", pool, id, to)
	name, err := inPool(ctx, c, what, pool, short, reads, func(_ *link, io *gorados.IOContext) (string, error) {
		return glance(io, pool, id)
	})
	if err != nil || name == to {
		return err
	}
	return c.longWork(ctx, what, pool, func(io *gorados.IOContext) error {
		if err := stillNamed(io, pool, name, id); err != nil {
			return notSent{err}
		}
		if err := clearTarget(io, id, to); err != nil {
			return notSent{err}
		}
		err := gorbd.GetImage(io, name).Rename(to)
		if numberOf(err) == syscall.EEXIST {
			return taken(pool, to)
		}
		return refusal(err, "")
	})
}

// RemoveImage implements ceph.Calls.
func (c calls) RemoveImage(ctx context.Context, pool, id string, progress func(done, total uint64)) error {
	what := fmt.Sprintf("remove image %s/%s", pool, id)
	limit, cancel := context.WithTimeout(ctx, watchLimit)
	defer cancel()
	looks := time.NewTicker(watchLooks)
	defer looks.Stop()
	for gone := false; ; {
		err := c.removeWhole(ctx, what, pool, id, progress)
		if ceph.NumberOf(err) != syscall.EBUSY {
			return err
		}
		by, off, werr := c.holders(ctx, what, pool, id)
		if len(by) == 0 && werr == nil && !gone { // they have let go of it meanwhile
			gone = true
			continue
		}
		if werr != nil || len(by) == 0 {
			return err
		}
		if !off || limit.Err() != nil {
			return fmt.Errorf("%s: %w", what, ceph.Refused(syscall.EBUSY, fmt.Sprintf("image is open by %q", by)))
		}
		select {
		case <-looks.C:
		case <-limit.Done():
		}
	}
}

// Watches of a client that was cut off end when the OSD concerned learns of it, which takes
// a moment, and at the latest after Ceph's watch timeout of 30 s.
const (
	watchLooks = 100 * time.Millisecond
	watchLimit = 35 * time.Second
)

// holders are the clients that have an image open, and whether all of them were cut off.
func (c calls) holders(ctx context.Context, what, pool, id string) (by []string, off bool, err error) {
	if by, err = c.Watchers(ctx, pool, id); err != nil || len(by) == 0 {
		return by, false, err
	}
	off, err = call(ctx, c, what, short, reads, func(_ *link, conn *gorados.Conn) (bool, error) { return allCutOff(conn, by) })
	return by, off, err
}

func (c calls) removeWhole(ctx context.Context, what, pool, id string, progress func(done, total uint64)) error {
	f, err := c.find(ctx, what, pool, id)
	if f.removed { // somebody has not come to the end of it, and its name is not its own any more
		return c.longWork(ctx, what, pool, func(io *gorados.IOContext) error { return inWords(removeTrashed(io, id, progress)) })
	}
	if err != nil {
		return err
	}
	return c.longWork(ctx, what, pool, func(io *gorados.IOContext) error {
		if err := stillNamed(io, pool, f.name, id); err != nil {
			return notSent{err}
		}
		return inWords(removeImage(io, f.name, progress))
	})
}

// inWords says what librbd's numbers mean when it removes an image: it logs the words and
// returns only the number.
func inWords(err error) error {
	switch number := ceph.NumberOf(err); number {
	case syscall.ENOTEMPTY:
		return ceph.Refused(number, "image has snapshots")
	case syscall.EBUSY:
		return ceph.Refused(number, "image is open by another client")
	}
	return err
}
