package osd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/run"
)

// mkfsTimeout bounds the making of a store: 2 s on an idle disk.
const mkfsTimeout = 10 * time.Minute

// makeStore makes the OSD's folder and its store on a block device.
func (l *Local) makeStore(ctx context.Context, block string, o Identity) error {
	dir := l.folder(o.ID)
	if err := makeFolder(dir, o.UUID); err != nil {
		return err
	}
	keyring := filepath.Join(dir, "keyring")
	if err := writeFile(keyring, fmt.Sprintf("[osd.%d]\n\tkey = %s\n", o.ID, o.Secret), 0o600); err != nil {
		return err
	}
	if err := link(block, filepath.Join(dir, "block")); err != nil {
		return err
	}
	if done, err := isMade(dir, block, o.UUID); err != nil || done {
		return errors.Join(err, giveToCeph(dir, block))
	}
	argv := []string{"ceph-osd"}
	if l.Conf != "" {
		argv = append(argv, "-c", l.Conf)
	}
	// The key is also written into the label, from which ceph-volume makes the folder.
	argv = append(argv, "-i", strconv.Itoa(o.ID), "--mkfs", "--osd-uuid", o.UUID, "--osd-data", dir,
		"--osd-objectstore", "bluestore", "--keyring", keyring, "--keyfile", "-")
	if _, err := l.Run.Run(ctx, run.Command{Argv: argv, Stdin: []byte(o.Secret), Redact: []string{o.Secret}, Timeout: mkfsTimeout}); err != nil {
		return fmt.Errorf("make the store of osd.%d on %s: %w", o.ID, block, err)
	}
	return giveToCeph(dir, block)
}

// makeFolder makes an OSD's folder. The uuid is the first thing in it.
func makeFolder(dir, uuid string) error {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return fmt.Errorf("make the OSD's folder: %w", err)
	}
	old, err := folderOf(dir)
	if err != nil {
		return err
	}
	switch {
	case strings.EqualFold(old, uuid):
		return nil
	case old != "":
		return errs.Conflictf("folder %s is that of another OSD, with the uuid %s", dir, old)
	case len(names(dir)) > 0:
		return errs.Conflictf("folder %s is not empty, and nothing in it says of which OSD it is", dir)
	}
	return writeFile(filepath.Join(dir, "fsid"), uuid+"\n", 0o644)
}

// folderOf is the uuid in a folder, empty if there is none.
func folderOf(dir string) (string, error) {
	text, err := os.ReadFile(filepath.Join(dir, "fsid"))
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look whose folder it is: %w", err)
	}
	return strings.TrimSpace(string(text)), nil
}

// isMade reports whether the store is complete: "ready" is the last that is written.
func isMade(dir, block, uuid string) (bool, error) {
	if !exists(dir, "ready") {
		return false, nil
	}
	label, err := readLabel(block)
	return strings.EqualFold(label, uuid), err
}

// writeFile writes a file as a whole or not at all.
func writeFile(path, text string, mode fs.FileMode) error {
	temporary := path + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	f, err := os.OpenFile(temporary, os.O_CREATE|os.O_EXCL|os.O_WRONLY, mode)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(temporary, path)
}

// link makes a link, in place of one that leads elsewhere.
func link(target, path string) error {
	if old, err := os.Readlink(path); err == nil && old == target {
		return nil
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return os.Symlink(target, path)
}

// cephUser is whom Debian's units run the daemons as.
const cephUser = "ceph"

// giveToCeph makes folder and device the user's as whom the daemon runs. Where there is
// no such user it runs as root.
func giveToCeph(dir, block string) error {
	u, err := user.Lookup(cephUser)
	var unknown user.UnknownUserError
	if errors.As(err, &unknown) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up the user %s: %w", cephUser, err)
	}
	uid, uerr := strconv.Atoi(u.Uid)
	gid, gerr := strconv.Atoi(u.Gid)
	if err := errors.Join(uerr, gerr, os.Chown(block, uid, gid)); err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(path, uid, gid)
	})
}

// unmountFolder takes away what ceph-volume has mounted over an OSD's folder.
func (l *Local) unmountFolder(o Identity) error {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	dir := l.folder(o.ID)
	for _, m := range parseMounts(string(text)) {
		if m.point != dir {
			continue
		}
		if old, err := folderOf(dir); err != nil || !strings.EqualFold(old, o.UUID) {
			return err // another's
		}
		if err := unix.Unmount(dir, 0); err != nil {
			return fmt.Errorf("unmount %s: %w", dir, err)
		}
	}
	return nil
}

// removeFolder removes an OSD's folder, if it is that one's.
func (l *Local) removeFolder(o Identity) error {
	dir := l.folder(o.ID)
	old, err := folderOf(dir)
	if err != nil {
		return err
	}
	if strings.EqualFold(old, o.UUID) {
		return os.RemoveAll(dir)
	}
	if len(names(dir)) == 0 { // left by an attempt that was interrupted right there
		if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
