package nets

import (
	"context"
	"fmt"
	"os"
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
	if !long {
		fmt.Printf("nets: short form: a primary hangs for %v instead of 60 s (PVC_TEST_LONG=1 runs the whole)\n", stopped)
	}
	return lab.Setup{Name: "nets", Needs: []string{"dnsmasq", "nft"}, Deadline: deadline, Testbed: testbed.Options{
		Prefix: "nn", Subnet: "10.97.0.0/24", Networking: true, Hosts: 5, Coordinators: 3,
		PVCDSettings: map[string]any{
			"pvc.cluster.zookeeper.session_timeout": sessionTimeout.Seconds(),
			"pvc.coordinator.dns.forwarders":        []string{outside},
			"pvc.coordinator.dns.transfer":          []string{outside},
		},
		HostSettings: map[int]map[string]any{5: {"pvc.functions.enable_networking": false}},
	}}.Run(m, func(_ context.Context, l *lab.Lab) error {
		users, cluster, images = l, l.Cluster, l.Images
		hypervisor, unconnected = cluster.Host(4), cluster.Host(5)
		return nil
	})
}
