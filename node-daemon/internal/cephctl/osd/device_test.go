package osd

import (
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

const (
	ours   = "0f9a6a3e-6c1b-4c80-9a55-1d8f2c1f7a01"
	theirs = "b1d7a9c4-2222-4b3c-8d11-aaaaaaaaaaaa"
)

func blank() Device {
	return Device{Asked: "/dev/disk/by-id/x", Path: "/dev/sdb", Name: "sdb", Size: 4 << 30}
}

func TestRefusalsNameTheDeviceAndTheReason(t *testing.T) {
	for name, tt := range map[string]struct {
		change func(*Device)
		kind   errs.Kind
		reason string
	}{
		"no device":       {func(d *Device) { *d = Device{Asked: d.Asked} }, errs.Invalid, "is not a block device of this host"},
		"memory":          {func(d *Device) { d.Volatile = true }, errs.Invalid, "is in memory"},
		"mapper":          {func(d *Device) { d.Composed = true }, errs.Invalid, "is made of other devices"},
		"read-only":       {func(d *Device) { d.ReadOnly = true }, errs.Invalid, "is read-only"},
		"small":           {func(d *Device) { d.Size = 1<<30 - 1 }, errs.Invalid, "has 1073741823 bytes: at least 1073741824"},
		"mounted":         {func(d *Device) { d.Mounts = []string{"/", "/srv"}; d.Busy = true }, errs.Conflict, "is mounted at /, /srv"},
		"swap":            {func(d *Device) { d.Swap = true }, errs.Conflict, "is swap space"},
		"OSD":             {func(d *Device) { d.OSD = theirs }, errs.Conflict, "is the disk of the OSD with the uuid " + theirs},
		"group":           {func(d *Device) { d.Group = "vg0" }, errs.Conflict, "belongs to the volume group vg0"},
		"partitions":      {func(d *Device) { d.Partitions = []string{"sdb1"} }, errs.Conflict, "has partitions: sdb1"},
		"holders":         {func(d *Device) { d.Holders = []string{"md0"} }, errs.Conflict, "is used by md0"},
		"data":            {func(d *Device) { d.Signatures = []Signature{{"ext4", "0x438"}} }, errs.Conflict, "holds data (ext4 at 0x438)"},
		"busy":            {func(d *Device) { d.Busy = true }, errs.Conflict, "is in use"},
		"ours, read-only": {func(d *Device) { d.OSD, d.ReadOnly = ours, true }, errs.Invalid, "is read-only"},
	} {
		d := blank()
		tt.change(&d)
		err := d.Refusal(ours)
		if !errs.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.reason) || !strings.Contains(err.Error(), "/dev/disk/by-id/x") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEmptyDevicesAndThoseOfAnEarlierAttemptAreTaken(t *testing.T) {
	for name, change := range map[string]func(*Device){
		"empty": func(*Device) {},
		"our label": func(d *Device) {
			d.OSD, d.Busy, d.Signatures = strings.ToUpper(ours), true, []Signature{{"ceph_bluestore", "0x0"}}
		},
		"our group":      func(d *Device) { d.Group, d.Busy, d.Holders = "ceph-"+ours, true, []string{"dm-0"} },
		"smallest":       func(d *Device) { d.Size = 1 << 30 },
		"without a link": func(d *Device) { d.Asked = d.Path },
	} {
		d := blank()
		change(&d)
		if err := d.Refusal(ours); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	d := blank()
	d.OSD = theirs
	if err := d.Refusal(""); err == nil {
		t.Error("without a uuid everybody's disk is ours")
	}
}
