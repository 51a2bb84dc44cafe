package command

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// maxUnfinished is how many commands may wait or run. Daemons that ask at the same moment
// may exceed it by as many as they are.
const maxUnfinished = 1000

// attemptsToSubmit a request gets before it gives way to others of the same name.
const attemptsToSubmit = 5

// settleTimeout bounds the question whether a write whose answer was lost has happened.
const settleTimeout = 5 * time.Second

// Queue is the side of those who ask. Its methods may be called concurrently.
type Queue struct {
	view *view.View
	log  replaced
}

// NewQueue returns a queue over a view that holds the commands.
func NewQueue(v *view.View) *Queue { return &Queue{view: v} }

// Handle names one command for good: a later one of the same ID has another nonce.
type Handle struct{ ID, Nonce string }

// Result is what a command that went well has to say.
type Result struct {
	Message string
	Data    json.RawMessage // a JSON object of the executor; nil if it has none
}

// Submit puts a request into the queue, or joins the same one: one that is unfinished
// or, with a key, has ended within the hour. Arguments that do not pass are errs.Invalid, a key
// that was used for something else is errs.Conflict, as is what refuses the operations that go
// with it (a *coord.TxnError), as is a pool, a flag or an OSD that a lost
// executor reserves. Too many commands, or no connection
// to ZooKeeper, are errs.Unavailable: nothing was changed. errs.Unknown says that
// ZooKeeper's answer is missing; the same request again joins what may be there.
func (q *Queue) Submit(ctx context.Context, r Request) (Handle, error) {
	c, data, err := r.command()
	if err != nil {
		return Handle{}, err
	}
	for range attemptsToSubmit {
		if _, stale := q.view.Stale(); stale {
			return Handle{}, errs.Unavailablef("no connection to ZooKeeper, nothing was changed")
		}
		var joined *Command
		var txn coord.Txn
		q.view.Read(func(s *view.Snapshot) { joined, txn, err = q.admit(s, c, data, r.Args) })
		if err != nil || joined != nil {
			return handleOf(joined), err
		}
		err = q.view.Commit(ctx, schema.Command(c.ID), *txn.Append(r.With))
		if errs.Is(err, errs.Unknown) && q.arrived(ctx, c) {
			err = nil
		}
		if !errs.Is(err, errs.Conflict) || refuses(r.With, err) {
			break
		}
		if rerr := q.view.Refresh(ctx, schema.Commands, schema.Command(c.ID)); rerr != nil {
			return Handle{}, rerr
		}
	}
	if err != nil {
		return Handle{}, err
	}
	return handleOf(c), nil
}

// refuses reports whether a transaction was refused by one of these operations.
func refuses(these coord.Txn, err error) bool {
	var refused *coord.TxnError
	return errors.As(err, &refused) && slices.ContainsFunc(these.Ops, func(op coord.Op) bool { return op.Path == refused.Op.Path })
}

// Add adds to a transaction what puts a request into the queue: the command is there with all
// the rest or not at all, whatever becomes of who commits it. It gets a key of its own and joins no
// other. The errors are those of Submit.
func (q *Queue) Add(s *view.Snapshot, txn *coord.Txn, r Request) (Handle, error) {
	r.Key = model.NewID()
	c, data, err := r.command()
	if err != nil {
		return Handle{}, err
	}
	_, put, err := q.admit(s, c, data, r.Args)
	if err != nil {
		return Handle{}, err
	}
	txn.Append(put).Append(r.With)
	return handleOf(c), nil
}

func handleOf(c *Command) Handle {
	if c == nil {
		return Handle{}
	}
	return Handle{ID: c.ID, Nonce: c.Nonce}
}

// admit decides what becomes of a request: it joins another, or a transaction puts it in.
func (q *Queue) admit(s *view.Snapshot, c *Command, data []byte, args Args) (joined *Command, txn coord.Txn, err error) {
	old, there := s.Command(c.ID)
	if there && old.Identity != c.Identity {
		return nil, txn, errs.Conflictf("the idempotency key %q belongs to another request (%s)", model.Clip(c.Key), old.Verb)
	}
	if there && (!old.Finished() || c.Key != "") {
		return old, txn, nil
	}
	if err := checkReserved(s, c.Nonce, args); err != nil {
		return nil, txn, err
	}
	if s.UnfinishedCommands() >= maxUnfinished {
		return nil, txn, errs.Unavailablef("too many commands: %d have not ended yet, nothing was changed", maxUnfinished)
	}
	if there {
		q.log.keep(old)
		remove(&txn, old)
	}
	txn.Create(schema.Command(c.ID), data).Create(schema.CommandGen(c.ID, c.Nonce), nil)
	if there {
		inherit(s, &txn, old)
	}
	return nil, txn, nil
}

// remove deletes a command. It fails if the command is not that one any more, or has
// gone on: the identity child and all others are deleted by name.
func remove(txn *coord.Txn, c *Command) {
	for _, child := range c.Children {
		txn.Delete(schema.Command(c.ID, child), coord.AnyVersion)
	}
	txn.Delete(schema.Command(c.ID), coord.AnyVersion)
}

