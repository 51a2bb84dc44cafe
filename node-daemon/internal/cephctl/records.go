package cephctl

import (
	"strconv"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// edit builds a transaction of records on what a snapshot shows. The records have the keys
// that old clients read. Every operation fails if somebody else has changed the record
// meanwhile.
type edit struct {
	s   *view.Snapshot
	txn coord.Txn
}

// build makes a function for [command.Outcome] of edits.
func build(fn func(e *edit)) func(*view.Snapshot) (coord.Txn, error) {
	return func(s *view.Snapshot) (coord.Txn, error) {
		e := &edit{s: s}
		fn(e)
		return e.txn, nil
	}
}

// set writes a value that a snapshot shows; one that is the same already is left alone.
func (e *edit) set(path, old string, there bool, data []byte, version int32) {
	if !there || old != string(data) {
		e.txn.Set(path, data, version)
	}
}

// putPool writes a pool's record with the roots of its volumes and snapshots.
func (e *edit) putPool(p ceph.Pool) {
	pgs, stats := []byte(strconv.Itoa(p.PGs)), schema.EncodePoolStats(poolStats(p))
	old, there := e.s.Pool(p.Name)
	if !there {
		e.txn.Create(schema.Pool(p.Name), nil).Create(schema.Pool(p.Name, schema.PoolPGs), pgs).Create(schema.Pool(p.Name, schema.StorageStats), stats)
		old = &model.Pool{}
	} else {
		e.set(schema.Pool(p.Name, schema.PoolPGs), strconv.Itoa(old.PGs), true, pgs, old.Versions.PGs)
		have := ""
		if old.Stats != nil {
			have = string(schema.EncodePoolStats(*old.Stats))
		}
		e.set(schema.Pool(p.Name, schema.StorageStats), have, old.Stats != nil, stats, old.Versions.Stats)
	}
	if !old.HasVolumes {
		e.txn.Create(schema.PoolVolumes(p.Name), nil)
	}
	if !old.HasSnapshots {
		e.txn.Create(schema.PoolSnapshots(p.Name), nil)
	}
}

// dropPool deletes a pool's record; those of its volumes are gone already.
func (e *edit) dropPool(name string) {
	p, there := e.s.Pool(name)
	if !there {
		return
	}
	if p.HasSnapshots {
		e.txn.Delete(schema.PoolSnapshots(name), coord.AnyVersion)
	}
	if p.HasVolumes {
		e.txn.Delete(schema.PoolVolumes(name), coord.AnyVersion)
	}
	e.txn.Delete(schema.Pool(name, schema.StorageStats), p.Versions.Stats)
	e.txn.Delete(schema.Pool(name, schema.PoolPGs), p.Versions.PGs)
	e.txn.Delete(schema.Pool(name), coord.AnyVersion)
}

// putVolume writes the record of a volume, with its snapshots as they are in Ceph.
func (e *edit) putVolume(pool string, i ceph.Image) {
	e.putVolumeOnly(pool, i)
	wanted := map[string]bool{}
	for _, s := range i.Snapshots {
		if model.CheckRecordName("snapshot", s.Name) == nil {
			wanted[s.Name] = true
			e.putSnapshot(pool, i.Name, s)
		}
	}
	for _, s := range e.s.Snapshots(pool, i.Name) {
		if !wanted[s.Name] {
			e.dropSnapshot(pool, i.Name, s.Name)
		}
	}
}

func (e *edit) putVolumeOnly(pool string, i ceph.Image) {
	stats := volumeStats(i)
	old, there := e.s.Volume(pool, i.Name)
	if i.Unwatched && there && old.Stats != nil {
		stats.Watchers = old.Stats.Watchers
	}
	data := schema.EncodeVolumeStats(i.Name, stats)
	if !there {
		e.txn.Create(schema.Volume(pool, i.Name), nil).Create(schema.Volume(pool, i.Name, schema.StorageStats), data)
		e.txn.Create(schema.VolumeSnapshots(pool, i.Name), nil)
		return
	}
	have := ""
	if old.Stats != nil {
		have = string(schema.EncodeVolumeStats(i.Name, *old.Stats))
	}
	e.set(schema.Volume(pool, i.Name, schema.StorageStats), have, old.Stats != nil, data, old.Version)
	if !old.HasSnapshots {
		e.txn.Create(schema.VolumeSnapshots(pool, i.Name), nil)
	}
}

// dropVolume deletes the record of a volume with those of its snapshots.
func (e *edit) dropVolume(pool, name string) {
	v, there := e.s.Volume(pool, name)
	if !there {
		return
	}
	for _, s := range v.Snapshots {
		e.dropSnapshot(pool, name, s.Name)
	}
	if v.HasSnapshots {
		e.txn.Delete(schema.VolumeSnapshots(pool, name), coord.AnyVersion)
	}
	e.txn.Delete(schema.Volume(pool, name, schema.StorageStats), v.Version)
	e.txn.Delete(schema.Volume(pool, name), coord.AnyVersion)
}

func (e *edit) putSnapshot(pool, volume string, s ceph.Snapshot) {
	data := schema.EncodeSnapshotStats(snapshotStats(s))
	path := schema.Snapshot(pool, volume, s.Name, schema.StorageStats)
	old, there := e.s.Snapshot(pool, volume, s.Name)
	if !there {
		e.txn.Create(schema.Snapshot(pool, volume, s.Name), nil).Create(path, data)
		return
	}
	have := ""
	if old.Stats != nil {
		have = string(schema.EncodeSnapshotStats(*old.Stats))
	}
	e.set(path, have, old.Stats != nil, data, old.Version)
}

func (e *edit) dropSnapshot(pool, volume, name string) {
	s, there := e.s.Snapshot(pool, volume, name)
	if !there {
		return
	}
	e.txn.Delete(schema.Snapshot(pool, volume, name, schema.StorageStats), s.Version)
	e.txn.Delete(schema.Snapshot(pool, volume, name), coord.AnyVersion)
}

// putOSD writes what Ceph tells of an OSD. Who made it knows its device; of one that
// appeared by itself only the host is known.
func (e *edit) putOSD(o ceph.OSD) {
	e.putOSDStats(o.ID, o.Host, osdStats(o))
}

func (e *edit) putOSDStats(id int, host string, stats model.OSDStats) {
	data := schema.EncodeOSDStats(stats)
	old, there := e.s.OSD(id)
	if !there {
		e.txn.Create(schema.OSD(id), nil).Create(schema.OSD(id, schema.OSDNode), []byte(host))
		e.txn.Create(schema.OSD(id, schema.OSDDevice), nil).Create(schema.OSD(id, schema.StorageStats), data)
		return
	}
	if old.Node == "" && host != "" {
		e.txn.Set(schema.OSD(id, schema.OSDNode), []byte(host), old.Versions.Node)
	}
	have := ""
	if old.Stats != nil {
		have = string(schema.EncodeOSDStats(*old.Stats))
	}
	e.set(schema.OSD(id, schema.StorageStats), have, old.Stats != nil, data, old.Versions.Stats)
}

// recordOSD writes the record of an OSD that was made on a device of a host.
func (e *edit) recordOSD(o ceph.OSD, node, device string) {
	e.putOSD(o)
	old, there := e.s.OSD(o.ID)
	if !there {
		e.txn.Set(schema.OSD(o.ID, schema.OSDNode), []byte(node), coord.AnyVersion)
		e.txn.Set(schema.OSD(o.ID, schema.OSDDevice), []byte(device), coord.AnyVersion)
		return
	}
	if old.Node != node && old.Node != "" { // else putOSD has set it
		e.txn.Set(schema.OSD(o.ID, schema.OSDNode), []byte(node), old.Versions.Node)
	}
	e.set(schema.OSD(o.ID, schema.OSDDevice), old.Device, true, []byte(device), old.Versions.Device)
}

func (e *edit) dropOSD(id int) {
	o, there := e.s.OSD(id)
	if !there {
		return
	}
	e.txn.Delete(schema.OSD(id, schema.OSDNode), o.Versions.Node)
	e.txn.Delete(schema.OSD(id, schema.OSDDevice), o.Versions.Device)
	e.txn.Delete(schema.OSD(id, schema.StorageStats), o.Versions.Stats)
	e.txn.Delete(schema.OSD(id), coord.AnyVersion)
}
