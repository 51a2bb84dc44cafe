package errs

import (
	"errors"
	"fmt"
)

// Kind says what an error means to the one who asked.
type Kind uint8

const (
	// Internal is everything that no other kind describes: a fault of ours.
	Internal Kind = iota
	// NotFound names an object that does not exist.
	NotFound
	// Invalid names a value that breaks a rule whatever the state of the cluster.
	Invalid
	// Conflict says that the state of the cluster forbids what was asked.
	Conflict
	// Denied says that the caller may not do what was asked.
	Denied
	// Unavailable says that something needed does not answer; nothing was changed.
	Unavailable
	// Unknown says that a write was sent and its answer never came: it may or may
	// not have happened.
	Unknown
)

var kindNames = [...]string{"internal", "not found", "invalid", "conflict", "denied", "unavailable", "outcome unknown"}

// String names the kind for logs.
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("kind(%d)", uint8(k))
}

type kindError struct {
	kind Kind
	err  error
}

func (e *kindError) Error() string { return e.err.Error() }
func (e *kindError) Unwrap() error { return e.err }

// New returns an error of the given kind. The format takes %w.
func New(kind Kind, format string, args ...any) error {
	return &kindError{kind, fmt.Errorf(format, args...)}
}

// NotFoundf returns a NotFound error.
func NotFoundf(format string, args ...any) error { return New(NotFound, format, args...) }

// Invalidf returns an Invalid error; the text names the value.
func Invalidf(format string, args ...any) error { return New(Invalid, format, args...) }

// Conflictf returns a Conflict error.
func Conflictf(format string, args ...any) error { return New(Conflict, format, args...) }

// Deniedf returns a Denied error.
func Deniedf(format string, args ...any) error { return New(Denied, format, args...) }

// Unavailablef returns an Unavailable error.
func Unavailablef(format string, args ...any) error { return New(Unavailable, format, args...) }

// KindOf returns the kind of the outermost error in err's chain that has one,
// Internal if none has. It must not be called with nil.
func KindOf(err error) Kind {
	var k *kindError
	if errors.As(err, &k) {
		return k.kind
	}
	return Internal
}

// Is reports whether err is of the given kind; a nil error is of none.
func Is(err error, kind Kind) bool { return err != nil && KindOf(err) == kind }
