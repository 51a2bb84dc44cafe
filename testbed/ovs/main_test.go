package ovs

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/lab"
)

// deadline bounds every wait for something that takes a moment; the machine may be busy
// with other tests.
const deadline = 60 * time.Second

// users is the cluster as its users see it.
var users *lab.Lab

func TestMain(m *testing.M) {
	os.Exit(lab.Setup{Name: "ovs", Needs: []string{"ovs-vsctl", "ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "dnsmasq", "nft"}, Deadline: deadline,
		Testbed: testbed.Options{Prefix: "ov", Subnet: "10.94.0.0/24", Hosts: 2, Coordinators: 1, Networking: true, OpenVSwitch: true},
	}.Run(m, func(_ context.Context, l *lab.Lab) error { users = l; return nil }))
}
