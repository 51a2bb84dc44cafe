package view

import (
	"context"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// Shown waits until the picture has what one transaction did, whoever committed it: it
// set the data of some znodes, and created or deleted children of others.
func (m *Mirror) Shown(ctx context.Context, zxid int64, set, changed []string) error {
	err := m.wait(ctx, func() bool {
		for _, path := range set {
			if !m.dataSince(path, zxid) {
				return false
			}
		}
		for _, path := range changed {
			if !m.childrenSince(path, zxid) {
				return false
			}
		}
		return true
	})
	if err != nil {
		return err
	}
	var groups []string
	for _, path := range append(append([]string(nil), set...), changed...) {
		groups = append(groups, m.o.Group(path))
	}
	return m.Barrier(ctx, groups...)
}

// Settle waits until everything below a path that was committed before the newest znode
// known there is in the picture and reported. Events come in order through a session, so
// that with one it only waits for readings that are under way.
func (m *Mirror) Settle(ctx context.Context, root string) error {
	if len(m.clients) > 1 {
		if err := m.catchUp(ctx); err != nil {
			return err
		}
	}
	var groups []string
	m.mu.RLock()
	for name := range m.groups {
		if name == root || Below(name, root) {
			groups = append(groups, name)
		}
	}
	m.mu.RUnlock()
	// One by one: each has to be clean once, not all of them at the same moment.
	for _, g := range groups {
		if err := m.Barrier(ctx, g); err != nil {
			return err
		}
	}
	return nil
}

// shows reports whether every entry that a transaction touched has been read since;
// m.mu is held.
func (m *Mirror) shows(txn coord.Txn, zxid int64) bool {
	for _, op := range txn.Ops {
		shown := true
		switch op.Kind {
		case coord.OpSet:
			shown = m.dataSince(op.Path, zxid)
		case coord.OpCreate, coord.OpCreateEphemeral, coord.OpDelete:
			shown = m.childrenSince(schema.Parent(op.Path), zxid)
		}
		if !shown {
			return false
		}
	}
	return true
}

// dataSince reports whether what is known of a znode's data, if it is mirrored and
// exists, is not older than a transaction that set it; m.mu is held.
func (m *Mirror) dataSince(path string, zxid int64) bool {
	e := m.entries[path]
	return e == nil || !e.exists || !e.want.Data || e.mzxid >= zxid
}

// childrenSince is dataSince for the names below a znode; m.mu is held.
func (m *Mirror) childrenSince(path string, zxid int64) bool {
	e := m.entries[path]
	return e == nil || !e.exists || !e.want.Children || e.pzxid >= zxid
}
