package osd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/run"
)

// Inspect finds out what a path is and who uses it. A path that is no block device is no
// error; a device that cannot be read is errs.Unavailable.
func (l *Local) Inspect(ctx context.Context, path string) (Device, error) {
	d := Device{Asked: path}
	number, err := d.resolve()
	if err != nil || d.Path == "" {
		return d, err
	}
	steps := []func() error{
		func() error { return d.fromKernel(number) },
		func() error { return d.fromTables(number) },
		func() error { return d.fromSignatures(ctx, l.Run) },
		func() (err error) { d.OSD, err = readLabel(d.Path); return err },
		func() (err error) { d.Busy, err = busy(d.Path); return err },
		func() (err error) { d.Group, err = l.groupOf(ctx, d.Path); return err },
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return d, errs.Unavailablef("look at device %s: %w", path, err)
		}
		if d.unfit() != "" {
			return d, nil // no need to read from it
		}
	}
	return d, nil
}

// resolve follows links. What does not lead to a block device below /dev has no Path.
func (d *Device) resolve() (number uint64, err error) {
	var st unix.Stat_t
	err = unix.Stat(d.Asked, &st)
	if err == unix.ENOENT || err == unix.ENOTDIR || err == unix.ELOOP {
		return 0, nil
	}
	path := ""
	if err == nil {
		path, err = filepath.EvalSymlinks(d.Asked)
	}
	if err != nil {
		return 0, errs.Unavailablef("look at device %s: %w", d.Asked, err)
	}
	if st.Mode&unix.S_IFMT == unix.S_IFBLK && strings.HasPrefix(path, "/dev/") {
		d.Path = path
	}
	return st.Rdev, nil
}

// fromKernel reads what /sys tells of the device.
func (d *Device) fromKernel(number uint64) error {
	dir, err := filepath.EvalSymlinks(fmt.Sprintf("/sys/dev/block/%d:%d", unix.Major(number), unix.Minor(number)))
	if err != nil {
		return err
	}
	d.Name = filepath.Base(dir)
	sectors, err := readNumber(dir, "size")
	if err != nil {
		return err
	}
	const sector = 512 // whatever the device has: Documentation/ABI/stable/sysfs-block
	d.Size = sectors * sector
	readOnly, err := readNumber(dir, "ro")
	if err != nil {
		return err
	}
	d.ReadOnly = readOnly != 0
	d.Volatile = strings.HasPrefix(d.Name, "ram") || strings.HasPrefix(d.Name, "zram")
	d.Composed = exists(dir, "dm") || exists(dir, "md")
	d.Holders = names(filepath.Join(dir, "holders"))
	for _, name := range names(dir) {
		if exists(filepath.Join(dir, name), "partition") {
			d.Partitions = append(d.Partitions, name)
		}
	}
	return nil
}

func readNumber(dir, name string) (uint64, error) {
	text, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
}

func exists(dir, name string) bool {
	_, err := os.Stat(filepath.Join(dir, name))
	return err == nil
}

// names are those in a folder, none if there is no such folder.
func names(dir string) (all []string) {
	entries, _ := os.ReadDir(dir) // a device that is not there has none
	for _, e := range entries {
		all = append(all, e.Name())
	}
	return all
}

// fromTables reads the kernel's tables of mounts and swap spaces. Of others' mount
// namespaces only busy knows.
func (d *Device) fromTables(number uint64) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	swaps, err := os.ReadFile("/proc/swaps")
	if err != nil {
		return err
	}
	same := func(path string) bool {
		var st unix.Stat_t
		return strings.HasPrefix(path, "/dev/") && unix.Stat(path, &st) == nil && st.Mode&unix.S_IFMT == unix.S_IFBLK && st.Rdev == number
	}
	own := fmt.Sprintf("%d:%d", unix.Major(number), unix.Minor(number))
	for _, m := range parseMounts(string(mounts)) {
		if m.device == own || same(m.source) {
			d.Mounts = append(d.Mounts, m.point)
		}
	}
	d.Swap = slices.ContainsFunc(parseSwaps(string(swaps)), same)
	return nil
}

func (d *Device) fromSignatures(ctx context.Context, r run.Runner) (err error) {
	out, err := r.Run(ctx, run.Command{Argv: []string{"wipefs", "--no-act", "--json", d.Path}})
	if err != nil {
		return err
	}
	d.Signatures, err = parseSignatures(out.Stdout)
	return err
}

// readLabel returns the uuid of the OSD in BlueStore's label on a device or a file, empty
// if there is none.
func readLabel(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	head := make([]byte, labelSize)
	n, err := io.ReadFull(f, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return "", err
	}
	uuid, _ := parseLabel(head[:n])
	return uuid, nil
}

// busy asks the kernel for the exclusive use of a device (O_EXCL, open(2)), which it
// grants to one of mounts, swap, device-mapper, md and others; and for the lock that
// BlueStore holds (flock(2)).
func busy(path string) (bool, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	if errors.Is(err, unix.EBUSY) {
		return true, nil
	}
	if err != nil {
		return false, err
	}
	defer unix.Close(fd)
	err = unix.Flock(fd, unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		return true, nil
	}
	return false, err
}

// byID is where udev puts links whose names stay with the device.
const byID = "/dev/disk/by-id"

// stableName is a name of a device that is the same after a boot: the link that was asked
// for, or one of udev, or else the path.
func stableName(d Device) string {
	if d.Asked != d.Path {
		return d.Asked
	}
	for _, name := range names(byID) {
		link := filepath.Join(byID, name)
		if target, err := filepath.EvalSymlinks(link); err == nil && target == d.Path && !strings.HasPrefix(name, "lvm-") {
			return link
		}
	}
	return d.Path
}
