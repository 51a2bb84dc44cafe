package faults_test

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
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

// bootDeadline is for a kernel in an emulated machine, beside other tests.
const bootDeadline = 3 * time.Minute

// bandwidth keeps a transfer going for some seconds, MiB/s.
const bandwidth = 20

// parallel is how many guests a host sends at the same time.
const parallel = 2

// The cluster and the guests' images of this package, from the first needLab on.
var (
	lab    *testbed.Cluster
	images guest.Images
	start  = sync.OnceValue(startLab)
	folder string // of the daemons
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	code := m.Run()
	if lab != nil {
		if err := lab.Down(context.Background()); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	if folder != "" {
		os.RemoveAll(folder)
	}
	return code
}

// needLab starts the cluster of this package, once. It skips the test on a machine
// that cannot run one.
func needLab(t *testing.T) {
	t.Helper()
	if why := unfit(); why != "" {
		t.Skip(why)
	}
	must(t, start())
	must(t, lab.WaitReady(t.Context()))
}

func startLab() (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if folder, err = os.MkdirTemp("/var/tmp", "pvc-faults-"); err != nil {
		return err
	}
	lab, err = build(ctx, folder, testbed.Options{
		Prefix: cmp.Or(os.Getenv("PVC_FAULT_PREFIX"), "ff"), // another one to run beside another
		PVCDSettings: map[string]any{
			"pvc.system.migration.bandwidth": bandwidth, "pvc.system.migration.parallel": parallel, "pvc.system.vm.shutdown_timeout": 20}})
	if err != nil {
		return err
	}
	images, err = makeImages(ctx, lab)
	return err
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

// build makes daemons with gates in dir and a cluster of them.
func build(ctx context.Context, dir string, o testbed.Options) (*testbed.Cluster, error) {
	if err := os.Chmod(dir, 0o755); err != nil {
		return nil, err
	}
	if err := testbed.BuildDaemons(ctx, dir, "-tags", "gates"); err != nil {
		return nil, err
	}
	o.Binaries = dir
	// The guests have a monitor of their own for the witness.
	o.APISettings = map[string]any{"pvc.api.vm_policy": "unrestricted"}
	return testbed.Up(ctx, o)
}

// makeImages builds the guests' images and puts them where all hosts of a cluster see them.
func makeImages(ctx context.Context, c *testbed.Cluster) (guest.Images, error) {
	images, err := guest.Build(ctx, testbed.GuestCache(testbed.DefaultRoot()), nil)
	if err != nil {
		return images, err
	}
	return images.CopyTo(filepath.Join(c.SharedDir(), "images"))
}
