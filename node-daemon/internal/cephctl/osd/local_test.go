package osd

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/run"
)

// loopDevice is a block device over a file with a hole, until the end of the test or of
// its process.
func loopDevice(t *testing.T, size int64, flags uint32) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("no block devices: root is needed")
	}
	file, err := os.CreateTemp(t.TempDir(), "disk")
	must(t, err)
	defer file.Close()
	must(t, file.Truncate(size))
	control, err := unix.Open("/dev/loop-control", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Skip("no loop devices:", err)
	}
	defer unix.Close(control)
	config := &unix.LoopConfig{Fd: uint32(file.Fd()), Info: unix.LoopInfo64{Flags: unix.LO_FLAGS_AUTOCLEAR | flags}}
	for range 1000 {
		n, err := unix.IoctlRetInt(control, unix.LOOP_CTL_GET_FREE)
		must(t, err)
		path := fmt.Sprintf("/dev/loop%d", n)
		device, err := unix.Open(path, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Skip("no loop devices:", err)
		}
		err = unix.IoctlLoopConfigure(device, config)
		if err == nil {
			t.Cleanup(func() { must(t, unix.Close(device)) })
			return path
		}
		must(t, unix.Close(device))
		if !errors.Is(err, unix.EBUSY) { // somebody else may have been faster
			t.Fatal(err)
		}
	}
	t.Fatal("no free loop device")
	return ""
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// tool runs a program that the test needs.
func tool(t *testing.T, argv ...string) {
	t.Helper()
	if _, err := exec.LookPath(argv[0]); err != nil {
		t.Skip("missing program:", err)
	}
	_, err := run.System{}.Run(t.Context(), run.Command{Argv: argv})
	must(t, err)
}

func writeAt(t *testing.T, device string, at int64, text string) {
	t.Helper()
	f, err := os.OpenFile(device, os.O_WRONLY, 0)
	must(t, err)
	_, err = f.WriteAt([]byte(text), at)
	must(t, errors.Join(err, f.Sync(), f.Close()))
}

func check(t *testing.T, path string) error {
	t.Helper()
	_, err := (&Local{Run: run.System{}}).Check(t.Context(), path, ours)
	return err
}

