package view

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// Options describe a view of the cluster.
type Options struct {
	Scope       Scope // what of it; nothing is WholeCluster
	Dial        coord.Dialer
	Servers     []string
	Timeout     time.Duration // of the view's sessions: short, so that staleness shows soon
	Digest      string
	Connections int // 4 load 10,000 VMs in a few seconds
	Logger      *slog.Logger
	ScrubEvery  time.Duration // 0 is every 10 minutes
	Filter      func(e coord.Event, deliver func(coord.Event))
}

// View is the cluster in memory.
type View struct {
	o Options

	mu      sync.RWMutex
	mirror  *Mirror   // the one that is served
	live    bool      // it follows the tree
	lastOK  time.Time // when it was last known to
	tables  *tables
	changed chan struct{} // closed at the next change
}

// New returns a view; Run fills it.
func New(o Options) *View {
	if o.ScrubEvery == 0 {
		o.ScrubEvery = 10 * time.Minute
	}
	if o.Connections == 0 {
		o.Connections = 4
	}
	if o.Scope.Want == nil {
		o.Scope = WholeCluster
	}
	return &View{o: o, tables: newTables(), changed: make(chan struct{})}
}

// Run keeps the view up to date until ctx ends: it loads a picture, swaps it in,
// follows it until a connection is lost, and begins again.
func (v *View) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		m, err := v.open(ctx)
		if err != nil {
			if ctx.Err() == nil {
				v.o.Logger.Warn("cannot read the cluster from ZooKeeper", "err", err)
				pause(ctx, time.Second)
			}
			continue
		}
		v.follow(ctx, m)
		m.Close()
	}
	return nil
}

// openTimeout bounds one attempt to read everything.
const openTimeout = time.Minute

func (v *View) open(ctx context.Context) (*Mirror, error) {
	ctx, cancel := context.WithTimeout(ctx, openTimeout)
	defer cancel()
	begin := time.Now()
	loading := make(chan struct{})
	var m *Mirror
	m, err := Open(ctx, MirrorOptions{
		Dial: v.o.Dial, Servers: v.o.Servers, Timeout: v.o.Timeout, Digest: v.o.Digest,
		Connections: v.o.Connections, Roots: v.o.Scope.Roots, Want: v.o.Scope.Want, Group: GroupOf, Filter: v.o.Filter,
		Changed: func(group string) {
			select {
			case <-loading: // closed after m was assigned
				v.update(m, group)
			default:
			}
		},
	})
	if err != nil {
		return nil, err
	}
	v.swap(m, loading)
	v.o.Logger.Info("the view of the cluster is complete", "seconds", time.Since(begin).Seconds())
	return m, nil
}

// swap decodes a complete mirror and serves it from now on. Changes reported while
// it decodes wait for the lock and are applied afterwards.
func (v *View) swap(m *Mirror, loading chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	close(loading)
	t := newTables()
	// Generations never repeat, also not when everything was deleted meanwhile.
	t.generation, t.vmGeneration, t.nodeGeneration = v.tables.generation+1, v.tables.vmGeneration+1, v.tables.nodeGeneration+1
	t.networkGeneration, t.commandGeneration = v.tables.networkGeneration+1, v.tables.commandGeneration+1
	t.storage.generation = v.tables.storage.generation + 1
	t.specs = v.tables.specs
	m.Read(func(tr schema.Tree) { t.load(tr, v.o.Logger) })
	v.mirror, v.tables, v.live = m, t, true
	v.broadcast()
}

func (v *View) follow(ctx context.Context, m *Mirror) {
	scrub := time.NewTicker(v.o.ScrubEvery)
	defer scrub.Stop()
	for {
		select {
		case <-scrub.C:
			m.Scrub()
			continue
		case <-m.Lost():
		case <-ctx.Done():
		}
		break
	}
	v.mu.Lock()
	v.live, v.lastOK = false, time.Now()
	v.mu.Unlock()
	if ctx.Err() == nil {
		v.o.Logger.Warn("the connection to ZooKeeper was lost, the view is stale")
	}
}

// update decodes one group again.
func (v *View) update(m *Mirror, group string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.mirror != m {
		return
	}
	m.ReadGroup(group, func(t schema.Tree) {
		v.tables.update(t, group, v.o.Logger)
		v.broadcast()
	})
}

func (v *View) broadcast() {
	close(v.changed)
	v.changed = make(chan struct{})
}

