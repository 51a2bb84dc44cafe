package proc

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// WaitGone waits until the process has ended (a zombie has) and reports whether
// it did within the time given. The process need not be a child of the caller.
func WaitGone(id Identity, within time.Duration) bool {
	if id.PID <= 0 {
		return true
	}
	fd, err := unix.PidfdOpen(id.PID, 0)
	if err != nil {
		return !id.Alive()
	}
	defer unix.Close(fd)
	// Alive would be too early: of a process with several threads the first may
	// be a zombie while the last still kills the processes of its namespace.
	if now, err := Identify(id.PID); err != nil || now != id {
		return true // reaped; the descriptor is of another process, if any
	}
	for deadline := time.Now().Add(within); ; {
		left := time.Until(deadline)
		if left <= 0 {
			return false
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(left.Milliseconds())+1)
		if n > 0 {
			return true
		}
		if err != nil && err != unix.EINTR {
			return false
		}
	}
}

// WaitStopped waits until no thread of a process runs any more after a SIGSTOP, which the
// kernel tells each by itself; false if that takes too long.
func WaitStopped(pid int, within time.Duration) bool {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for end := time.Now().Add(within); time.Now().Before(end); <-ticker.C {
		if stopped(pid) {
			return true
		}
	}
	return false
}

func stopped(pid int) bool {
	stats, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	if err != nil || len(stats) == 0 {
		return false
	}
	for _, file := range stats {
		b, err := os.ReadFile(file)
		_, after, found := strings.Cut(string(b), ") ") // proc(5): the state follows the name
		if err == nil && found && !strings.HasPrefix(after, "T") {
			return false
		}
	}
	return true
}
