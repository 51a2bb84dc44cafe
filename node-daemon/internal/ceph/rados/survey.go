package rados

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	gorados "github.com/ceph/go-ceph/rados"
	gorbd "github.com/ceph/go-ceph/rbd"
	"golang.org/x/sync/errgroup"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// listPart is how many images of a list one call reads.
const listPart = 256

// Images implements ceph.Calls.
func (c calls) Images(ctx context.Context, pool string) ([]ceph.Image, error) {
	return c.list(ctx, pool, openEntry)
}

// Survey implements ceph.Calls.
func (c calls) Survey(ctx context.Context, pool string) ([]ceph.Image, error) {
	images, err := c.list(ctx, pool, c.cluster.known.read)
	if err == nil {
		c.cluster.known.forget()
	}
	return images, err
}

// read reads an image of a list.
type read func(l *link, io *gorados.IOContext, pool string, e entry) (ceph.Image, error)

// openEntry opens an image to read it.
func openEntry(l *link, io *gorados.IOContext, pool string, e entry) (ceph.Image, error) {
	key, open := e.id, gorbd.OpenImageByIdReadOnly
	if e.id == "" {
		key, open = e.name, gorbd.OpenImageReadOnly
	}
	return withImage(io, pool, key, open, func(image *gorbd.Image) (ceph.Image, error) {
		return describe(l, image, e.name)
	})
}

// list reads all images of a pool, in parts.
func (c calls) list(ctx context.Context, pool string, one read) ([]ceph.Image, error) {
	what := fmt.Sprintf("list the images of pool %q", pool)
	entries, err := inPool(ctx, c, what, pool, short, reads, func(_ *link, io *gorados.IOContext) ([]entry, error) {
		all, err := listImages(io)
		if err != nil {
			return nil, err
		}
		return distinct(io, all)
	})
	if err != nil {
		return nil, err
	}
	var images []ceph.Image
	for part := range slices.Chunk(entries, listPart) {
		some, err := call(ctx, c, what, short, reads, func(l *link, conn *gorados.Conn) ([]ceph.Image, error) {
			return readPart(l, conn, pool, part, one)
		})
		if err != nil {
			return nil, err
		}
		images = append(images, some...)
	}
	slices.SortFunc(images, func(a, b ceph.Image) int { return cmp.Compare(a.Name, b.Name) })
	return images, nil
}

// distinct leaves out images that are being removed, which librbd lists too, where another
// image has their name: an object has one record.
func distinct(io *gorados.IOContext, all []entry) ([]entry, error) {
	times := map[string]int{}
	for _, e := range all {
		times[e.name]++
	}
	if len(times) == len(all) {
		return all, nil
	}
	owner, kept := map[string]string{}, all[:0]
	for _, e := range all {
		if times[e.name] > 1 {
			if _, asked := owner[e.name]; !asked {
				id, err := absentIsEmpty(idOf(io, e.name))
				if err != nil {
					return nil, err
				}
				owner[e.name] = cmp.Or(id, e.id) // of several that are being removed, one
			}
			if owner[e.name] != e.id {
				continue
			}
			owner[e.name] = "-" // not the same a second time
		}
		kept = append(kept, e)
	}
	return kept, nil
}

// readPart reads some images, each worker with a pool of its own: the version of the last
// object read is kept there.
func readPart(l *link, conn *gorados.Conn, pool string, entries []entry, one read) ([]ceph.Image, error) {
	images := make([]*ceph.Image, len(entries))
	var next atomic.Int64
	var all errgroup.Group
	for range min(listParallel, len(entries)) {
		all.Go(func() error {
			io, err := openPool(conn, pool)
			if err != nil {
				return err
			}
			defer io.Destroy()
			for n := next.Add(1) - 1; n < int64(len(entries)); n = next.Add(1) - 1 {
				image, err := one(l, io, pool, entries[n])
				switch {
				case err == nil:
					images[n] = &image
				case ceph.NumberOf(err) != syscall.ENOENT: // else it has vanished meanwhile
					return err
				}
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		return nil, err
	}
	var found []ceph.Image
	for _, i := range images {
		if i != nil {
			found = append(found, *i)
		}
	}
	return found, nil
}

// known keeps what surveys have read. The header of an image has a version that grows with
// every change but that of its watchers: to ask for it costs a fiftieth of opening the image.
type known struct {
	mu     sync.Mutex
	images map[knownKey]knownImage
}

type knownKey struct {
	pool int64
	id   string
}

type knownImage struct {
	version uint64
	image   ceph.Image
	until   time.Time // then its watchers are too old
}

// read is openEntry, if that was not done lately.
func (k *known) read(l *link, io *gorados.IOContext, pool string, e entry) (ceph.Image, error) {
	if e.id == "" {
		return openEntry(l, io, pool, e)
	}
	if _, err := io.Stat(headerPrefix + e.id); err != nil {
		return ceph.Image{}, refusal(err, "")
	}
	version, err := io.GetLastVersion()
	if err != nil {
		return ceph.Image{}, refusal(err, "")
	}
	key := knownKey{io.GetPoolID(), e.id}
	if image, ok := k.find(key, version); ok {
		image.Name = e.name
		return image, nil
	}
	image, err := openEntry(l, io, pool, e)
	if err == nil {
		k.keep(key, version, image)
	}
	return image, err
}

func (k *known) find(key knownKey, version uint64) (ceph.Image, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	found, ok := k.images[key]
	i := found.image
	i.Features, i.Snapshots, i.Watchers = slices.Clone(i.Features), slices.Clone(i.Snapshots), slices.Clone(i.Watchers)
	return i, ok && found.version == version && time.Now().Before(found.until)
}

// keep draws a life time, so that what was read together is not read together again.
func (k *known) keep(key knownKey, version uint64, image ceph.Image) {
	const margin = ceph.CallTimeout // between the look at the watchers and the end of the list
	longest := ceph.SurveyAge - margin
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.images == nil {
		k.images = map[knownKey]knownImage{}
	}
	k.images[key] = knownImage{version, image, time.Now().Add(longest/2 + rand.N(longest/2))}
}

// forget drops what nobody has asked for since it was too old: the images are gone.
func (k *known) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	for key, found := range k.images {
		if time.Since(found.until) > ceph.SurveyAge {
			delete(k.images, key)
		}
	}
}