// Read calls fn with the cluster as it is; nothing changes while fn runs, so fn must
// be quick, must not block and must not keep the snapshot.
func (v *View) Read(fn func(s *Snapshot)) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	fn(&Snapshot{v.tables})
}

// Ready reports whether a complete picture was loaded at least once.
func (v *View) Ready() bool {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.mirror != nil
}

// Stale reports whether the picture no longer follows the tree, and for how long.
func (v *View) Stale() (age time.Duration, stale bool) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if v.live || v.mirror == nil {
		return 0, v.mirror == nil
	}
	return time.Since(v.lastOK), true
}

// Changed returns a channel that is closed at the next change of anything.
func (v *View) Changed() <-chan struct{} {
	v.mu.RLock()
	defer v.mu.RUnlock()
	return v.changed
}

// Until waits until done says so, looking again after every change. It ends with
// ctx, whose error it then returns as errs.Unavailable.
func (v *View) Until(ctx context.Context, done func(s *Snapshot) (bool, error)) error {
	for {
		v.mu.RLock()
		ok, err := done(&Snapshot{v.tables})
		next := v.changed
		v.mu.RUnlock()
		if ok || err != nil {
			return err
		}
		select {
		case <-next:
		case <-ctx.Done():
			return errs.Unavailablef("%w", ctx.Err())
		}
	}
}

// current returns the mirror that follows the tree, or why there is none.
func (v *View) current() (*Mirror, error) {
	v.mu.RLock()
	defer v.mu.RUnlock()
	if !v.live {
		return nil, errs.Unavailablef("no connection to ZooKeeper, nothing was changed")
	}
	return v.mirror, nil
}

// Commit executes a transaction that is about one object (a path of it will do) and
// returns when the view shows it.
func (v *View) Commit(ctx context.Context, path string, txn coord.Txn) error {
	m, err := v.current()
	if err != nil {
		return err
	}
	_, err = m.Commit(ctx, GroupOf(path), txn)
	return err
}

// Refresh waits until the view shows all that was committed to the objects of the
// paths before the call, by anyone.
func (v *View) Refresh(ctx context.Context, paths ...string) error {
	m, err := v.current()
	if err != nil {
		return err
	}
	groups := make([]string, len(paths))
	for i, p := range paths {
		groups[i] = GroupOf(p)
	}
	return m.Refresh(ctx, groups...)
}

// Sync waits until the view is complete and shows all that was committed before the
// call, by anyone.
func (v *View) Sync(ctx context.Context) error {
	fresh := func(*Snapshot) (bool, error) { return v.live, nil }
	for {
		if err := v.Until(ctx, fresh); err != nil {
			return err
		}
		m, err := v.current()
		if err == nil {
			err = m.Sync(ctx)
		}
		if err == nil || ctx.Err() != nil {
			return err
		}
	}
}

// Shown waits until the view shows what one transaction did, whoever committed it, given
// the znodes whose data it set and those whose children it created or deleted.
func (v *View) Shown(ctx context.Context, zxid int64, set, changed []string) error {
	m, err := v.current()
	if err != nil {
		return err
	}
	return m.Shown(ctx, zxid, set, changed)
}

// Settle waits until the view shows everything below a path that was committed before the
// newest object it shows there. It costs a view of one connection no request.
func (v *View) Settle(ctx context.Context, root string) error {
	m, err := v.current()
	if err != nil {
		return err
	}
	return m.Settle(ctx, root)
}

// Fetch reads a bulky value that the view does not hold.
func (v *View) Fetch(ctx context.Context, path string) ([]byte, error) {
	m, err := v.current()
	if err != nil {
		return nil, errs.Unavailablef("no connection to ZooKeeper")
	}
	return m.Get(ctx, path)
}

// Version reads the version of a znode's data that the view does not hold.
func (v *View) Version(ctx context.Context, path string) (int32, error) {
	m, err := v.current()
	if err != nil {
		return 0, errs.Unavailablef("no connection to ZooKeeper")
	}
	return m.Version(ctx, path)
}

// FetchChildren reads the names below a znode, mirrored or not.
func (v *View) FetchChildren(ctx context.Context, path string) ([]string, error) {
	m, err := v.current()
	if err != nil {
		return nil, errs.Unavailablef("no connection to ZooKeeper")
	}
	return m.Children(ctx, path)
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
