package osd

import (
	"fmt"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// minSize is the smallest device that is taken, bytes. Ceph has no limit of its own;
// below it BlueStore's own share leaves nothing for data.
const minSize = 1 << 30

// Device is what was found out about a path that is to become an OSD.
type Device struct {
	Asked string // the path as it was given
	Path  string // the device's own node
	// Name is the kernel's name of the device; empty if the path is none.
	Name string
	Size uint64 // bytes

	ReadOnly   bool
	Volatile   bool     // in memory
	Composed   bool     // made of other devices: device-mapper, md
	Partitions []string // names of those on it
	Holders    []string // devices that are made of it
	Mounts     []string // where it is mounted
	Swap       bool
	Busy       bool // the kernel refuses its exclusive use
	Signatures []Signature
	// OSD is the uuid in BlueStore's label, empty if it has none.
	OSD string
	// Group is the volume group of which the device is, empty if of none.
	Group string
}

// Signature is what wipefs(8) would erase.
type Signature struct {
	Type   string `json:"type"` // "ext4", "LVM2_member", "gpt"
	Offset string `json:"offset"`
}

// Refusal says why a device must not become the OSD with that uuid, nil if it may. What an
// interrupted attempt for the same uuid has left on it is no reason. It is errs.Invalid
// for a path that can never be one, errs.Conflict for a device that is used.
func (d Device) Refusal(uuid string) error {
	name := fmt.Sprintf("device %s", d.Asked)
	if d.Path != "" && d.Path != d.Asked {
		name += fmt.Sprintf(" (%s)", d.Path)
	}
	if why := d.unfit(); why != "" {
		return errs.Invalidf("%s %s", name, why)
	}
	if d.own(uuid) {
		return nil
	}
	if why := d.used(); why != "" {
		return errs.Conflictf("%s %s", name, why)
	}
	return nil
}

// own reports whether an attempt for that uuid was here.
func (d Device) own(uuid string) bool {
	return uuid != "" && (strings.EqualFold(d.OSD, uuid) || d.Group == groupName(uuid))
}

// unfit says what keeps it from ever being an OSD's.
func (d Device) unfit() string {
	switch {
	case d.Name == "":
		return "is not a block device of this host"
	case d.Volatile:
		return "is in memory: an OSD needs a disk"
	case d.Composed:
		return "is made of other devices: a whole disk or a partition is needed"
	case d.ReadOnly:
		return "is read-only"
	case d.Size < minSize:
		return fmt.Sprintf("has %d bytes: at least %d are needed", d.Size, minSize)
	}
	return ""
}

// used says what somebody else uses it for.
func (d Device) used() string {
	list := func(s []string) string { return strings.Join(s, ", ") }
	switch {
	case len(d.Mounts) > 0:
		return "is mounted at " + list(d.Mounts)
	case d.Swap:
		return "is swap space"
	case d.OSD != "":
		return "is the disk of the OSD with the uuid " + d.OSD
	case d.Group != "":
		return "belongs to the volume group " + d.Group
	case len(d.Partitions) > 0:
		return "has partitions: " + list(d.Partitions)
	case len(d.Holders) > 0:
		return "is used by " + list(d.Holders)
	case len(d.Signatures) > 0:
		return d.signatures()
	case d.Busy:
		return "is in use: the kernel does not give it to us alone"
	}
	return ""
}

func (d Device) signatures() string {
	var all []string
	for _, s := range d.Signatures {
		all = append(all, fmt.Sprintf("%s at %s", s.Type, s.Offset))
	}
	return fmt.Sprintf("holds data (%s): if nobody needs that, erase it with wipefs --all first", strings.Join(all, ", "))
}
