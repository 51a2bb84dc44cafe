package command

import (
	"context"
	"fmt"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// Ceph's monitors do what a fenced client asks for, too, and know pools, flags and OSDs by
// name or number only. An executor that is frozen right before it asks can therefore hit
// another pool, or undo what a user has wanted since, years later. So what such a command is
// about stays reserved from the moment in which somebody else goes on with the command until
// it is known that the lost one can ask for nothing any more.

// reserves is the key, see [Args.Keys], of what stays reserved with a lost executor of a
// command; empty if nothing does.
func reserves(a Args) string {
	switch a.(type) {
	case PoolAdd, PoolRemove, OSDSet, OSDUnset, OSDIn, OSDOut, OSDRemove:
		return a.Keys()[0]
	}
	return ""
}

// clash reports whether a command may come to nothing, or do harm, if another one is
// executed once more after it.
func clash(late, wanted Args) bool {
	switch wanted.(type) {
	case OSDAdd: // Ceph gives it the first number that is free
		_, removal := late.(OSDRemove)
		return removal
	case OSDSet, OSDUnset, OSDIn, OSDOut:
		if late == wanted { // then it changes nothing
			return false
		}
	}
	key := reserves(wanted)
	return key != "" && key == reserves(late)
}

// reservation says what a late command keeps reserved, and what is not done meanwhile.
func reservation(late Args) (what, refused string) {
	switch a := late.(type) {
	case PoolAdd:
		return reservation(PoolRemove{Pool: a.Pool})
	case PoolRemove:
		return fmt.Sprintf("the name of pool %q", a.Pool), "no pool of this name is made or removed"
	case OSDSet:
		return fmt.Sprintf("flag %q", a.Flag), "it is not unset"
	case OSDUnset:
		return fmt.Sprintf("flag %q", a.Flag), "it is not set"
	case OSDIn:
		return fmt.Sprintf("OSD %d", a.OSD), "it is not marked out or removed"
	case OSDOut:
		return fmt.Sprintf("OSD %d", a.OSD), "it is not marked in or removed"
	case OSDRemove:
		return fmt.Sprintf("OSD %d", a.OSD), "none of this number is marked in or out or removed, and no OSD is added, which would get it"
	}
	return "", ""
}

// ended reports whether the process of a lost executor is known to be gone: its host has
// another one now (two of a host exclude each other), or is none of the cluster's any more.
func ended(s *view.Snapshot, lost model.CommandExecutor) bool {
	if lost.Node == "" {
		return false
	}
	n, there := s.Node(lost.Node)
	return !there || n.Alive() && n.Session.Instance != "" && n.Session.Instance != lost.Instance
}

// suspect returns a lost executor of a command that may still ask for something, nil if
// there is none.
func suspect(s *view.Snapshot, c *Command) *model.CommandExecutor {
	for i := range c.Lost {
		if !ended(s, c.Lost[i]) {
			return &c.Lost[i]
		}
	}
	return nil
}

// inherit hands on to a command what an earlier one of the same name keeps reserved, which is
// replaced by it: the arguments are the same.
func inherit(s *view.Snapshot, txn *coord.Txn, earlier *Command) {
	for _, lost := range earlier.Lost {
		if !ended(s, lost) {
			txn.Create(schema.CommandLost(earlier.ID, lost.By), schema.EncodeExecutor(lost))
		}
	}
}

// checkReserved refuses a command, errs.Conflict, that clashes with what another one reserves.
func checkReserved(s *view.Snapshot, nonce string, wanted Args) error {
	for _, c := range s.Commands() {
		if len(c.Lost) == 0 || c.Nonce == nonce {
			continue
		}
		late, err := ParseArgs(c)
		if err != nil || !clash(late, wanted) {
			continue
		}
		if by := suspect(s, c); by != nil {
			what, refused := reservation(late)
			return errs.Conflictf("%s is reserved: host %s was lost while it executed %s of it, and its daemon may still ask Ceph for that; "+
				"until the daemon of %s is connected again, or that node is removed, %s", what, by.Node, c.Verb, by.Node, refused)
		}
	}
	return nil
}

// reserved is checkReserved for a command that nobody has begun.
func (w *Worker) reserved(c *Command) (err error) {
	args, err := ParseArgs(c)
	if err != nil {
		return nil // its executor says so
	}
	w.View.Read(func(s *view.Snapshot) { err = checkReserved(s, c.Nonce, args) })
	return err
}

// keepLost adds to a take-over what has to be known of the executor before, if it may still
// ask for something.
func (w *Worker) keepLost(txn *coord.Txn, c *Command) {
	args, err := ParseArgs(c)
	if err != nil || reserves(args) == "" {
		return
	}
	over := false
	w.View.Read(func(s *view.Snapshot) { over = ended(s, *c.Executor) })
	if !over {
		txn.Create(schema.CommandLost(c.ID, c.Executor.By), schema.EncodeExecutor(*c.Executor))
	}
}

// releaseOwn begins to release what lost executors of this very process have reserved.
func (w *Worker) releaseOwn(ctx context.Context) {
	if w.Quiet == nil {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.View.Read(func(s *view.Snapshot) {
		for _, c := range s.Commands() {
			for _, lost := range c.Lost {
				if lost.Node != w.Session.Node() || lost.Instance != w.Session.Instance() || w.active[lost.By] {
					continue
				}
				w.active[lost.By] = true
				w.running.Go(func() { w.releaseOne(ctx, c, lost) })
			}
		}
	})
}

func (w *Worker) releaseOne(ctx context.Context, c *Command, lost model.CommandExecutor) {
	err := w.release(ctx, c, lost)
	if err != nil && ctx.Err() == nil {
		w.Logger.Warn("a name stays reserved", "command", c.ID, "verb", c.Verb, "err", err)
		pause(ctx, lastPause)
	}
	w.mu.Lock()
	delete(w.active, lost.By)
	w.mu.Unlock()
	w.again()
}

// release waits until nothing of a lost executor of this process is under way and says so
// on record.
func (w *Worker) release(ctx context.Context, c *Command, lost model.CommandExecutor) error {
	if err := w.Quiet(ctx, lost.Client); err != nil {
		return err
	}
	var txn coord.Txn
	w.Session.Check(&txn)
	err := w.commit(ctx, *txn.Append(forget(c, lost)))
	if errs.Is(err, errs.Conflict) {
		return nil // it is gone already
	}
	return err
}

// forget deletes what is kept of a lost executor.
func forget(c *Command, lost model.CommandExecutor) coord.Txn {
	return *new(coord.Txn).Check(schema.CommandGen(c.ID, c.Nonce), coord.AnyVersion).Delete(schema.CommandLost(c.ID, lost.By), coord.AnyVersion)
}
