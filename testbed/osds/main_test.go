package osds

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/ceph"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
	"github.com/parallelvirtualcluster/pvc/testbed/lab"
)

// long tries a daemon that dies at every step.
var long = os.Getenv("PVC_TEST_LONG") != ""

// deadline bounds every wait; the machine may be busy with other tests.
const deadline = 2 * time.Minute

// The cluster of this package and its commands.
var (
	cluster *testbed.Cluster
	shown   *view.View
	queue   *command.Queue
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if missing := missingTools(); len(missing) > 0 {
		fmt.Println("osds: nothing is tested: missing", missing)
		return 0
	}
	dir, err := os.MkdirTemp("", "pvc-osds-")
	if err != nil {
		fmt.Println("osds:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := up(dir); err != nil {
		fmt.Println("osds:", err)
		return 1
	}
	ctx, stop := context.WithCancel(context.Background())
	shown = view.New(view.Options{Scope: view.StorageHost, Dial: zk.Dial, Servers: cluster.ZooKeeperAddrs(), Timeout: 10 * time.Second, Connections: 1, Logger: slog.New(slog.DiscardHandler)})
	queue = command.NewQueue(shown)
	var watching sync.WaitGroup
	watching.Go(func() { _ = shown.Run(ctx) }) // the tests see what it shows
	code := m.Run()
	stop()
	watching.Wait()
	if code != 0 {
		lab.KeepLogs("osds", cluster)
	}
	if err := cluster.Down(context.Background()); err != nil {
		fmt.Println("osds:", err)
		return 1
	}
	return code
}

func missingTools() (missing []string) {
	if os.Getuid() != 0 {
		return []string{"root: hosts are namespaces"}
	}
	if m := ceph.Missing(); m != "" {
		missing = append(missing, m)
	}
	for _, file := range []string{"/usr/sbin/libvirtd", "/usr/share/java/zookeeper.jar", "/usr/sbin/wipefs", "/usr/sbin/mkfs.ext4", "/usr/sbin/mkswap"} {
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, file)
		}
	}
	return append(missing, host.MissingTools()...)
}

// up builds daemons with gates and the race detector, and a cluster with spare disks and
// a pool.
func up(dir string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
	defer cancel()
	if err := testbed.BuildDaemons(ctx, dir, append(testbed.Watched(), "-tags", "gates")...); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	cluster, err = testbed.Up(ctx, testbed.Options{Prefix: "os", Subnet: "10.92.0.0/24", Binaries: dir, Storage: true, Disks: 2})
	if err != nil {
		return err
	}
	for _, argv := range [][]string{{"ceph", "osd", "pool", "create", "vms", "16"}, {"rbd", "pool", "init", "vms"}} {
		if _, err := cluster.Host(1).Exec(ctx, argv...); err != nil {
			return err
		}
	}
	return nil
}
