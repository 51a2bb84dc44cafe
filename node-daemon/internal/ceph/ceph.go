package ceph

import (
	"context"
	"time"
)

// CallTimeout bounds every call but lists of images and long image work (ResizeImage,
// RenameImage, RemoveImage, CreateSnapshot, RemoveSnapshot): these take as long as ctx allows, but
// find out within CallTimeout whether the cluster answers at all.
const CallTimeout = 10 * time.Second

// Cluster is one daemon's way to a Ceph cluster. It connects when it is first used, and
// again by itself after the monitors were lost or the old connection was fenced.
//
// Every error has a kind of common/errs. What Ceph refused is a *Error in the chain with
// Ceph's number and words. A cluster that is down or hangs is errs.Unavailable within
// CallTimeout and ctx; a change that was sent and not answered is errs.Unknown: it may
// have happened, or still happen while the same client is not fenced.
type Cluster interface {
	Calls
	// As returns the same calls, made only while this daemon's clients are exactly those
	// named: a value that Clients has returned. After a reconnection under other addresses
	// each of them is errs.Unavailable and does nothing, so that work which somebody else
	// has taken over, after fencing those clients, is not continued under new ones.
	As(clients []string) Calls
	// Ended returns nil when nothing that was begun as those clients is under way any more,
	// which takes as long as Ceph and ctx allow. While they are this daemon's, and not fenced,
	// it is errs.Conflict: more may begin. Clients of other daemons are unknown, and so nil.
	Ended(ctx context.Context, clients []string) error
	// Close ends all connections. It does not wait for calls that hang.
	Close()
}

// Calls are what can be asked of a Ceph cluster.
type Calls interface {
	WholeCalls
	OSDCalls
	PoolCalls
	ImageCalls
}

// WholeCalls is what concerns the cluster as a whole.
type WholeCalls interface {
	// Clients returns the addresses under which this daemon acts, as `ceph osd blocklist
	// add` takes them ("192.0.2.1:0/123456"), sorted. All of them have to be fenced to
	// stop it: long image work has a connection of its own.
	Clients(ctx context.Context) ([]string, error)
	// Status returns what `ceph status` prints.
	Status(ctx context.Context) (Status, error)
	// DF returns what `rados df` prints.
	DF(ctx context.Context) (DF, error)
	// Flags returns the flags of the OSD map, sorted, as `ceph osd dump` names them.
	Flags(ctx context.Context) ([]string, error)
	// SetFlag sets or clears one of them (`ceph osd set`, `unset`); one that is so already
	// is no error. `pause` stands for pauserd and pausewr.
	SetFlag(ctx context.Context, flag string, on bool) error
	// Fence blocklists the clients for FenceTime, reads that back, and returns when this
	// daemon's own connections know the map that says so: an OSD that has answered one of
	// their requests from then on serves no fenced client any more, and what such a client
	// did to the same object before is seen. Monitors go on to serve fenced clients; those
	// of this package look for their own entry before each command (see As).
	// An entry that somebody made before with a short life is errs.Conflict, and stays: Ceph
	// cannot prolong one without a moment in which there is none.
	Fence(ctx context.Context, clients []string) error
	// RemoveFence takes the entries back; one that is not there is no error.
	RemoveFence(ctx context.Context, clients []string) error
}

// OSDCalls are about the object storage daemons.
type OSDCalls interface {
	// OSDs returns all OSDs of the map, by id.
	OSDs(ctx context.Context) ([]OSD, error)
	// SetOSDIn marks an OSD in or out; one that is so already is no error.
	SetOSDIn(ctx context.Context, id int, in bool) error
	// NewOSD gives an OSD with this uuid an id and a key, or returns those it has already.
	NewOSD(ctx context.Context, uuid string) (id int, secret string, err error)
	// CrushAdd puts an OSD below the host in the CRUSH map, with that weight.
	CrushAdd(ctx context.Context, id int, weight float64, host string) error
	// SafeToDestroy reports whether no data would be lost with the OSD, and if not, why.
	SafeToDestroy(ctx context.Context, id int) (safe bool, why string, err error)
	// PurgeOSD removes an OSD that is down from the map, its key and its place in CRUSH,
	// if the id still belongs to that uuid; if it belongs to another or to none, it is
	// errs.NotFound. It does not ask whether that is safe.
	PurgeOSD(ctx context.Context, id int, uuid string) error
}

