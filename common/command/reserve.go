package command

import (
	"context"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// Ceph's monitors do what a fenced client asks for, too, and know pools by name only. An
// executor that is frozen right before it asks can therefore hit another pool, years later, if
// the name is given away meanwhile. So the name stays reserved from the moment in which
// somebody else goes on with the command until it is known that the lost one can ask for
// nothing any more.

// reserves is the name that stays reserved with a lost executor of a command, in the words
// of [Args.Keys]; empty if none does.
func reserves(a Args) string {
	switch a := a.(type) {
	case PoolAdd:
		return poolKey(a.Pool)[0]
	case PoolRemove:
		return poolKey(a.Pool)[0]
	}
	return ""
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

// checkReserved refuses a command, errs.Conflict, whose name another one reserves.
func checkReserved(s *view.Snapshot, nonce string, args Args) error {
	name := reserves(args)
	if name == "" {
		return nil
	}
	for _, c := range s.Commands() {
		if len(c.Lost) == 0 || c.Nonce == nonce {
			continue
		}
		other, err := ParseArgs(c)
		if err != nil || reserves(other) != name {
			continue
		}
		if by := suspect(s, c); by != nil {
			return errs.Conflictf("the name of pool %q is reserved: host %s was lost while it executed %s of it, and its daemon may still ask Ceph for that; "+
				"until the daemon of %s is connected again, or that node is removed, no pool of this name is made or removed",
				strings.TrimPrefix(name, poolKey("")[0]), by.Node, c.Verb, by.Node)
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
