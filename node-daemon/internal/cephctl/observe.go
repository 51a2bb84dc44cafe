package cephctl

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// sight is what Ceph has, at about one moment.
type sight struct {
	status ceph.Status
	df     ceph.DF
	osds   []ceph.OSD
	pools  []ceph.Pool
	images map[string][]ceph.Image // by pool; a pool that is missing could not be read
}

// observe asks Ceph for everything that has records. An error beside a sight says which
// pools could not be read.
func observe(ctx context.Context, c ceph.Calls) (*sight, error) {
	s := &sight{images: map[string][]ceph.Image{}}
	asking, actx := errgroup.WithContext(ctx)
	asking.Go(func() (err error) { s.status, err = c.Status(actx); return err })
	asking.Go(func() (err error) { s.df, err = c.DF(actx); return err })
	asking.Go(func() (err error) { s.osds, err = c.OSDs(actx); return err })
	asking.Go(func() error {
		all, err := c.Pools(actx)
		for _, p := range all {
			if !internal(p) {
				s.pools = append(s.pools, p)
			}
		}
		return err
	})
	if err := asking.Wait(); err != nil {
		return nil, err
	}
	return s, s.readImages(ctx, c)
}

const (
	// poolsParallel is how many pools are surveyed at the same time.
	poolsParallel = 4
	// surveyTimeout bounds all surveys of a pass: the first one opens every image.
	surveyTimeout = 2 * time.Minute
)

func (s *sight) readImages(ctx context.Context, c ceph.Calls) error {
	ctx, cancel := context.WithTimeout(ctx, surveyTimeout)
	defer cancel()
	var mu sync.Mutex
	var failures []error
	var reading errgroup.Group
	reading.SetLimit(poolsParallel)
	for _, p := range s.pools {
		reading.Go(func() error {
			images, err := c.Survey(ctx, p.Name)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				s.images[p.Name] = images
			case !errs.Is(err, errs.NotFound): // then the pool has just been removed
				failures = append(failures, fmt.Errorf("pool %s: %w", p.Name, err))
			}
			return nil
		})
	}
	_ = reading.Wait() // no error: they are in failures
	return errors.Join(failures...)
}

// internal reports whether Ceph made a pool for itself.
func internal(p ceph.Pool) bool {
	return strings.HasPrefix(p.Name, ".") || strings.HasPrefix(p.Application, "mgr")
}

// recordable leaves out what ZooKeeper cannot name.
func recordable(what, name string) bool { return model.CheckRecordName(what, name) == nil }
