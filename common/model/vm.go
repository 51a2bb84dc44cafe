package model

import "strings"

// VM is a virtual machine as the cluster knows it. It is immutable once published.
type VM struct {
	UUID         string
	Name         string
	State        VMState // the wish; an unknown word of a foreign writer is kept as it is
	Node         string  // the node that is to run it
	LastNode     string  // home to return to; empty if not migrated
	FailedReason string
	RBDList      []string // "pool/volume" of its RBD disks at definition
	XML          string

	// Gen is the random part of its identity child; empty for a VM that an old
	// client defined.
	Gen string
	// Migration is the handshake under way, nil if there is none.
	Migration *Migration
	// Claim is the fact of where it may be running, nil if nowhere.
	Claim *Claim
	// Crashes counts the crashes on record.
	Crashes int

	Versions VMVersions
}

// Crashes is the record of a guest's recent crashes, /domains/<uuid>/crashes. Times
// are of the clock of the node that wrote it; another node begins anew.
type Crashes struct {
	Node  string  `json:"node"`
	Times []int64 `json:"times"` // epoch seconds
}

// VMVersions are the znode versions a rule has looked at.
type VMVersions struct {
	State, Node, LastNode, FailedReason, RBDList, XML, Name, Migration, Claim int32
}

// Migrated says where from, in the words of the API: "no" or "from <node>".
func (v *VM) Migrated() string {
	if v.LastNode == "" {
		return "no"
	}
	return "from " + v.LastNode
}

// MigrationPhase is a step of the live migration handshake.
type MigrationPhase string

// The phases, in order. Source and target both hold the claim from before prepare
// until the end; the target's guest stays paused until gone is on record.
const (
	// MigrationPrepare: the source has put both hosts into the claim and waits for the target.
	MigrationPrepare MigrationPhase = "prepare"
	// MigrationReady: the target can take the guest.
	MigrationReady MigrationPhase = "ready"
	// MigrationSending: the source's libvirt transfers the guest.
	MigrationSending MigrationPhase = "sending"
	// MigrationArrived: the guest is complete and paused at the target.
	MigrationArrived MigrationPhase = "arrived"
	// MigrationGone: the source's process is gone; the target owns the guest.
	MigrationGone MigrationPhase = "gone"
	// MigrationFailed: the source goes on; the target still has to clear away its rest.
	MigrationFailed MigrationPhase = "failed"
)

// Migration is the handshake record, /domains/<uuid>/migration.
type Migration struct {
	ID     string         `json:"id"` // random; a later migration has another
	Source string         `json:"source"`
	Target string         `json:"target"`
	Home   string         `json:"home"` // lastnode to restore if it fails
	Phase  MigrationPhase `json:"phase"`
	Cold   bool           `json:"cold,omitempty"`   // by shutdown and start, decided beforehand
	Reason string         `json:"reason,omitempty"` // why it failed
	URI    string         `json:"uri,omitempty"`    // where the target's libvirt listens
	From   string         `json:"from,omitempty"`   // where the source's libvirt listens
}

// Claim is the fact beside the wish, /claims/<uuid>: who may have the VM's disks open.
type Claim struct {
	Owner    ClaimHost  `json:"owner"`
	Incoming *ClaimHost `json:"incoming,omitempty"` // target of a live migration
	// Recorded is set before the guest is let go: whoever finds it may be running.
	Recorded bool `json:"recorded"`
	// Resumed is set after the guest was let go.
	Resumed bool     `json:"resumed"`
	Disks   []string `json:"disks,omitempty"` // names below /claims/disks
	// Images are the RBD images that the guest writes to, "pool/image id", also those that
	// it shares with others. Whoever cuts a host off looks there for clients.
	Images []string `json:"images,omitempty"`
	// Document is the version of the VM's document whose disks are claimed.
	Document int32 `json:"document,omitempty"`
}

// ClaimHost is a host instance that holds a claim.
type ClaimHost struct {
	Node     string `json:"node"`
	BootID   string `json:"boot_id"`
	Instance string `json:"instance"` // of the daemon that wrote it
	// Clients are the guest's Ceph clients, "IP:0/NONCE", one per image. They are on record
	// before the guest executes on this host.
	Clients []string `json:"clients,omitempty"`
	// Before are the clients that had the guest's images open before it did: not its own.
	Before []string `json:"before,omitempty"`
	// Run identifies this run of the guest on this host.
	Run string `json:"run,omitempty"`
	// ConsoleAt is where in the host's console file the output of this guest begins, bytes.
	ConsoleAt int64 `json:"console_at,omitempty"`
}

// Holds reports whether the node stands in the claim in either role.
func (c *Claim) Holds(node string) bool {
	return c != nil && (c.Owner.Node == node || c.Incoming != nil && c.Incoming.Node == node)
}

// SplitList reads a separated list, dropping empty elements.
func SplitList(s, sep string) []string {
	var out []string
	for _, e := range strings.Split(s, sep) {
		if e = strings.TrimSpace(e); e != "" {
			out = append(out, e)
		}
	}
	return out
}
