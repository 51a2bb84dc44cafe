package cephctl

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/cephctl/osd"
)

// Executor does what commands say. Its Client, Fence, Quiet, Execute and Long are for a
// [command.Worker].
type Executor struct {
	Cluster ceph.Cluster
	// View holds the records: view.StorageHost or more.
	View *view.View
	// Users returns the VMs whose documents name a volume, or any of the pool if volume is
	// empty, as sentences' subjects ("VM web1"), by the volume's name.
	Users func(ctx context.Context, pool, volume string) (map[string][]string, error)
	// OSDs makes and removes those of this host.
	OSDs   *osd.Host
	Logger *slog.Logger
}

// clientSeparator stands between the addresses of one daemon's Ceph clients in a claim.
const clientSeparator = ","

// Client names this daemon's Ceph clients for a claim.
func (e *Executor) Client(ctx context.Context) (string, error) {
	clients, err := e.Cluster.Clients(ctx)
	if errs.Is(err, errs.Unavailable) {
		err = errs.Unavailablef("Ceph does not answer this host: %w", err)
	}
	return strings.Join(clients, clientSeparator), err
}

// Fence makes sure that the Ceph clients of a claim can change nothing any more. It may
// find that this host was fenced itself meanwhile: its connection is another one then.
func (e *Executor) Fence(ctx context.Context, client string) error {
	clients := strings.Split(client, clientSeparator)
	err := e.Cluster.Fence(ctx, clients)
	if ceph.NumberOf(err) == syscall.ESHUTDOWN {
		err = e.Cluster.Fence(ctx, clients)
	}
	return err
}

// Quiet returns nil when nothing that this daemon has begun as the Ceph clients of a claim
// is under way any more.
func (e *Executor) Quiet(ctx context.Context, client string) error {
	return e.Cluster.Ended(ctx, strings.Split(client, clientSeparator))
}

// Long tells the commands that may take minutes.
func (e *Executor) Long(c *command.Command) bool {
	switch command.Verb(c.Verb) {
	case command.VerbOSDAdd, command.VerbOSDRemove, command.VerbPoolRemove, command.VerbVolumeRemove, command.VerbSnapshotRemove:
		return true
	case command.VerbVolumeResize: // what is cut off is removed object by object
		args, err := command.ParseArgs(c)
		resize, ok := args.(command.VolumeResize)
		return err == nil && ok && resize.Shrink
	}
	return false
}

// Execute does what a command says, see [command.Worker].
func (e *Executor) Execute(ctx context.Context, c *command.Command, a command.Attempt) (command.Outcome, error) {
	args, err := command.ParseArgs(c)
	if err != nil {
		return command.Outcome{}, err
	}
	t := &task{executor: e, Calls: e.Cluster.As(strings.Split(a.Client, clientSeparator)), Attempt: a}
	if c.Executor != nil {
		t.fenced = strings.Split(c.Executor.Client, clientSeparator)
	}
	if len(a.Note) > 0 {
		t.note = &note{}
		if err := json.Unmarshal(a.Note, t.note); err != nil {
			return command.Outcome{}, errs.New(errs.Internal, "read what an earlier attempt at %s has noted: %w", c.Verb, err)
		}
	}
	out, err := t.run(ctx, args)
	return out, t.settle(ctx, err)
}

// task is one attempt at a command.
type task struct {
	ceph.Calls
	command.Attempt
	executor *Executor
	note     *note // nil if no attempt has begun to change anything
	// fenced are the clients of the executor before. OSDs show them as watchers for a moment
	// longer.
	fenced []string
}

// note is the state before the first change, for attempts that find the changed one.
type note struct {
	Pool     int64      `json:"pool,omitempty"`  // id
	Image    string     `json:"image,omitempty"` // id
	Size     model.Size `json:"size,omitempty"`  // of the image
	Snapshot uint64     `json:"snapshot,omitempty"`
	Absent   bool       `json:"absent,omitempty"` // the object was not there
	OSD      *osd.Noted `json:"osd,omitempty"`
}

func (t *task) run(ctx context.Context, args command.Args) (command.Outcome, error) {
	switch a := args.(type) {
	case command.OSDAdd:
		return t.osdAdd(ctx, a)
	case command.OSDRemove:
		return t.osdRemove(ctx, a)
	case command.OSDIn:
		return t.osdMark(ctx, a.OSD, true)
	case command.OSDOut:
		return t.osdMark(ctx, a.OSD, false)
	case command.OSDSet:
		return t.flag(ctx, a.Flag, true)
	case command.OSDUnset:
		return t.flag(ctx, a.Flag, false)
	case command.PoolAdd:
		return t.poolAdd(ctx, a)
	case command.PoolRemove:
		return t.poolRemove(ctx, a)
	case command.VolumeAdd:
		return t.volumeAdd(ctx, a)
	case command.VolumeResize:
		return t.volumeResize(ctx, a)
	case command.VolumeRename:
		return t.volumeRename(ctx, a)
	case command.VolumeRemove:
		return t.volumeRemove(ctx, a)
	case command.SnapshotAdd:
		return t.snapshotAdd(ctx, a)
	case command.SnapshotRemove:
		return t.snapshotRemove(ctx, a)
	}
	return command.Outcome{}, errs.Invalidf("%s is not executed by this release", args.Verb())
}

// remember notes the state before the first change, and claims the command with that.
func (t *task) remember(ctx context.Context, n note) error {
	if t.note != nil {
		return nil
	}
	if err := t.Remember(ctx, n); err != nil {
		return fmt.Errorf("note the state before the change: %w", err)
	}
	t.note = &n
	return nil
}

// others are the watchers that are no clients of the executor before.
func (t *task) others(watchers []string) (others []string) {
	for _, w := range watchers {
		if !slices.Contains(t.fenced, w) {
			others = append(others, w)
		}
	}
	return others
}

// askAgain bounds a question that only makes a failure clearer.
const askAgain = time.Second

// settle says what an error means to the command. "Unavailable, nothing was changed" is
// not true once an attempt has begun to change something; and when this daemon's clients
// were replaced under the attempt, it is not Ceph that failed.
func (t *task) settle(ctx context.Context, err error) error {
	if !errs.Is(err, errs.Unavailable) || ctx.Err() != nil {
		return err
	}
	if t.Number > 1 && t.note != nil {
		return errs.New(errs.Unknown, "an earlier attempt may have changed something: %w", err)
	}
	short, cancel := context.WithTimeout(ctx, askAgain)
	defer cancel()
	now, cerr := t.executor.Client(short)
	if cerr == nil && now != t.Client {
		return errs.New(errs.Unknown, "the connection to Ceph was replaced: %w", err)
	}
	return err
}
