package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
	"github.com/parallelvirtualcluster/pvc/testbed/lab"
)

// long is the long form: shipped times, larger numbers.
var long = os.Getenv("PVC_TEST_LONG") != ""

// What the forms differ in.
var (
	sessionTimeout  = form(4*time.Second, 10*time.Second)
	outage          = form(8*time.Second, 60*time.Second) // of the whole ensemble
	stopped         = form(6*time.Second, 30*time.Second) // a SIGSTOP or a cut link of the primary
	crowd           = form(20, 50)                        // guests in a long shutdown
	contradictions  = form(3, 20)                         // rounds of requests that contradict each other
	crashLimit      = form(3, 5)                          // crashes until a VM is failed
	shutdownTimeout = 6 * time.Second                     // shipped: 90 s
)

func form[T any](short, whole T) T {
	if long {
		return whole
	}
	return short
}

// deadline bounds every wait for something that takes a moment; the machine may be
// busy with other tests.
const deadline = 60 * time.Second

// The cluster of this package, its guests' images, and a connection to its ensemble
// that plays the old client and the observer.
var (
	cluster *testbed.Cluster
	images  guest.Images
	zookeep coord.Client
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if missing := missingTools(); len(missing) > 0 {
		fmt.Println("e2e: nothing is tested: missing", missing)
		return 0
	}
	if !long {
		fmt.Printf("e2e: short form: session timeout %v instead of 10 s, outage %v instead of 60 s, stopped primary %v instead of 30 s, "+
			"%d shutdowns at once instead of 50, %d rounds of contradictions instead of 20, failed after %d crashes instead of 5 (PVC_TEST_LONG=1 runs the whole)\n",
			sessionTimeout, outage, stopped, crowd, contradictions, crashLimit)
	}
	dir, err := os.MkdirTemp("", "pvc-e2e-")
	if err != nil {
		fmt.Println("e2e:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	if err := up(dir); err != nil {
		fmt.Println("e2e:", err)
		return 1
	}
	// Tests wait for guests most of the time: more of them than there are cores.
	if err := flag.Set("test.parallel", "8"); err != nil {
		fmt.Println("e2e:", err)
		return 1
	}
	code := m.Run()
	if zookeep != nil {
		zookeep.Close()
	}
	if faults := daemonFaults(); len(faults) > 0 {
		fmt.Printf("e2e: the daemons' logs hold:\n%s\n", strings.Join(faults, "\n"))
		code = 1
	}
	if code != 0 {
		lab.KeepLogs("e2e", cluster)
	}
	if err := cluster.Down(context.Background()); err != nil {
		fmt.Println("e2e:", err)
		return 1
	}
	return code
}

func missingTools() (missing []string) {
	if os.Getuid() != 0 {
		return []string{"root: hosts are namespaces"}
	}
	for _, file := range []string{"/usr/sbin/libvirtd", "/usr/bin/qemu-system-x86_64", "/usr/share/java/zookeeper.jar", "/usr/bin/nsenter"} {
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, file)
		}
	}
	return missing
}

// up builds the daemons with the race detector and brings the cluster up with them.
func up(dir string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	if err := testbed.BuildDaemons(ctx, dir, testbed.Watched()...); err != nil {
		return err
	}
	built, err := guest.Build(ctx, testbed.GuestCache(testbed.DefaultRoot()), func(s string) { fmt.Println("e2e:", s) })
	if err != nil {
		return err
	}
	seconds := func(d time.Duration) float64 { return d.Seconds() }
	cluster, err = testbed.Up(ctx, testbed.Options{Prefix: "ee", Subnet: "10.95.0.0/24", Binaries: dir,
		PVCDSettings: map[string]any{
			"pvc.system.vm.crash_limit":                             crashLimit,
			"pvc.system.vm.shutdown_timeout":                        seconds(shutdownTimeout),
			"pvc.cluster.zookeeper.session_timeout":                 seconds(sessionTimeout),
			"pvc.system.configuration.logging.console.rotate_bytes": 64 << 10,
		}})
	if err != nil {
		return err
	}
	if images, err = built.CopyTo(filepath.Join(cluster.SharedDir(), "images")); err != nil {
		return err
	}
	zookeep, err = zk.Dial(ctx, coord.Options{Servers: cluster.ZooKeeperAddrs(), Timeout: time.Minute})
	return err
}

// daemonFaults are lines of the daemons' logs that no fault of the machine excuses.
func daemonFaults() (faults []string) {
	for _, h := range cluster.Hosts() {
		for _, log := range []string{"pvcd.log", "pvc-api.log"} {
			b, err := os.ReadFile(h.Path("/var/log/" + log))
			if err != nil {
				faults = append(faults, err.Error())
				continue
			}
			for _, f := range faultsIn(strings.Split(string(b), "\n")) {
				faults = append(faults, h.Name+" "+log+": "+f)
			}
		}
	}
	return faults
}

func faultsIn(lines []string) (faults []string) {
	for i, line := range lines {
		report := strings.Join(lines[i:min(i+30, len(lines))], "\n")
		race := strings.Contains(line, "WARNING: DATA RACE") && !libraryRace(lines[i:])
		if race || strings.HasPrefix(line, "panic:") || strings.HasPrefix(line, "fatal error:") {
			faults = append(faults, report)
		}
	}
	return faults
}

// libraryRace recognises the one race of go-zookeeper 1.0.4 with itself: when it
// reconnects it reads the last transaction's number beside its own receiver.
func libraryRace(report []string) bool {
	const accesses = 2
	found := 0
	for i := range min(len(report)-1, 12) {
		if strings.Contains(report[i], " at 0x") && strings.Contains(report[i], "by goroutine") &&
			strings.Contains(report[i+1], "go-zookeeper/zk.(*Conn)") {
			found++
		}
	}
	return found == accesses
}
