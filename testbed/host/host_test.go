package host

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

const deadline = 20 * time.Second

// rig is a switch with hosts. Names and subnet are of this process alone, so that
// runs beside each other do not meet.
func rig(t *testing.T, n int, services ...Service) (*Switch, []*Host) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("hosts are namespaces: root is needed")
	}
	if missing := MissingTools(); len(missing) > 0 {
		t.Skip("missing programs:", missing)
	}
	dir, err := os.MkdirTemp("/var/tmp", "pvc-host-") // t.TempDir is too long for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	name := fmt.Sprintf("h%d-", os.Getpid()%10000)
	sw := &Switch{Name: name + "sw", Subnet: netip.MustParsePrefix(fmt.Sprintf("10.97.%d.0/24", os.Getpid()%256)), Dir: filepath.Join(dir, "switch")}
	if err := sw.PowerOn(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { must(t, sw.PowerOff(context.Background())) })
	var hosts []*Host
	for i := 1; i <= n; i++ {
		h := &Host{Name: fmt.Sprintf("%s%d", name, i), Index: i, Switch: sw, Dir: filepath.Join(dir, fmt.Sprint(i)),
			Services: services, Etc: []File{{Name: "machine-id", Content: strings.Repeat(string(rune('0'+i)), 32) + "\n"}}}
		must(t, h.PowerOn(t.Context()))
		t.Cleanup(func() { must(t, h.PowerCut()) })
		hosts = append(hosts, h)
	}
	return sw, hosts
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func execute(t *testing.T, h *Host, argv ...string) string {
	t.Helper()
	out, err := h.Exec(t.Context(), argv...)
	must(t, err)
	return strings.TrimSpace(out)
}

// reaches reports whether a ping gets from one host to an address.
func reaches(t *testing.T, from *Host, to string) bool {
	t.Helper()
	cmd, err := from.Command(t.Context(), "busybox", "ping", "-c", "1", "-W", "1", to)
	must(t, err)
	return cmd.Run() == nil
}

// within repeats f until it succeeds.
func within(t *testing.T, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for !f() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %v", what, deadline)
		}
	}
}

func TestHostsAreMachinesOfTheirOwn(t *testing.T) {
	_, hosts := rig(t, 2)
	for _, file := range []string{"/etc/machine-id", BootIDFile, "/proc/sys/kernel/hostname"} {
		if a, b := execute(t, hosts[0], "cat", file), execute(t, hosts[1], "cat", file); a == b {
			t.Errorf("%s holds %q on both hosts", file, a)
		}
	}
	execute(t, hosts[0], "touch", "/run/x", "/var/log/x", "/etc/x", "/dev/x")
	for _, file := range []string{"/run/x", "/var/log/x", "/etc/x", "/dev/x"} {
		if _, err := hosts[1].Exec(t.Context(), "test", "-e", file); err == nil {
			t.Errorf("%s of one host is seen on the other", file)
		}
		if _, err := os.Stat(file); err == nil {
			t.Errorf("%s of a host is seen on the machine", file)
		}
	}
}

func TestPowerCutKillsEverythingAndKeepsDisks(t *testing.T) {
	_, hosts := rig(t, 1, Service{Name: "idle", Argv: []string{"/bin/sleep", "1000000"}, Log: "/var/log/idle"})
	h := hosts[0]
	execute(t, h, "touch", "/var/log/kept", "/run/lost")
	boot := execute(t, h, "cat", BootIDFile)
	var pid int
	within(t, "the service runs", func() bool { pid, _ = h.PID(t.Context(), "idle"); return pid != 0 })
	must(t, h.PowerCut())
	if _, err := os.Stat("/proc/" + strconv.Itoa(pid)); err == nil {
		t.Error("a process survives the power cut")
	}
	must(t, h.PowerOn(t.Context()))
	execute(t, h, "test", "-e", "/var/log/kept")
	if _, err := h.Exec(t.Context(), "test", "-e", "/run/lost"); err == nil {
		t.Error("/run survives a power cut")
	}
	if execute(t, h, "cat", BootIDFile) == boot {
		t.Error("the boot id is the old one")
	}
}

func TestCutLinksDropFramesUntilHealed(t *testing.T) {
	sw, h := rig(t, 3)
	ctx := t.Context()
	all := func() [3]bool {
		return [3]bool{reaches(t, h[0], h[1].Addr()), reaches(t, h[0], h[2].Addr()), reaches(t, h[0], sw.Leg().String())}
	}
	if got := all(); got != [3]bool{true, true, true} {
		t.Fatalf("before any cut hv1 reaches (2, 3, machine) = %v", got)
	}
	must(t, sw.CutBetween(ctx, h[1], h[0]))
	if got := all(); got != [3]bool{false, true, true} {
		t.Errorf("cut between 1 and 2: hv1 reaches (2, 3, machine) = %v", got)
	}
	must(t, sw.HealBetween(ctx, h[0], h[1]))
	must(t, h[0].CutLink(ctx))
	if got := all(); got != [3]bool{} {
		t.Errorf("cable pulled: hv1 reaches (2, 3, machine) = %v", got)
	}
	must(t, h[0].HealLink(ctx))
	within(t, "all reachable again", func() bool { return all() == [3]bool{true, true, true} })
}

func TestKilledServiceIsStartedAgain(t *testing.T) {
	_, hosts := rig(t, 1, Service{Name: "idle", Argv: []string{"/bin/sleep", "1000000"}, Log: "/var/log/idle"})
	h, ctx := hosts[0], t.Context()
	running := func() bool { pid, err := h.PID(ctx, "idle"); must(t, err); return pid != 0 }
	within(t, "the first start", running)
	must(t, h.Kill(ctx, "idle"))
	if running() {
		t.Error("a killed service is there without the delay")
	}
	within(t, "the second start", running)
	must(t, h.Pause(ctx, "idle"))
	pid, _ := h.PID(ctx, "idle")
	within(t, "state T", func() bool {
		b, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
		return err == nil && strings.Contains(string(b), ") T ")
	})
	must(t, h.KeepDown(ctx, "idle"))
	status, err := h.Status(ctx)
	must(t, err)
	if len(status) != 1 || !status[0].Down || status[0].PID != 0 || status[0].Starts != 2 {
		t.Errorf("kept down: %+v", status)
	}
	must(t, h.Up(ctx, "idle"))
	if !running() {
		t.Error("Up does not start the service")
	}
}

func TestUnknownServiceIsAnError(t *testing.T) {
	_, hosts := rig(t, 1)
	err := hosts[0].Kill(t.Context(), "nope")
	if err == nil || !strings.Contains(err.Error(), "nope") {
		t.Errorf("err = %v", err)
	}
}

func TestOrphansAreReaped(t *testing.T) {
	_, hosts := rig(t, 1)
	execute(t, hosts[0], "sh", "-c", "(exec sleep 0.05) & exit 0")
	within(t, "no zombie is left", func() bool {
		pids, err := hosts[0].outerPIDs()
		must(t, err)
		return len(pids) == 1 // the init
	})
}
