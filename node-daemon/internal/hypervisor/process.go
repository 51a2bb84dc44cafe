package hypervisor

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Processes finds QEMU processes by the UUID of their domain, without asking the
// hypervisor: it is how a host sees that a guest is gone when libvirt has forgotten
// it, and that a guest is still there when libvirt has crashed.
type Processes struct {
	// Proc is where procfs is mounted, /proc if empty. It must be that of the
	// process-id namespace in which the guests run.
	Proc string
}

// Find returns the process ids of the QEMU processes that run the domain, usually
// none or one. A zombie is not running: its disks are closed. The error says that
// the process list could not be read, so nothing is known. A QEMU that libvirt has
// forked but not yet executed is not seen.
func (p Processes) Find(uuid string) ([]int, error) {
	root := p.root()
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("find the process of domain %s: %w", uuid, err)
	}
	var pids []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		runs, err := runsDomain(filepath.Join(root, e.Name()), uuid)
		if err != nil {
			return nil, fmt.Errorf("find the process of domain %s: process %d: %w", uuid, pid, err)
		}
		if runs {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// Gone reports whether no QEMU process runs the domain.
func (p Processes) Gone(uuid string) (bool, error) {
	pids, err := p.Find(uuid)
	return err == nil && len(pids) == 0, err
}

func (p Processes) root() string {
	if p.Proc == "" {
		return "/proc"
	}
	return p.Proc
}

// runsDomain looks at one process. Its name is read before its arguments: most
// processes are none of ours and cost one small read.
func runsDomain(dir, uuid string) (bool, error) {
	name, err := readProc(filepath.Join(dir, "comm"))
	if err != nil || !isEmulator(string(name)) {
		return false, err
	}
	stat, err := readProc(filepath.Join(dir, "stat"))
	if err != nil || len(stat) == 0 {
		return false, err
	}
	if isDead(stat) {
		return threadsRunDomain(filepath.Join(dir, "task"), uuid)
	}
	args, err := readProc(filepath.Join(dir, "cmdline"))
	return hasUUID(args, uuid), err
}

// threadsRunDomain looks at the threads of a process whose first thread is dead. A
// killed QEMU with a thread that waits for a disk looks like a zombie from outside,
// while that thread can still finish its write.
func threadsRunDomain(dir, uuid string) (bool, error) {
	threads, err := os.ReadDir(dir)
	if err != nil {
		return false, ignoreVanished(err)
	}
	for _, t := range threads {
		stat, err := readProc(filepath.Join(dir, t.Name(), "stat"))
		if err != nil {
			return false, err
		}
		if len(stat) == 0 || isDead(stat) {
			continue
		}
		args, err := readProc(filepath.Join(dir, t.Name(), "cmdline"))
		if err != nil || hasUUID(args, uuid) {
			return err == nil, err
		}
	}
	return false, nil
}

// readProc reads a file of a process; one that has vanished reads as empty.
func readProc(path string) ([]byte, error) {
	text, err := os.ReadFile(path)
	return text, ignoreVanished(err)
}

func ignoreVanished(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
		return nil
	}
	return err
}

// isEmulator looks at comm, which the kernel cuts after 15 characters.
func isEmulator(comm string) bool {
	return strings.HasPrefix(comm, "qemu-system") || strings.HasPrefix(comm, "kvm") || strings.HasPrefix(comm, "qemu-kvm")
}

// hasUUID looks for "-uuid" followed by the UUID in NUL-terminated arguments, as
// libvirt writes them.
func hasUUID(cmdline []byte, uuid string) bool {
	args := bytes.Split(cmdline, []byte{0})
	for i := 1; i+1 < len(args); i++ {
		if string(args[i]) == "-uuid" && strings.EqualFold(string(args[i+1]), uuid) {
			return true
		}
	}
	return false
}

// isDead says that the thread of this /proc/PID/stat will never execute again.
func isDead(stat []byte) bool {
	state, ok := procState(stat)
	return ok && (state == 'Z' || state == 'X' || state == 'x')
}

// procState is the letter behind the name in parentheses, which may itself hold any
// character.
func procState(stat []byte) (byte, bool) {
	after := bytes.TrimPrefix(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	if len(after) == len(stat) || len(after) == 0 {
		return 0, false
	}
	return after[0], true
}

// Kill ends the QEMU processes of a domain at once, for a guest that its hypervisor has
// lost. That none is left has to be looked up afterwards.
func (p Processes) Kill(uuid string) error {
	pids, err := p.Find(uuid)
	if err != nil {
		return err
	}
	for _, pid := range pids {
		// Gone meanwhile is as good.
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return fmt.Errorf("kill QEMU process %d of domain %s: %w", pid, uuid, err)
		}
	}
	return nil
}
