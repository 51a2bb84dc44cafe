package ceph

import (
	"context"
	"os"
	"strings"
	"testing"
	"time"
)

// toolDeadline bounds one call of a tool.
const toolDeadline = 30 * time.Second

func tool(t *testing.T, c *Cluster, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), toolDeadline)
	defer cancel()
	out, err := c.Tool(ctx, argv...)
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

func makePool(t *testing.T, c *Cluster, name string) {
	t.Helper()
	tool(t, c, "ceph", "osd", "pool", "create", name)
	tool(t, c, "rbd", "pool", "init", name)
}

// TestCluster goes through one cluster; the steps share its start.
func TestCluster(t *testing.T) {
	begin := time.Now()
	c := Start(t, Options{})
	t.Logf("healthy after %v", time.Since(begin).Round(time.Millisecond))

	t.Run("HasThreeHostsAndNoPool", func(t *testing.T) {
		if got := tool(t, c, "ceph", "osd", "pool", "ls"); got != "" {
			t.Errorf("pools: %q", got)
		}
		tree := tool(t, c, "ceph", "osd", "tree")
		for _, host := range c.Hosts() {
			if strings.Count(tree, "host "+host) != 1 {
				t.Errorf("not one bucket of host %s:\n%s", host, tree)
			}
		}
		if got := tool(t, c, "ceph", "fsid"); got != c.FSID() {
			t.Errorf("fsid %q, want %q", got, c.FSID())
		}
	})
	t.Run("HasSettingsThatCephConfCannotHold", func(t *testing.T) {
		if got := tool(t, c, "ceph", "config", "get", "mgr", "mgr/devicehealth/enable_monitoring"); got != "false" {
			t.Errorf("devices are watched: %q", got)
		}
	})
	makePool(t, c, "vms")
	t.Run("ImagesKeepTheirDataWithOneOSDKilled", func(t *testing.T) {
		tool(t, c, "rbd", "create", "--size", "8M", "vms/kept")
		file := t.TempDir() + "/data"
		if err := os.WriteFile(file, []byte(strings.Repeat("kept ", 1000)), 0o600); err != nil {
			t.Fatal(err)
		}
		tool(t, c, "rados", "-p", "vms", "put", "object", file)
		c.Kill("osd.1")
		if c.PID("osd.1") != 0 {
			t.Error("a killed daemon has a process")
		}
		c.WaitStatus("without an OSD", func(s Status) bool { return s.Serving(2) })
		if got := tool(t, c, "rados", "-p", "vms", "get", "object", "-"); got != strings.TrimSpace(strings.Repeat("kept ", 1000)) {
			t.Errorf("%d bytes were read", len(got))
		}
		c.StartDaemon("osd.1")
		c.WaitHealthy()
	})
	t.Run("UsersMayDoWhatTheyAreFor", func(t *testing.T) {
		if got := tool(t, c, "rbd", "--id", "libvirt", "ls", "vms"); got != "kept" {
			t.Errorf("images: %q", got)
		}
		tool(t, c, "ceph", "--id", "pvc", "osd", "set", "noout")
		tool(t, c, "ceph", "--id", "pvc", "osd", "unset", "noout")
		ctx, cancel := context.WithTimeout(t.Context(), toolDeadline)
		defer cancel()
		if out, err := c.Tool(ctx, "ceph", "--id", "libvirt", "osd", "set", "noout"); err == nil {
			t.Errorf("client.libvirt sets flags: %s", out)
		}
	})
	t.Run("FrozenMonitorAnswersNobodyUntilContinued", func(t *testing.T) {
		c.Stop("mon.a")
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if out, err := c.Tool(ctx, "ceph", "status"); err == nil {
			t.Errorf("a frozen monitor answers %s", out)
		}
		c.Cont("mon.a")
		c.WaitHealthy()
	})
	t.Run("KilledMonitorAndManagerComeBackWithEverything", func(t *testing.T) {
		c.Kill("mon.a")
		c.Kill("mgr.x")
		c.StartDaemon("mon.a")
		c.StartDaemon("mgr.x")
		c.WaitHealthy()
		if got := tool(t, c, "rbd", "ls", "vms"); got != "kept" {
			t.Errorf("images: %q", got)
		}
	})
}

func TestClustersSideBySideKnowNothingOfEachOther(t *testing.T) {
	a, b := Start(t, Options{OSDs: 1}), Start(t, Options{OSDs: 1})
	makePool(t, a, "only-here")
	if got := tool(t, b, "ceph", "osd", "pool", "ls"); got != "" {
		t.Errorf("a pool of one cluster is seen in the other: %q", got)
	}
	if a.FSID() == b.FSID() || tool(t, b, "ceph", "fsid") != b.FSID() {
		t.Error("both have the same identity")
	}
}

func TestNothingIsLeftOfACluster(t *testing.T) {
	var dir string
	t.Run("cluster", func(t *testing.T) { dir = Start(t, Options{OSDs: 1}).config.Root })
	if dir == "" {
		t.Skip("no cluster could be started")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s: %v", dir, err)
	}
	// Only its daemons have the folder in their arguments.
	files, err := os.ReadDir("/proc")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if b, err := os.ReadFile("/proc/" + f.Name() + "/cmdline"); err == nil && strings.Contains(string(b), dir) {
			t.Errorf("process %s is left: %q", f.Name(), b)
		}
	}
}
