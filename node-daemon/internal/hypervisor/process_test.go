package hypervisor

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

const (
	guestUUID = "6f1c1b5e-3c0e-4d0a-9a55-0d8a4f6f0001"
	otherUUID = "6f1c1b5e-3c0e-4d0a-9a55-0d8a4f6f0002"
	roleVar   = "PVC_TEST_EMULATOR"
)

// TestMain lets the test binary play an emulator: it prints a line and lives until
// its standard input closes.
func TestMain(m *testing.M) {
	switch os.Getenv(roleVar) {
	case "":
		os.Exit(m.Run())
	case "headless":
		runtime.LockOSThread() // init and main run on the first thread
		go live()
		_, _, _ = syscall.RawSyscall(syscall.SYS_EXIT, 0, 0, 0)
	default:
		live()
	}
}

func live() {
	fmt.Println("ready")
	_, _ = bufio.NewReader(os.Stdin).ReadString('\n')
	os.Exit(0)
}

// emulator starts a child with the name and arguments of a QEMU and returns it with
// a function that ends and reaps it.
func emulator(t *testing.T, name, role string, args ...string) (pid int, end, reap func()) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), name)
	if err := os.Symlink(self, path); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), roleVar+"="+role)
	in, _ := cmd.StdinPipe()
	out, _ := cmd.StdoutPipe()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	end = func() { _ = in.Close() }
	reap = func() { end(); _ = cmd.Wait() }
	t.Cleanup(reap)
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("the child said %q, %v", line, err)
	}
	return cmd.Process.Pid, end, reap
}

func find(t *testing.T, uuid string) []int {
	t.Helper()
	pids, err := Processes{}.Find(uuid)
	if err != nil {
		t.Fatal(err)
	}
	return pids
}

func TestFindSeesAnEmulatorByTheUUIDOfItsDomain(t *testing.T) {
	for _, name := range []string{"qemu-system-x86_64", "kvm", "qemu-kvm"} {
		t.Run(name, func(t *testing.T) {
			pid, _, reap := emulator(t, name, "guest", "-name", "guest=web1", "-uuid", guestUUID, "-S")
			if diff := cmp.Diff([]int{pid}, find(t, guestUUID)); diff != "" {
				t.Errorf("processes (-want +got):\n%s", diff)
			}
			if pids := find(t, otherUUID); pids != nil {
				t.Errorf("another domain is run by %v", pids)
			}
			if gone, err := (Processes{}).Gone(guestUUID); gone || err != nil {
				t.Errorf("gone = %v, %v while it runs", gone, err)
			}
			reap()
			if gone, err := (Processes{}).Gone(guestUUID); !gone || err != nil {
				t.Errorf("gone = %v, %v after it ended", gone, err)
			}
		})
	}
}

func TestFindLeavesOtherProgramsAlone(t *testing.T) {
	emulator(t, "libvirtd-helper", "guest", "-uuid", guestUUID)
	emulator(t, "qemu-system-x86_64", "guest", "-name", guestUUID)
	if pids := find(t, guestUUID); pids != nil {
		t.Errorf("taken for the guest: %v", pids)
	}
}

func TestAZombieIsGone(t *testing.T) {
	pid, end, _ := emulator(t, "qemu-system-x86_64", "guest", "-uuid", guestUUID)
	end()
	waitState(t, pid, 'Z')
	// The first thread is a zombie; the others may still be on their way out, and count.
	for deadline := time.Now().Add(10 * time.Second); find(t, guestUUID) != nil; runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("a zombie is taken for a running guest: %d", pid)
		}
	}
}

func TestAThreadThatOutlivesTheFirstKeepsTheGuestThere(t *testing.T) {
	pid, _, reap := emulator(t, "qemu-system-x86_64", "headless", "-uuid", guestUUID)
	waitState(t, pid, 'Z')
	if diff := cmp.Diff([]int{pid}, find(t, guestUUID)); diff != "" {
		t.Errorf("processes (-want +got):\n%s", diff)
	}
	reap()
	if pids := find(t, guestUUID); pids != nil {
		t.Errorf("still there: %v", pids)
	}
}

// waitState waits until the first thread of pid is in the state, without a pause:
// what it waits for takes microseconds.
func waitState(t *testing.T, pid int, want byte) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); runtime.Gosched() {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			t.Fatal(err)
		}
		if s, ok := procState(stat); ok && s == want {
			return
		}
	}
	t.Fatalf("process %d did not become %q", pid, want)
}

func TestAnUnreadableProcessListIsAnErrorNotAnAbsence(t *testing.T) {
	gone, err := Processes{Proc: filepath.Join(t.TempDir(), "nowhere")}.Gone(guestUUID)
	if err == nil || gone {
		t.Errorf("gone = %v, %v without a process list", gone, err)
	}
}

func TestHasUUIDReadsArgumentsNotText(t *testing.T) {
	for _, c := range []struct {
		cmdline string
		want    bool
	}{
		{"qemu\x00-uuid\x00" + guestUUID + "\x00", true},
		{"qemu\x00-uuid\x006F1C1B5E-3C0E-4D0A-9A55-0D8A4F6F0001\x00-S\x00", true},
		{"qemu\x00-uuid\x00" + otherUUID + "\x00", false},
		{"qemu\x00-name\x00-uuid " + guestUUID + "\x00", false},
		{"qemu\x00-smbios\x00uuid=" + guestUUID + "\x00", false},
		{"qemu\x00-uuid", false},
		{"", false},
	} {
		if got := hasUUID([]byte(c.cmdline), guestUUID); got != c.want {
			t.Errorf("hasUUID(%q) = %v", c.cmdline, got)
		}
	}
}

func TestIsDeadLooksBehindTheName(t *testing.T) {
	for stat, want := range map[string]bool{
		"12 (qemu-system-x86) S 1 12": false,
		"12 (qemu) Z (x) R 1 12":      false,
		"12 (kvm) Z 1 12":             true,
		"12 (kvm) X 1 12":             true,
		"":                            false,
		"12 (kvm)":                    false,
	} {
		if got := isDead([]byte(stat)); got != want {
			t.Errorf("isDead(%q) = %v", stat, got)
		}
	}
}

func BenchmarkFindAmongAllProcesses(b *testing.B) {
	for b.Loop() {
		if _, err := (Processes{}).Find(guestUUID); err != nil {
			b.Fatal(err)
		}
	}
}
