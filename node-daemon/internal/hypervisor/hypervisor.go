package hypervisor

import (
	"context"
	"time"
)

// State is what a domain is doing.
type State uint8

// The states of a domain. Only Absent says that nothing can be running.
const (
	Absent   State = iota // no such domain
	Running               // executing, also while it shuts down
	Paused                // see PauseReason
	Stopping              // the process is going away but is not gone
)

// PauseReason says why a domain is paused.
type PauseReason uint8

// The reasons that matter (virDomainPausedReason).
const (
	PausedOther     PauseReason = iota // none of these, or it cannot be found out now
	PausedStart                        // created paused and never resumed
	PausedIncoming                     // the target of a migration that has not ended yet
	PausedOutgoing                     // the source of a migration, switched off; not Migrating any more: nobody will switch it on
	PausedByRequest                    // suspended by a command; a guest that has arrived paused reads so too
	PausedError                        // I/O error, watchdog, crash with preserve
)

// Domain is what the hypervisor knows about a guest.
type Domain struct {
	UUID       string
	Name       string
	State      State
	Pause      PauseReason
	MemoryMiB  int // current
	VCPUs      int
	Persistent bool // has a definition beside the running process
	Autostart  bool
	// Migrating: it is being sent away, by this client or by one that is gone. Until
	// that has ended nothing is decided.
	Migrating bool
}

// EventKind is what happened to a domain.
type EventKind uint8

// The events. Resync is sent after a (re)connection: anything may have happened.
const (
	EventStarted EventKind = iota + 1
	EventSuspended
	EventResumed
	EventStopped
	EventResync
)

// StopReason says why a domain's process ended (virDomainEventStoppedDetailType).
type StopReason uint8

// The reasons. Unknown is reported when the end was not seen.
const (
	StoppedUnknown   StopReason = iota
	StoppedShutdown             // the guest powered itself off, or followed a shutdown request
	StoppedDestroyed            // destroyed by a command
	StoppedCrashed              // QEMU died or the guest panicked
	StoppedMigrated             // it runs elsewhere now
	StoppedFailed               // it never got to run
)

// Event tells where to look, never what to do.
type Event struct {
	Kind   EventKind
	UUID   string // empty for EventResync
	Reason StopReason
}

// HostInfo is what the hypervisor tells about its host.
type HostInfo struct {
	CPUModel string   // of the host
	Machines []string // canonical machine types and their aliases, x86_64
	KVM      bool     // usable: the kernel offers it and the emulator takes it
	UUID     string
	Version  string
}

// MigrateOptions are the parameters of a live migration.
type MigrateOptions struct {
	// URI of the target's hypervisor, reached from the source's.
	URI string
	// MigrateURI is where the guest's memory goes, empty for the hypervisor's choice.
	MigrateURI string
	// BandwidthMiB limits the transfer, MiB/s; 0 is no limit.
	BandwidthMiB int
	// UnsafeStorage allows a disk whose cache mode or file system the hypervisor
	// does not know to be shared; the caller has checked that it is.
	UnsafeStorage bool
	// TLS encrypts the guest's memory on the way.
	TLS bool
}

// Secret is a key that guests' disks need, as the document of a guest names it.
type Secret struct {
	UUID string // by which documents refer to it
	User string // of Ceph whose key it is, without "client."
	// Key is never part of an error or a log, nor is it kept on a disk.
	Key []byte
}

// Hypervisor controls the guests of one host. Calls wait for the connection until
// ctx ends; a lost connection is errs.Unavailable, or errs.Unknown if a change was
// under way. All guests are transient.
type Hypervisor interface {
	Host(ctx context.Context) (HostInfo, error)
	// List returns all active domains.
	List(ctx context.Context) ([]Domain, error)
	// Lookup returns the domain; its State is Absent if there is none.
	Lookup(ctx context.Context, uuid string) (Domain, error)
	// XML returns the document of an active domain as the hypervisor holds it.
	XML(ctx context.Context, uuid string) (string, error)
	// CreatePaused starts a transient domain without letting it execute. A refusal
	// carries the hypervisor's own words.
	CreatePaused(ctx context.Context, xml string) error
	// Resume lets a paused domain execute; a running one is no error.
	Resume(ctx context.Context, uuid string) error
	// Shutdown presses the power button.
	Shutdown(ctx context.Context, uuid string) error
	// Destroy ends the process and returns when it is gone; an absent domain is no error.
	Destroy(ctx context.Context, uuid string) error
	// Undefine removes a persistent definition, its autostart and managed save, and
	// leaves a running process alone.
	Undefine(ctx context.Context, uuid string) error
	// MigratePaused sends a running domain to another host, where it arrives paused,
	// and returns when the source's process is gone or the migration has failed.
	// When ctx ends, the job is aborted and the outcome waited for. An error does not
	// say where the guest is: the migration may have succeeded, or still go on without
	// this client. Lookup does, once Domain.Migrating is false.
	MigratePaused(ctx context.Context, uuid string, o MigrateOptions) error
	// AbortJob ends a migration under way; none is no error.
	AbortJob(ctx context.Context, uuid string) error
	// SetSecret gives the hypervisor the key of a Ceph user, in place of an earlier one of
	// that UUID. It is lost with the hypervisor's service, that is: before a Resync. A UUID
	// or user that a secret of another kind has is errs.Invalid or errs.Conflict.
	SetSecret(ctx context.Context, s Secret) error
	// DiskSize returns the size in bytes that a guest sees of its disk; dev is the target
	// of its document, "vda". A disk that it does not have is errs.Invalid.
	DiskSize(ctx context.Context, uuid, dev string) (uint64, error)
	// ResizeDisk makes a disk of a guest that size and tells the guest. The medium gets
	// that size too, whatever it had: a smaller one cuts it off. Bytes have to be a multiple
	// of 512.
	ResizeDisk(ctx context.Context, uuid, dev string, bytes uint64) error
	// Subscribe registers fn for all events from now on, beginning with a Resync.
	// fn must not block. The returned function ends it.
	Subscribe(fn func(Event)) (cancel func())
	// Close ends the connection; guests go on.
	Close() error
}

// Peer asks another host's hypervisor, for the target of a migration whose source
// is silent.
type Peer interface {
	// Lookup is Hypervisor.Lookup on the host behind uri.
	Lookup(ctx context.Context, uri, uuid string) (Domain, error)
}

// CallTimeout bounds every call but MigratePaused.
const CallTimeout = 20 * time.Second
