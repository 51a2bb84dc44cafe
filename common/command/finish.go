package command

import (
	"context"
	"encoding/json"
	"errors"
	"slices"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// maxRecordConflicts is how often records may be changed by somebody else while a result
// is written. Then the result says so, and the reconcile pass puts them right.
const maxRecordConflicts = 10

// resultOf is the result of an attempt, without its author.
func resultOf(out Outcome, err error) model.CommandResult {
	r := model.CommandResult{OK: err == nil, Message: out.Message}
	if err != nil {
		r.Message, r.Kind = err.Error(), errs.KindOf(err).String()
	}
	if out.Data != nil {
		data, jerr := json.Marshal(out.Data)
		if jerr == nil {
			r.Data = data
		}
	}
	return r
}

// finish commits result and records together, until it is certain that they are there or
// that the claim is gone.
func (k *claim) finish(ctx context.Context, out Outcome, failed error) error {
	result, build := resultOf(out, failed), out.Records
	for conflicts := 0; ; {
		records, err := k.records(build)
		if err == nil {
			k.w.Step(StepBeforeResult)
			err = k.write(ctx, records, result)
		}
		switch {
		case err == nil:
			k.w.Step(StepFinished)
			return nil
		case errors.Is(err, errClaimLost):
			k.w.Logger.Warn("a command was taken over", "command", k.c.ID, "verb", k.c.Verb, "request", k.c.Request)
			return nil
		case errs.Is(err, errs.Unavailable), errs.Is(err, errs.Unknown):
			if ctx.Err() != nil || k.w.lost() {
				return err
			}
			pause(ctx, firstPause)
		case errs.Is(err, errs.Conflict) && conflicts < maxRecordConflicts:
			conflicts++
			if err := k.refresh(ctx); err != nil && ctx.Err() != nil {
				return err
			}
		case build == nil:
			return err
		default:
			result, build, conflicts = unrecorded(result, err), nil, 0
		}
	}
}

func (k *claim) records(build func(*view.Snapshot) (coord.Txn, error)) (txn coord.Txn, err error) {
	if build == nil {
		return txn, nil
	}
	k.w.View.Read(func(s *view.Snapshot) { txn, err = build(s) })
	return txn, err
}

func (k *claim) refresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	return k.w.View.Sync(ctx)
}

// unrecorded is the result of a command whose records cannot be written.
func unrecorded(r model.CommandResult, why error) model.CommandResult {
	text := r.Message + "; the records of it could not be written and will follow: " + why.Error()
	if r.OK {
		return model.CommandResult{Message: "done in Ceph: " + text, Kind: errs.Conflict.String(), Data: r.Data}
	}
	r.Message = text
	return r
}

// write commits the result with records. errClaimLost says that the claim is gone without
// this result, or another host has the command; any other errs.Conflict, that the records do
// not fit.
func (k *claim) write(ctx context.Context, records coord.Txn, result model.CommandResult) error {
	result.By = k.executor.By
	nameRecords(&result, records)
	var txn coord.Txn
	taken := k.has()
	if taken {
		k.bind(&txn)
	} else { // nothing was changed in Ceph: this is the claim, too
		k.w.Session.Check(&txn)
		txn.Check(schema.CommandGen(k.c.ID, k.c.Nonce), coord.AnyVersion)
		txn.Create(schema.Command(k.c.ID, schema.CommandExecutor), schema.EncodeExecutor(k.executor))
	}
	bound := len(txn.Ops)
	txn.Append(records)
	txn.Create(schema.Command(k.c.ID, schema.CommandResult), schema.EncodeResult(result))
	if taken {
		txn.Delete(schema.CommandBy(k.c.ID, k.executor.By), coord.AnyVersion)
	}
	err := k.w.commit(ctx, txn)
	var refused *coord.TxnError
	if !errors.As(err, &refused) || refused.Index >= bound && refused.Index < bound+len(records.Ops) {
		return err
	}
	// An earlier write of the same may have happened although its answer was lost.
	written, err := k.written(ctx)
	if err == nil && !written {
		err = errClaimLost
	}
	return err
}

// written reports whether the command has the result of this very claim.
func (k *claim) written(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	data, _, err := k.w.Session.Client().Get(ctx, schema.Command(k.c.ID, schema.CommandResult))
	if errors.Is(err, coord.ErrNoNode) {
		return false, nil
	}
	var r model.CommandResult
	if err == nil && json.Unmarshal(data, &r) != nil {
		return false, nil // not one of ours
	}
	return r.By == k.executor.By, err
}

// maxNamed bounds the records that a result names.
const maxNamed = 32

// nameRecords says in a result where to look for the records.
func nameRecords(r *model.CommandResult, records coord.Txn) {
	for _, op := range records.Ops {
		switch op.Kind {
		case coord.OpSet:
			r.Set = append(r.Set, op.Path)
		case coord.OpCreate, coord.OpCreateEphemeral, coord.OpDelete:
			if parent := schema.Parent(op.Path); !slices.Contains(r.Below, parent) {
				r.Below = append(r.Below, parent)
			}
		}
		if len(r.Set)+len(r.Below) > maxNamed {
			r.Set, r.Below, r.All = nil, nil, true
			return
		}
	}
}
