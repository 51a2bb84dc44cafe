package osd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/run"
)

// Layout is what is put between an OSD and its device.
type Layout uint8

// The layouts.
const (
	// Auto is Volume where the host has LVM and the kernel device-mapper, else Raw.
	Auto Layout = iota
	// Raw has BlueStore on the device itself.
	Raw
	// Volume has it on a logical volume that takes the whole device, as old releases
	// made it.
	Volume
)

// DataFolder is where Ceph looks for the folders of its OSDs.
const DataFolder = "/var/lib/ceph/osd"

// Local are the disks of this host. The zero value needs Run.
type Local struct {
	Run    run.Runner
	Conf   string // Ceph's configuration file; empty: where Ceph looks for it
	Data   string // folder of the OSDs' folders; empty: DataFolder
	Layout Layout // of new OSDs

	lvmThere func() bool // replaced in tests; nil looks at this host
}

var _ Disks = (*Local)(nil)

// folder is the folder of an OSD.
func (l *Local) folder(id int) string {
	data := l.Data
	if data == "" {
		data = DataFolder
	}
	return filepath.Join(data, fmt.Sprintf("ceph-%d", id))
}

// hasLVM reports whether logical volumes can be used here.
func (l *Local) hasLVM() bool {
	if l.lvmThere != nil {
		return l.lvmThere()
	}
	if _, err := os.Stat("/sys/class/misc/device-mapper"); err != nil {
		return false
	}
	return exists("/usr/sbin", "vgcreate") || exists("/sbin", "vgcreate")
}

func (l *Local) volumes() bool { return l.Layout == Volume || l.Layout == Auto && l.hasLVM() }

// Check implements Disks.
func (l *Local) Check(ctx context.Context, path, uuid string) (string, error) {
	d, err := l.Inspect(ctx, path)
	if err != nil {
		return "", err
	}
	if err := d.Refusal(uuid); err != nil {
		return "", err
	}
	return stableName(d), nil
}

// Prepare implements Disks.
func (l *Local) Prepare(ctx context.Context, device string, o Identity) error {
	block := device
	if l.volumes() {
		var err error
		if block, err = l.makeVolume(ctx, device, o); err != nil {
			return err
		}
	}
	return l.makeStore(ctx, block, o)
}

// BootUnits implements Disks. The unit of ceph-volume finds the volume, makes the folder
// anew and starts the OSD; an OSD on the device itself needs its folder only.
func (l *Local) BootUnits(ctx context.Context, o Identity) ([]string, error) {
	v, err := l.findVolume(ctx, o.UUID)
	if err != nil {
		return nil, err
	}
	if v == nil {
		return []string{Unit(o.ID)}, nil
	}
	return []string{fmt.Sprintf("ceph-volume@lvm-%d-%s.service", o.ID, o.UUID)}, nil
}

// Unit is the unit of an OSD.
func Unit(id int) string { return fmt.Sprintf("ceph-osd@%d.service", id) }

// Find implements Disks.
func (l *Local) Find(ctx context.Context, o Identity, hints ...string) (string, error) {
	v, err := l.findVolume(ctx, o.UUID)
	if err != nil {
		return "", err
	}
	if v != nil {
		return v.path, nil
	}
	if target, err := os.Readlink(filepath.Join(l.folder(o.ID), "block")); err == nil {
		hints = append(hints, target)
	}
	for _, path := range hints {
		if path == "" {
			continue
		}
		uuid, err := readLabel(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return "", fmt.Errorf("look for the disk of osd.%d: %w", o.ID, err)
		}
		if strings.EqualFold(uuid, o.UUID) {
			return path, nil
		}
	}
	return "", errs.NotFoundf("no disk of this host bears the uuid %s of osd.%d", o.UUID, o.ID)
}

// Wipe implements Disks.
func (l *Local) Wipe(ctx context.Context, device string, o Identity) error {
	if err := l.unmountFolder(o); err != nil {
		return err
	}
	if err := l.wipeDisk(ctx, device, o); err != nil {
		return err
	}
	return l.removeFolder(o)
}

// wipeDisk removes volumes first: their group may be there before BlueStore's label.
func (l *Local) wipeDisk(ctx context.Context, device string, o Identity) error {
	if l.hasLVM() {
		done, err := l.removeVolumes(ctx, o.UUID)
		if done || err != nil {
			return err
		}
	}
	if device == "" {
		return nil
	}
	uuid, err := readLabel(device)
	if err != nil || !strings.EqualFold(uuid, o.UUID) {
		return err
	}
	return l.erase(ctx, device)
}
