package ceph

import (
	"encoding/json"
	"time"
)

// Status is the state of the cluster.
type Status struct {
	FSID   string
	Health string          // "HEALTH_OK", "HEALTH_WARN", "HEALTH_ERR"
	Text   string          // `ceph status`
	JSON   json.RawMessage // `ceph status --format json`
}

// DF is how full the cluster is.
type DF struct {
	Text string          // `rados df`
	JSON json.RawMessage // `rados df --format json`
}

// OSD is an object storage daemon.
type OSD struct {
	ID       int
	UUID     string
	Up, In   bool
	Booted   bool    // it has been up at least once, and may hold data
	Host     string  // its bucket in CRUSH; empty if it has no place there
	Class    string  // device class, may be empty
	Weight   float64 // in CRUSH
	Reweight float64 // 0 (out) to 1

	PrimaryAffinity float64   // 0 to 1
	Stats           *OSDStats // nil while the manager does not know them
}

// OSDStats is what an OSD holds and does.
type OSDStats struct {
	PGs        int
	UsedBytes  uint64
	AvailBytes uint64
	TotalBytes uint64
	Variance   float64  // fullness relative to the mean of all OSDs
	Traffic    *Traffic // nil while the manager does not know it
}

// Traffic is what clients do, per second.
type Traffic struct {
	ReadOps, WriteOps, ReadBytes, WriteBytes float64
}

// Pool is a pool.
type Pool struct {
	ID          int64
	Name        string
	PGs         int
	Size        int    // copies
	MinSize     int    // copies without which nothing is written
	Application string // the first of them, "rbd"; empty if none
	Stats       PoolStats
}

// PoolStats is what a pool holds and what was done to it since its creation.
type PoolStats struct {
	StoredBytes uint64 // as clients have written it
	UsedBytes   uint64 // on all OSDs together
	MaxAvail    uint64 // bytes that clients can still write
	Objects     uint64
	Clones      uint64
	Copies      uint64
	Missing     uint64 // on the primary OSD
	Unfound     uint64
	Degraded    uint64
	ReadOps     uint64
	ReadBytes   uint64
	WriteOps    uint64
	WriteBytes  uint64
}

// Image is an RBD image.
type Image struct {
	ID        string
	Name      string
	Size      uint64 // bytes
	Objects   uint64 // that it can have, as `rbd info` counts
	Order     int    // an object has 2^Order bytes
	Prefix    string // of the names of its objects
	Features  []string
	Created   time.Time
	Parent    string // "pool/image@snapshot" of which it is a clone; empty if of none
	Snapshots []Snapshot
	Watchers  []string // see ImageCalls.Watchers; nil if nobody has it open
	Unwatched bool     // nobody has looked who has it open
	OldFormat bool     // format 1: it has no id
}

// Snapshot is a snapshot of an image.
type Snapshot struct {
	ID        uint64
	Name      string
	Size      uint64 // bytes of the image at that time
	Created   time.Time
	Protected bool
}

// Trashed is an image in a pool's trash.
type Trashed struct {
	ID      string
	Name    string // that it had
	Deleted time.Time
	Expires time.Time // until then it cannot be removed without force
}
