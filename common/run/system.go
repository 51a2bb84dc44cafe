package run

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// System runs programs on this host. A program gets a process group of its own,
// which is killed as a whole when its time is over, and dies with the daemon
// (PR_SET_PDEATHSIG, prctl(2)).
type System struct{}

// waitDelay is how long the pipes of a killed program may stay open: a child that has
// left the process group may hold them.
const waitDelay = time.Second

// Run implements Runner.
func (System) Run(ctx context.Context, c Command) (Result, error) {
	if err := c.check(); err != nil {
		return Result{}, err
	}
	limited, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	var stdout, stderr bounded
	cmd := exec.CommandContext(limited, c.Argv[0], c.Argv[1:]...)
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.Stdin = bytes.NewReader(c.Stdin)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.WaitDelay = waitDelay
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }

	// The death signal comes when the thread that started the program ends, not the
	// process: keep the thread.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := cmd.Run()
	r := Result{Stdout: stdout.data, Stderr: stderr.data, Truncated: stdout.dropped || stderr.dropped}
	if limited.Err() != nil && err != nil {
		return r, c.interrupted(ctx, limited)
	}
	return c.ended(r, err)
}

// ended tells the ways in which a program can end by itself apart.
func (c Command) ended(r Result, err error) (Result, error) {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return r, nil
	case errors.As(err, &exit):
		r.ExitCode = exit.ExitCode()
		if ws, ok := exit.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
			return c.exit(r, ws.Signal().String())
		}
		return c.exit(r, "")
	case errors.Is(err, exec.ErrWaitDelay):
		// It ended well but has left a child that holds its output.
		return r, nil
	}
	return r, errs.Unavailablef("run %s: %w", c.Argv[0], err)
}

// interrupted says whether the caller gave up or the time was over.
func (c Command) interrupted(ctx, limited context.Context) error {
	if err := ctx.Err(); err != nil {
		return errs.Unavailablef("run %s: killed: %w", c.Argv[0], err)
	}
	return errs.Unavailablef("run %s: killed after %v: %w", c.Argv[0], c.timeout(), limited.Err())
}

// NotInstalled reports whether a program could not be run because there is none of its
// name.
func NotInstalled(err error) bool { return errors.Is(err, exec.ErrNotFound) }

func killGroup(pid int) error {
	err := syscall.Kill(-pid, syscall.SIGKILL)
	if errors.Is(err, syscall.ESRCH) {
		return os.ErrProcessDone
	}
	return err
}
