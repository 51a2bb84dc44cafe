package fake

import (
	"context"
	"fmt"
	"slices"
	"syscall"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// Pools implements ceph.Calls.
func (c calls) Pools(ctx context.Context) (pools []ceph.Pool, err error) {
	err = c.do(ctx, Pools, "", asks, func(w *World) error {
		for _, name := range sortedKeys(w.pools) {
			pools = append(pools, w.pools[name].Pool)
		}
		return nil
	})
	return pools, err
}

// CreatePool implements ceph.Calls.
func (c calls) CreatePool(ctx context.Context, name string, pgs int) (made ceph.Pool, err error) {
	err = c.toMonitor(ctx, CreatePool, name, func(w *World) error {
		switch {
		case w.pools[name] != nil:
			return ceph.Refused(syscall.EEXIST, fmt.Sprintf("pool '%s' already exists", name))
		case pgs <= 0:
			return ceph.Refused(syscall.EINVAL, fmt.Sprintf("pg_num must be greater than 0, you set %d", pgs))
		case pgs > 65536:
			return ceph.Refused(syscall.ERANGE, fmt.Sprintf("'pg_num' must be greater than 0 and less than or equal to 65536 (you may adjust 'mon max pool pg num' for higher values), you set %d", pgs))
		}
		return nil
	}, func(w *World) {
		if w.pools[name] == nil {
			w.lastPool++
			made = ceph.Pool{ID: w.lastPool, Name: name, PGs: pgs, Size: 3, MinSize: 2, Application: "rbd"}
			w.pools[name] = &storedPool{Pool: made, images: map[string]*storedImage{}}
		}
	})
	return made, err
}

// toMonitor is a command for a monitor: looks say whether it is sent. See BeforeSending.
func (c calls) toMonitor(ctx context.Context, m Method, name string, looks func(*World) error, send func(*World)) error {
	wait := c.client.sends(m)
	u := c.client.enter()
	defer c.client.leave(u)
	err := c.do(ctx, m, name, commands, func(w *World) error {
		err := looks(w)
		if err == nil && wait == nil {
			send(w)
		}
		return err
	})
	if err != nil || wait == nil {
		return err
	}
	wait(name)
	c.client.world.mu.Lock()
	defer c.client.world.mu.Unlock()
	send(c.client.world)
	return nil
}

// Uninitialise takes a pool back to the moment before InitPool. It reports whether there
// is such a pool.
func (w *World) Uninitialise(name string) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.pools[name]
	if p != nil {
		p.Application = ""
	}
	return p != nil
}

// poolWithID finds the pool of that name and id. The caller holds the lock.
func (w *World) poolWithID(name string, id int64) (*storedPool, error) {
	p, err := w.pool(name)
	if err == nil && p.ID != id {
		err = errs.NotFoundf("pool %q has id %d now, not %d", name, p.ID, id)
	}
	return p, err
}

// InitPool implements ceph.Calls.
func (c calls) InitPool(ctx context.Context, name string, id int64) (made ceph.Pool, err error) {
	err = c.do(ctx, InitPool, name, commands, func(w *World) error {
		p, err := w.poolWithID(name, id)
		if err != nil {
			return err
		}
		p.Application = "rbd"
		made = p.Pool
		return nil
	})
	return made, err
}

// RemovePool implements ceph.Calls.
func (c calls) RemovePool(ctx context.Context, name string, id int64) error {
	return c.toMonitor(ctx, RemovePool, name, func(w *World) error {
		_, err := w.poolWithID(name, id)
		return err
	}, func(w *World) { delete(w.pools, name) })
}

// pool finds a pool by name. The caller holds the lock.
func (w *World) pool(name string) (*storedPool, error) {
	if p := w.pools[name]; p != nil {
		return p, nil
	}
	return nil, ceph.Refused(syscall.ENOENT, fmt.Sprintf("no such pool %q", name))
}

// byName finds an image; nil if there is none.
func (p *storedPool) byName(name string) *storedImage {
	for _, i := range p.images {
		if i.Name == name {
			return i
		}
	}
	return nil
}

// copied returns an image that shares nothing with the world.
func (i *storedImage) copied() ceph.Image {
	r := i.Image
	r.Features, r.Snapshots = slices.Clone(r.Features), slices.Clone(r.Snapshots)
	if len(i.watchers) > 0 {
		r.Watchers = slices.Sorted(slices.Values(i.watchers))
	}
	return r
}
