package cephctl

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

const (
	// requestTimeout bounds a single request to ZooKeeper.
	requestTimeout = 5 * time.Second
	// batchBytes is where a transaction of changes ends and the next begins.
	batchBytes = coord.MaxTxnBytes / 3
)

// writer commits changes for as long as this node is primary and registered.
type writer struct {
	session   Session
	conflicts map[string]int // passes in a row in which a change could not be made, by object
}

// write commits changes in few transactions and returns those that were made. One that
// does not fit, as somebody else has changed the object, waits for the next pass.
func (w *writer) write(ctx context.Context, changes []change) (made []change, err error) {
	var refused []change
	for len(changes) > 0 {
		n := batch(changes)
		ok, not, err := w.writeBatch(ctx, changes[:n:n])
		made, refused = append(made, ok...), append(refused, not...)
		if err != nil {
			return made, err
		}
		changes = changes[n:]
	}
	return made, w.insist(ctx, refused)
}

// batch is how many changes go into the next transaction.
func batch(changes []change) int {
	size := 0
	for n, c := range changes {
		if size += c.txn.Bytes(); n > 0 && size > batchBytes {
			return n
		}
	}
	return len(changes)
}

func (w *writer) writeBatch(ctx context.Context, changes []change) (made, refused []change, err error) {
	for len(changes) > 0 {
		txn, owners := w.join(changes)
		err := w.commit(ctx, txn)
		var conflict *coord.TxnError
		if err == nil {
			return changes, refused, nil
		}
		if !errors.As(err, &conflict) || owners[conflict.Index] < 0 {
			return nil, refused, err
		}
		at := owners[conflict.Index]
		refused = append(refused, changes[at])
		changes = slices.Delete(slices.Clone(changes), at, at+1)
	}
	return nil, refused, nil
}

// join makes one transaction, and says to which change each operation belongs; -1 are
// those that bind it to registration and role.
func (w *writer) join(changes []change) (txn coord.Txn, owners []int) {
	w.session.Check(&txn)
	txn.Check(schema.PrimaryHolder, coord.AnyVersion)
	for range txn.Ops {
		owners = append(owners, -1)
	}
	for n, c := range changes {
		txn.Append(c.txn)
		for range c.txn.Ops {
			owners = append(owners, n)
		}
	}
	return txn, owners
}

func (w *writer) commit(ctx context.Context, txn coord.Txn) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := w.session.Client().Commit(ctx, txn)
	return err
}

// enough conflicts in a row are no coincidence: there is something that the view does not
// show.
const enough = 2

// insist makes changes that were refused in pass after pass fit the tree as it is.
func (w *writer) insist(ctx context.Context, refused []change) error {
	now := map[string]int{}
	var failures []error
	for _, c := range refused {
		if now[c.object] = w.conflicts[c.object] + 1; now[c.object] < enough {
			continue
		}
		txn, err := w.fit(ctx, c.txn)
		if err == nil {
			txn, _ = w.join([]change{{txn: txn}})
			err = w.commit(ctx, txn)
		}
		if err != nil && !errs.Is(err, errs.Conflict) {
			failures = append(failures, err)
		}
	}
	w.conflicts = now
	return errors.Join(failures...)
}

// fit turns a transaction into one with the same end in the tree as it is: old daemons
// did not write everything at once, and did not remove everything.
func (w *writer) fit(ctx context.Context, txn coord.Txn) (out coord.Txn, err error) {
	deleted := map[string]bool{}
	for _, op := range txn.Ops {
		if op.Kind == coord.OpDelete {
			if err := w.deleteAll(ctx, &out, op.Path, deleted); err != nil {
				return out, err
			}
			continue
		}
		st, there, err := w.exists(ctx, op.Path)
		switch {
		case err != nil:
			return out, err
		case !there || deleted[op.Path]:
			out.Create(op.Path, op.Data)
		case op.Kind == coord.OpSet || len(op.Data) > 0:
			out.Set(op.Path, op.Data, st.Version)
		}
	}
	return out, nil
}

func (w *writer) exists(ctx context.Context, path string) (coord.Stat, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	return w.session.Client().Exists(ctx, path)
}

// deleteAll deletes a znode with everything below it, whatever it is.
func (w *writer) deleteAll(ctx context.Context, out *coord.Txn, path string, deleted map[string]bool) error {
	if deleted[path] {
		return nil
	}
	rctx, cancel := context.WithTimeout(ctx, requestTimeout)
	children, _, err := w.session.Client().Children(rctx, path)
	cancel()
	if errors.Is(err, coord.ErrNoNode) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, child := range children {
		if err := w.deleteAll(ctx, out, path+"/"+child, deleted); err != nil {
			return err
		}
	}
	deleted[path] = true
	out.Delete(path, coord.AnyVersion)
	return nil
}
