package fake

import (
	"context"
	"fmt"
	"strconv"
	"syscall"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// OSDs implements ceph.Calls.
func (c calls) OSDs(ctx context.Context) (osds []ceph.OSD, err error) {
	err = c.do(ctx, OSDs, "", asks, func(w *World) error {
		for _, id := range sortedKeys(w.osds) {
			osds = append(osds, w.osds[id].copied())
		}
		return nil
	})
	return osds, err
}

// copied returns an OSD that shares nothing with the world.
func (o *osd) copied() ceph.OSD {
	r := o.OSD
	if o.Stats != nil {
		stats := *o.Stats
		if r.Stats = &stats; stats.Traffic != nil {
			traffic := *stats.Traffic
			r.Stats.Traffic = &traffic
		}
	}
	return r
}

// onOSD is do with an OSD of the map.
func (c calls) onOSD(ctx context.Context, m Method, id int, e effect, fn func(*World, *osd) error) error {
	return c.do(ctx, m, osdName(id), e, func(w *World) error {
		o, err := w.osd(id)
		if err != nil {
			return err
		}
		return fn(w, o)
	})
}

func osdName(id int) string { return "osd." + strconv.Itoa(id) }

// osd finds an OSD of the map. The caller holds the lock.
func (w *World) osd(id int) (*osd, error) {
	if o := w.osds[id]; o != nil {
		return o, nil
	}
	return nil, ceph.Refused(syscall.ENOENT, fmt.Sprintf("osd.%d does not exist", id))
}

// SetOSDIn implements ceph.Calls.
func (c calls) SetOSDIn(ctx context.Context, id int, in bool) error {
	return c.toMonitor(ctx, SetOSDIn, osdName(id), func(w *World) error {
		_, err := w.osd(id)
		return err
	}, func(w *World) {
		o := w.osds[id]
		if o == nil {
			return
		}
		if o.In = in; in {
			o.Reweight = 1
		} else {
			o.Reweight = 0
		}
	})
}

// NewOSD implements ceph.Calls.
func (c calls) NewOSD(ctx context.Context, uuid string) (id int, secret string, err error) {
	err = c.do(ctx, NewOSD, uuid, commands, func(w *World) error {
		for _, o := range w.osds {
			if o.UUID == uuid {
				id, secret = o.ID, o.secret
				return nil
			}
		}
		for id = 0; w.osds[id] != nil; id++ {
		}
		secret = fmt.Sprintf("secret-%d", id)
		w.osds[id] = &osd{OSD: ceph.OSD{ID: id, UUID: uuid, PrimaryAffinity: 1}, secret: secret}
		return nil
	})
	return id, secret, err
}

// CrushAdd implements ceph.Calls.
func (c calls) CrushAdd(ctx context.Context, id int, weight float64, host string) error {
	return c.onOSD(ctx, CrushAdd, id, commands, func(_ *World, o *osd) error {
		o.Weight, o.Host = weight, host
		return nil
	})
}

// SafeToDestroy implements ceph.Calls.
func (c calls) SafeToDestroy(ctx context.Context, id int) (safe bool, why string, err error) {
	err = c.onOSD(ctx, SafeToDestroy, id, asks, func(_ *World, o *osd) error {
		safe, why = o.unsafe == "", o.unsafe
		return nil
	})
	return safe, why, err
}

// PurgeOSD implements ceph.Calls.
func (c calls) PurgeOSD(ctx context.Context, id int, uuid string) error {
	return c.toMonitor(ctx, PurgeOSD, osdName(id), func(w *World) error {
		o, err := w.osd(id)
		switch {
		case err != nil:
			return err
		case o.UUID != uuid:
			return errs.NotFoundf("osd.%d is %s now, not %s", id, o.UUID, uuid)
		case o.Up:
			return ceph.Refused(syscall.EBUSY, fmt.Sprintf("osd.%d is not `down`.", id))
		}
		return nil
	}, func(w *World) {
		if o := w.osds[id]; o != nil && !o.Up { // a monitor knows the number only
			delete(w.osds, id)
		}
	})
}
