package storagefaults

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/ceph"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
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

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if missing := missingTools(); len(missing) > 0 {
		fmt.Println("storagefaults: nothing is tested: missing", missing)
		return 0
	}
	dir, err := os.MkdirTemp("", "pvc-storagefaults-")
	if err != nil {
		fmt.Println("storagefaults:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	code := 1
	if err := up(dir); err != nil {
		fmt.Println("storagefaults:", err)
	} else {
		code = m.Run()
		zookeep.Close()
	}
	for _, log := range races() {
		fmt.Println("storagefaults: the race detector has found something, see", log)
		code = 1
	}
	if cluster == nil {
		return code
	}
	if code != 0 {
		lab.KeepLogs("storagefaults", cluster)
	}
	if err := cluster.Down(context.Background()); err != nil {
		fmt.Println("storagefaults:", err)
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
	for _, file := range []string{"/usr/sbin/libvirtd", "/usr/bin/qemu-system-x86_64", "/usr/share/java/zookeeper.jar"} {
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, file)
		}
	}
	return append(missing, host.MissingTools()...)
}

// up builds daemons with gates and the race detector, and a cluster with four OSDs, so
// that one may be out while another one is tried.
func up(dir string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
	defer cancel()
	if err := testbed.BuildDaemons(ctx, dir, append(testbed.Watched(), "-tags", "gates")...); err != nil {
		return err
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		return err
	}
	cluster, err = testbed.Up(ctx, testbed.Options{Prefix: "sf", Subnet: "10.91.0.0/24", Binaries: dir, Storage: true, OSDs: 4})
	if err != nil {
		return err
	}
	if zookeep, err = zk.Dial(ctx, coord.Options{Servers: cluster.ZooKeeperAddrs(), Timeout: time.Minute}); err != nil {
		return err
	}
	made, err := call{http.MethodPost, storage + "/pool", []string{"pool", pool, "pgs", "8"}, ""}.untilAnswered(ctx)
	if err == nil && made.status != http.StatusOK {
		err = fmt.Errorf("make a pool: %d %s", made.status, made.text)
	}
	return err
}

// races are the daemons' logs in which the race detector has written.
func races() (logs []string) {
	if cluster == nil {
		return nil
	}
	for _, h := range cluster.Hosts() {
		for _, log := range []string{"/var/log/pvcd.log", "/var/log/pvc-api.log"} {
			if b, err := os.ReadFile(h.Path(log)); err != nil || strings.Contains(string(b), "WARNING: DATA RACE") {
				logs = append(logs, h.Path(log))
			}
		}
	}
	return logs
}
