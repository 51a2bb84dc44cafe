package dhcp

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// readTimeout is how long dnsmasq may take to read its reservations: it does one thing
// at a time.
const readTimeout = 2 * time.Second

// maxReloads bounds how many servers are watched at once; the kernel has few inotify
// instances per user (inotify(7), max_user_instances).
const maxReloads = 16

// reload makes dnsmasq read the file of reservations and report all leases again. It
// returns when the file has been read: the signal alone may come after the next packet.
func (p *process) reload(hosts string) error {
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC)
	if err != nil {
		return fmt.Errorf("watch %s: %w", hosts, err)
	}
	defer unix.Close(fd)
	if _, err := unix.InotifyAddWatch(fd, hosts, unix.IN_CLOSE_NOWRITE); err != nil {
		return fmt.Errorf("watch %s: %w", hosts, err)
	}
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("signal dnsmasq: %w", err)
	}
	if !readable(fd, readTimeout) {
		return errs.Unavailablef("dnsmasq has not read its reservations within %v", readTimeout)
	}
	return nil
}

// readable waits until there is something to read, but not longer than within.
func readable(fd int, within time.Duration) bool {
	end := time.Now().Add(within)
	for {
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, max(0, int(time.Until(end).Milliseconds())))
		if err != unix.EINTR {
			return err == nil && n == 1
		}
	}
}
