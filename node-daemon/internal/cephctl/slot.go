package cephctl

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/lock"
	"github.com/parallelvirtualcluster/pvc/common/coord/watch"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// Slot serves /ceph/cmd, where clients of the old system write one command at a time and
// read its outcome under a lock. It is for one host, the primary. What it finds there at
// its start is never executed: nobody knows whether that was done.
type Slot struct {
	Session Session
	Hub     *watch.Hub // of the session's client
	View    *view.View // view.StorageHost or more
	Queue   *command.Queue
	Logger  *slog.Logger

	began chan struct{} // for tests: closed when what stands in the slot was seen
}

const (
	// slotRetry is the pause after a failure to read the slot.
	slotRetry = 250 * time.Millisecond
	// slotLimit bounds how long old clients, who wait without a limit, are kept waiting.
	slotLimit = time.Hour
)

// Run serves the slot until ctx ends.
func (s *Slot) Run(ctx context.Context) error {
	set := s.Hub.NewSet(s.Session.Client())
	defer set.Close()
	last := int64(-1) // transaction that wrote what was looked at last; none yet
	for ctx.Err() == nil {
		text, st, err := s.read(ctx, set)
		switch {
		case err != nil:
			pause(ctx, slotRetry)
			continue
		case last >= 0 && st.Mzxid != last && isRequest(text):
			last = st.Mzxid
			s.serve(ctx, text, st)
			continue // the reply is looked at, and what may have been written since
		case last < 0 && s.began != nil:
			close(s.began)
		}
		last = st.Mzxid
		select {
		case <-set.Changed():
		case <-s.Session.Lost():
			return nil
		case <-ctx.Done():
		}
	}
	return nil
}

// read returns what is in the slot; a slot that does not exist is empty.
func (s *Slot) read(ctx context.Context, set *watch.Set) (string, coord.Stat, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	data, st, _, err := set.Value(ctx, schema.CephCmd)
	return string(data), st, err
}

// serve executes a request while it holds the lock for which the client waits, and leaves
// the reply in the slot. A client that overwrites its own or another's request gets no
// reply to the former.
func (s *Slot) serve(ctx context.Context, text string, st coord.Stat) {
	held, err := lock.Acquire(ctx, s.Session.Client(), s.Hub, schema.CephCmd, lock.Write, s.Session.Node())
	if err != nil {
		if ctx.Err() == nil {
			s.Logger.Warn("cannot lock the command slot of old clients", "request", text, "err", err)
		}
		return
	}
	reply := slotSuccess
	if err := s.execute(ctx, text, st); err != nil {
		if ctx.Err() != nil {
			s.release(ctx, held)
			return // the command goes on; the client hears no success
		}
		s.Logger.Warn("a command of an old client has failed", "request", text, "err", err)
		reply = slotFailure
	}
	if err := s.answer(ctx, held, reply+text, st.Version); err != nil {
		s.Logger.Warn("cannot answer a command of an old client", "request", text, "reply", reply, "err", err)
	}
	s.release(ctx, held)
}

func (s *Slot) release(ctx context.Context, held *lock.Held) {
	if err := held.Release(ctx); err != nil {
		s.Logger.Warn("cannot release the command slot of old clients", "err", err)
	}
}

// execute puts the request into the queue, under the name of this very writing of it, and
// waits for the result.
func (s *Slot) execute(ctx context.Context, text string, st coord.Stat) error {
	args, err := parseSlot(text)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, slotLimit)
	defer cancel()
	name := fmt.Sprintf("slot-%d", st.Mzxid)
	r := command.Request{Args: args, Node: s.Session.Node(), Any: true, Key: name, RequestID: name}
	if err := s.place(args, &r); err != nil {
		return err
	}
	_, err = s.Queue.Do(ctx, r)
	return err
}

// place has what concerns a disk done by its host, and by no other.
func (s *Slot) place(args command.Args, r *command.Request) (err error) {
	s.View.Read(func(v *view.Snapshot) {
		switch a := args.(type) {
		case command.OSDAdd:
			r.Node = a.Node
		case command.OSDRemove:
			o, there := v.OSD(a.OSD)
			if !there || o.Node == "" {
				err = errs.NotFoundf("no record says which host has OSD %d", a.OSD)
				return
			}
			r.Node = o.Node
		default:
			return
		}
		if n, there := v.Node(r.Node); !there || !n.Alive() {
			err = errs.Conflictf("host %q is not connected", model.Clip(r.Node))
		}
		r.Any = false
	})
	return err
}

// answer writes the reply over the request.
func (s *Slot) answer(ctx context.Context, held *lock.Held, reply string, version int32) error {
	var txn coord.Txn
	s.Session.Check(&txn)
	held.Check(&txn)
	txn.Set(schema.CephCmd, []byte(reply), version)
	for {
		rctx, cancel := context.WithTimeout(ctx, requestTimeout)
		_, err := s.Session.Client().Commit(rctx, txn)
		cancel()
		if err == nil || errs.Is(err, errs.Conflict) || ctx.Err() != nil {
			return err
		}
		pause(ctx, slotRetry)
	}
}
