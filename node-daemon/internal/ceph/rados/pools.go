package rados

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"syscall"

	gorados "github.com/ceph/go-ceph/rados"
	gorbd "github.com/ceph/go-ceph/rbd"
	"golang.org/x/sync/errgroup"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// application is what our pools are for.
const application = "rbd"

// Pools implements ceph.Calls.
func (c calls) Pools(ctx context.Context) ([]ceph.Pool, error) {
	return call(ctx, c, "list the pools", short, reads, func(_ *link, conn *gorados.Conn) ([]ceph.Pool, error) {
		m, err := readOSDMap(conn)
		if err != nil {
			return nil, err
		}
		pools := m.pools()
		var fill poolFill
		if err := (command{"prefix": "df", "detail": "detail"}).ask(conn, &fill); err != nil {
			return nil, err
		}
		stats, err := poolStats(conn, pools)
		if err != nil {
			return nil, err
		}
		for i := range pools {
			pools[i].Stats = fill.complete(pools[i].ID, stats[pools[i].Name])
		}
		return slices.DeleteFunc(pools, func(p ceph.Pool) bool { _, there := stats[p.Name]; return !there }), nil
	})
}

// pools returns the pools of a map by name, without statistics.
func (m osdMap) pools() []ceph.Pool {
	pools := make([]ceph.Pool, 0, len(m.Pools))
	for _, p := range m.Pools {
		pool := ceph.Pool{ID: p.ID, Name: p.Name, PGs: p.PGs, Size: p.Size, MinSize: p.MinSize}
		if apps := slices.Sorted(maps.Keys(p.Apps)); len(apps) > 0 {
			pool.Application = apps[0]
		}
		pools = append(pools, pool)
	}
	slices.SortFunc(pools, func(a, b ceph.Pool) int { return cmp.Compare(a.Name, b.Name) })
	return pools
}

// poolFill is the answer to `df detail`.
type poolFill struct {
	Pools []struct {
		ID    int64
		Stats struct {
			Stored   uint64
			MaxAvail uint64 `json:"max_avail"`
		}
	}
}

// complete adds what librados does not count.
func (f poolFill) complete(id int64, s poolStat) ceph.PoolStats {
	stats := ceph.PoolStats{
		UsedBytes: s.Bytes, Objects: s.Objects, Clones: s.Clones, Copies: s.Copies, Missing: s.Missing, Unfound: s.Unfound, Degraded: s.Degraded,
		ReadOps: s.ReadOps, ReadBytes: s.ReadBytes, WriteOps: s.WriteOps, WriteBytes: s.WriteBytes,
	}
	for _, p := range f.Pools {
		if p.ID == id {
			stats.StoredBytes, stats.MaxAvail = p.Stats.Stored, p.Stats.MaxAvail
		}
	}
	return stats
}

// poolStats asks for all at once: each answer comes from a monitor. A pool that vanishes
// meanwhile is left out.
func poolStats(conn *gorados.Conn, pools []ceph.Pool) (map[string]poolStat, error) {
	all := make([]*poolStat, len(pools))
	var asking errgroup.Group
	asking.SetLimit(listParallel)
	for i, p := range pools {
		asking.Go(func() error {
			io, err := openPool(conn, p.Name)
			if ceph.NumberOf(err) == syscall.ENOENT {
				return nil
			}
			if err != nil {
				return err
			}
			defer io.Destroy()
			stat, err := statPool(io)
			all[i] = &stat
			return err
		})
	}
	err := asking.Wait()
	stats := map[string]poolStat{}
	for i, p := range pools {
		if all[i] != nil {
			stats[p.Name] = *all[i]
		}
	}
	return stats, err
}

// findPool returns the pool of that name as the map has it.
func findPool(conn *gorados.Conn, name string) (ceph.Pool, error) {
	m, err := readOSDMap(conn)
	if err != nil {
		return ceph.Pool{}, err
	}
	for _, p := range m.pools() {
		if p.Name == name {
			return p, nil
		}
	}
	return ceph.Pool{}, ceph.Refused(syscall.ENOENT, fmt.Sprintf("no such pool %q", name))
}

