package service

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// Program is the body of a main function. It works until ctx ends.
type Program func(ctx context.Context, args []string, stdout, stderr io.Writer) error

// Main runs a program and exits. TERM, INT and QUIT end its context; a second one of
// them ends the process at once. An error is printed to standard error and becomes
// the exit status: 2 for a Usage error, else 1.
func Main(run Program) {
	os.Exit(exitStatus(run, os.Args[1:], os.Stdout, os.Stderr))
}

func exitStatus(run Program, args []string, stdout, stderr io.Writer) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT, syscall.SIGQUIT)
	defer stop()
	// From the first signal on the default actions are back, for an impatient second.
	defer context.AfterFunc(ctx, stop)()
	err := run(ctx, args, stdout, stderr)
	if err == nil {
		return 0
	}
	fmt.Fprintf(stderr, "%s: %v\n", filepath.Base(os.Args[0]), err)
	var usage *usageError
	if errors.As(err, &usage) {
		return 2
	}
	return 1
}

type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

// Usage marks an error as one of the command line: the exit status is 2. Usage(nil)
// is nil.
func Usage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err}
}
