package model

// Node is a host as the cluster knows it. It is immutable once published.
type Node struct {
	Name        string
	Mode        DaemonMode
	DaemonState DaemonState // as stored; see Alive
	RouterState RouterState
	DomainState DomainState

	CPUCount          int
	Kernel, OS, Arch  string
	MemTotal, MemUsed int // MiB
	MemFree, MemAlloc int // MiB
	VCPUAlloc         int
	CPULoad           float64 // 1-minute average
	DomainsCount      int
	RunningDomains    []string
	Keepalive         int64 // epoch seconds of the node's own clock; for old peers only
	FlushReport       string
	Condition         string // what a coordinator found when the session vanished
	Facts             NodeFacts
	Session           *NodeSession // nil when no daemon of this node is connected
	SessionChild      string       // name of its ephemeral identity child
	VMs               []string     // index of the VMs that concern it
	HasVMIndex        bool         // false for a node that only an old daemon registered
	Versions          NodeVersions
}

// NodeVersions are the znode versions a rule has looked at.
type NodeVersions struct {
	DaemonState, RouterState, DomainState int32
}

// The conditions of a node whose daemon has vanished, /nodes/<node>/condition.
const (
	ControlPlaneLost = "control plane lost: the daemon does not answer, the host does"
	Unreachable      = "unreachable: neither the daemon nor the host answers"
)

// Alive reports whether the node's daemon is connected to ZooKeeper: liveness is
// the session, never a time stamp.
func (n *Node) Alive() bool { return n.Session != nil }

// EffectiveDaemonState is the state to show: a daemon that claims to run without a
// session is dead.
func (n *Node) EffectiveDaemonState() DaemonState {
	if n.Alive() || n.DaemonState == DaemonStop {
		return n.DaemonState
	}
	return DaemonDead
}

// Running reports whether the daemon is connected and in normal operation.
func (n *Node) Running() bool { return n.Alive() && n.DaemonState == DaemonRun }

// Ready reports whether the node takes new VMs.
func (n *Node) Ready() bool { return n.Running() && n.DomainState == DomainReady }

// NodeSession is the data of a node's liveness znode.
type NodeSession struct {
	Instance  string `json:"instance"`   // random, per daemon start
	BootID    string `json:"boot_id"`    // /proc/sys/kernel/random/boot_id or the testbed's
	MachineID string `json:"machine_id"` // /etc/machine-id
	Version   string `json:"version"`    // of pvcd
}

// NodeFacts are what a host tells about itself at start, /nodes/<node>/facts.
type NodeFacts struct {
	Version      string   `json:"version"`
	MachineID    string   `json:"machine_id"`
	CPUModel     string   `json:"cpu_model"`
	Machines     []string `json:"machines,omitempty"` // machine types QEMU offers, with aliases
	KVM          bool     `json:"kvm"`
	Address      string   `json:"address,omitempty"`       // cluster address
	MigrationURI string   `json:"migration_uri,omitempty"` // libvirt URI for peers
	Health       []string `json:"health,omitempty"`        // health facts, as sentences
	NoBridged    string   `json:"no_bridged,omitempty"`    // why it cannot have bridged networks; empty if it can
	NoNetworks   string   `json:"no_networks,omitempty"`   // why it has no virtual networks at all; empty if it has
	NoGuests     string   `json:"no_guests,omitempty"`     // why it runs no VMs; empty if it does
	NoStorage    string   `json:"no_storage,omitempty"`    // why it does nothing with Ceph; empty if it does
}

// HasStorage reports whether the node's daemon is one that carries out storage commands.
func (n *Node) HasStorage() bool { return n.HasVMIndex && n.Facts.NoStorage == "" }