// poolWithID is findPool, not found if the pool of that name has another id.
func poolWithID(conn *gorados.Conn, name string, id int64) (ceph.Pool, error) {
	p, err := findPool(conn, name)
	if err == nil && p.ID != id {
		err = errs.NotFoundf("pool %q has id %d now, not %d", name, p.ID, id)
	}
	return p, err
}

// CreatePool implements ceph.Calls.
func (c calls) CreatePool(ctx context.Context, name string, pgs int) (ceph.Pool, error) {
	what := fmt.Sprintf("create pool %q", name)
	if pgs <= 0 { // a monitor takes none for its default
		return ceph.Pool{}, fmt.Errorf("%s: %w", what, ceph.Refused(syscall.EINVAL, fmt.Sprintf("%d placement groups", pgs)))
	}
	return call(ctx, c, what, short, changes, func(l *link, conn *gorados.Conn) (none ceph.Pool, err error) {
		switch _, err := findPool(conn, name); {
		case err == nil: // a monitor would answer with success
			return none, notSent{ceph.Refused(syscall.EEXIST, fmt.Sprintf("pool '%s' already exists", name))}
		case ceph.NumberOf(err) != syscall.ENOENT:
			return none, notSent{err}
		}
		cmd := command{
			"prefix": "osd pool create", "pool": name, "pg_num": pgs, "pgp_num": pgs, "pool_type": "replicated", "autoscale_mode": "off",
		}
		if _, err := cmd.change(l, conn, nil); err != nil {
			return none, err
		}
		p, err := initialise(conn, name)
		if err != nil {
			err = errs.New(errs.Unknown, "the pool was made, but not initialised: %w", err)
		}
		return p, err
	})
}

// InitPool implements ceph.Calls.
func (c calls) InitPool(ctx context.Context, name string, id int64) (ceph.Pool, error) {
	what := fmt.Sprintf("initialise pool %q", name)
	return call(ctx, c, what, short, changes, func(l *link, conn *gorados.Conn) (none ceph.Pool, err error) {
		if _, err := poolWithID(conn, name, id); err != nil {
			return none, notSent{err}
		}
		off := command{"prefix": "osd pool set", "pool": name, "var": "pg_autoscale_mode", "val": "off"}
		if _, err := off.change(l, conn, nil); err != nil {
			return none, err
		}
		return initialise(conn, name)
	})
}

// initialise tells what a pool is for, and makes RBD's own objects in it.
func initialise(conn *gorados.Conn, name string) (none ceph.Pool, err error) {
	if _, err := (command{"prefix": "osd pool application enable", "pool": name, "app": application}).send(conn, nil); err != nil {
		return none, err
	}
	io, err := openPool(conn, name)
	if err != nil {
		return none, err
	}
	defer io.Destroy()
	if err := gorbd.PoolInit(io, false); err != nil {
		return none, fmt.Errorf("prepare the pool for RBD: %w", refusal(err, ""))
	}
	return findPool(conn, name)
}

// RemovePool implements ceph.Calls.
func (c calls) RemovePool(ctx context.Context, name string, id int64) error {
	what := fmt.Sprintf("remove pool %q with id %s", name, strconv.FormatInt(id, 10))
	_, err := call(ctx, c, what, short, changes, func(l *link, conn *gorados.Conn) (struct{}, error) {
		if err := notFenced(l, conn); err != nil { // first: nothing may come between the next two
			return struct{}{}, notSent{err}
		}
		if _, err := poolWithID(conn, name, id); err != nil {
			return struct{}{}, notSent{err}
		}
		l.step("ceph osd pool delete")
		_, err := command{"prefix": "osd pool delete", "pool": name, "pool2": name, "yes_i_really_really_mean_it": true}.send(conn, nil)
		return struct{}{}, err
	})
	return err
}
