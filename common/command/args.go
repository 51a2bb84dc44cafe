package command

import (
	"strconv"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// first is the first failure of several checks.
func first(failures ...error) error {
	for _, err := range failures {
		if err != nil {
			return err
		}
	}
	return nil
}

func poolKey(pool string) []string           { return []string{"pool/" + pool} }
func volumeKey(pool, volume string) []string { return []string{"pool/" + pool + "/" + volume} }

func existing(pool, volume string) error {
	return first(model.CheckRecordName("pool", pool), model.CheckRecordName("volume", volume))
}

// Verb is osd_add.
func (a OSDAdd) Verb() Verb { return VerbOSDAdd }

// Validate checks the node's name, the form of the path, the weight and the UUID.
func (a OSDAdd) Validate() error {
	if uuid, ok := model.ParseUUID(a.UUID); !ok || uuid != a.UUID {
		return errs.Invalidf("%q is not a UUID in lower case with dashes", model.Clip(a.UUID))
	}
	return first(model.CheckNodeName(a.Node), model.CheckDevicePath(a.Device), model.CheckWeight(a.Weight))
}

// Keys is the node: one OSD after the other is made there.
func (a OSDAdd) Keys() []string { return []string{"node/" + a.Node} }

// Identity leaves the UUID out.
func (a OSDAdd) Identity() Args {
	a.UUID = ""
	return a
}

// Verb is osd_remove.
func (a OSDRemove) Verb() Verb { return VerbOSDRemove }

// Validate checks the id.
func (a OSDRemove) Validate() error { return model.CheckOSDID(a.OSD) }

// Keys is the OSD.
func (a OSDRemove) Keys() []string { return osdKey(a.OSD) }

// Identity is all of it.
func (a OSDRemove) Identity() Args { return a }

// Verb is osd_in.
func (a OSDIn) Verb() Verb { return VerbOSDIn }

// Validate checks the id.
func (a OSDIn) Validate() error { return model.CheckOSDID(a.OSD) }

// Keys is the OSD.
func (a OSDIn) Keys() []string { return osdKey(a.OSD) }

// Identity is all of it.
func (a OSDIn) Identity() Args { return a }

// Verb is osd_out.
func (a OSDOut) Verb() Verb { return VerbOSDOut }

// Validate checks the id.
func (a OSDOut) Validate() error { return model.CheckOSDID(a.OSD) }

// Keys is the OSD.
func (a OSDOut) Keys() []string { return osdKey(a.OSD) }

// Identity is all of it.
func (a OSDOut) Identity() Args { return a }

// Verb is osd_set.
func (a OSDSet) Verb() Verb { return VerbOSDSet }

// Validate checks that Ceph has such a flag.
func (a OSDSet) Validate() error { return model.CheckFlag(a.Flag, true) }

// Keys is the flag.
func (a OSDSet) Keys() []string { return []string{"flag/" + a.Flag} }

// Identity is all of it.
func (a OSDSet) Identity() Args { return a }

// Verb is osd_unset.
func (a OSDUnset) Verb() Verb { return VerbOSDUnset }

// Validate checks that Ceph has such a flag and takes it back.
func (a OSDUnset) Validate() error { return model.CheckFlag(a.Flag, false) }

// Keys is the flag.
func (a OSDUnset) Keys() []string { return []string{"flag/" + a.Flag} }

// Identity is all of it.
func (a OSDUnset) Identity() Args { return a }

// Verb is pool_add.
func (a PoolAdd) Verb() Verb { return VerbPoolAdd }

// Validate checks the new name and the number of placement groups.
func (a PoolAdd) Validate() error { return first(model.CheckPoolName(a.Pool), model.CheckPGs(a.PGs)) }

// Keys is the pool.
func (a PoolAdd) Keys() []string { return poolKey(a.Pool) }

// Identity is all of it.
func (a PoolAdd) Identity() Args { return a }

// Verb is pool_remove.
func (a PoolRemove) Verb() Verb { return VerbPoolRemove }

// Validate checks the name.
func (a PoolRemove) Validate() error { return model.CheckRecordName("pool", a.Pool) }

// Keys is the pool with everything in it.
func (a PoolRemove) Keys() []string { return poolKey(a.Pool) }

// Identity is all of it.
func (a PoolRemove) Identity() Args { return a }

// Verb is volume_add.
func (a VolumeAdd) Verb() Verb { return VerbVolumeAdd }

// Validate checks the new name and the size.
func (a VolumeAdd) Validate() error {
	return first(model.CheckRecordName("pool", a.Pool), model.CheckVolumeName(a.Volume), checkSize(a.Size))
}

// Keys is the volume.
func (a VolumeAdd) Keys() []string { return volumeKey(a.Pool, a.Volume) }

// Identity is all of it.
func (a VolumeAdd) Identity() Args { return a }

// Verb is volume_resize.
func (a VolumeResize) Verb() Verb { return VerbVolumeResize }

// Validate checks the names and the size.
func (a VolumeResize) Validate() error { return first(existing(a.Pool, a.Volume), checkSize(a.Size)) }

// Keys is the volume.
func (a VolumeResize) Keys() []string { return volumeKey(a.Pool, a.Volume) }

// Identity is all of it.
func (a VolumeResize) Identity() Args { return a }

// Verb is volume_rename.
func (a VolumeRename) Verb() Verb { return VerbVolumeRename }

// Validate checks the names; the new one keeps to our rules.
func (a VolumeRename) Validate() error {
	return first(existing(a.Pool, a.Volume), model.CheckVolumeName(a.Name))
}

// Keys are the volume under both names.
func (a VolumeRename) Keys() []string {
	return append(volumeKey(a.Pool, a.Volume), volumeKey(a.Pool, a.Name)...)
}

// Identity is all of it.
func (a VolumeRename) Identity() Args { return a }

// Verb is volume_remove.
func (a VolumeRemove) Verb() Verb { return VerbVolumeRemove }

// Validate checks the names.
func (a VolumeRemove) Validate() error { return existing(a.Pool, a.Volume) }

// Keys is the volume.
func (a VolumeRemove) Keys() []string { return volumeKey(a.Pool, a.Volume) }

// Identity is all of it.
func (a VolumeRemove) Identity() Args { return a }

// Verb is snapshot_add.
func (a SnapshotAdd) Verb() Verb { return VerbSnapshotAdd }

// Validate checks the names; that of the snapshot keeps to our rules.
func (a SnapshotAdd) Validate() error {
	return first(existing(a.Pool, a.Volume), model.CheckSnapshotName(a.Snapshot))
}

// Keys is the volume.
func (a SnapshotAdd) Keys() []string { return volumeKey(a.Pool, a.Volume) }

// Identity is all of it.
func (a SnapshotAdd) Identity() Args { return a }

// Verb is snapshot_remove.
func (a SnapshotRemove) Verb() Verb { return VerbSnapshotRemove }

// Validate checks the names.
func (a SnapshotRemove) Validate() error {
	return first(existing(a.Pool, a.Volume), model.CheckRecordName("snapshot", a.Snapshot))
}

// Keys is the volume.
func (a SnapshotRemove) Keys() []string { return volumeKey(a.Pool, a.Volume) }

// Identity is all of it.
func (a SnapshotRemove) Identity() Args { return a }

func osdKey(id int) []string { return []string{"osd/" + strconv.Itoa(id)} }

func checkSize(s model.Size) error {
	if s == 0 || s > model.MaxSize {
		return errs.Invalidf("a size of %d bytes: 1 byte to %s are possible", uint64(s), model.MaxSize)
	}
	return nil
}
