package vlan

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
)

const (
	emulator = "/usr/bin/qemu-system-x86_64"
	tested   = "github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/link"
	deadline = 4 * time.Minute // they need 15 seconds; the machine may be busy
)

//go:embed run.sh
var runScript []byte

// claims are the tests of package link that the guests run, in both at the same time.
var claims = []string{
	"TestVLANDevicesOrTheReasonWhyNot", // on a host alone
	"TestTaggedFramesReachTheirVLANOnly",
}

// TestBridgedNetworksConnectTwoMachines: a machine is a Linux guest with the code of
// package link in it.
func TestBridgedNetworksConnectTwoMachines(t *testing.T) {
	images := build(t)
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	ends := cable(t)
	var consoles [2]bytes.Buffer
	var faults [2]error
	var running sync.WaitGroup
	for i, side := range []string{"asks", "answers"} {
		running.Go(func() {
			defer ends[i].Close()
			if faults[i] = boot(ctx, images, side, fmt.Sprintf("52:54:00:00:00:%02x", i+1), ends[i], &consoles[i]); faults[i] == nil {
				faults[i] = judge(consoles[i].String())
			}
			if faults[i] != nil {
				cancel() // the other one would wait for it
			}
		})
	}
	began := time.Now()
	running.Wait()
	t.Logf("two guests, from power on to power off: %v", time.Since(began).Round(100*time.Millisecond))
	for i, err := range faults {
		if err != nil {
			t.Errorf("guest %d: %v; its console:\n%s", i, err, consoles[i].String())
		}
	}
}

// build makes the images of the guests, or skips the test where that is impossible.
func build(t *testing.T) guest.Images {
	t.Helper()
	if _, err := os.Stat(emulator); err != nil {
		t.Skipf("no emulator to run guests: %v", err)
	}
	cache := testbed.GuestCache(testbed.DefaultRoot())
	images, err := guest.Build(t.Context(), cache, func(s string) { t.Log(s) })
	if err != nil {
		t.Skipf("no Linux guest: %v", err)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "program")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-race=false", "-vet=off", "-ldflags=-s -w", "-o", program, tested)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("compile the tests of %s: %v: %s", tested, err, out)
	}
	code, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	images, err = guest.Extend(t.Context(), cache, images, guest.Extra{
		Modules: []string{"8021q", "bridge", "veth", "vxlan"},
		Files:   map[string][]byte{"run": runScript, "bin/program": code},
	}, filepath.Join(dir, "initrd"))
	if err != nil {
		t.Fatal(err)
	}
	return images
}

// cable is a pair of connected sockets, for one guest's network card each.
func cable(t *testing.T) (ends [2]*os.File) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i, fd := range fds {
		ends[i] = os.NewFile(uintptr(fd), "cable")
		t.Cleanup(func() { ends[i].Close() })
	}
	return ends
}

// boot runs a guest until it is powered off. Its end of the cable is the emulator's
// descriptor 3.
func boot(ctx context.Context, images guest.Images, side, mac string, end *os.File, console *bytes.Buffer) error {
	words := fmt.Sprintf("console=ttyS0 quiet loglevel=1 panic=-1 mitigations=off nokaslr tsc=unstable cryptomgr.notests=1 rdinit=/run PVC_TEST_TAGGED=%s"+
		" -- -test.v -test.timeout=3m -test.run=^(%s)$", side, strings.Join(claims, "|"))
	cmd := exec.CommandContext(ctx, emulator, "-machine", "pc", "-accel", "tcg", "-cpu", "qemu64", "-m", "256",
		"-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
		"-kernel", images.Kernel, "-initrd", images.Initrd, "-append", words,
		"-netdev", "socket,id=cable,fd=3", "-device", "virtio-net-pci,netdev=cable,romfile=,mac="+mac)
	cmd.ExtraFiles = []*os.File{end}
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("run the guest that %s: %w", side, err)
	}
	return nil
}

// judge demands that the guest has passed each claim. A test that was skipped, or is no
// longer there, is not passed.
func judge(console string) error {
	lines := strings.FieldsFunc(console, func(r rune) bool { return r == '\n' || r == '\r' })
	if !slices.Contains(lines, "VERDICT pass") {
		return fmt.Errorf("it does not say that everything has passed")
	}
	for _, c := range claims {
		if !strings.Contains(console, "--- PASS: "+c+" (") {
			return fmt.Errorf("%s has not passed", c)
		}
	}
	return nil
}