// PoolCalls are about pools.
type PoolCalls interface {
	// Pools returns all pools, by name.
	Pools(ctx context.Context) ([]Pool, error)
	// CreatePool makes a replicated pool for RBD, without autoscaling. An existing one is
	// errs.Conflict (EEXIST). If it fails after the pool was made, the error is
	// errs.Unknown and InitPool can finish it.
	CreatePool(ctx context.Context, name string, pgs int) (Pool, error)
	// InitPool does what CreatePool does after a pool was made: application, RBD's own
	// objects, no autoscaling. It may be repeated.
	InitPool(ctx context.Context, name string, id int64) (Pool, error)
	// RemovePool deletes the pool and all its data, if the name still has that id;
	// otherwise it is errs.NotFound. Between the look and the deletion, both by the same
	// monitor and less than a millisecond apart, the name could change hands.
	RemovePool(ctx context.Context, name string, id int64) error
}

// ImageCalls are about RBD images and their snapshots.
type ImageCalls interface {
	// Images returns all images of a pool, by name. One that vanishes meanwhile is left out.
	// Each is opened: with thousands it takes longer than CallTimeout.
	Images(ctx context.Context, pool string) ([]Image, error)
	// Survey is Images for statistics: it opens only what has changed since the last time,
	// but the watchers may be up to SurveyAge old. Nothing may be decided by them.
	Survey(ctx context.Context, pool string) ([]Image, error)
	// Image returns the image of that name.
	Image(ctx context.Context, pool, name string) (Image, error)
	// Look is Image for who does not care who has it open: an image that is no clone and has no
	// snapshots is described by its header, without the milliseconds of a processor that it takes to
	// open it. Its watchers are unknown then, see Image.Unwatched.
	Look(ctx context.Context, pool, name string) (Image, error)
	// ImageByID returns the image with that id.
	ImageByID(ctx context.Context, pool, id string) (Image, error)
	// Trash returns what lies in the pool's trash.
	Trash(ctx context.Context, pool string) ([]Trashed, error)
	// Watchers returns the addresses of the clients that have the image open, sorted,
	// without those of this daemon.
	Watchers(ctx context.Context, pool, imageID string) ([]string, error)
	// CreateImage makes an image with the cluster's default features among layering,
	// exclusive-lock, object-map, fast-diff and deep-flatten; always with exclusive-lock.
	// A taken name is errs.Conflict (EEXIST); what a client that died has left of an image
	// under that name is cleared away.
	CreateImage(ctx context.Context, pool, name string, size uint64) (Image, error)
	// ResizeImage gives an image a size. A smaller one is errs.Invalid (EINVAL) without shrink.
	ResizeImage(ctx context.Context, pool, id string, size uint64, shrink bool) error
	// RenameImage gives an image another name, whoever has it open. A taken name is
	// errs.Conflict (EEXIST). librbd renames by name: the id is
	// looked up right before, and who makes the names change hands in that moment has
	// another image renamed. One that has the name already is no error.
	RenameImage(ctx context.Context, pool, id, to string) error
	// RemoveImage removes an image and its data. With snapshots (ENOTEMPTY) or while
	// other clients have it open (EBUSY) it is errs.Conflict; clients that were cut off are waited
	// for, as OSDs show them for a moment longer. librbd removes by name: the
	// id is looked up right before, see RenameImage. progress may be nil; it is called
	// with objects done and in total, from another goroutine, and must not block. A removal that was
	// broken off is finished by a repetition, which is the only call that finds such an image by its
	// id; lists have it, too, unless another image has got its name.
	RemoveImage(ctx context.Context, pool, id string, progress func(done, total uint64)) error
	// Snapshots returns the snapshots of an image, oldest first.
	Snapshots(ctx context.Context, pool, imageID string) ([]Snapshot, error)
	// CreateSnapshot makes a snapshot; a taken name is errs.Conflict (EEXIST).
	CreateSnapshot(ctx context.Context, pool, imageID, name string) (Snapshot, error)
	// RemoveSnapshot removes the snapshot with that id; a protected one is errs.Conflict (EBUSY).
	RemoveSnapshot(ctx context.Context, pool, imageID string, snapID uint64) error
}

// SurveyAge is how old the watchers of a Survey are at most.
const SurveyAge = time.Minute

// FenceTime is how long the entry of a fenced client lives unless it is taken back.
const FenceTime = 10 * 365 * 24 * time.Hour
