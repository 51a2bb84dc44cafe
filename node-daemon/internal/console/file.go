package console

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// file is what a look at a console file shows; the zero value is a file that does
// not exist.
type file struct {
	inode     uint64
	size      int64
	allocated int64 // bytes on disk, less than size if it has holes
}

// look never opens the file: it is done once per guest and interval.
func look(path string) (file, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return file{}, nil
	}
	if err != nil {
		return file{}, fmt.Errorf("look at console file: %w", err)
	}
	return fileOf(path, info)
}

func fileOf(path string, info fs.FileInfo) (file, error) {
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok || !info.Mode().IsRegular() {
		return file{}, errs.Invalidf("console file %s is not a regular file", path)
	}
	return file{inode: stat.Ino, size: stat.Size, allocated: stat.Blocks * 512}, nil
}

// open opens the file that was looked at, and fails if another has taken its place.
// It follows no link and does not wait for the other end of a pipe.
func open(path string, want file, mode int) (*os.File, error) {
	f, err := os.OpenFile(path, mode|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("open console file: %w", err)
	}
	info, err := f.Stat()
	if err == nil {
		var is file
		if is, err = fileOf(path, info); err == nil && is.inode != want.inode {
			err = errs.Unavailablef("console file %s was replaced while it was read", path)
		}
	}
	if err != nil {
		_ = f.Close() // only read from
		return nil, err
	}
	return f, nil
}

// read returns the bytes from one offset up to another, fewer if the file has become
// shorter.
func read(path string, want file, from, to int64) ([]byte, error) {
	f, err := open(path, want, unix.O_RDONLY)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, to-from)
	n, err := f.ReadAt(buf, from)
	if err != nil && err != io.EOF {
		return nil, fmt.Errorf("read console file: %w", err)
	}
	return buf[:n], nil
}

// blockSize is the granularity in which the beginning of a file is given up. It is a
// multiple of the block sizes of ext4 and XFS; where it is not one of the file system's
// (clusters, huge blocks), the file gets a hole instead.
const blockSize = 4096

// cuttable returns how many bytes can be cut at the beginning when those before offset
// are not needed: whole blocks, and never the whole file.
func cuttable(offset int64) int64 { return max(offset-1, 0) / blockSize * blockSize }

// cut gives up the first n bytes of a file while QEMU appends to it. True says that the
// file is n bytes shorter (ext4, XFS); otherwise they are a hole, and offsets stay as
// they are. Truncating the file would lose what is written between the last read and
// the cut, and would never come to pass with a guest that prints without a pause.
func cut(path string, want file, n int64) (shorter bool, err error) {
	f, err := open(path, want, unix.O_RDWR)
	if err != nil {
		return false, err
	}
	defer f.Close()
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_COLLAPSE_RANGE, 0, n)
	if err == nil {
		return true, nil
	}
	if err == unix.EOPNOTSUPP || err == unix.EINVAL || err == unix.ENOSYS {
		err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, n)
	}
	if err != nil {
		return false, fmt.Errorf("give up the first %d bytes of console file %s: %w", n, path, err)
	}
	return false, nil
}
