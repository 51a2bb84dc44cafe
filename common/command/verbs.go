package command

import (
	"bytes"
	"encoding/json"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// Verb is what a command does, in the words of the old system.
type Verb string

// The verbs.
const (
	VerbOSDAdd         Verb = "osd_add"
	VerbOSDRemove      Verb = "osd_remove"
	VerbOSDIn          Verb = "osd_in"
	VerbOSDOut         Verb = "osd_out"
	VerbOSDSet         Verb = "osd_set"
	VerbOSDUnset       Verb = "osd_unset"
	VerbPoolAdd        Verb = "pool_add"
	VerbPoolRemove     Verb = "pool_remove"
	VerbVolumeAdd      Verb = "volume_add"
	VerbVolumeResize   Verb = "volume_resize"
	VerbVolumeRename   Verb = "volume_rename"
	VerbVolumeRemove   Verb = "volume_remove"
	VerbSnapshotAdd    Verb = "snapshot_add"
	VerbSnapshotRemove Verb = "snapshot_remove"
)

// Args are the arguments of a verb. They are values; their JSON has stable keys.
type Args interface {
	Verb() Verb
	// Validate checks the arguments by themselves: errs.Invalid naming the value. Names
	// of what is to be made keep to our rules, names of what exists may be Ceph's.
	Validate() error
	// Keys name what the command works on. Of two commands with a key in common the later
	// one waits for the earlier one; a key also stands for everything below it, as
	// "pool/vms" for "pool/vms/disk0".
	Keys() []string
	// Identity is what makes two requests the same one: the arguments without what was
	// drawn at random for this request.
	Identity() Args
}

// OSDAdd makes an OSD of a block device of a node.
type OSDAdd struct {
	Node   string  `json:"node"`
	Device string  `json:"device"`
	Weight float64 `json:"weight"`
	// UUID is the OSD's, drawn when the command is made, so that a second attempt finds
	// what the first one began.
	UUID string `json:"uuid"`
}

// OSDRemove takes an OSD out of the cluster.
type OSDRemove struct {
	OSD int `json:"osd"`
	// Force does not wait until its data is safe elsewhere.
	Force bool `json:"force"`
}

// OSDIn lets an OSD hold data.
type OSDIn struct {
	OSD int `json:"osd"`
}

// OSDOut has the data of an OSD moved to others.
type OSDOut struct {
	OSD int `json:"osd"`
}

// OSDSet sets a flag of the cluster.
type OSDSet struct {
	Flag string `json:"flag"`
}

// OSDUnset takes a flag of the cluster back.
type OSDUnset struct {
	Flag string `json:"flag"`
}

// PoolAdd makes a pool.
type PoolAdd struct {
	Pool string `json:"pool"`
	PGs  int    `json:"pgs"`
}

// PoolRemove removes a pool and all volumes in it.
type PoolRemove struct {
	Pool string `json:"pool"`
}

// VolumeAdd makes a volume.
type VolumeAdd struct {
	Pool   string     `json:"pool"`
	Volume string     `json:"volume"`
	Size   model.Size `json:"size"` // bytes
	// Force allows more than the pool has space for.
	Force bool `json:"force"`
}

// VolumeResize changes the size of a volume.
type VolumeResize struct {
	Pool   string     `json:"pool"`
	Volume string     `json:"volume"`
	Size   model.Size `json:"size"` // bytes
	// Shrink allows a smaller size, which cuts data off.
	Shrink bool `json:"shrink"`
	// Force allows more than the pool has space for.
	Force bool `json:"force"`
}

// VolumeRename gives a volume another name in its pool.
type VolumeRename struct {
	Pool   string `json:"pool"`
	Volume string `json:"volume"`
	Name   string `json:"name"` // the new one
}

// VolumeRemove removes a volume.
type VolumeRemove struct {
	Pool   string `json:"pool"`
	Volume string `json:"volume"`
}

// SnapshotAdd takes a snapshot of a volume.
type SnapshotAdd struct {
	Pool     string `json:"pool"`
	Volume   string `json:"volume"`
	Snapshot string `json:"snapshot"`
}

// SnapshotRemove removes a snapshot of a volume.
type SnapshotRemove struct {
	Pool     string `json:"pool"`
	Volume   string `json:"volume"`
	Snapshot string `json:"snapshot"`
}

// parsers read the arguments of each verb.
var parsers = map[Verb]func(data []byte) (Args, error){
	VerbOSDAdd: parse[OSDAdd], VerbOSDRemove: parse[OSDRemove], VerbOSDIn: parse[OSDIn], VerbOSDOut: parse[OSDOut],
	VerbOSDSet: parse[OSDSet], VerbOSDUnset: parse[OSDUnset], VerbPoolAdd: parse[PoolAdd], VerbPoolRemove: parse[PoolRemove],
	VerbVolumeAdd: parse[VolumeAdd], VerbVolumeResize: parse[VolumeResize], VerbVolumeRename: parse[VolumeRename],
	VerbVolumeRemove: parse[VolumeRemove], VerbSnapshotAdd: parse[SnapshotAdd], VerbSnapshotRemove: parse[SnapshotRemove],
}

// ParseArgs reads and validates the arguments of a command: the value (not a pointer)
// of one of the types of this package. An unknown verb or argument is errs.Invalid.
func ParseArgs(c *Command) (Args, error) {
	p := parsers[Verb(c.Verb)]
	if p == nil {
		return nil, errs.Invalidf("command %q is unknown to this release", model.Clip(c.Verb))
	}
	a, err := p(c.Args)
	if err != nil {
		return nil, errs.Invalidf("arguments of %s: %w", c.Verb, err)
	}
	return a, a.Validate()
}

func parse[A Args](data []byte) (Args, error) {
	var a A
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	if err := d.Decode(&a); err != nil {
		return nil, err
	}
	return a, nil
}
