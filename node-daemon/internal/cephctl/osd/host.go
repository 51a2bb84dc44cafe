package osd

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/units"
)

// Host is what this host's OSDs are made with. Node, Disks and Units are needed.
type Host struct {
	Node  string // this host
	Disks Disks
	Units units.Units
	// Limits that are zero have the values of DefaultLimits.
	Limits Limits
	// Step, for fault tests, is called after each step with its name.
	Step func(step string)
}

// Limits are how long things may take.
type Limits struct {
	// Up is how long a new OSD may take from the start of its daemon until Ceph takes it in.
	Up time.Duration
	// Down is how long Ceph may take to notice that a daemon has ended.
	Down time.Duration
	// Stall is how long an OSD that is removed may keep the same number of placement
	// groups before that is given up.
	Stall time.Duration
	// Pace is the time between two looks at Ceph.
	Pace time.Duration
}

// DefaultLimits are those of a Host that has none. Ceph notices a daemon's end within its
// grace of 20 s if the daemon does not tell itself; a group of a large and slow disk can
// take long to move.
var DefaultLimits = Limits{Up: 3 * time.Minute, Down: 2 * time.Minute, Stall: time.Hour, Pace: time.Second}

func (h *Host) limits() Limits {
	l := h.Limits
	set := func(d *time.Duration, to time.Duration) {
		if *d == 0 {
			*d = to
		}
	}
	set(&l.Up, DefaultLimits.Up)
	set(&l.Down, DefaultLimits.Down)
	set(&l.Stall, DefaultLimits.Stall)
	set(&l.Pace, DefaultLimits.Pace)
	return l
}

// The steps at which Host.Step is called: each names what has been done.
const (
	StepRegistered = "osd-registered" // Ceph has given it an id
	StepPrepared   = "osd-prepared"   // its store is on the disk
	StepPlaced     = "osd-placed"     // it is in the CRUSH map
	StepStarted    = "osd-started"
	StepUp         = "osd-up"
	StepOut        = "osd-out"
	StepDrained    = "osd-drained"
	StepStopped    = "osd-stopped"
	StepPurged     = "osd-purged" // Ceph does not know it any more
	StepWiped      = "osd-wiped"
)

func (h *Host) step(name string) {
	if h.Step != nil {
		h.Step(name)
	}
}

// Progress tells how far a command is.
type Progress func(current, total int64, status string)

// find returns the OSD with that uuid, nil if Ceph has none.
func find(ctx context.Context, calls ceph.OSDCalls, is func(ceph.OSD) bool) (*ceph.OSD, error) {
	all, err := calls.OSDs(ctx)
	if err != nil {
		return nil, err
	}
	for i := range all {
		if is(all[i]) {
			return &all[i], nil
		}
	}
	return nil, nil
}

func withUUID(uuid string) func(ceph.OSD) bool {
	return func(o ceph.OSD) bool { return strings.EqualFold(o.UUID, uuid) }
}

func withID(id int) func(ceph.OSD) bool { return func(o ceph.OSD) bool { return o.ID == id } }

// errTime says that the time of a wait is over.
var errTime = errs.New(errs.Conflict, "time is over")

// await looks at Ceph until done says so. A look that fails because Ceph does not answer
// is repeated. errTime says that limit (0: none) is over.
func (h *Host) await(ctx context.Context, limit time.Duration, done func() (bool, error)) error {
	pace := time.NewTicker(h.limits().Pace)
	defer pace.Stop()
	var end <-chan time.Time
	if limit > 0 {
		t := time.NewTimer(limit)
		defer t.Stop()
		end = t.C
	}
	for {
		ok, err := done()
		if ok {
			return nil
		}
		if err != nil && (!errs.Is(err, errs.Unavailable) || ctx.Err() != nil) {
			return err
		}
		select {
		case <-pace.C:
		case <-end:
			return errTime
		case <-ctx.Done():
			return errs.Unavailablef("interrupted: %w", ctx.Err())
		}
	}
}

// waitDown waits until Ceph has noticed that the daemon of an OSD has ended.
func (h *Host) waitDown(ctx context.Context, calls ceph.OSDCalls, uuid string) error {
	err := h.await(ctx, h.limits().Down, func() (bool, error) {
		o, err := find(ctx, calls, withUUID(uuid))
		return err == nil && (o == nil || !o.Up), err
	})
	if err == errTime {
		return errs.Conflictf("its daemon has ended, and Ceph still takes it for up after %v", h.limits().Down)
	}
	return err
}

// stop ends an OSD's daemon and has it stay so.
func (h *Host) stop(ctx context.Context, o Identity) error {
	boot, err := h.Disks.BootUnits(ctx, o)
	if err != nil {
		return err
	}
	for _, unit := range append(boot, Unit(o.ID)) {
		if err := h.Units.Disable(ctx, unit); err != nil && !errs.Is(err, errs.NotFound) {
			return err
		}
	}
	return h.Units.Stop(ctx, Unit(o.ID))
}

// Presence is what the cluster knows of a host.
type Presence uint8

// The presences.
const (
	Connected Presence = iota // its daemon is
	Away                      // it is a node whose daemon is not connected
	Foreign                   // it is no node of the cluster, or not any more
)

// owned says why an OSD is not this host's to remove, nil if it is. One in a host that is none of
// the cluster's is anybody's, without its disk, if it does not run: elsewhere is that host.
func (h *Host) owned(o *ceph.OSD, record *model.OSD, presence func(node string) Presence) (elsewhere string, err error) {
	owner := ""
	if o != nil {
		owner = o.Host
	}
	if record != nil && record.Node != "" {
		owner = record.Node
	}
	if owner == "" || owner == h.Node {
		return "", nil
	}
	switch is := presence(owner); {
	case is == Foreign && o != nil && o.Up:
		return "", errs.Conflictf("it runs on host %s, which is no node of this cluster: stop it there first", owner)
	case is == Foreign:
		return owner, nil
	case is == Away:
		return "", errs.Conflictf("its disk is in host %s, whose daemon is not connected: the OSD can be marked out, and removed when the host is back or is no node any more", owner)
	}
	return "", errs.Conflictf("its disk is in host %s, which has to remove it; this is host %s", owner, h.Node)
}

// ended reports whether an error leaves everything to the next attempt: the daemon is
// about to end, or a change may still happen.
func ended(ctx context.Context, err error) bool {
	return ctx.Err() != nil || errs.Is(err, errs.Unknown)
}

func name(id int) string { return fmt.Sprintf("osd.%d", id) }
