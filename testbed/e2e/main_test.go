package e2e

import (
	"context"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
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
	if !long {
		fmt.Printf("e2e: short form: session timeout %v instead of 10 s, outage %v instead of 60 s, stopped primary %v instead of 30 s, "+
			"%d shutdowns at once instead of 50, %d rounds of contradictions instead of 20, failed after %d crashes instead of 5 (PVC_TEST_LONG=1 runs the whole)\n",
			sessionTimeout, outage, stopped, crowd, contradictions, crashLimit)
	}
	return lab.Setup{Name: "e2e", Deadline: deadline, Testbed: testbed.Options{
		Prefix: "ee", Subnet: "10.95.0.0/24",
		PVCDSettings: map[string]any{
			"pvc.system.vm.crash_limit":                             crashLimit,
			"pvc.system.vm.shutdown_timeout":                        shutdownTimeout.Seconds(),
			"pvc.cluster.zookeeper.session_timeout":                 sessionTimeout.Seconds(),
			"pvc.system.configuration.logging.console.rotate_bytes": 64 << 10,
		},
	}}.Run(m, func(_ context.Context, l *lab.Lab) error {
		cluster, images, zookeep = l.Cluster, l.Images, l.Records
		// Tests wait for guests most of the time: more of them than there are cores.
		return flag.Set("test.parallel", "8")
	})
}
