package config

import (
	"net/netip"
	"os"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// Node is pvcd.yaml.
type Node struct {
	File       string // where it was read from
	Name       string // of this node; default: the short host name
	Debug      bool
	Functions  Functions
	Cluster    Cluster
	DNS        DNS
	Fencing    Fencing
	Migration  Migration
	VM         VM
	Dirs       Directories
	Logging    Logging
	Networking Networking
	Ceph       Ceph
	// SecretKeyFile holds the key that encrypts secrets in ZooKeeper; empty: not encrypted.
	SecretKeyFile string
}

// Functions are the subsystems a host takes part in.
type Functions struct{ Hypervisor, Networking, Storage bool }

// Cluster is what all hosts have in common.
type Cluster struct {
	Coordinators []Endpoint
	ZooKeeper    ZooKeeper
	Upstream     Network
	Internal     Network // networks.cluster
	Storage      Network
}

// Network is one of the three networks of the hosts themselves.
type Network struct {
	Domain   string
	Network  netip.Prefix // invalid if not set
	Floating netip.Prefix // address with prefix length, held by the primary; invalid if not set
	Gateway  netip.Addr   // upstream only; invalid if not set
}

// FenceAction is what happens to the VMs of a fenced host.
type FenceAction string

// The actions.
const (
	FenceMigrate FenceAction = "migrate" // start them elsewhere
	FenceNone    FenceAction = "none"
)

// Fencing says when a host counts as dead and what follows.
type Fencing struct {
	KeepaliveInterval time.Duration
	FenceIntervals    int // keepalive intervals without a sign of life
	OnSuccess         FenceAction
	OnFailure         FenceAction
	IPMI              IPMI
}

// IPMI is how others reach this host's power controller; an empty Host means that
// they cannot.
type IPMI struct {
	Host, User string
	Password   Secret
}

// Migration says how VMs move between hosts.
type Migration struct {
	Selector      model.Selector // when a request names none
	Parallel      int            // live migrations at once from this host
	BandwidthMiB  int            // MiB/s per migration; 0: no limit
	SharedDirs    []string       // below which image files are the same on every host
	ListenAddress netip.Addr     // where arriving guests connect to; invalid: any
	LibvirtURI    string         // of the own libvirtd
	PeerTemplate  string         // see Node.PeerURI
	EncryptMemory bool           // transfer the guest's memory over TLS too
}

// VM says how guests are run.
type VM struct {
	ShutdownTimeout time.Duration // a guest that ignores a shutdown for so long is destroyed
	ParallelStarts  int
	CrashLimit      int           // this many crashes ...
	CrashWindow     time.Duration // ... within this time make a VM failed
}

// Directories are absolute paths.
type Directories struct{ Dynamic, Log, ConsoleLog, Lock string }

// Logging says where the daemon's log goes and what is kept of the guests' consoles.
type Logging struct {
	File, Stdout bool
	Dates        bool // times on standard output; a file always has them
	ConsoleLines int  // kept in ZooKeeper per VM
	// ConsoleMaxBytes bounds the same text; ConsoleRotateBytes the file on the host.
	ConsoleMaxBytes, ConsoleRotateBytes int
}

// DNS is the name server for all virtual networks, on the primary.
type DNS struct {
	Port       int          // on the floating addresses; on the gateways it is 53
	Forwarders []netip.Addr // for other names; empty: those of the host itself
	Transfer   []netip.Addr // secondaries that may have whole zones
}

// Ceph is how this host reaches the storage cluster.
type Ceph struct {
	ConfigFile string // absolute path
	User       string // without "client."
	Keyring    string // absolute path; empty: where the configuration file says
	// GuestUser is whose key the guests' disks are opened with, without "client.", and
	// GuestKeyring the file that holds it; empty: /etc/ceph/ceph.client.<user>.keyring.
	GuestUser, GuestKeyring string
	// SecretUUID is the name of that key in the guests' documents, lower case; empty: pvcd
	// does not look after it.
	SecretUUID string
}

// GuestKeyringFile is the file that holds the key of the guests' user.
func (c Ceph) GuestKeyringFile() string {
	if c.GuestKeyring != "" {
		return c.GuestKeyring
	}
	return "/etc/ceph/ceph.client." + c.GuestUser + ".keyring"
}

// Networking is how this host is connected.
type Networking struct {
	Upstream, Cluster, Storage Interface
	BridgeDevice               string // carries bridged networks; empty: that of Cluster
}

// Interface is a device of the host and its own address on it.
type Interface struct {
	Device  string
	MTU     int
	Address netip.Prefix // invalid: none
}

// IsCoordinator reports whether this node is one of the coordinators: its name is
// the name of one of them, or the first label of that name.
func (c *Node) IsCoordinator() bool {
	for _, e := range c.Cluster.Coordinators {
		if _, err := netip.ParseAddr(e.Host); err == nil {
			continue // the first label of an IP address names nobody
		}
		if label, _, _ := strings.Cut(e.Host, "."); label == c.Name {
			return true
		}
	}
	return false
}

// PeerHost is the name under which other hosts reach the node: in the domain of the
// cluster network if there is one.
func (c *Node) PeerHost(node string) string {
	if c.Cluster.Internal.Domain == "" {
		return node
	}
	return node + "." + c.Cluster.Internal.Domain
}

// PeerURI is the address of the node's libvirtd for its peers.
func (c *Node) PeerURI(node string) string {
	uri := strings.ReplaceAll(c.Migration.PeerTemplate, "{node}.{domain}", c.PeerHost(node))
	return strings.NewReplacer("{node}", node, "{domain}", c.Cluster.Internal.Domain).Replace(uri)
}

// LoadNode reads pvcd.yaml. The error, if there is one, lists everything that is
// wrong with the file; its kind is then errs.Invalid and it wraps an *Error.
func LoadNode(path string) (*Node, []Warning, error) {
	data, mode, err := read(path)
	if err != nil {
		return nil, nil, err
	}
	host, err := os.Hostname()
	if err != nil {
		return nil, nil, err
	}
	c, warnings, err := ParseNode(path, data, host)
	if err == nil && mode&0o007 != 0 && !c.Fencing.IPMI.Password.Empty() {
		warnings = append(warnings, readableByAll(path, mode))
	}
	return c, warnings, err
}

// ParseNode reads the content of pvcd.yaml; file is its name for messages, host the
// name of the machine.
func ParseNode(file string, data []byte, host string) (*Node, []Warning, error) {
	top, err := parse(file, data)
	if err != nil {
		return nil, nil, err
	}
	c := defaultNode(file, host)
	raw := rawNode{name: c.Name}
	l := load(file, top, nodeEntries(c, &raw))
	checkNode(l, c, &raw)
	warnings, err := l.result()
	if err != nil {
		return nil, warnings, err
	}
	return c, warnings, nil
}

// shortName is the host name as it names a node.
func shortName(host string) string {
	label, _, _ := strings.Cut(host, ".")
	return strings.ToLower(label)
}

func defaultNode(file, host string) *Node {
	return &Node{
		File: file, Name: shortName(host), DNS: DNS{Port: 53},
		Cluster: Cluster{ZooKeeper: ZooKeeper{SessionTimeout: 10 * time.Second, ACL: ACLOpen}},
		Fencing: Fencing{
			KeepaliveInterval: 5 * time.Second, FenceIntervals: 6,
			OnSuccess: FenceMigrate, OnFailure: FenceNone,
		},
		Migration: Migration{
			Selector: model.SelectMem, Parallel: 2,
			LibvirtURI: "qemu:///system", PeerTemplate: "qemu+tls://{node}.{domain}/system",
		},
		VM: VM{
			ShutdownTimeout: 90 * time.Second, ParallelStarts: 4,
			CrashLimit: 5, CrashWindow: 10 * time.Minute,
		},
		Dirs: Directories{Dynamic: "/run/pvc", Log: "/var/log/pvc", ConsoleLog: "/var/log/libvirt", Lock: "/run/pvc"},
		Logging: Logging{
			Stdout: true, Dates: true, ConsoleLines: 1000,
			ConsoleMaxBytes: 256 << 10, ConsoleRotateBytes: 16 << 20,
		},
		Networking: Networking{Upstream: Interface{MTU: 1500}, Cluster: Interface{MTU: 1500}, Storage: Interface{MTU: 1500}},
		Ceph:       Ceph{ConfigFile: "/etc/ceph/ceph.conf", User: "admin", GuestUser: "libvirt"},
	}
}
