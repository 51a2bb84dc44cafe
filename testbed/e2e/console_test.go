package e2e

import (
	"bufio"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
)

// TestConsoleIsGaplessAcrossMigrationAndRestarts counts: every number is there, once.
func TestConsoleIsGaplessAcrossMigrationAndRestarts(t *testing.T) {
	const vm = "eegapless"
	startTick(t, 1, vm)
	at := waitTicks(t, vm, 2)
	for _, i := range []int{2, 3} {
		do(t, post, "/vm/"+vm+"/node", "action=move", "node="+cluster.Host(i).Name, "wait=True", "force_live=True")
		at = waitTicks(t, vm, at+2)
		must(t, cluster.Host(i).Kill(t.Context(), testbed.PVCD))
		at = waitTicks(t, vm, at+3)
	}
	var c struct{ Data string }
	get(t, "/vm/"+vm+"/console?lines=2", &c)
	if n := strings.Count(c.Data, "\n"); n != 2 || !strings.HasPrefix(c.Data, "TICK ") {
		t.Errorf("the last 2 lines are %q", c.Data)
	}
}

// writes is how often the console log of a VM was written.
func writes(t testing.TB, uuid string) int32 {
	t.Helper()
	var version int32
	asked(t, schema.VM(uuid, schema.VMConsoleLog), func(path string) error {
		_, stat, err := zookeep.Get(t.Context(), path)
		version = stat.Version
		return err
	})
	return version
}

// TestTalkativeGuestCostsOneWritePerSecondAndItsFileIsCut watches a guest that fills
// its file well beyond the limit.
func TestTalkativeGuestCostsOneWritePerSecondAndItsFileIsCut(t *testing.T) {
	t.Parallel()
	const vm, i = "eetalk", 2
	const rotate = 64 << 10 // as configured by TestMain
	define(t, i, vm, guest.Linux(guest.Options{Name: vm, Images: images, Seq: 2}))
	do(t, post, "/vm/"+vm+"/state", "state=start", "wait=True")
	within(t, 2*deadline, "the sequence", func() string {
		if text := console(t, vm); strings.Count(text, "SEQ ") < 10 {
			return "its console: " + text
		}
		return ""
	})
	v, _ := getVM(t, vm)
	first, began := writes(t, v.UUID), time.Now()
	var most int64
	within(t, 2*deadline, "output well beyond the limit", func() string {
		info, err := os.Stat(cluster.Host(i).Path("/var/log/libvirt/" + vm + ".log"))
		must(t, err)
		stat, ok := info.Sys().(*syscall.Stat_t)
		if !ok {
			t.Fatal("no block count")
		}
		most = max(most, stat.Blocks*512)
		s, err := guest.Console([]byte(console(t, vm)))
		if err != nil && s.Last > 0 {
			t.Fatal(err)
		}
		if s.Last*50 < form[uint64](rotate*3/2, rotate*10) { // 50 bytes a line
			return fmt.Sprintf("number %d", s.Last)
		}
		return ""
	})
	count, seconds := writes(t, v.UUID)-first, time.Since(began).Seconds()
	t.Logf("%d writes in %.1f s; the file took up to %d KiB", count, seconds, most>>10)
	if float64(count) > seconds+1 {
		t.Errorf("%d writes in %.1f s", count, seconds)
	}
	if most > 2*rotate {
		t.Errorf("the file grew to %d bytes on disk, it is to be cut at %d", most, rotate)
	}
}

func TestSilentGuestCostsNothing(t *testing.T) {
	t.Parallel()
	const vm, i = "eesilent", 3
	startTick(t, i, vm)
	typeTo(t, cluster.Host(i), vm, "h")
	v, _ := getVM(t, vm)
	last, since := writes(t, v.UUID), time.Now()
	within(t, deadline, "silence for three seconds", func() string {
		if now := writes(t, v.UUID); now != last {
			last, since = now, time.Now()
		}
		if quiet := time.Since(since); quiet < 3*time.Second {
			return fmt.Sprintf("quiet for %v", quiet)
		}
		return ""
	})
	theQEMU(t, vm)
	do(t, post, "/vm/"+vm+"/state", "state=stop", "wait=True")
}

// TestFullDiskDoesNotHurtTheGuest fills the file system of a host's console files; the
// guest is heard on its terminal meanwhile.
func TestFullDiskDoesNotHurtTheGuest(t *testing.T) {
	const vm, i, dir = "eefull", 3, "/var/log/libvirt"
	h := cluster.Host(i)
	execute(t, h, "mount", "-t", "tmpfs", "-o", "size=64k", "console", dir)
	defer execute(t, h, "umount", "--lazy", dir)
	startTick(t, i, vm)
	before := waitTicks(t, vm, 2)
	pid := theQEMU(t, vm)
	fill := filepath.Join(fmt.Sprintf("/proc/%d/root", pid), dir, "fill")
	if err := os.WriteFile(fill, make([]byte, 128<<10), 0o600); err == nil {
		t.Fatal("the disk is not full")
	}
	tty := strings.TrimSpace(execute(t, h, "virsh", "-q", "ttyconsole", vm))
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/root%s", pid, tty), os.O_RDWR|syscall.O_NOCTTY, 0)
	must(t, err)
	defer f.Close()
	must(t, f.SetReadDeadline(time.Now().Add(deadline)))
	heard, terminal := 0, bufio.NewScanner(f)
	for heard < before+4 && terminal.Scan() {
		if _, n, _ := ticks(terminal.Text()); n > 0 {
			heard = n
		}
	}
	if heard < before+4 {
		t.Fatalf("the guest was at %d and was last heard at %d: %v", before, heard, terminal.Err())
	}
	must(t, os.Remove(fill))
	within(t, deadline, "the log goes on", func() string {
		text := console(t, vm)
		if boots, last, _ := ticks(text); boots != 1 || last <= heard {
			return "its console: " + text
		}
		return ""
	})
	if theQEMU(t, vm) != pid {
		t.Error("the guest was restarted")
	}
	do(t, post, "/vm/"+vm+"/state", "state=stop", "wait=True")
}
