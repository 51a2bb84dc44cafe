package osd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/parallelvirtualcluster/pvc/common/run"
)

// ends is how much is zeroed at both ends of a device, bytes: labels, partition tables
// and their copies are there.
const ends = 1 << 20

// labelCopies are where newer releases of BlueStore keep copies of the label.
var labelCopies = []int64{1 << 30, 10 << 30, 100 << 30, 1000 << 30}

// labelLength is how long a label is, bytes.
const labelLength = 4096

// erase empties a device. The label at its beginning, by which an interrupted attempt
// knows it again, goes last.
func (l *Local) erase(ctx context.Context, device string) error {
	if err := zeroEnds(device); err != nil {
		return fmt.Errorf("erase device %s: %w", device, err)
	}
	if _, err := l.Run.Run(ctx, run.Command{Argv: []string{"wipefs", "--all", "--quiet", device}}); err != nil {
		return fmt.Errorf("erase device %s: %w", device, err)
	}
	return nil
}

func zeroEnds(device string) (err error) {
	// Nobody else may have it, and nobody may mount it meanwhile.
	f, err := os.OpenFile(device, os.O_RDWR|os.O_EXCL, 0)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	for _, at := range labelCopies {
		if err := zeroCopy(f, at, size); err != nil {
			return err
		}
	}
	zeros := make([]byte, min(ends, size))
	for _, at := range []int64{size - int64(len(zeros)), 0} {
		if _, err := f.WriteAt(zeros, at); err != nil {
			return err
		}
		if err := f.Sync(); err != nil {
			return err
		}
	}
	return nil
}

// zeroCopy erases a copy of the label, and nothing else.
func zeroCopy(f *os.File, at, size int64) error {
	if at+labelLength > size {
		return nil
	}
	head := make([]byte, labelSize)
	if _, err := f.ReadAt(head, at); err != nil {
		return err
	}
	if _, ok := parseLabel(head); !ok {
		return nil
	}
	_, err := f.WriteAt(make([]byte, labelLength), at)
	return err
}
