package cluster

import (
	"context"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// AddPool makes a pool for volumes.
type AddPool struct {
	By   Caller
	Pool string
	PGs  int // placement groups
}

// AddPool has the pool made.
func (c *Cluster) AddPool(ctx context.Context, r AddPool) (Answer, error) {
	if err := model.CheckPoolName(r.Pool); err != nil {
		return Answer{}, forValue("pool", err)
	}
	if err := model.CheckPGs(r.PGs); err != nil {
		return Answer{}, forValue("pgs", err)
	}
	return c.command(ctx, r.By, command.PoolAdd{Pool: r.Pool, PGs: r.PGs}, func(s *view.Snapshot) (place, error) {
		if _, there := s.Pool(r.Pool); there {
			return place{}, forValue("pool", errs.Conflictf("a pool named %q exists already", r.Pool))
		}
		return anyHost(s)
	})
}

// RemovePool removes a pool with all that is in it.
type RemovePool struct {
	By   Caller
	Pool string
}

// RemovePool has the pool removed. While a VM names a volume of it that is errs.Conflict.
func (c *Cluster) RemovePool(ctx context.Context, r RemovePool) (Answer, error) {
	return c.command(ctx, r.By, command.PoolRemove{Pool: r.Pool}, func(s *view.Snapshot) (place, error) {
		if _, err := findPool(s, r.Pool); err != nil {
			return place{}, err
		}
		if users := poolUsers(s, r.Pool); len(users) > 0 {
			return place{}, errs.Conflictf("pool %q is used by %s: it was not removed", r.Pool, strings.Join(users, ", "))
		}
		return anyHost(s)
	})
}
