package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// requestTimeout bounds a single request to ZooKeeper.
const requestTimeout = 5 * time.Second

// maxUnknown attempts may end without anybody knowing what they did. Then that is the
// result.
const maxUnknown = 5

// errClaimLost says that somebody else has the command now, or nobody.
var errClaimLost = errs.New(errs.Conflict, "the claim of the command is gone")

// claim is a command in this host's hands, from when it is taken.
type claim struct {
	w        *Worker
	c        *Command
	executor model.CommandExecutor

	mu    sync.Mutex // while it is being taken
	taken bool
	lost  error // why it could not be
}

// attempt carries a command out, which claims it: one that somebody has begun at once, one that
// nobody has when there is something to change. nil says that there is nothing more to do for
// this host now; an error, that it is to be tried again.
func (w *Worker) attempt(ctx context.Context, c *Command) error {
	if toRefuse(w.Session.Node(), c) {
		return w.refuseForAbsent(ctx, c)
	}
	if e := c.Executor; e != nil {
		if e.Client == "" {
			return fmt.Errorf("host %s has claimed the command without naming its Ceph client, which cannot be fenced then", e.Node)
		}
		if err := w.Fence(ctx, e.Client); err != nil {
			return fmt.Errorf("fence the Ceph client %s of the earlier executor on host %s: %w", e.Client, e.Node, err)
		}
	}
	if c.Executor == nil {
		if err := w.reserved(c); err != nil {
			return w.refuse(ctx, c, err)
		}
	}
	client, err := w.Client(ctx)
	if err == nil && client == "" {
		err = errs.New(errs.Internal, "the Ceph connection has no address")
	}
	if err != nil {
		if c.Executor != nil || ctx.Err() != nil {
			return err
		}
		return w.refuse(ctx, c, err)
	}
	k := &claim{w: w, c: c, executor: model.CommandExecutor{
		Node: w.Session.Node(), Instance: w.Session.Instance(), Client: client, By: model.NewID(), Attempt: 1,
	}}
	if c.Executor != nil {
		k.executor.Attempt = c.Executor.Attempt + 1
		if k.begin(ctx, nil) != nil {
			return k.notTaken()
		}
	}
	return k.carryOut(ctx)
}

// absentLooks is after how many looks in a row, with growing pauses, a host is not waited for
// any more: 16 s. One that is started anew is away for seconds.
const absentLooks = 6

// refuseForAbsent answers a command of a host that stays away.
func (w *Worker) refuseForAbsent(ctx context.Context, c *Command) error {
	w.mu.Lock()
	looks := w.failed[c.Nonce]
	w.mu.Unlock()
	if looks < absentLooks {
		return errs.Unavailablef("only host %s can do it, and its daemon is not connected", c.Node)
	}
	short, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	if err := w.View.Sync(short); err != nil {
		return err
	}
	there := false
	w.View.Read(func(s *view.Snapshot) { there = alive(s, c.Node) })
	if there {
		return nil
	}
	return w.refuse(ctx, c, errs.Conflictf("nothing was done: only host %s can do it, and its daemon is not connected", c.Node))
}

// refuse answers a command that nobody has begun, because this host cannot.
func (w *Worker) refuse(ctx context.Context, c *Command, why error) error {
	var txn coord.Txn
	w.Session.Check(&txn)
	txn.Check(schema.CommandGen(c.ID, c.Nonce), coord.AnyVersion)
	txn.Create(schema.Command(c.ID, schema.CommandExecutor), schema.EncodeExecutor(model.CommandExecutor{Node: w.Session.Node(), Instance: w.Session.Instance()}))
	txn.Create(schema.Command(c.ID, schema.CommandResult), schema.EncodeResult(resultOf(Outcome{}, why)))
	// An answer that got lost: the next look at the command shows whether it is there.
	err := w.commit(ctx, txn)
	if errs.Is(err, errs.Conflict) {
		return nil
	}
	return err
}

func (w *Worker) commit(ctx context.Context, txn coord.Txn) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := w.Session.Client().Commit(ctx, txn)
	return err
}

// begin claims the command unless this claim has it already, with what is to be remembered
// from the first moment on; nil is nothing.
func (k *claim) begin(ctx context.Context, note []byte) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.taken || k.lost != nil {
		return k.lost
	}
	k.w.Step(StepBeforeClaim)
	if k.lost = k.take(ctx, note); k.lost != nil {
		return k.lost
	}
	k.taken = true
	k.w.Step(StepClaimed)
	return nil
}

// has reports whether the command was claimed.
func (k *claim) has() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.taken
}

// notTaken is what a claim that failed means to the attempt; nil if it did not fail.
func (k *claim) notTaken() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if errs.Is(k.lost, errs.Conflict) {
		return nil // another host was faster, or the command has ended: the view will show it
	}
	return k.lost
}

