package host

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// loopControl is the device that gives out loop devices: character device 10, 237
// (the kernel's admin-guide/devices.txt).
const (
	loopControlMajor = 10
	loopControlMinor = 237
	loopMajor        = 7
)

// DiskPath is where a host finds its spare disk number i, counted from 0: /dev/sdb, /dev/sdc
// and so on. The first letter is left to the disk that a machine boots from. It is
// a link to the name that the kernel has for the device, which may be another one
// after every boot; programs that look into /sys need that one.
func DiskPath(i int) string { return "/dev/sd" + string(rune('b'+i)) }

// maxDisks is the number of letters that are left.
const maxDisks = 25

// diskFiles are the files behind the host's disks, in their order. They are made
// as holes when they are missing.
func (h *Host) diskFiles() ([]string, error) {
	if len(h.Disks) > maxDisks {
		return nil, fmt.Errorf("%d disks: at most %d were expected", len(h.Disks), maxDisks)
	}
	var files []string
	for i, size := range h.Disks {
		file := filepath.Join(h.Dir, "disks", filepath.Base(DiskPath(i)))
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return nil, err
		}
		if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
			if err := makeHole(file, size); err != nil {
				return nil, err
			}
		}
		files = append(files, file)
	}
	return files, nil
}

func makeHole(file string, size int64) error {
	f, err := os.OpenFile(file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	return errors.Join(f.Truncate(size), f.Close())
}

// attachDisks puts a loop device over each file and makes it a disk of the host, whose
// own /dev is mounted already. The init holds the devices open; whoever of the host
// closes one last, at the latest the init by its end, frees it (LO_FLAGS_AUTOCLEAR).
func attachDisks(files []string) error {
	if len(files) == 0 {
		return nil
	}
	control, err := openLoopControl()
	if err != nil {
		return fmt.Errorf("loop devices: %w", err)
	}
	defer unix.Close(control)
	for i, file := range files {
		node, err := attachDisk(control, file)
		if err != nil {
			return fmt.Errorf("disk %s over %s: %w", DiskPath(i), file, err)
		}
		if err := os.Symlink(filepath.Base(node), DiskPath(i)); err != nil {
			return err
		}
	}
	return nil
}

// openLoopControl opens the control device and leaves no way to it behind: a host has
// no business with the loop devices of the machine.
func openLoopControl() (int, error) {
	const node = "/dev/loop-control"
	if err := unix.Mknod(node, unix.S_IFCHR|0o600, int(unix.Mkdev(loopControlMajor, loopControlMinor))); err != nil {
		return -1, err
	}
	defer unix.Unlink(node)
	return unix.Open(node, unix.O_RDWR|unix.O_CLOEXEC, 0)
}

// attachDisk takes a free loop device and returns its node. Another process may take
// the same one first, and the next free one is tried then.
func attachDisk(control int, file string) (node string, err error) {
	backing, err := unix.Open(file, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(backing)
	config := &unix.LoopConfig{Fd: uint32(backing), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR}}
	copy(config.Info.File_name[:len(config.Info.File_name)-1], file)
	for range 1000 {
		n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
		if err != nil {
			return "", fmt.Errorf("find a free loop device: %w", err)
		}
		node := fmt.Sprintf("/dev/loop%d", n)
		err = configureLoop(node, n, config)
		if err == nil {
			return node, nil
		}
		if !errors.Is(err, unix.EBUSY) {
			return "", fmt.Errorf("loop device %d: %w", n, err)
		}
	}
	return "", errors.New("no free loop device in 1000 tries")
}

// configureLoop makes the node of a loop device and puts the device over its file.
// The device stays open, for as long as the init lives; for want of an *os.File nobody
// closes it. On failure there is no node.
func configureLoop(node string, number int, config *unix.LoopConfig) error {
	if err := unix.Mknod(node, unix.S_IFBLK|0o660, int(unix.Mkdev(loopMajor, uint32(number)))); err != nil {
		return err
	}
	device, err := unix.Open(node, unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		return errors.Join(err, unix.Unlink(node))
	}
	if err := unix.IoctlLoopConfigure(device, config); err != nil {
		return errors.Join(err, unix.Close(device), unix.Unlink(node))
	}
	return nil
}
