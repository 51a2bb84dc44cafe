package storage

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/ceph"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
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

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if missing := missingTools(); len(missing) > 0 {
		fmt.Println("storage: nothing is tested: missing", missing)
		return 0
	}
	dir, err := os.MkdirTemp("", "pvc-storage-")
	if err != nil {
		fmt.Println("storage:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := up(dir); err != nil {
		fmt.Println("storage:", err)
		return 1
	}
	code := m.Run()
	zookeep.Close()
	if faults := daemonFaults(); len(faults) > 0 {
		fmt.Printf("storage: the daemons' logs hold:\n%s\n", strings.Join(faults, "\n"))
		code = 1
	}
	if code != 0 {
		lab.KeepLogs("storage", cluster)
	}
	if err := cluster.Down(context.Background()); err != nil {
		fmt.Println("storage:", err)
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
	for _, file := range []string{"/usr/sbin/libvirtd", "/usr/bin/qemu-system-x86_64", "/usr/share/java/zookeeper.jar", "/usr/bin/nsenter"} {
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, file)
		}
	}
	if found, _ := filepath.Glob("/usr/lib/*/qemu/block-rbd.so"); len(found) == 0 { // the pattern is well-formed
		missing = append(missing, "QEMU's block driver for RBD (Debian package qemu-block-extra)")
	}
	return append(missing, host.MissingTools()...)
}

// up builds the daemons with the race detector and gates and brings the cluster up with them.
func up(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 6*time.Minute)
	defer cancel()
	if err := testbed.BuildDaemons(ctx, dir, append(testbed.Watched(), "-tags", "gates")...); err != nil {
		return err
	}
	built, err := guest.Build(ctx, testbed.GuestCache(testbed.DefaultRoot()), func(s string) { fmt.Println("storage:", s) })
	if err != nil {
		return err
	}
	cluster, err = testbed.Up(ctx, testbed.Options{Prefix: "rb", Subnet: "10.96.0.0/24", Binaries: dir, Storage: true,
		PVCDSettings: map[string]any{
			"pvc.system.vm.shutdown_timeout": 10,
		}})
	if err != nil {
		return err
	}
	if images, err = built.CopyTo(filepath.Join(cluster.SharedDir(), "images")); err != nil {
		return err
	}
	if zookeep, err = zk.Dial(ctx, coord.Options{Servers: cluster.ZooKeeperAddrs(), Timeout: time.Minute}); err != nil {
		return err
	}
	for _, argv := range [][]string{{"ceph", "osd", "pool", "create", "vms"}, {"rbd", "pool", "init", "vms"}} {
		if _, err := cluster.Host(1).Exec(ctx, argv...); err != nil {
			return err
		}
	}
	return nil
}

// ownRace is one of the two accesses of go-zookeeper's race with itself.
var ownRace = regexp.MustCompile(`by goroutine \d+:\n\s+github\.com/go-zookeeper/zk\.\(\*Conn\)`)

// daemonFaults are reports in the daemons' logs that no fault of the machine excuses. The
// one race that go-zookeeper has with itself when it reconnects is left out.
func daemonFaults() (faults []string) {
	for _, h := range cluster.Hosts() {
		for _, log := range []string{"pvcd.log", "pvc-api.log"} {
			b, err := os.ReadFile(h.Path("/var/log/" + log))
			if err != nil {
				faults = append(faults, err.Error())
				continue
			}
			for _, mark := range []string{"WARNING: DATA RACE", "\npanic:", "\nfatal error:"} {
				for _, report := range strings.Split(string(b), mark)[1:] {
					report = report[:min(len(report), 3000)]
					if len(ownRace.FindAllString(report, -1)) < 2 {
						faults = append(faults, h.Name+" "+log+": "+mark+report)
					}
				}
			}
		}
	}
	return faults
}
