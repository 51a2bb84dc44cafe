package osd

import "context"

// Identity is who an OSD is.
type Identity struct {
	ID     int
	UUID   string
	Secret string // its cephx key; needed for Prepare only
}

// Disks are the disks of this host. *Local has the real ones.
type Disks interface {
	// Check returns the device at a path, by a name that stays, if it may become the OSD
	// with that uuid; see Device.Refusal.
	Check(ctx context.Context, path, uuid string) (device string, err error)
	// Prepare makes the device, which was checked, the disk of an OSD and returns when
	// its daemon can be started. Repeated, it finds and finishes what was begun.
	Prepare(ctx context.Context, device string, o Identity) error
	// BootUnits are the units that have to be enabled for the OSD to run after a boot.
	BootUnits(ctx context.Context, o Identity) ([]string, error)
	// Find returns the device of an OSD, which is looked for at those that are given, too;
	// errs.NotFound if no disk of this host bears its uuid.
	Find(ctx context.Context, o Identity, hints ...string) (device string, err error)
	// Wipe empties the device if it bears the OSD's uuid and removes the OSD's folder. The
	// daemon does not run any more. Nothing there is no error; somebody else's is left alone.
	Wipe(ctx context.Context, device string, o Identity) error
}
