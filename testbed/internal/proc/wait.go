package proc

import (
	"time"

	"golang.org/x/sys/unix"
)

// WaitGone waits until the process has ended (a zombie has) and reports whether
// it did within the time given. The process need not be a child of the caller.
func WaitGone(id Identity, within time.Duration) bool {
	fd, err := unix.PidfdOpen(id.PID, 0)
	if err != nil {
		return !id.Alive()
	}
	defer unix.Close(fd)
	if !id.Alive() { // it ended, or the descriptor is another process's
		return true
	}
	for deadline := time.Now().Add(within); ; {
		left := time.Until(deadline)
		if left <= 0 {
			return !id.Alive()
		}
		fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(fds, int(left.Milliseconds())+1)
		if n > 0 {
			return true
		}
		if err != nil && err != unix.EINTR {
			return !id.Alive()
		}
	}
}
