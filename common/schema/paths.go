package schema

import (
	"net/url"
	"strconv"
	"strings"
)

// Roots of the tree.
const (
	Primary  = "/primary_node"
	Nodes    = "/nodes"
	Domains  = "/domains"
	Networks = "/networks"
	Ceph     = "/ceph"

	// Additive roots.
	Claims     = "/claims"
	ClaimDisks = "/claims/disks"
	Fences     = "/fences"
	Commands   = "/commands"
	Config     = "/config"
	Version    = "/schema"

	// PrimaryHolder is the ephemeral of the daemon that is primary, additive.
	PrimaryHolder = "/primary_node/holder"
	// PrimaryListener is the ephemeral of the API that has its listener open, additive.
	PrimaryListener = "/primary_node/listener"
)

// NoPrimary is the data of Primary when no node is asked to be primary.
const NoPrimary = "none"

// SchemaVersion is what this release writes into Version.
const SchemaVersion = 1

// Keys below a node.
const (
	NodeDaemonMode     = "daemonmode"
	NodeDaemonState    = "daemonstate"
	NodeRouterState    = "routerstate"
	NodeDomainState    = "domainstate"
	NodeStaticData     = "staticdata"
	NodeMemTotal       = "memtotal"
	NodeMemUsed        = "memused"
	NodeMemFree        = "memfree"
	NodeMemAlloc       = "memalloc"
	NodeVCPUAlloc      = "vcpualloc"
	NodeCPULoad        = "cpuload"
	NodeNetworksCount  = "networkscount"
	NodeDomainsCount   = "domainscount"
	NodeRunningDomains = "runningdomains"
	NodeKeepalive      = "keepalive"
	NodeIPMIHost       = "ipmihostname"
	NodeIPMIUser       = "ipmiusername"
	NodeIPMIPassword   = "ipmipassword"

	// Additive keys.
	NodeSession   = "session"   // JSON NodeSession; its ephemeral child session-<boot>-<rand> is liveness
	NodeVMs       = "vms"       // children: UUIDs of the VMs that concern the node
	NodeDoorbell  = "doorbell"  // set without payload to make the daemon look
	NodeFacts     = "facts"     // JSON NodeFacts
	NodeCondition = "condition" // text: what a coordinator found when the session vanished
	NodeFlush     = "flush"     // text: guests the last flush had to leave, and why
)

// Keys below a VM. The VM's own data is its name.
const (
	VMState        = "state"
	VMNode         = "node"
	VMLastNode     = "lastnode"
	VMFailedReason = "failedreason"
	VMConsoleLog   = "consolelog"
	VMRBDList      = "rbdlist"
	VMXML          = "xml"

	// Additive keys.
	VMMigration  = "migration"  // JSON Migration, exists while one is under way
	VMCrashes    = "crashes"    // JSON Crashes, exists after a crash
	VMConsolePos = "consolepos" // JSON: up to where the console log covers the file of its host
	VMGenPrefix  = "gen-"       // gen-<rand>: identity child
)

// Keys below a network. The network's own data is its description.
const (
	NetworkType       = "nettype"
	NetworkDomain     = "domain"
	NetworkIP4Network = "ip4_network"
	NetworkIP4Gateway = "ip4_gateway"
	NetworkDHCP4      = "dhcp4_flag"
	NetworkDHCP4Start = "dhcp4_start"
	NetworkDHCP4End   = "dhcp4_end"
	NetworkIP6Network = "ip6_network"
	NetworkIP6Gateway = "ip6_gateway"
	NetworkDHCP6      = "dhcp6_flag"

	NetworkLeases       = "dhcp4_leases"       // children by MAC, each with expiry, ipaddr, hostname, clientid
	NetworkReservations = "dhcp4_reservations" // children by MAC, each with ipaddr, hostname
	NetworkRules        = "firewall_rules"     // children in, out; below them rules by name, each with order, rule

	// Additive keys.
	NetworkMTU         = "mtu"          // number
	NetworkNameServers = "name_servers" // addresses with commas
	NetworkLeases6     = "dhcp6_leases" // children by address, each JSON model.Lease6
	NetworkServerID    = "dhcp6_serverid"
	NetworkGenPrefix   = "gen-" // gen-<rand>: identity child
)

// Keys below a lease, a reservation and a rule.
const (
	LeaseExpiry   = "expiry"
	LeaseAddress  = "ipaddr"
	LeaseHostname = "hostname"
	LeaseClientID = "clientid"
	RuleOrder     = "order"
	RuleText      = "rule"
)

// Keys below Config, all additive.
const (
	ConfigTargetSelector    = "target_selector"
	ConfigSharedDirectories = "shared_directories"
)

// Node returns the path of a node or of a key below it.
func Node(name string, key ...string) string { return join(Nodes, name, key) }

// VM returns the path of a VM or of a key below it.
func VM(uuid string, key ...string) string { return join(Domains, uuid, key) }

// VMGen returns the path of a VM's identity child.
func VMGen(uuid, gen string) string { return VM(uuid, VMGenPrefix+gen) }

// NodeVM returns the path of an entry of a node's index.
func NodeVM(node, uuid string) string { return Node(node, NodeVMs, uuid) }

// Network returns the path of a network or of a key below it.
func Network(vni int, key ...string) string { return join(Networks, strconv.Itoa(vni), key) }

// Claim returns the path of a VM's claim.
func Claim(uuid string) string { return Claims + "/" + uuid }

// ClaimDisk returns the path of an image's claim; the name is escaped.
func ClaimDisk(disk string) string { return ClaimDisks + "/" + EscapeDisk(disk) }

// EscapeDisk turns an image's name ("pool/id", or a file's path) into one path element.
func EscapeDisk(disk string) string { return url.QueryEscape(disk) }

// ConfigKey returns the path of a published setting.
func ConfigKey(name string) string { return Config + "/" + name }

// Split takes a path apart: "/nodes/hv1/state" is ["nodes", "hv1", "state"].
func Split(path string) []string {
	return strings.Split(strings.TrimPrefix(path, "/"), "/")
}

// Parent returns the path one level up, "/" for a root.
func Parent(path string) string {
	if i := strings.LastIndexByte(path, '/'); i > 0 {
		return path[:i]
	}
	return "/"
}

// Base returns the last element of a path.
func Base(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

func join(root, name string, keys []string) string {
	var b strings.Builder
	b.WriteString(root)
	b.WriteByte('/')
	b.WriteString(name)
	for _, k := range keys {
		b.WriteByte('/')
		b.WriteString(k)
	}
	return b.String()
}

// UnescapeDisk is the reverse of EscapeDisk; what is not escaped is returned as it is.
func UnescapeDisk(element string) string {
	if s, err := url.QueryUnescape(element); err == nil {
		return s
	}
	return element
}
