package fake

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// fsid is that of every fake cluster.
const fsid = "4f0e9a52-6a3c-4a51-9d0b-5d1c8f2b7a10"

// DefaultFeatures is what a new image has.
var DefaultFeatures = []string{"layering", "exclusive-lock", "object-map", "fast-diff", "deep-flatten"}

// World is a cluster.
type World struct {
	mu        sync.Mutex // guards everything below
	osds      map[int]*osd
	pools     map[string]*storedPool
	flags     map[string]bool
	blocklist map[string]time.Duration // address: life of the entry
	stopped   chan struct{}            // not nil while nothing answers
	lastPool  int64
	lastImage int
	lastNonce int
	clock     time.Time // of creations
}

type osd struct {
	ceph.OSD
	secret string
	unsafe string // why it cannot be destroyed
}

type storedPool struct {
	ceph.Pool
	images map[string]*storedImage // by id
	halves map[string]*storedImage // by id: half removed
	trash  []ceph.Trashed
}

type storedImage struct {
	ceph.Image
	lastSnap uint64
	watchers []string
}

// NewWorld returns a cluster without OSDs and pools.
func NewWorld() *World {
	return &World{
		osds: map[int]*osd{}, pools: map[string]*storedPool{}, flags: map[string]bool{"sortbitwise": true},
		blocklist: map[string]time.Duration{}, clock: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
	}
}

// Connect returns a new client.
func (w *World) Connect() *Client {
	w.mu.Lock()
	defer w.mu.Unlock()
	c := &Client{world: w, clients: w.addresses()}
	c.calls = calls{client: c}
	return c
}

// addresses draws those of a new client. The caller holds the lock.
func (w *World) addresses() []string {
	w.lastNonce += 2
	return []string{fmt.Sprintf("192.0.2.1:0/%d", 1000+w.lastNonce), fmt.Sprintf("192.0.2.1:0/%d", 1001+w.lastNonce)}
}

// Stop makes the whole cluster hang, as monitors that are stopped, until Cont.
func (w *World) Stop() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped == nil {
		w.stopped = make(chan struct{})
	}
}

// Cont ends what Stop began.
func (w *World) Cont() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.stopped != nil {
		close(w.stopped)
		w.stopped = nil
	}
}

// AddOSD puts an OSD into the map as it is given.
func (w *World) AddOSD(o ceph.OSD) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.osds[o.ID] = &osd{OSD: o, secret: fmt.Sprintf("secret-%d", o.ID)}
}

// SetUnsafe makes SafeToDestroy answer no for that reason, or yes if it is empty. It
// reports whether there is such an OSD.
func (w *World) SetUnsafe(id int, why string) bool {
	return w.onOSD(id, func(o *osd) { o.unsafe = why })
}

// SetUp says whether an OSD's process runs. It reports whether there is such an OSD.
func (w *World) SetUp(id int, up bool) bool {
	return w.onOSD(id, func(o *osd) { o.Up, o.Booted = up, o.Booted || up })
}

func (w *World) onOSD(id int, fn func(*osd)) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	o := w.osds[id]
	if o != nil {
		fn(o)
	}
	return o != nil
}

// SetPoolStats says what a pool holds. It reports whether there is such a pool.
func (w *World) SetPoolStats(name string, s ceph.PoolStats) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.pools[name]
	if p != nil {
		p.Stats = s
	}
	return p != nil
}

// Watch has the client at that address open an image, until Unwatch. Both report whether
// there is such an image.
func (w *World) Watch(pool, imageID, address string) bool {
	return w.onImage(pool, imageID, func(i *storedImage) { i.watchers = append(i.watchers, address) })
}

// Unwatch ends what Watch began.
func (w *World) Unwatch(pool, imageID, address string) bool {
	return w.onImage(pool, imageID, func(i *storedImage) {
		i.watchers = slices.DeleteFunc(i.watchers, func(a string) bool { return a == address })
	})
}

// Protect protects all snapshots of an image, or none. It reports whether there is such
// an image.
func (w *World) Protect(pool, imageID string, protected bool) bool {
	return w.onImage(pool, imageID, func(i *storedImage) {
		for n := range i.Image.Snapshots {
			i.Image.Snapshots[n].Protected = protected
		}
	})
}

// Discard moves an image to the trash. It reports whether there is such an image.
func (w *World) Discard(pool, imageID string) bool {
	return w.onImage(pool, imageID, func(i *storedImage) {
		p := w.pools[pool]
		p.trash = append(p.trash, ceph.Trashed{ID: i.ID, Name: i.Name, Deleted: w.clock, Expires: w.clock})
		delete(p.images, imageID)
	})
}

// HalfRemove does a part of an image's removal: it is listed still, and its name is free. It
// reports whether there is such an image.
func (w *World) HalfRemove(pool, imageID string) bool {
	return w.onImage(pool, imageID, func(i *storedImage) {
		p := w.pools[pool]
		p.halve(i)
		delete(p.images, imageID)
	})
}

func (p *storedPool) halve(i *storedImage) {
	if p.halves == nil {
		p.halves = map[string]*storedImage{}
	}
	p.halves[i.ID] = i
}

func (w *World) onImage(pool, imageID string, fn func(*storedImage)) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.pools[pool]
	if p == nil || p.images[imageID] == nil {
		return false
	}
	fn(p.images[imageID])
	return true
}

// Blocklist enters an address behind everybody's back, for that long.
func (w *World) Blocklist(address string, life time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.blocklist[address] = life
}

// Blocklisted returns the addresses that are fenced, sorted.
func (w *World) Blocklisted() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return sortedKeys(w.blocklist)
}
