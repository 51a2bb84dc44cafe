package liveness

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// Host is what identifies and describes the machine the daemon runs on.
type Host struct {
	// BootID changes with every start of the machine.
	BootID string
	// MachineID stays with the installation.
	MachineID string
	// Static is "<cpus> <kernel> <os> <architecture>", as the old system writes it.
	Static string
}

// BootIDFile names the environment variable that replaces the kernel's boot id by
// the content of a file: hosts in namespaces share a kernel.
const BootIDFile = "PVC_BOOT_ID_FILE"

// ReadHost reads the host's identity from the kernel and /etc/machine-id.
func ReadHost() (Host, error) {
	file := os.Getenv(BootIDFile)
	if file == "" {
		file = "/proc/sys/kernel/random/boot_id"
	}
	boot, err := readID(file)
	if err != nil {
		return Host{}, fmt.Errorf("boot id: %w", err)
	}
	machine, err := readID("/etc/machine-id")
	if err != nil {
		return Host{}, fmt.Errorf("machine id: %w", err)
	}
	var u unix.Utsname
	if err := unix.Uname(&u); err != nil {
		return Host{}, fmt.Errorf("uname: %w", err)
	}
	static := fmt.Sprintf("%d %s GNU/Linux %s", runtime.NumCPU(), unix.ByteSliceToString(u.Release[:]), unix.ByteSliceToString(u.Machine[:]))
	return Host{BootID: boot, MachineID: machine, Static: static}, nil
}

// readID reads an identifier that becomes part of a znode's name.
func readID(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	id := strings.TrimSpace(string(b))
	valid := strings.Trim(id, "0123456789abcdefABCDEF-") == ""
	if id == "" || len(id) > 64 || !valid {
		return "", errs.Invalidf("%s does not hold an identifier of hexadecimal digits and dashes", file)
	}
	return id, nil
}

// lockFile takes the host's lock for the node's name and returns the function that
// gives it back. It is errs.Conflict while another process has it.
func lockFile(dir, node string) (unlock func(), err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, "pvcd-"+node+".lock")
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|unix.O_CLOEXEC, 0o644)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = errs.Conflictf("another pvcd for node %s runs on this host (it holds %s)", node, path)
	}
	if err != nil {
		_ = f.Close() // nothing was written
		return nil, err
	}
	return func() { _ = f.Close() }, nil
}

// random returns n random bytes in hexadecimal.
func random(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails (crypto/rand)
	return hex.EncodeToString(b)
}
