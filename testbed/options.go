package testbed

import (
	"fmt"
	"hash/fnv"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed/ceph"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

// The services of a host, as host.Kill and its like name them.
const (
	ZooKeeper = "zookeeper"
	Libvirtd  = "libvirtd"
	PVCD      = "pvcd"
	PVCAPI    = "pvc-api"
	OVSDB     = "ovsdb-server"
	OVSSwitch = "ovs-vswitchd"
)

// Options of Up.
type Options struct {
	Prefix string // hosts are <Prefix>1…; at most 8 letters and digits; empty: hv
	Subnet string // IPv4 /24 of the hosts (.11, .12, …); empty: one that goes with the prefix, 10.99.0.0/24 for hv
	Hosts  int    // 0: 3
	// Coordinators is how many of the hosts, the first ones, are coordinators; 0: all. The
	// others have neither a ZooKeeper server nor an API.
	Coordinators int
	// Root is the folder of all testbeds; empty: $PVC_TESTBED_DIR, else /var/tmp/pvc-testbed.
	Root string
	// Binaries is a folder that holds pvcd and pvc-api (see BuildDaemons); empty:
	// the hosts run ZooKeeper and libvirtd only.
	Binaries string
	// NoZooKeeper leaves out the ensemble, for tests that only need libvirt.
	NoZooKeeper bool
	// FSync makes ZooKeeper sync each transaction, as a real cluster does.
	FSync bool
	// Linger keeps the cluster running when the calling process has ended.
	Linger bool
	// Networking has pvcd look after virtual networks.
	Networking bool
	// OpenVSwitch gives each host a second cable and a bridge of Open vSwitch on it
	// (TrunkBridge), which carries bridged networks.
	OpenVSwitch bool
	// Storage gives the cluster a Ceph cluster and has pvcd look after it.
	Storage bool
	// OSDs is how many it has; 0: one on each of the first three hosts.
	OSDs int
	// Disks is how many spare disks each host has, /dev/sdb and on.
	Disks int
	// PVCDSettings and APISettings are laid over the generated configuration,
	// by dotted key (pvc.system.vm.shutdown_timeout).
	PVCDSettings map[string]any
	APISettings  map[string]any
	// HostSettings are laid over those of pvcd on single hosts, by their numbers.
	HostSettings map[int]map[string]any
	// Progress is told what is going on in short sentences; may be nil.
	Progress func(string) `json:"-"`
}

var prefixPattern = regexp.MustCompile(`^[a-z][a-z0-9]{0,7}$`)

// hidden are folders that a host has for itself: a testbed below one of them
// could not be seen from inside.
var hidden = []string{"/run", "/var/run", "/var/log", "/var/lib/ceph", "/var/lib/libvirt", "/var/cache/libvirt", "/etc", "/dev", "/proc", "/sys"}

// withDefaults fills in what was left out and checks the rest.
func (o Options) withDefaults() (Options, error) {
	if o.Prefix == "" {
		o.Prefix = "hv"
	}
	if o.Subnet == "" {
		o.Subnet = subnetOf(o.Prefix)
	}
	if o.Hosts == 0 {
		o.Hosts = 3
	}
	if o.Coordinators == 0 {
		o.Coordinators = o.Hosts
	}
	if o.Storage && o.OSDs == 0 {
		o.OSDs = min(ceph.DefaultOSDs, o.Hosts)
	}
	if o.Root == "" {
		o.Root = DefaultRoot()
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	subnet, err := netip.ParsePrefix(o.Subnet)
	switch {
	case !prefixPattern.MatchString(o.Prefix):
		return o, fmt.Errorf("prefix %q: a letter and up to 7 letters and digits, all small, were expected", o.Prefix)
	case err != nil || !subnet.Addr().Is4() || subnet.Bits() != 24:
		return o, fmt.Errorf("subnet %q: an IPv4 network with the length 24 was expected", o.Subnet)
	case o.Hosts < 1 || o.Hosts > 99:
		return o, fmt.Errorf("%d hosts: 1 to 99 were expected", o.Hosts)
	case o.Coordinators < 1 || o.Coordinators > o.Hosts:
		return o, fmt.Errorf("%d coordinators: 1 to %d were expected", o.Coordinators, o.Hosts)
	case o.OSDs < 0 || o.OSDs > 99 || o.OSDs > 0 && !o.Storage:
		return o, fmt.Errorf("%d OSDs: 1 to 99 and Storage were expected", o.OSDs)
	case o.Disks < 0 || o.Disks > 25:
		return o, fmt.Errorf("%d disks: 0 to 25 were expected", o.Disks)
	case !filepath.IsAbs(o.Root) || len(o.Root) > 60:
		return o, fmt.Errorf("root folder %q: an absolute path of at most 60 characters was expected (it holds sockets)", o.Root)
	case slices.ContainsFunc(hidden, func(d string) bool { return o.Root == d || strings.HasPrefix(o.Root, d+"/") }):
		return o, fmt.Errorf("root folder %q: hosts have a folder of their own in its place", o.Root)
	}
	return o, nil
}

// subnetOf is the same for a prefix every time and most likely another for another.
func subnetOf(prefix string) string {
	if prefix == "hv" {
		return "10.99.0.0/24"
	}
	h := fnv.New32a()
	h.Write([]byte(prefix))
	n := h.Sum32()
	return fmt.Sprintf("10.%d.%d.0/24", 64+n%32, n>>8&255)
}

// DefaultRoot is the folder of all testbeds of this machine.
func DefaultRoot() string {
	if dir := os.Getenv("PVC_TESTBED_DIR"); dir != "" {
		return dir
	}
	return "/var/tmp/pvc-testbed"
}

// GuestCache is the folder below root for guest.Build, shared by all testbeds.
func GuestCache(root string) string { return filepath.Join(root, "guest") }

// dir is the folder of this cluster.
func (o Options) dir() string { return filepath.Join(o.Root, o.Prefix) }

// shared is a folder that all hosts see at the same path, as a cluster file
// system would be. Contents of one cluster vanish with its next Up.
func (o Options) shared() string { return filepath.Join(o.dir(), "shared") }

func (o Options) subnet() netip.Prefix { return netip.MustParsePrefix(o.Subnet).Masked() }

// addr is the address of host i.
func (o Options) addr(i int) string {
	b := o.subnet().Addr().As4()
	b[3] = byte(10 + i)
	return netip.AddrFrom4(b).String()
}

// coordinatorAddrs are the addresses of the coordinators.
func (o Options) coordinatorAddrs() []string {
	var all []string
	for i := 1; i <= o.Coordinators; i++ {
		all = append(all, o.addr(i))
	}
	return all
}

func (o Options) name(i int) string { return fmt.Sprintf("%s%d", o.Prefix, i) }

// tick is ZooKeeper's unit of time on the testbed.
const tick time.Duration = ensemble.DefaultTick
