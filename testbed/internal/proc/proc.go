// Package proc starts and identifies operating system processes for the testbed.
//
// Two rules live here. A process that a test starts must not outlive the test,
// even if the test binary is killed: StartTied. And a pid that was written down
// may have been given to another process since: Identity.
package proc

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
)

// starter is the one OS thread that starts tied processes. The kernel sends the
// parent-death signal when the *thread* that forked ends, not the process, and
// the Go runtime ends threads as it likes. A goroutine that is locked to its
// thread and never returns keeps that thread for as long as the process lives.
var starter = sync.OnceValue(func() chan<- startRequest {
	requests := make(chan startRequest)
	go func() {
		runtime.LockOSThread()
		for r := range requests {
			r.done <- r.cmd.Start()
		}
	}()
	return requests
})

type startRequest struct {
	cmd  *exec.Cmd
	done chan<- error
}

// StartTied starts cmd as a process that the kernel kills when the calling
// process ends, however it ends. The caller waits for cmd as usual.
func StartTied(cmd *exec.Cmd) error {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	done := make(chan error, 1)
	starter() <- startRequest{cmd, done}
	return <-done
}

// Identity names one process for good: a pid together with the time at which
// the process began (clock ticks since boot), so that a recycled pid is not
// taken for it.
type Identity struct {
	PID   int    `json:"pid"`
	Start uint64 `json:"start"`
}

// Identify returns the identity of the process that has pid now. The error
// wraps os.ErrNotExist if there is none.
func Identify(pid int) (Identity, error) {
	fields, err := statFields(pid)
	if err != nil {
		return Identity{}, err
	}
	start, err := strconv.ParseUint(fields[19], 10, 64)
	if err != nil {
		return Identity{}, fmt.Errorf("start time of process %d: %w", pid, err)
	}
	return Identity{PID: pid, Start: start}, nil
}

// Alive reports whether the process still exists and is no zombie.
func (id Identity) Alive() bool {
	if id.PID <= 0 {
		return false
	}
	now, err := Identify(id.PID)
	if err != nil || now != id {
		return false
	}
	fields, err := statFields(id.PID)
	return err == nil && fields[0] != "Z" && fields[0] != "X"
}

// Signal sends sig to the process if it still exists; os.ErrProcessDone if not.
func (id Identity) Signal(sig syscall.Signal) error {
	if !id.Alive() {
		return os.ErrProcessDone
	}
	return syscall.Kill(id.PID, sig)
}

// statFields returns the fields of /proc/<pid>/stat after the command name,
// which may hold blanks and brackets itself: field 0 is the state, 19 the start.
func statFields(pid int) ([]string, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil, err
	}
	s := string(b)
	fields := strings.Fields(s[strings.LastIndexByte(s, ')')+1:])
	if len(fields) < 20 {
		return nil, fmt.Errorf("/proc/%d/stat has %d fields after the name", pid, len(fields))
	}
	return fields, nil
}
