package faults_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// long is the full matrix; the short form has its most dangerous cells.
var long = os.Getenv("PVC_TEST_LONG") != ""

// deadline bounds whatever is not measured against a promise.
const deadline = 60 * time.Second

// bandwidth keeps a transfer going for some seconds, MiB/s.
const bandwidth = 10

// The cluster and the guests' images of this package, nil with a reason if there are none.
var (
	lab    *testbed.Cluster
	images guest.Images
	noLab  string
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if noLab = unfit(); noLab != "" {
		return m.Run()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("/var/tmp", "pvc-faults-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	if lab, err = build(ctx, dir, testbed.Options{Prefix: "ff", PVCDSettings: map[string]any{
		"pvc.system.migration.bandwidth": bandwidth, "pvc.system.vm.shutdown_timeout": 20}}); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer func() {
		if err := lab.Down(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}()
	return m.Run()
}

// unfit says why this machine cannot run a cluster.
func unfit() string {
	if os.Getuid() != 0 {
		return "hosts are namespaces: root is needed"
	}
	missing := host.MissingTools()
	for _, file := range []string{"/usr/sbin/libvirtd", "/usr/bin/qemu-system-x86_64", "/usr/share/java/zookeeper.jar"} {
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, file)
		}
	}
	if len(missing) > 0 {
		return fmt.Sprint("missing programs: ", missing)
	}
	return ""
}

// build makes daemons with gates, the guests' images and a cluster.
func build(ctx context.Context, dir string, o testbed.Options) (*testbed.Cluster, error) {
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	if err := testbed.BuildDaemons(ctx, dir, "-tags", "gates"); err != nil {
		return nil, err
	}
	var err error
	if images, err = guest.Build(ctx, testbed.GuestCache(testbed.DefaultRoot()), nil); err != nil {
		return nil, err
	}
	o.Binaries = dir
	// The guests have a monitor of their own for the witness.
	o.APISettings = map[string]any{"pvc.api.vm_policy": "unrestricted"}
	c, err := testbed.Up(ctx, o)
	if err != nil {
		return nil, err
	}
	images, err = images.CopyTo(filepath.Join(c.SharedDir(), "images"))
	return c, err
}
