package view

import (
	"context"
	"errors"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// Interest says what of a znode is mirrored. The names of a mirrored znode's
// children are known even where the children themselves are of no interest.
type Interest struct{ Data, Children bool }

// MirrorOptions describe which part of the tree to mirror and through which sessions.
type MirrorOptions struct {
	Dial        coord.Dialer
	Servers     []string
	Timeout     time.Duration // of the sessions; nothing ephemeral hangs on them
	Digest      string
	Connections int      // sessions to spread the groups over, at least 1
	Roots       []string // mirrored from the start, whether they exist or not
	// Want says what of a path is of interest.
	Want func(path string) Interest
	// Group names the object a path belongs to. A group is read through one session
	// and reported when all of it has been read.
	Group func(path string) string
	// Changed is called with a group after something in it has changed and all of it
	// is clean, so that a transaction is seen as a whole. May be nil.
	Changed func(group string)
	// Filter, for tests, stands between the sessions and the mirror.
	Filter func(e coord.Event, deliver func(coord.Event))
}

// requestsPerConnection are under way at a time; more do not help (measured).
const requestsPerConnection = 16

// Mirror is a part of the tree in memory, for the life of its sessions: when any of
// them loses its connection the mirror is over and a new one has to be opened. The
// library's own re-arming of watches can lose changes without a signal.
type Mirror struct {
	o       MirrorOptions
	clients []coord.Client

	mu      sync.RWMutex
	entries map[string]*entry
	groups  map[string]*group
	pending int // entries that are not clean
	reports int // calls of Changed under way
	idle    *sync.Cond
	queues  []*queue
	emptied []*group // lost members without being read; to be reported

	lost     chan struct{}
	lostOnce sync.Once
	ctx      context.Context // ends with the mirror; cancels its requests
	cancel   context.CancelFunc
	workers  sync.WaitGroup
}

type state uint8

const (
	clean state = iota
	queued
	inFlight
	inFlightDirty
)

type entry struct {
	path     string
	want     Interest
	group    *group
	state    state
	removed  bool
	root     bool
	exists   bool
	data     string
	version  int32
	mzxid    int64
	pzxid    int64
	children []string
}

type group struct {
	name    string
	shard   int
	members int
	busy    int  // members that are not clean
	changed bool // since it was last reported

	reporting int // calls of Changed under way
}

// Open dials, reads everything of interest and returns when the picture is complete.
func Open(ctx context.Context, o MirrorOptions) (*Mirror, error) {
	m := &Mirror{o: o, entries: map[string]*entry{}, groups: map[string]*group{}, lost: make(chan struct{})}
	m.idle = sync.NewCond(&m.mu)
	m.ctx, m.cancel = context.WithCancel(context.Background())
	for range max(o.Connections, 1) {
		c, err := o.Dial(ctx, coord.Options{Servers: o.Servers, Timeout: o.Timeout, Digest: o.Digest, OnEvent: m.filtered})
		if err != nil {
			m.Close()
			return nil, err
		}
		m.clients = append(m.clients, c)
		m.queues = append(m.queues, newQueue())
	}
	for i := range m.clients {
		for range requestsPerConnection {
			m.workers.Go(func() { m.work(i) })
		}
	}
	m.Add(o.Roots...)
	if err := m.wait(ctx, func() bool { return m.pending == 0 }); err != nil {
		m.Close()
		return nil, err
	}
	return m, nil
}

// Lost is closed when the mirror no longer follows the tree.
func (m *Mirror) Lost() <-chan struct{} { return m.lost }

// Close ends the mirror and its sessions. What it holds can still be read.
func (m *Mirror) Close() {
	m.lose()
	m.cancel()
	for i, c := range m.clients {
		m.queues[i].close()
		c.Close()
	}
	m.workers.Wait()
}

func (m *Mirror) lose() {
	m.lostOnce.Do(func() { close(m.lost) })
	m.mu.Lock()
	m.idle.Broadcast()
	m.mu.Unlock()
}

func (m *Mirror) isLost() bool {
	select {
	case <-m.lost:
		return true
	default:
		return false
	}
}

// Add mirrors further paths, whether they exist or not.
func (m *Mirror) Add(paths ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range paths {
		if e := m.entries[p]; e != nil {
			e.root = true
			continue
		}
		m.insert(p, true)
	}
}

// Remove forgets paths and all below them. It may call Changed.
func (m *Mirror) Remove(paths ...string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, p := range paths {
		m.drop(p)
	}
	m.report(nil) // whoever waits for what is gone now
}

// Read calls fn with the tree as it is; fn must not block.
func (m *Mirror) Read(fn func(t schema.Tree)) {
	m.mu.RLock()
	defer m.mu.RUnlock()
	fn(tree{m})
}

// ReadGroup calls fn like Read if the group is clean. If it is changing, fn is not
// called: the group will be reported once more when it is clean.
func (m *Mirror) ReadGroup(name string, fn func(t schema.Tree)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if g := m.groups[name]; g != nil && g.busy > 0 {
		g.changed = true
		return
	}
	fn(tree{m})
}

// Scrub reads everything again, against events that were lost whatever the reason.
func (m *Mirror) Scrub() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.entries {
		m.dirty(e)
	}
}

// Barrier waits until the groups are clean and reported. What was committed through a group's own
// session before the call is then in the picture.
func (m *Mirror) Barrier(ctx context.Context, groups ...string) error {
	return m.wait(ctx, func() bool {
		for _, g := range groups {
			if gr := m.groups[g]; gr != nil && (gr.busy+gr.reporting > 0 || gr.changed) {
				return false
			}
		}
		return true
	})
}

