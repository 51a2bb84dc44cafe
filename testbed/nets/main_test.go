package nets

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
	"github.com/parallelvirtualcluster/pvc/testbed/lab"
)

// deadline bounds every wait for something that takes a moment; the machine may be
// busy with other tests.
const deadline = 60 * time.Second

// sessionTimeout is as shipped: what is promised of a restart within the lease does not
// bear a shorter one on a busy machine.
const sessionTimeout = 10 * time.Second

// long is the long form; stopped is for how long a primary hangs.
var (
	long    = os.Getenv("PVC_TEST_LONG") != ""
	stopped = map[bool]time.Duration{false: sessionTimeout, true: time.Minute}[long]
)

var (
	cluster     *testbed.Cluster
	images      guest.Images
	hypervisor  *host.Host // has networks and is no coordinator
	unconnected *host.Host // has no networks
)

// outside is this machine, seen from the hosts: a name server that is none of theirs.
const outside = "10.97.0.254"

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	for _, file := range []string{"/usr/sbin/libvirtd", "/usr/bin/qemu-system-x86_64", "/usr/share/java/zookeeper.jar", "/usr/sbin/dnsmasq", "/usr/sbin/nft"} {
		if _, err := os.Stat(file); err != nil || os.Getuid() != 0 {
			fmt.Println("nets: nothing is tested: root and", file, "are needed")
			return 0
		}
	}
	dir, err := os.MkdirTemp("", "pvc-nets-")
	if err != nil {
		fmt.Println("nets:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := up(dir); err != nil {
		fmt.Println("nets:", err)
		return 1
	}
	if !long {
		fmt.Printf("nets: short form: a primary hangs for %v instead of 60 s (PVC_TEST_LONG=1 runs the whole)\n", stopped)
	}
	code := m.Run()
	if code != 0 {
		keepLogs()
	}
	if err := cluster.Down(context.Background()); err != nil {
		fmt.Println("nets:", err)
		return 1
	}
	return code
}

func up(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := testbed.BuildDaemons(ctx, dir, "-race"); err != nil {
		return err
	}
	built, err := guest.Build(ctx, testbed.GuestCache(testbed.DefaultRoot()), func(s string) { fmt.Println("nets:", s) })
	if err != nil {
		return err
	}
	if cluster, err = testbed.Up(ctx, testbed.Options{Prefix: "nn", Subnet: "10.97.0.0/24", Binaries: dir, Networking: true,
		Hosts: 5, Coordinators: 3,
		PVCDSettings: map[string]any{
			"pvc.cluster.zookeeper.session_timeout": sessionTimeout.Seconds(),
			"pvc.coordinator.dns.forwarders":        []string{outside},
			"pvc.coordinator.dns.transfer":          []string{outside},
		},
		HostSettings: map[int]map[string]any{5: {"pvc.functions.enable_networking": false}},
	}); err != nil {
		return err
	}
	hypervisor, unconnected = cluster.Host(4), cluster.Host(5)
	images, err = built.CopyTo(filepath.Join(cluster.SharedDir(), "images"))
	users = &lab.Lab{Cluster: cluster, Images: images, Deadline: deadline}
	return err
}

// keepLogs copies the logs of a failed run to where the next run does not remove them.
func keepLogs() {
	dir, err := os.MkdirTemp("", "pvc-nets-logs-")
	if err != nil {
		return
	}
	for _, h := range cluster.Hosts() {
		for _, log := range []string{"pvcd.log", "pvc-api.log"} {
			if b, err := os.ReadFile(h.Path("/var/log/" + log)); err == nil {
				_ = os.WriteFile(filepath.Join(dir, h.Name+"-"+log), b, 0o600) // what cannot be kept is missing there
			}
		}
	}
	fmt.Println("nets: logs of this run:", dir)
}
