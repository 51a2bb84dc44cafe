package storagefaults

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/lab"
)

// long tries every cell; the short form the most dangerous ones.
var long = os.Getenv("PVC_TEST_LONG") != ""

// deadline bounds every wait that is not measured against a promise; the machine may be
// busy with other tests.
const deadline = 60 * time.Second

// pool is where the volumes are on which commands work.
const pool = "vms"

// The cluster of this package and a connection to its ensemble.
var (
	cluster *testbed.Cluster
	zookeep coord.Client
)

// TestMain: with four OSDs one may be out while another one is tried.
func TestMain(m *testing.M) {
	os.Exit(lab.Setup{
		Name: "storagefaults", Gates: true, Deadline: deadline,
		Testbed: testbed.Options{Prefix: "sf", Subnet: "10.91.0.0/24", Storage: true, OSDs: 4},
	}.Run(m, func(ctx context.Context, l *lab.Lab) error {
		cluster, zookeep = l.Cluster, l.Records
		made, err := call{http.MethodPost, storage + "/pool", []string{"pool", pool, "pgs", "8"}, ""}.untilAnswered(ctx)
		if err == nil && made.status != http.StatusOK {
			err = fmt.Errorf("make a pool: %d %s", made.status, made.text)
		}
		return err
	}))
}
