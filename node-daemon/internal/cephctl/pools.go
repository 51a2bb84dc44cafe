package cephctl

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"syscall"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// poolData is what a client is told of a pool.
type poolData struct {
	Pool string `json:"pool"`
	ID   int64  `json:"id"`
	PGs  int    `json:"pgs"`
}

// findPool looks a pool up, nil if there is none of that name.
func (t *task) findPool(ctx context.Context, name string) (*ceph.Pool, error) {
	pools, err := t.Pools(ctx)
	if err != nil {
		return nil, err
	}
	if at := slices.IndexFunc(pools, func(p ceph.Pool) bool { return p.Name == name }); at >= 0 {
		return &pools[at], nil
	}
	return nil, nil
}

// poolAdd makes a pool for volumes.
func (t *task) poolAdd(ctx context.Context, a command.PoolAdd) (command.Outcome, error) {
	found, err := t.findPool(ctx, a.Pool)
	if err != nil {
		return command.Outcome{}, err
	}
	if err := decidePoolAdd(t.note, found, a); err != nil {
		return command.Outcome{}, err
	}
	var pool ceph.Pool
	if found != nil { // by an earlier attempt, which may not have come to its end
		pool, err = t.InitPool(ctx, a.Pool, found.ID)
	} else {
		if err := t.remember(ctx, note{Absent: true}); err != nil {
			return command.Outcome{}, err
		}
		pool, err = t.CreatePool(ctx, a.Pool, a.PGs)
	}
	if err != nil {
		return command.Outcome{}, err
	}
	return command.Outcome{
		Message: fmt.Sprintf("pool %s with %d placement groups is made%s", a.Pool, pool.PGs, uneven(pool.PGs)),
		Data:    poolData{Pool: a.Pool, ID: pool.ID, PGs: pool.PGs}, Records: build(func(e *edit) { e.putPool(pool) }),
	}, nil
}

// uneven remarks on a number that gives placement groups of two sizes.
func uneven(pgs int) string {
	if pgs&(pgs-1) == 0 {
		return ""
	}
	return "; not being a power of two, they are of two sizes"
}

// decidePoolAdd refuses a pool that no earlier attempt can have made.
func decidePoolAdd(n *note, found *ceph.Pool, a command.PoolAdd) error {
	switch {
	case found == nil:
		return nil
	case n == nil:
		return ceph.Refused(syscall.EEXIST, fmt.Sprintf("pool '%s' already exists", a.Pool))
	case found.PGs != a.PGs:
		return ceph.Refused(syscall.EEXIST, fmt.Sprintf("a pool '%s' with %d placement groups has appeared meanwhile", a.Pool, found.PGs))
	}
	return nil
}

// poolRemove removes a pool with all volumes in it.
func (t *task) poolRemove(ctx context.Context, a command.PoolRemove) (command.Outcome, error) {
	found, err := t.findPool(ctx, a.Pool)
	if err != nil {
		return command.Outcome{}, err
	}
	if found == nil && t.note == nil {
		return command.Outcome{}, ceph.Refused(syscall.ENOENT, fmt.Sprintf("no such pool %q", a.Pool))
	}
	if t.note == nil {
		if err := t.poolUnused(ctx, a.Pool); err != nil {
			return command.Outcome{}, err
		}
		if err := t.remember(ctx, note{Pool: found.ID}); err != nil {
			return command.Outcome{}, err
		}
	}
	if found != nil && found.ID == t.note.Pool {
		if err := t.RemovePool(ctx, a.Pool, t.note.Pool); err != nil && !errs.Is(err, errs.NotFound) {
			return command.Outcome{}, err
		}
	}
	id := t.note.Pool
	if err := t.dropMany(ctx, a.Pool, id); err != nil {
		t.executor.Logger.Warn("records of a removed pool follow", "pool", a.Pool, "err", err)
	}
	return command.Outcome{
		Message: fmt.Sprintf("pool %s and all volumes in it are removed", a.Pool),
		Records: build(func(e *edit) {
			if samePool(e.s, a.Pool, id) {
				e.dropVolumes(a.Pool, noLimit)
				e.dropPool(a.Pool)
			}
		}),
	}, nil
}

// samePool reports whether the record of a pool may be that of this id.
func samePool(s *view.Snapshot, pool string, id int64) bool {
	p, there := s.Pool(pool)
	return there && (p.Stats == nil || p.Stats.ID == id)
}

// poolUnused refuses a pool with a volume that a VM names or a client has open.
func (t *task) poolUnused(ctx context.Context, pool string) error {
	users, err := t.executor.Users(ctx, pool, "")
	if err != nil {
		return fmt.Errorf("find out which VMs use volumes of pool %s: %w", pool, err)
	}
	if len(users) > 0 {
		volume := slices.Min(slices.Collect(maps.Keys(users)))
		return errs.Conflictf("pool %s cannot be removed: volume %s/%s is a disk of %s", pool, pool, volume, listed(users[volume]))
	}
	images, err := t.Images(ctx, pool)
	if err != nil {
		return err
	}
	for _, i := range images {
		if len(i.Watchers) > 0 {
			return inUse(i, "removed with its pool")
		}
	}
	return nil
}

// manyVolumes is the number of volumes whose records fit into one transaction with ease,
// if they have no more than some snapshots.
const (
	manyVolumes = 200
	noLimit     = 1 << 30
	dropBytes   = coord.MaxTxnBytes / 4
)

// dropVolumes deletes records of volumes, some of them if there are more than that or the
// transaction becomes large.
func (e *edit) dropVolumes(pool string, most int) (more bool) {
	for n, v := range e.s.Volumes(pool) {
		if n == most || most != noLimit && e.txn.Bytes() > dropBytes {
			return true
		}
		e.dropVolume(pool, v.Name)
	}
	return false
}

// dropMany deletes records of volumes of a removed pool that are too many for the
// transaction of the result.
func (t *task) dropMany(ctx context.Context, pool string, id int64) error {
	for {
		var e *edit
		more := false
		t.executor.View.Read(func(s *view.Snapshot) {
			if e = (&edit{s: s}); samePool(s, pool, id) {
				more = e.dropVolumes(pool, manyVolumes)
			}
		})
		if !more {
			return nil
		}
		if err := t.Commit(ctx, e.txn); err != nil {
			return err
		}
		if err := t.executor.View.Sync(ctx); err != nil {
			return err
		}
	}
}