func TestRealDevicesAreRefusedForWhatIsOnThem(t *testing.T) {
	const size = 2 << 30
	for name, tt := range map[string]struct {
		size   int64
		flags  uint32
		use    func(t *testing.T, device string)
		reason string // empty: it is taken
	}{
		"empty":       {size, 0, nil, ""},
		"small":       {size / 4, 0, nil, "has 536870912 bytes"},
		"read-only":   {size, unix.LO_FLAGS_READ_ONLY, nil, "is read-only"},
		"file system": {size, 0, func(t *testing.T, d string) { tool(t, "mkfs.ext4", "-q", d) }, "holds data (ext4 at 0x438)"},
		"swap":        {size, 0, func(t *testing.T, d string) { tool(t, "mkswap", d) }, "holds data (swap at "},
		"LVM": {size, 0, func(t *testing.T, d string) {
			tool(t, "pvcreate", "--config", `devices/global_filter=["a|.*|"]`, "--quiet", d)
		}, "LVM2_member"},
		"mounted": {size, 0, func(t *testing.T, d string) {
			tool(t, "mkfs.ext4", "-q", d)
			dir := t.TempDir()
			must(t, unix.Mount(d, dir, "ext4", 0, ""))
			t.Cleanup(func() { must(t, unix.Unmount(dir, 0)) })
		}, "is mounted at /"},
		"held": {size, 0, func(t *testing.T, d string) {
			fd, err := unix.Open(d, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
			must(t, err)
			t.Cleanup(func() { must(t, unix.Close(fd)) })
		}, "is in use"},
		"locked": {size, 0, func(t *testing.T, d string) {
			fd, err := unix.Open(d, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			must(t, err)
			must(t, unix.Flock(fd, unix.LOCK_EX))
			t.Cleanup(func() { must(t, unix.Close(fd)) })
		}, "is in use"},
		"OSD":     {size, 0, func(t *testing.T, d string) { writeAt(t, d, 0, labelHead+theirs+"\n") }, "is the disk of the OSD with the uuid " + theirs},
		"our OSD": {size, 0, func(t *testing.T, d string) { writeAt(t, d, 0, labelHead+ours+"\n") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			d := loopDevice(t, tt.size, tt.flags)
			if tt.use != nil {
				tt.use(t, d)
			}
			err := check(t, d)
			if tt.reason == "" && err != nil || tt.reason != "" && (err == nil || !strings.Contains(err.Error(), tt.reason) || !strings.Contains(err.Error(), "device "+d+" ")) {
				t.Errorf("%v; %q was expected", err, tt.reason)
			}
		})
	}
}

func TestPathsThatAreNoDevicesAreInvalid(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	must(t, os.WriteFile(file, make([]byte, 10), 0o600))
	must(t, os.Symlink("loop", filepath.Join(dir, "loop")))
	for _, path := range []string{"/dev/pvc-no-such-device", "/dev/null", "/dev", file, file + "/below", filepath.Join(dir, "loop")} {
		if err := check(t, path); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

func TestLinksAreFollowedAndKept(t *testing.T) {
	d := loopDevice(t, 2<<30, 0)
	link := filepath.Join(t.TempDir(), "link")
	must(t, os.Symlink(d, link))
	got, err := (&Local{Run: run.System{}}).Check(t.Context(), link, ours)
	if err != nil || got != link {
		t.Errorf("%q, %v; the name that was asked for stays, the kernel's may change", got, err)
	}
}

// local is a Local with a folder of its own.
func local(t *testing.T) *Local {
	return &Local{Run: run.System{}, Data: t.TempDir(), Layout: Raw}
}

// allZero reports whether a device holds nothing.
func allZero(t *testing.T, device string, at, n int64) bool {
	t.Helper()
	f, err := os.Open(device)
	must(t, err)
	defer f.Close()
	b := make([]byte, n)
	_, err = f.ReadAt(b, at)
	must(t, err)
	return strings.Trim(string(b), "\x00") == ""
}

func TestWipeErasesOnlyWhatBearsTheUUID(t *testing.T) {
	const size = 2 << 30
	for name, tt := range map[string]struct {
		label string
		wiped bool
	}{"ours": {ours, true}, "theirs": {theirs, false}} {
		t.Run(name, func(t *testing.T) {
			l, d := local(t), loopDevice(t, size, 0)
			label := labelHead + tt.label + "\n"
			for _, at := range []int64{0, 1 << 30} {
				writeAt(t, d, at, label)
			}
			writeAt(t, d, size-512, "a partition table's copy")
			writeAt(t, d, 1<<20, "data")
			dir := l.folder(3)
			must(t, makeFolder(dir, tt.label))
			o := Identity{ID: 3, UUID: ours}
			for range 2 {
				must(t, l.Wipe(t.Context(), d, o))
			}
			for at, n := range map[int64]int64{0: 1 << 20, 1 << 30: 4096, size - 512: 512} {
				if allZero(t, d, at, n) != tt.wiped {
					t.Errorf("at %d: wiped %v", at, !tt.wiped)
				}
			}
			if allZero(t, d, 1<<20, 4) {
				t.Error("what is no label was erased, which takes hours on a large disk")
			}
			if exists(l.Data, "ceph-3") == tt.wiped {
				t.Errorf("the folder is there: %v", tt.wiped)
			}
			if _, err := l.Find(t.Context(), o, d); errs.Is(err, errs.NotFound) == (tt.label == ours && !tt.wiped) {
				t.Error(err)
			}
		})
	}
}

func TestWipeLeavesADeviceThatIsInUse(t *testing.T) {
	l, d := local(t), loopDevice(t, 2<<30, 0)
	writeAt(t, d, 0, labelHead+ours+"\n")
	fd, err := unix.Open(d, unix.O_RDONLY|unix.O_EXCL|unix.O_CLOEXEC, 0)
	must(t, err)
	defer unix.Close(fd)
	if err := l.Wipe(t.Context(), d, Identity{ID: 3, UUID: ours}); err == nil || !strings.Contains(err.Error(), d) {
		t.Error(err)
	}
	if got, err := readLabel(d); err != nil || got != ours {
		t.Errorf("label %q, %v", got, err)
	}
}

func TestFoldersOfOthersAreRefused(t *testing.T) {
	l := local(t)
	dir := l.folder(3)
	must(t, makeFolder(dir, ours))
	must(t, makeFolder(dir, ours))
	if err := makeFolder(dir, theirs); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), ours) {
		t.Error(err)
	}
	must(t, os.Remove(filepath.Join(dir, "fsid")))
	must(t, makeFolder(dir, theirs)) // empty, as an interrupted attempt leaves it
	must(t, os.Remove(filepath.Join(dir, "fsid")))
	must(t, os.WriteFile(filepath.Join(dir, "keyring"), nil, 0o600))
	if err := makeFolder(dir, ours); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "not empty") {
		t.Error(err)
	}
	must(t, l.removeFolder(Identity{ID: 3, UUID: ours}))
	if !exists(dir, "keyring") {
		t.Error("a folder of nobody knows whom was removed")
	}
}
