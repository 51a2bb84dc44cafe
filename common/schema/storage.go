package schema

import (
	"errors"
	"slices"
	"strconv"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// Keys of storage below Ceph. The data of Ceph itself is the text of "ceph status".
const (
	CephRadosDF   = "/ceph/radosdf" // the text of "rados df"
	CephStatus    = "/ceph/status"  // JSON of "ceph status", additive
	CephUsage     = "/ceph/usage"   // JSON of "rados df", additive
	CephCmd       = "/ceph/cmd"     // the slot of old clients
	CephOSDs      = "/ceph/osds"
	CephPools     = "/ceph/pools"
	CephVolumes   = "/ceph/volumes"
	CephSnapshots = "/ceph/snapshots"
)

// CephSilent is how the texts of Ceph and CephRadosDF begin while Ceph does not answer; the
// reason follows.
const CephSilent = "Ceph does not answer: "

// Keys below an OSD, a pool, a volume and a snapshot.
const (
	OSDNode      = "node"
	OSDDevice    = "device"
	PoolPGs      = "pgs"
	StorageStats = "stats" // JSON, of all four
)

// NoStats is the data of StorageStats while nothing is known.
const NoStats = "{}"

// OSD returns the path of an OSD or of a key below it.
func OSD(id int, key ...string) string { return join(CephOSDs, strconv.Itoa(id), key) }

// Pool returns the path of a pool or of a key below it.
func Pool(pool string, key ...string) string { return join(CephPools, pool, key) }

// PoolVolumes returns the path below which the volumes of a pool are.
func PoolVolumes(pool string) string { return CephVolumes + "/" + pool }

// PoolSnapshots returns the path below which the snapshots in a pool are.
func PoolSnapshots(pool string) string { return CephSnapshots + "/" + pool }

// Volume returns the path of a volume or of a key below it.
func Volume(pool, volume string, key ...string) string { return join(PoolVolumes(pool), volume, key) }

// VolumeSnapshots returns the path below which the snapshots of a volume are.
func VolumeSnapshots(pool, volume string) string { return PoolSnapshots(pool) + "/" + volume }

// Snapshot returns the path of a snapshot or of a key below it.
func Snapshot(pool, volume, snapshot string, key ...string) string {
	return join(VolumeSnapshots(pool, volume), snapshot, key)
}

// ParseOSD reads the name of a znode below CephOSDs; ok is false for anything but a
// number that is written in its shortest form.
func ParseOSD(s string) (id int, ok bool) {
	id, err := model.ParseOSDID(s)
	return id, err == nil && strconv.Itoa(id) == s
}

// DecodeOSD reads an OSD; ok is false if it does not exist. What cannot be read is
// reported and read as not set.
func DecodeOSD(t Tree, id int) (o *model.OSD, ok bool, err error) {
	if _, _, ok = t.Data(OSD(id)); !ok {
		return nil, false, nil
	}
	o = &model.OSD{ID: id}
	data, version, _ := t.Data(OSD(id, OSDNode))
	o.Node, o.Versions.Node = Text(data), version
	data, version, _ = t.Data(OSD(id, OSDDevice))
	o.Device, o.Versions.Device = Text(data), version
	data, o.Versions.Stats, _ = t.Data(OSD(id, StorageStats))
	o.Stats, err = DecodeOSDStats(OSD(id, StorageStats), data)
	return o, true, err
}

// DecodePool reads a pool; ok is false if it does not exist.
func DecodePool(t Tree, name string) (p *model.Pool, ok bool, err error) {
	if _, _, ok = t.Data(Pool(name)); !ok {
		return nil, false, nil
	}
	p = &model.Pool{Name: name}
	d := statsDecoder{path: Pool(name, PoolPGs)}
	data, version, _ := t.Data(Pool(name, PoolPGs))
	p.PGs, p.Versions.PGs = d.small(PoolPGs, number(strings.TrimSpace(Text(data)))), version
	data, p.Versions.Stats, _ = t.Data(Pool(name, StorageStats))
	p.Stats, err = DecodePoolStats(Pool(name, StorageStats), data)
	_, _, p.HasVolumes = t.Data(PoolVolumes(name))
	_, _, p.HasSnapshots = t.Data(PoolSnapshots(name))
	return p, true, errors.Join(d.err(), err)
}

// DecodeVolume reads a volume with its snapshots; ok is false if it does not exist.
func DecodeVolume(t Tree, pool, name string) (v *model.Volume, ok bool, err error) {
	if _, _, ok = t.Data(Volume(pool, name)); !ok {
		return nil, false, nil
	}
	v = &model.Volume{Pool: pool, Name: name}
	data, version, _ := t.Data(Volume(pool, name, StorageStats))
	v.Version = version
	v.Stats, err = DecodeVolumeStats(Volume(pool, name, StorageStats), data)
	_, _, v.HasSnapshots = t.Data(VolumeSnapshots(pool, name))
	for _, child := range t.Children(VolumeSnapshots(pool, name)) {
		s := model.Snapshot{Pool: pool, Volume: name, Name: child}
		var serr error
		data, s.Version, _ = t.Data(Snapshot(pool, name, child, StorageStats))
		s.Stats, serr = DecodeSnapshotStats(Snapshot(pool, name, child, StorageStats), data)
		err = errors.Join(err, serr)
		v.Snapshots = append(v.Snapshots, s)
	}
	slices.SortFunc(v.Snapshots, func(a, b model.Snapshot) int { return strings.Compare(a.Name, b.Name) })
	return v, true, err
}
