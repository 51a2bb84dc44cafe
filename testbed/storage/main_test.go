package storage

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
	"github.com/parallelvirtualcluster/pvc/testbed/lab"
)

// deadline bounds every wait for something that takes a moment, and bootDeadline that for
// an emulated Linux; the machine may be busy with other tests.
const (
	deadline     = 60 * time.Second
	bootDeadline = 2 * time.Minute
)

// The cluster of this package, its guests' images, and a connection to its ensemble.
var (
	cluster *testbed.Cluster
	images  guest.Images
	zookeep coord.Client
)

func TestMain(m *testing.M) {
	os.Exit(lab.Setup{Name: "storage", Gates: true, Deadline: deadline, Testbed: testbed.Options{
		Prefix: "rb", Subnet: "10.96.0.0/24", Storage: true,
		PVCDSettings: map[string]any{"pvc.system.vm.shutdown_timeout": 10},
	}}.Run(m, func(ctx context.Context, l *lab.Lab) error {
		cluster, images, zookeep = l.Cluster, l.Images, l.Records
		for _, argv := range [][]string{{"ceph", "osd", "pool", "create", "vms"}, {"rbd", "pool", "init", "vms"}} {
			if _, err := cluster.Host(1).Exec(ctx, argv...); err != nil {
				return err
			}
		}
		return nil
	}))
}
