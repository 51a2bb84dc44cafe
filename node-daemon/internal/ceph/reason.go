package ceph

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// Error is a refusal in Ceph's own terms.
type Error struct {
	Number syscall.Errno
	Text   string // Ceph's words, or ours where it has only a number
}

// Error returns "EBUSY: image has snapshots".
func (e *Error) Error() string {
	name := unix.ErrnoName(e.Number)
	if name == "" {
		name = e.Number.Error()
	}
	if e.Text == "" {
		return name + ": " + e.Number.Error()
	}
	return name + ": " + e.Text
}

// Refused returns an *Error with the kind that belongs to its number.
func Refused(number syscall.Errno, text string) error {
	return errs.New(kindOf(number), "%w", &Error{number, text})
}

// NumberOf returns Ceph's number in err's chain, 0 if there is none.
func NumberOf(err error) syscall.Errno {
	var e *Error
	if errors.As(err, &e) {
		return e.Number
	}
	return 0
}

// kindOf says what a number means to the one who asked.
func kindOf(n syscall.Errno) errs.Kind {
	switch n {
	case syscall.ENOENT, syscall.ENXIO:
		return errs.NotFound
	case syscall.EINVAL, syscall.ERANGE, syscall.EDOM, syscall.ENAMETOOLONG, syscall.E2BIG:
		return errs.Invalid
	case syscall.EEXIST, syscall.EBUSY, syscall.ENOTEMPTY, syscall.ENOSPC, syscall.EDQUOT, syscall.EROFS,
		syscall.EAGAIN, syscall.EOPNOTSUPP, syscall.EILSEQ:
		return errs.Conflict
	case syscall.EPERM, syscall.EACCES:
		return errs.Denied
	case syscall.ETIMEDOUT, syscall.ESHUTDOWN, syscall.ENOTCONN, syscall.ECONNREFUSED, syscall.EHOSTUNREACH:
		return errs.Unavailable
	}
	return errs.Internal
}
