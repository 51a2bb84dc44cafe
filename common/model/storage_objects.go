package model

import "slices"

// OSD is a disk of the Ceph cluster. Objects of storage are immutable once published.
type OSD struct {
	ID     int
	Node   string    // that holds the disk; empty if nobody has recorded it
	Device string    // path of the block device on that node; empty likewise
	Stats  *OSDStats // nil before the first statistics

	Versions OSDVersions
}

// OSDVersions are the znode versions a rule has looked at.
type OSDVersions struct{ Node, Device, Stats int32 }

// OSDStats are what Ceph tells of an OSD.
type OSDStats struct {
	UUID            string
	Up, In          bool
	PrimaryAffinity float64
	Weight          float64 // in the CRUSH map
	Reweight        float64 // 0 to 1
	Host            string  // as the CRUSH map names it; empty while unknown
	Class           string  // of the device: hdd, ssd, nvme; empty if unknown
	State           string  // words with commas: "exists,up"
	PGs             int

	Total, Used, Avail Size
	Utilization        float64 // percent
	Variance           float64 // of the utilization, against the mean of all OSDs

	WriteOps, ReadOps   float64 // per second
	WriteRate, ReadRate Size    // per second
}

// Pool is a pool of the Ceph cluster.
type Pool struct {
	Name  string
	PGs   int
	Stats *PoolStats // nil before the first statistics

	// HasVolumes and HasSnapshots say whether the roots of its volumes' and snapshots'
	// records exist.
	HasVolumes, HasSnapshots bool
	Versions                 PoolVersions
}

// PoolVersions are the znode versions a rule has looked at.
type PoolVersions struct{ PGs, Stats int32 }

// PoolStats are what Ceph tells of a pool.
type PoolStats struct {
	ID                  int64
	Used                Size // with all copies, as rados df shows it
	Stored              Size // what clients have written
	Free                Size // what clients can still write
	Objects             int64
	Clones              int64
	Copies              int64
	Missing             int64 // on the primary OSD
	Unfound, Degraded   int64
	ReadOps, WriteOps   int64 // since the pool exists
	ReadData, WriteData Size  // likewise
	Replicas            int   // copies of each object; 0 if unknown
	MinReplicas         int   // without which writes wait; 0 if unknown
	Application         string
}

// Volume is an RBD image.
type Volume struct {
	Pool, Name string
	Stats      *VolumeStats // nil if its record says nothing
	Snapshots  []Snapshot   // by name

	// HasSnapshots says whether the root of its snapshots' records exists.
	HasSnapshots bool
	Version      int32 // of the record's statistics
}

// FullName is "pool/volume", as VMs name it.
func (v *Volume) FullName() string { return v.Pool + "/" + v.Name }

// VolumeStats are what Ceph tells of an image, in the words of "rbd info".
type VolumeStats struct {
	ID              string // stays when the image is renamed
	Size            Size
	Objects         int64
	Order           int // an object has 1<<Order bytes
	ObjectSize      Size
	BlockNamePrefix string
	Format          int
	Features        []string
	Flags           []string
	Created         string // as Ceph writes it: "Tue Jul  2 10:00:00 2019"
	Parent          string // of a clone: "pool/image@snapshot"
	Watchers        int    // clients that have it open
	Used            Size   // what its objects take, without copies; 0 if unknown
}

// Has reports whether the image has a feature, "exclusive-lock" for example.
func (s *VolumeStats) Has(feature string) bool { return slices.Contains(s.Features, feature) }

// Snapshot is a snapshot of an RBD image.
type Snapshot struct {
	Pool, Volume, Name string
	Stats              *SnapshotStats // nil for one that an old client recorded
	Version            int32          // of the record's statistics
}

// FullName is "pool/volume@snapshot".
func (s *Snapshot) FullName() string { return s.Pool + "/" + s.Volume + "@" + s.Name }

// SnapshotStats are what Ceph tells of a snapshot.
type SnapshotStats struct {
	ID        uint64
	Size      Size // of the volume when it was taken
	Created   string
	Protected bool // it may have clones
}
