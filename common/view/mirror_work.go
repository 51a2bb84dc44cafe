package view

import (
	"context"
	"time"
)

// readTimeout bounds one request of the mirror; the session's own time-out is
// shorter, so this only guards against a server that answers pings and nothing else.
const readTimeout = 30 * time.Second

// work reads what is queued for a session until the mirror ends.
func (m *Mirror) work(shard int) {
	for {
		e := m.queues[shard].pop()
		if e == nil {
			return
		}
		for m.begin(e) {
			r, err := m.read(shard, e)
			if !m.finish(e, r, err) {
				break
			}
		}
	}
}

// begin marks an entry as being read; false if it was dropped meanwhile.
func (m *Mirror) begin(e *entry) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if e.removed {
		m.report(m.settle(e))
		return false
	}
	e.state = inFlight
	return true
}

// finish stores a reading; true asks for another, because the entry changed again.
func (m *Mirror) finish(e *entry, r reading, err error) bool {
	if err != nil {
		// A mirror that cannot read is over. Its entries stay as they are.
		m.lose()
		m.mu.Lock()
		m.settle(e)
		m.mu.Unlock()
		return false
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if !e.removed {
		m.store(e, r)
		if e.state == inFlightDirty {
			return true
		}
	}
	m.report(m.settle(e))
	return false
}

// report tells of a group that has become clean, and of those that lost members
// without a reading of their own. The lock is given up for it, so that the callback
// can read the mirror; m.mu is held before and after.
func (m *Mirror) report(g *group) {
	list := m.emptied
	m.emptied = nil
	if g != nil {
		list = append(list, g)
	}
	for _, g := range list {
		if g.changed && g.busy == 0 {
			g.changed = false
			g.reporting++
			m.reports++
			m.tell(g.name)
			m.reports--
			g.reporting--
			m.idle.Broadcast()
		}
		m.forget(g)
	}
}

func (m *Mirror) tell(group string) {
	if m.o.Changed == nil {
		return
	}
	m.mu.Unlock()
	defer m.mu.Lock()
	m.o.Changed(group)
}

// read fetches an entry and arms its watches.
func (m *Mirror) read(shard int, e *entry) (reading, error) {
	ctx, cancel := context.WithTimeout(m.ctx, readTimeout)
	defer cancel()
	r, err := m.fetch(ctx, shard, e)
	if !isNoNode(err) {
		return r, err
	}
	c := m.clients[shard]
	m.mu.RLock()
	known := e.exists
	m.mu.RUnlock()
	if known {
		// This server may be behind the one that told us of it.
		if err := c.Sync(ctx, e.path); err != nil {
			return reading{}, err
		}
	}
	if _, there, err := c.ExistsW(ctx, e.path); err != nil || !there {
		return reading{}, err
	}
	if r, err = m.fetch(ctx, shard, e); isNoNode(err) {
		return reading{}, nil // gone again; the watch of ExistsW tells of a next time
	}
	return r, err
}

func (m *Mirror) fetch(ctx context.Context, shard int, e *entry) (r reading, err error) {
	c := m.clients[shard]
	if e.want.Data {
		if r.data, r.stat, err = c.GetW(ctx, e.path); err != nil {
			return r, err
		}
	}
	if e.want.Children {
		if r.children, r.kids, err = c.ChildrenW(ctx, e.path); err != nil {
			return r, err
		}
	}
	r.there = true
	return r, nil
}
