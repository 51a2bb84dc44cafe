package view

import (
	"sort"
	"strings"
	"sync"

	"github.com/parallelvirtualcluster/pvc/common/coord"
)

// All functions here that say so are called with m.mu held.

// insert makes an entry and queues its first reading; m.mu is held.
func (m *Mirror) insert(path string, root bool) {
	want := m.o.Want(path)
	if !want.Data && !want.Children {
		return
	}
	name := m.o.Group(path)
	g := m.groups[name]
	if g == nil {
		g = &group{name: name, shard: m.shard(name)}
		m.groups[name] = g
	}
	g.members++
	e := &entry{path: path, want: want, group: g, root: root}
	m.entries[path] = e
	m.dirty(e)
}

// dirty has an entry read again; m.mu is held.
func (m *Mirror) dirty(e *entry) {
	switch e.state {
	case clean:
		e.state = queued
		e.group.busy++
		m.pending++
		m.queues[e.group.shard].push(e)
	case inFlight:
		e.state = inFlightDirty
	}
}

// settle marks an entry clean; it returns the group if all of it is now. m.mu is held.
func (m *Mirror) settle(e *entry) *group {
	e.state = clean
	e.group.busy--
	m.pending--
	if e.group.busy > 0 {
		return nil
	}
	m.idle.Broadcast()
	return e.group
}

// drop forgets an entry and all below it; m.mu is held.
func (m *Mirror) drop(path string) {
	e := m.entries[path]
	if e == nil {
		return
	}
	children := e.children
	e.children, e.exists, e.data = nil, false, ""
	e.group.changed = true
	for _, c := range children {
		m.drop(path + "/" + c)
	}
	e.removed = true
	delete(m.entries, path)
	e.group.members--
	if e.state == queued || e.state == inFlight || e.state == inFlightDirty {
		return // the worker settles it
	}
	m.emptied = append(m.emptied, e.group)
}

// forget removes a group without members; m.mu is held.
func (m *Mirror) forget(g *group) {
	if g.members == 0 && g.busy+g.reporting == 0 && m.groups[g.name] == g {
		delete(m.groups, g.name)
	}
}

// reading is the outcome of reading an entry.
type reading struct {
	there    bool
	data     []byte
	stat     coord.Stat
	children []string
	kids     coord.Stat
}

// store applies a reading unless what is known is newer; m.mu is held.
func (m *Mirror) store(e *entry, r reading) {
	if !r.there {
		m.vanish(e)
		return
	}
	if !e.exists {
		e.exists, e.group.changed = true, true
	}
	if e.want.Data && (r.stat.Mzxid > e.mzxid || e.mzxid == 0) {
		e.data, e.version, e.mzxid = string(r.data), r.stat.Version, r.stat.Mzxid
		e.group.changed = true
	}
	if e.want.Children && (r.kids.Pzxid > e.pzxid || e.pzxid == 0) {
		e.pzxid = r.kids.Pzxid
		m.storeChildren(e, r.children)
	}
}

func (m *Mirror) storeChildren(e *entry, names []string) {
	sort.Strings(names)
	old := e.children
	e.children = names
	e.group.changed = true
	for _, name := range old {
		if i := sort.SearchStrings(names, name); i == len(names) || names[i] != name {
			m.drop(e.path + "/" + name)
		}
	}
	for _, name := range names {
		if path := e.path + "/" + name; m.entries[path] == nil {
			m.insert(path, false)
		}
	}
}

// vanish empties an entry whose znode is gone; the entry itself goes with its
// parent's list, or stays if it is a root. m.mu is held.
func (m *Mirror) vanish(e *entry) {
	if !e.exists {
		return
	}
	for _, c := range e.children {
		m.drop(e.path + "/" + c)
	}
	e.exists, e.data, e.version, e.children, e.mzxid, e.pzxid = false, "", 0, nil, 0, 0
	e.group.changed = true
}

// tree reads the mirror for a decoder; the mirror's lock is held by Read.
type tree struct{ m *Mirror }

func (t tree) Data(path string) (string, int32, bool) {
	if e := t.m.entries[path]; e != nil && e.exists {
		return e.data, e.version, true
	}
	return "", 0, false
}

func (t tree) Children(path string) []string {
	if e := t.m.entries[path]; e != nil {
		return e.children
	}
	return nil
}

// queue is an unbounded list of entries to read.
type queue struct {
	mu     sync.Mutex
	more   *sync.Cond
	list   []*entry
	closed bool
}

func newQueue() *queue {
	q := new(queue)
	q.more = sync.NewCond(&q.mu)
	return q
}

func (q *queue) push(e *entry) {
	q.mu.Lock()
	q.list = append(q.list, e)
	q.mu.Unlock()
	q.more.Signal()
}

// pop waits for an entry; nil says that the queue is closed.
func (q *queue) pop() *entry {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.list) == 0 && !q.closed {
		q.more.Wait()
	}
	if q.closed {
		return nil
	}
	e := q.list[0]
	q.list[0] = nil
	q.list = q.list[1:]
	return e
}

func (q *queue) close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	q.more.Broadcast()
}

// Below reports whether path lies below the root, which has no trailing slash.
func Below(path, root string) bool {
	return len(path) > len(root) && path[len(root)] == '/' && strings.HasPrefix(path, root)
}