// arrived finds out whether a command whose answer was lost is there.
func (q *Queue) arrived(ctx context.Context, c *Command) (there bool) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	if q.view.Sync(ctx) != nil {
		return false
	}
	q.view.Read(func(s *view.Snapshot) {
		now, ok := s.Command(c.ID)
		there = ok && now.Nonce == c.Nonce
	})
	return there
}

// Wait waits for the end of a command: its result, or the executor's error with its kind
// and text. When ctx ends first, only the waiting does: errs.Unavailable that says what
// the command waits for. A command that has disappeared is errs.Unavailable: its outcome
// is unknown.
func (q *Queue) Wait(ctx context.Context, h Handle) (Result, error) {
	var end *model.CommandResult
	var verb, state string
	var at int64
	gone := false
	err := q.view.Until(ctx, func(s *view.Snapshot) (bool, error) {
		c, ok := s.Command(h.ID)
		if !ok || c.Nonce != h.Nonce {
			end, gone = q.log.find(h.Nonce), true
			return true, nil
		}
		end, at, verb, state = c.Result, c.ResultSeq, c.Verb, waitsFor(s, c)
		return c.Finished(), nil
	})
	switch {
	case err != nil:
		return Result{}, errs.Unavailablef("command %s (%s) has not ended yet, it goes on: %s: %w", h.ID, verb, state, err)
	case end == nil && gone:
		return Result{}, errs.Unavailablef("command %s has disappeared, its outcome is unknown: look before you repeat it", h.ID)
	}
	q.showRecords(ctx, end, at)
	return Result{Message: end.Message, Data: end.Data}, failure(end)
}

// showRecords waits until the view shows the records that were changed with a result, so
// that who has got the result sees them. Without a connection they come with the next
// picture, which is a complete one.
func (q *Queue) showRecords(ctx context.Context, r *model.CommandResult, zxid int64) {
	ctx, cancel := context.WithTimeout(ctx, settleTimeout)
	defer cancel()
	if r.All {
		_ = q.view.Sync(ctx)
		return
	}
	_ = q.view.Shown(ctx, zxid, r.Set, r.Below)
}

// Do is Submit and Wait.
func (q *Queue) Do(ctx context.Context, r Request) (Result, error) {
	h, err := q.Submit(ctx, r)
	if err != nil {
		return Result{}, err
	}
	return q.Wait(ctx, h)
}

// Cancel ends a command that nobody executes: at once if nobody has begun, otherwise as
// soon as a host has made sure that the one that began cannot go on. It is errs.Conflict
// while a host is at work and for a command that has ended.
func (q *Queue) Cancel(ctx context.Context, id, reason string) error {
	var txn coord.Txn
	var err error
	q.view.Read(func(s *view.Snapshot) { txn, err = cancel(s, id, reason) })
	if err != nil {
		return err
	}
	return q.view.Commit(ctx, schema.Command(id), txn)
}

func cancel(s *view.Snapshot, id, reason string) (txn coord.Txn, err error) {
	c, ok := s.Command(id)
	switch {
	case !ok:
		return txn, errs.NotFoundf("no command has the id %q", model.Clip(id))
	case c.Finished():
		return txn, errs.Conflictf("command %s has ended", id)
	case c.By != "":
		return txn, errs.Conflictf("command %s is being executed by host %s", id, c.Executor.Node)
	}
	txn.Check(schema.CommandGen(id, c.Nonce), coord.AnyVersion)
	if c.Executor != nil {
		txn.Create(schema.Command(id, schema.CommandCancel), []byte(reason))
		return txn, nil
	}
	// The executor's place is taken, so that no host can claim it at the same time.
	txn.Create(schema.Command(id, schema.CommandExecutor), schema.EncodeExecutor(model.CommandExecutor{}))
	txn.Create(schema.Command(id, schema.CommandResult), schema.EncodeResult(model.CommandResult{
		Message: "cancelled before any host began: " + reason, Kind: errs.Conflict.String(),
	}))
	return txn, nil
}

// replaced keeps the results of commands whose place another one of the same name has
// taken, for those who still wait for them.
type replaced struct {
	mu    sync.Mutex
	order []string
	byKey map[string]*model.CommandResult // by nonce
}

// keptResults bounds the memory; a waiter needs its result for milliseconds.
const keptResults = 256

func (r *replaced) keep(c *Command) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byKey == nil {
		r.byKey = map[string]*model.CommandResult{}
	}
	if _, there := r.byKey[c.Nonce]; there {
		return
	}
	if len(r.order) == keptResults {
		delete(r.byKey, r.order[0])
		r.order = r.order[1:]
	}
	r.order, r.byKey[c.Nonce] = append(r.order, c.Nonce), c.Result
}

func (r *replaced) find(nonce string) *model.CommandResult {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.byKey[nonce]
}