// Refresh is Barrier for what was committed anywhere before the call.
func (m *Mirror) Refresh(ctx context.Context, groups ...string) error {
	for i, c := range m.clients {
		for _, g := range groups {
			if m.shard(g) == i {
				if err := catchUp(ctx, c); err != nil {
					return err
				}
				break
			}
		}
	}
	return m.Barrier(ctx, groups...)
}

// Sync waits until everything that was committed before the call, by anyone, is in the
// picture and reported.
func (m *Mirror) Sync(ctx context.Context) error {
	if err := m.catchUp(ctx); err != nil {
		return err
	}
	return m.wait(ctx, func() bool { return m.pending+m.reports == 0 })
}

// Commit executes a transaction through the session of a group and returns when the
// picture of that group, and of all others read through the same session, has it.
func (m *Mirror) Commit(ctx context.Context, main string, txn coord.Txn) (coord.Committed, error) {
	if m.isLost() {
		return coord.Committed{}, errs.Unavailablef("no connection to ZooKeeper, nothing was changed")
	}
	done, err := m.clients[m.shard(main)].Commit(ctx, txn)
	if err != nil {
		return done, err
	}
	if err := m.settled(ctx, main, txn, done.Zxid); err != nil {
		return done, errs.Unavailablef("the change is committed, but the picture is not up to date: %w", err)
	}
	return done, nil
}

// catchUp is catchUp for all sessions at once.
func (m *Mirror) catchUp(ctx context.Context) error {
	var all errgroup.Group
	for _, c := range m.clients {
		all.Go(func() error { return catchUp(ctx, c) })
	}
	return all.Wait()
}

// catchUp waits until a session's server has applied all that was committed before
// the call. A Sync would do on a follower, but a leader answers it at once, even when
// it has not applied yet what a follower has answered already (measured: 1 in 2,400
// under load). A write is answered in its turn, also one that changes nothing.
func catchUp(ctx context.Context, c coord.Conn) error {
	if _, err := c.Commit(ctx, *new(coord.Txn).Check("/", coord.AnyVersion)); err != nil {
		return errs.Unavailablef("wait for ZooKeeper to catch up: %w", err)
	}
	return nil
}

// settled waits until the mirrored objects that a transaction touched are up to
// date. Other sessions than the one that committed may hear of it later.
func (m *Mirror) settled(ctx context.Context, main string, txn coord.Txn, zxid int64) error {
	groups, others := []string{main}, []string(nil)
	m.mu.RLock()
	for _, op := range txn.Ops {
		for _, path := range []string{op.Path, schema.Parent(op.Path)} {
			if m.entries[path] == nil || op.Kind == coord.OpCheck {
				continue
			}
			g := m.o.Group(path)
			groups = append(groups, g)
			if m.shard(g) != m.shard(main) {
				others = append(others, g)
			}
		}
	}
	m.mu.RUnlock()
	if zxid == 0 {
		if err := m.Refresh(ctx, others...); err != nil {
			return err
		}
	}
	if err := m.wait(ctx, func() bool { return m.shows(txn, zxid) }); err != nil {
		return err
	}
	return m.Barrier(ctx, groups...)
}

// Children reads the names below a znode that is not mirrored.
func (m *Mirror) Children(ctx context.Context, path string) ([]string, error) {
	if m.isLost() {
		return nil, errs.Unavailablef("no connection to ZooKeeper")
	}
	c := m.clients[m.shard(m.o.Group(path))]
	if err := c.Sync(ctx, path); err != nil {
		return nil, err
	}
	names, _, err := c.Children(ctx, path)
	return names, err
}

// Get reads a value that is not mirrored, through the session of its group.
func (m *Mirror) Get(ctx context.Context, path string) ([]byte, error) {
	data, _, err := m.get(ctx, path)
	return data, err
}

// Version is Get for the version of the data.
func (m *Mirror) Version(ctx context.Context, path string) (int32, error) {
	_, st, err := m.get(ctx, path)
	return st.Version, err
}

func (m *Mirror) get(ctx context.Context, path string) ([]byte, coord.Stat, error) {
	if m.isLost() {
		return nil, coord.Stat{}, errs.Unavailablef("no connection to ZooKeeper")
	}
	return m.clients[m.shard(m.o.Group(path))].Get(ctx, path)
}

func (m *Mirror) shard(group string) int {
	if len(m.clients) == 1 {
		return 0
	}
	h := uint32(2166136261) // FNV-1a
	for i := range len(group) {
		h = (h ^ uint32(group[i])) * 16777619
	}
	return int(h % uint32(len(m.clients)))
}

func (m *Mirror) wait(ctx context.Context, done func() bool) error {
	stop := context.AfterFunc(ctx, func() {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.idle.Broadcast()
	})
	defer stop()
	m.mu.Lock()
	defer m.mu.Unlock()
	for !done() {
		if m.isLost() {
			return errs.Unavailablef("the connection to ZooKeeper was lost")
		}
		if err := ctx.Err(); err != nil {
			return errs.Unavailablef("reading from ZooKeeper: %w", err)
		}
		m.idle.Wait()
	}
	return nil
}

func (m *Mirror) filtered(e coord.Event) {
	if m.o.Filter != nil {
		m.o.Filter(e, m.event)
		return
	}
	m.event(e)
}

// event only marks: it runs in the session's own goroutine and must not block.
func (m *Mirror) event(e coord.Event) {
	switch e.Kind {
	case coord.EventDisconnected, coord.EventExpired:
		m.lose()
	case coord.EventData, coord.EventChildren:
		m.mu.Lock()
		if en := m.entries[e.Path]; en != nil {
			m.dirty(en)
		}
		m.mu.Unlock()
	}
}

func isNoNode(err error) bool { return errors.Is(err, coord.ErrNoNode) }
