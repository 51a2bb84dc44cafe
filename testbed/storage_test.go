package testbed_test

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/ceph"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// upStorage builds a cluster with Ceph and spare disks, without our daemons.
func upStorage(t *testing.T) *testbed.Cluster {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("hosts are namespaces: root is needed")
	}
	if missing := ceph.Missing(); missing != "" {
		t.Skip("no Ceph: " + missing)
	}
	if missing := host.MissingTools(); len(missing) > 0 {
		t.Skip("missing programs:", missing)
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	begin := time.Now()
	c, err := testbed.Up(ctx, testbed.Options{Prefix: "tc", Subnet: "10.90.0.0/24", Storage: true, Disks: 2, NoZooKeeper: true})
	must(t, err)
	t.Logf("ready after %v", time.Since(begin).Round(time.Millisecond))
	t.Cleanup(func() {
		if err := c.Down(context.Background()); err != nil {
			t.Error(err)
		}
		if left := loopDevices(t); len(left) > 0 {
			t.Errorf("loop devices are left: %v", left)
		}
	})
	return c
}

// loopDevices are the files of this cluster that the machine has under loop devices.
func loopDevices(t *testing.T) []string {
	t.Helper()
	var files []string
	blocks, err := os.ReadDir("/sys/block")
	must(t, err)
	for _, b := range blocks {
		file, err := os.ReadFile("/sys/block/" + b.Name() + "/loop/backing_file")
		if err == nil && strings.Contains(string(file), "/tc/") {
			files = append(files, strings.TrimSpace(string(file)))
		}
	}
	return files
}

func on(t *testing.T, h *host.Host, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	out, err := h.Exec(ctx, argv...)
	must(t, err)
	return strings.TrimSpace(out)
}

func ready(t *testing.T, c *testbed.Cluster) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	must(t, c.WaitReady(ctx))
}

// TestStorage goes through one cluster; the steps share its start.
func TestStorage(t *testing.T) {
	c := upStorage(t)
	t.Run("HostsHaveDisksOfTheirOwn", func(t *testing.T) {
		for _, h := range c.Hosts() {
			if got := on(t, h, "sh", "-c", "cd /dev; echo sd* vd* $(ls | grep -c loop)"); got != "sdb sdc vd* 2" {
				t.Errorf("%s has %s", h.Name, got)
			}
			on(t, h, "sh", "-c", "echo I am $(hostname) | dd of=/dev/sdb conv=fsync status=none")
		}
		for _, h := range c.Hosts() {
			if got := on(t, h, "dd", "if=/dev/sdb", "bs=8", "count=1", "status=none"); got != "I am "+h.Name {
				t.Errorf("on the disk of %s stands %q", h.Name, got)
			}
		}
	})
	t.Run("AnImageOfOneHostIsSeenOnAnother", func(t *testing.T) {
		on(t, c.Host(1), "ceph", "osd", "pool", "create", "vms")
		on(t, c.Host(1), "rbd", "pool", "init", "vms")
		on(t, c.Host(2), "rbd", "--id", "libvirt", "create", "--size", "16M", "vms/kept")
		if got := on(t, c.Host(3), "rbd", "--id", "pvc", "ls", "vms"); got != "kept" {
			t.Errorf("images %q", got)
		}
	})
	t.Run("ASpareDiskBecomesAnOSD", func(t *testing.T) {
		h := c.Host(2)
		before := strings.Fields(on(t, h, "ceph", "osd", "ls"))
		device := on(t, h, "readlink", "-f", "/dev/sdc")
		on(t, h, "ceph-volume", "raw", "prepare", "--bluestore", "--data", device)
		after := strings.Fields(on(t, h, "ceph", "osd", "ls"))
		if len(after) != len(before)+1 {
			t.Fatalf("OSDs %v, before %v", after, before)
		}
		id := after[len(after)-1]
		on(t, h, "ceph", "osd", "crush", "add", "osd."+id, "1.0", "root=default", "host="+h.Name)
		must(t, h.Up(t.Context(), "ceph-osd@"+id))
		within(t, "the new OSD is up", func() bool { return strings.Contains(on(t, h, "ceph", "osd", "stat"), "4 up") })
		ready(t, c)
		on(t, h, "ceph", "osd", "out", id)
		must(t, h.Stop(t.Context(), "ceph-osd@"+id))
		on(t, h, "ceph", "osd", "purge", id, "--force")
		ready(t, c)
	})
	t.Run("KilledOSDsComeBack", func(t *testing.T) {
		must(t, c.Host(2).Kill(t.Context(), testbed.CephOSD(1)))
		ready(t, c)
	})
	t.Run("APowerCutOfOneHostLeavesTheOthersServing", func(t *testing.T) {
		must(t, c.Host(3).PowerCut())
		within(t, "its disks are released", func() bool { return len(loopDevices(t)) == 2*2 })
		ready(t, c)
		if got := on(t, c.Host(1), "rbd", "ls", "vms"); got != "kept" {
			t.Errorf("images %q", got)
		}
		must(t, c.Host(3).PowerOn(t.Context()))
		ready(t, c)
		if got := on(t, c.Host(3), "dd", "if=/dev/sdb", "bs=8", "count=1", "status=none"); got != "I am tc3" {
			t.Errorf("after the power cut %q stands on the disk", got)
		}
	})
	t.Run("ColdStartOfTheSiteKeepsTheImages", func(t *testing.T) {
		must(t, c.PowerCut())
		must(t, c.PowerOn(t.Context()))
		ready(t, c)
		if got := on(t, c.Host(2), "rbd", "ls", "vms"); got != "kept" {
			t.Errorf("images %q", got)
		}
	})
}