// take claims the command. A claim of an earlier executor is taken over only as it was
// seen, and never that of a command with a result.
func (k *claim) take(ctx context.Context, note []byte) error {
	var txn coord.Txn
	id, executor := k.c.ID, schema.EncodeExecutor(k.executor)
	k.w.Session.Check(&txn)
	txn.Check(schema.CommandGen(id, k.c.Nonce), coord.AnyVersion)
	if k.c.Executor == nil {
		txn.Create(schema.Command(id, schema.CommandExecutor), executor)
		txn.Create(schema.Command(id, schema.CommandProgress), schema.EncodeProgress(model.CommandProgress{}))
		txn.Create(schema.Command(id, schema.CommandNote), note)
	} else {
		txn.Absent(schema.Command(id, schema.CommandResult))
		txn.Set(schema.Command(id, schema.CommandExecutor), executor, k.c.ExecutorVersion)
		k.w.keepLost(&txn, k.c)
	}
	txn.CreateEphemeral(schema.CommandBy(id, k.executor.By), nil)
	err := k.w.commit(ctx, txn)
	if errs.Is(err, errs.Unknown) {
		return k.claimed(ctx)
	}
	return err
}

// claimed finds out whether a claim whose answer was lost is there.
func (k *claim) claimed(ctx context.Context) error {
	for {
		there, err := k.exists(ctx, schema.CommandBy(k.c.ID, k.executor.By))
		switch {
		case err == nil && there:
			return nil
		case err == nil:
			return errClaimLost
		case ctx.Err() != nil || k.w.lost():
			return err
		}
		pause(ctx, firstPause)
	}
}

// exists asks a server that has seen everything this session has sent.
func (k *claim) exists(ctx context.Context, path string) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	client := k.w.Session.Client()
	if err := client.Sync(ctx, path); err != nil {
		return false, err
	}
	_, there, err := client.Exists(ctx, path)
	return there, err
}

func (w *Worker) lost() bool {
	select {
	case <-w.Session.Lost():
		return true
	default:
		return false
	}
}

// carryOut executes a command and writes its result.
func (k *claim) carryOut(ctx context.Context) error {
	out, err := k.execute(ctx)
	if err != nil && ctx.Err() != nil {
		return err // interrupted; whoever takes it over looks at what was done
	}
	if k.failedToTake() {
		return k.notTaken()
	}
	k.w.Step(StepExecuted)
	if errs.Is(err, errs.Unknown) && k.tries() < maxUnknown {
		if gerr := k.giveUp(ctx); gerr != nil {
			return errors.Join(err, gerr)
		}
		return err
	}
	return k.finish(ctx, out, err)
}

func (k *claim) failedToTake() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.lost != nil
}

// tries counts the attempts; without a claim they are not on record, and those of this host
// count.
func (k *claim) tries() int {
	if k.has() {
		return k.executor.Attempt
	}
	k.w.mu.Lock()
	defer k.w.mu.Unlock()
	return k.w.failed[k.c.Nonce] + 1
}

func (k *claim) execute(ctx context.Context) (Outcome, error) {
	if k.c.Cancel != "" {
		return Outcome{}, errs.Conflictf("cancelled: %s; host %s had begun with it, and what it did stays", k.c.Cancel, k.c.Executor.Node)
	}
	p := k.startProgress(ctx)
	defer p.stop()
	return k.w.Execute(ctx, k.c, Attempt{
		Number: k.executor.Attempt, Client: k.executor.Client, Note: k.c.Note,
		Begin:    func(ctx context.Context) error { return k.begin(ctx, nil) },
		Remember: k.remember, Progress: p.tell, Commit: k.commit,
	})
}

// bind makes a transaction fail unless the claim is in force.
func (k *claim) bind(txn *coord.Txn) {
	k.w.Session.Check(txn)
	txn.Check(schema.CommandGen(k.c.ID, k.c.Nonce), coord.AnyVersion)
	txn.Check(schema.CommandBy(k.c.ID, k.executor.By), coord.AnyVersion)
}

func (k *claim) commit(ctx context.Context, txn coord.Txn) error {
	var bound coord.Txn
	k.bind(&bound)
	return k.w.commit(ctx, *bound.Append(txn))
}

// remember claims the command with a note, or writes the note until it is certain that it
// is there.
func (k *claim) remember(ctx context.Context, v any) error {
	note, err := json.Marshal(v)
	if err != nil {
		return errs.New(errs.Internal, "remember %T: %w", v, err)
	}
	if !k.has() {
		return k.begin(ctx, note)
	}
	txn := *new(coord.Txn).Set(schema.Command(k.c.ID, schema.CommandNote), note, coord.AnyVersion)
	for {
		err := k.commit(ctx, txn)
		if !errs.Is(err, errs.Unknown) && !errs.Is(err, errs.Unavailable) || ctx.Err() != nil || k.w.lost() {
			return err
		}
		pause(ctx, firstPause)
	}
}

// giveUp lets go of a command whose outcome nobody knows, so that it is taken over, here
// or elsewhere. One that was not claimed is free.
func (k *claim) giveUp(ctx context.Context) error {
	if !k.has() {
		return nil
	}
	by := schema.CommandBy(k.c.ID, k.executor.By)
	for {
		err := k.w.commit(ctx, *new(coord.Txn).Delete(by, coord.AnyVersion))
		if err == nil || errs.Is(err, errs.Conflict) || ctx.Err() != nil || k.w.lost() {
			if errs.Is(err, errs.Conflict) {
				return nil
			}
			return err
		}
		pause(ctx, firstPause)
	}
}
