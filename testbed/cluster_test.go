package testbed_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

const deadline = 2 * time.Minute

// up builds a cluster that only this package uses, without our daemons.
func up(t *testing.T) *testbed.Cluster {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("hosts are namespaces: root is needed")
	}
	missing := host.MissingTools()
	for _, file := range []string{"/usr/sbin/libvirtd", "/usr/bin/qemu-system-x86_64", "/usr/share/java/zookeeper.jar"} {
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, file)
		}
	}
	if len(missing) > 0 {
		t.Skip("missing programs:", missing)
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	c, err := testbed.Up(ctx, testbed.Options{Prefix: "tb"})
	must(t, err)
	t.Cleanup(func() {
		if err := c.Down(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

func images(t *testing.T, c *testbed.Cluster) guest.Images {
	t.Helper()
	i, err := guest.Build(t.Context(), testbed.GuestCache(testbed.DefaultRoot()), func(s string) { t.Log(s) })
	must(t, err)
	return i
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func virsh(t *testing.T, h *host.Host, args ...string) string {
	t.Helper()
	out, err := h.Exec(t.Context(), append([]string{"virsh", "-q"}, args...)...)
	must(t, err)
	return strings.TrimSpace(out)
}

func create(t *testing.T, c *testbed.Cluster, i int, name, xml string) {
	t.Helper()
	file := filepath.Join(c.SharedDir(), name+".xml")
	must(t, os.WriteFile(file, []byte(xml), 0o644))
	virsh(t, c.Host(i), "create", file)
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return b
}

// within repeats f until it succeeds.
func within(t *testing.T, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !f() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %v", what, deadline)
		}
	}
}

// last is the last number of a console log so far, 0 while there is none.
func last(t *testing.T, log string) uint64 {
	t.Helper()
	s, err := guest.Console(read(t, log))
	if err != nil && s.Last != 0 {
		t.Fatal(err)
	}
	return s.Last
}

// TestCluster goes through one cluster; the steps share its start.
func TestCluster(t *testing.T) {
	c := up(t)
	img := images(t, c)
	tickLog, linuxLog := filepath.Join(c.SharedDir(), "tick.log"), filepath.Join(c.SharedDir(), "linux.log")
	disk := filepath.Join(c.SharedDir(), "linux.img")
	must(t, guest.MakeDisk(disk, 1<<20))
	create(t, c, 1, "tick", guest.Tick(guest.Options{Name: "tick", Images: img, Log: tickLog}))
	create(t, c, 1, "linux", guest.Linux(guest.Options{Name: "linux", Images: img, Log: linuxLog, Disk: disk, Seq: 100}))

	t.Run("LiveMigrationOverTLSLosesNothing", func(t *testing.T) {
		within(t, "the Linux guest writes its sequence", func() bool { return last(t, linuxLog) > 5 })
		for _, name := range []string{"tick", "linux"} {
			// The folder is a local one as far as libvirt can see.
			virsh(t, c.Host(1), "migrate", "--live", "--p2p", "--unsafe", name, c.PeerURI(2))
		}
		at := last(t, linuxLog)
		within(t, "the sequence goes on after the migration", func() bool { return last(t, linuxLog) > at+5 })
		if got := strings.Fields(virsh(t, c.Host(2), "list", "--name")); len(got) != 2 {
			t.Errorf("on the target run %v", got)
		}
		if got := virsh(t, c.Host(1), "list", "--all", "--name"); got != "" {
			t.Errorf("on the source there still is %v", got)
		}
		if n := strings.Count(string(read(t, tickLog)), "TICK boot"); n != 1 {
			t.Errorf("the tiny guest booted %d times", n)
		}
	})
	t.Run("GuestsOutliveLibvirtd", func(t *testing.T) {
		must(t, c.Host(2).Kill(t.Context(), testbed.Libvirtd))
		must(t, c.WaitLibvirt(t.Context(), 2))
		if got := strings.Fields(virsh(t, c.Host(2), "list", "--name")); len(got) != 2 {
			t.Errorf("after a restart of libvirtd there are %v", got)
		}
	})
	t.Run("PowerCutOfOneHostLeavesQuorumAndGuests", func(t *testing.T) {
		must(t, c.Host(3).PowerCut())
		at := last(t, linuxLog)
		within(t, "the guest goes on", func() bool { return last(t, linuxLog) > at })
		within(t, "two servers keep serving", func() bool {
			a := c.ZooKeeperAddrs()
			return ensemble.ModeOf(t.Context(), a[0]) != ensemble.None && ensemble.ModeOf(t.Context(), a[1]) != ensemble.None
		})
		must(t, c.Host(3).PowerOn(t.Context()))
		must(t, c.WaitReady(t.Context()))
	})
	t.Run("KilledLeaderIsReplaced", func(t *testing.T) {
		old := c.ZooKeeperLeader(t.Context())
		if old == 0 {
			t.Fatal("no leader")
		}
		must(t, c.Host(old).KeepDown(t.Context(), testbed.ZooKeeper))
		within(t, "another leader", func() bool { l := c.ZooKeeperLeader(t.Context()); return l != 0 && l != old })
		must(t, c.Host(old).Up(t.Context(), testbed.ZooKeeper))
		must(t, c.WaitReady(t.Context()))
	})
	t.Run("AnotherProcessFindsTheCluster", func(t *testing.T) {
		other, err := testbed.Open(testbed.DefaultRoot(), "tb")
		must(t, err)
		if got := virsh(t, other.Host(2), "domstate", "tick"); got != "running" {
			t.Errorf("state %q", got)
		}
	})
	t.Run("GuestsObeyThePowerButton", func(t *testing.T) {
		virsh(t, c.Host(2), "shutdown", "tick")
		within(t, "the tiny guest ends", func() bool { return strings.Contains(string(read(t, tickLog)), "TICK powerdown") })
		virsh(t, c.Host(2), "shutdown", "linux")
		within(t, "both are gone", func() bool { return virsh(t, c.Host(2), "list", "--all", "--name") == "" })
	})
	t.Run("ColdStartOfTheSite", func(t *testing.T) {
		must(t, c.PowerCut())
		must(t, c.PowerOn(t.Context()))
		must(t, c.WaitReady(t.Context()))
	})
	console, err := guest.Console(read(t, linuxLog))
	must(t, err)
	records, err := guest.Disk(disk)
	must(t, err)
	if records.Boot != console.Boot || records.Last < console.Last || records.Last > console.Last+1 {
		t.Errorf("the disk ends with %+v, the console with %+v", records, console)
	}
}
