package primary

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// entry is a line that the index of a node lacks.
type entry struct {
	uuid, node string
	version    int32 // of the VM's node key
}

// indexer completes the nodes' indexes: every VM stands in the index of the node
// that is to run it. Entries are removed by the node itself when it is done with the VM.
type indexer struct {
	session Session
	mirror  *view.Mirror
	log     *slog.Logger
	wake    chan struct{}
	watched map[string]bool // VMs whose node key is mirrored
}

const (
	// indexPace is the shortest time between two passes: a burst is one pass.
	indexPace = 50 * time.Millisecond
	// indexResync is the longest time between two passes.
	indexResync = 60 * time.Second
)

func (x *indexer) run(ctx context.Context) {
	for ctx.Err() == nil {
		next := indexResync
		x.watch()
		for _, e := range x.missing() {
			if err := x.add(ctx, e); err != nil {
				x.log.Warn("a VM could not be put on its node's index", "vm", e.uuid, "node", e.node, "err", err)
				next = pulse
				break
			}
		}
		pause(ctx, indexPace)
		select {
		case <-ctx.Done():
		case <-x.wake:
		case <-time.After(next):
		}
	}
}

// watch keeps the mirror at the VMs there are.
func (x *indexer) watch() {
	var uuids []string
	x.mirror.Read(func(t schema.Tree) { uuids = slices.Clone(t.Children(schema.Domains)) })
	now := make(map[string]bool, len(uuids))
	var come, gone []string
	for _, u := range uuids {
		now[u] = true
		if !x.watched[u] {
			come = append(come, schema.VM(u, schema.VMNode))
		}
	}
	for u := range x.watched {
		if !now[u] {
			gone = append(gone, schema.VM(u, schema.VMNode))
		}
	}
	x.mirror.Add(come...)
	x.mirror.Remove(gone...)
	x.watched = now
}

func (x *indexer) missing() (out []entry) {
	x.mirror.Read(func(t schema.Tree) { out = missingEntries(t) })
	return out
}

// missingEntries compares the places of all VMs with the indexes of the nodes that
// keep one.
func missingEntries(t schema.Tree) (out []entry) {
	indexes := map[string]map[string]bool{}
	for _, node := range t.Children(schema.Nodes) {
		if _, _, there := t.Data(schema.Node(node, schema.NodeVMs)); !there {
			continue
		}
		indexes[node] = map[string]bool{}
		for _, u := range t.Children(schema.Node(node, schema.NodeVMs)) {
			indexes[node][u] = true
		}
	}
	for _, u := range t.Children(schema.Domains) {
		data, version, there := t.Data(schema.VM(u, schema.VMNode))
		node := schema.Text(data)
		if index := indexes[node]; there && index != nil && !index[u] {
			out = append(out, entry{u, node, version})
		}
	}
	return out
}

// add completes an index and rings the node's doorbell, if the VM is still to run
// there. Somebody else having done it is no error.
func (x *indexer) add(ctx context.Context, e entry) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var txn coord.Txn
	x.session.Check(&txn)
	txn.Check(schema.VM(e.uuid, schema.VMNode), e.version)
	txn.Create(schema.NodeVM(e.node, e.uuid), nil)
	txn.Set(schema.Node(e.node, schema.NodeDoorbell), nil, coord.AnyVersion)
	_, err := x.session.Client().Commit(ctx, txn)
	var refused *coord.TxnError
	if errs.Is(err, errs.Conflict) && errors.As(err, &refused) && refused.Index > 0 {
		return nil // the tree has moved on and the mirror will hear of it
	}
	if err == nil {
		x.log.Info("put a VM on its node's index", "vm", e.uuid, "node", e.node)
	}
	return err
}
