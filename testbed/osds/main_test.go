package osds

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/testbed"
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

func TestMain(m *testing.M) {
	ctx, stop := context.WithCancel(context.Background())
	var watching sync.WaitGroup
	code := lab.Setup{
		Name: "osds", Needs: []string{"wipefs", "mkfs.ext4", "mkswap"}, Gates: true, Deadline: deadline,
		Testbed: testbed.Options{Prefix: "os", Subnet: "10.92.0.0/24", Storage: true, Disks: 2},
	}.Run(m, func(rctx context.Context, l *lab.Lab) error {
		cluster = l.Cluster
		shown = view.New(view.Options{Scope: view.StorageHost, Dial: zk.Dial, Servers: cluster.ZooKeeperAddrs(), Timeout: 10 * time.Second, Connections: 1, Logger: slog.New(slog.DiscardHandler)})
		queue = command.NewQueue(shown)
		watching.Go(func() { _ = shown.Run(ctx) }) // the tests see what it shows
		for _, argv := range [][]string{{"ceph", "osd", "pool", "create", "vms", "16"}, {"rbd", "pool", "init", "vms"}} {
			if _, err := cluster.Host(1).Exec(rctx, argv...); err != nil {
				return err
			}
		}
		return nil
	})
	stop()
	watching.Wait()
	os.Exit(code)
}
