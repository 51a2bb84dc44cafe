package liveness

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/lease"
	"github.com/parallelvirtualcluster/pvc/common/coord/watch"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// Session is one registered session of the daemon. After its end the daemon gets
// another *Session with another client: this one never works again.
type Session struct {
	client coord.Client
	hub    *watch.Hub
	id     identity
	proven *lease.Lease
	held   *lease.Lease
}

// Client is the session's client; all writes of the daemon go through it.
func (s *Session) Client() coord.Client { return s.client }

// Hub hands out the events of the session's client.
func (s *Session) Hub() *watch.Hub { return s.hub }

// Check makes a transaction fail unless this very session is the node's.
func (s *Session) Check(t *coord.Txn) { t.Check(s.childPath(), coord.AnyVersion) }

// Instance is random and stays with the daemon's process.
func (s *Session) Instance() string { return s.id.session.Instance }

// BootID identifies the start of the machine.
func (s *Session) BootID() string { return s.id.session.BootID }

// Node is the node's name.
func (s *Session) Node() string { return s.id.node }

// LeaseLeft is how long the session lives for certain, by the last answered write.
func (s *Session) LeaseLeft() time.Duration { return s.proven.Left() }

// RoleLeft is how long a role that hangs on the session may be kept: LeaseLeft, and
// on while the whole ensemble is away, in which case nobody can take it.
func (s *Session) RoleLeft() time.Duration { return s.held.Left() }

// Lost is closed when the session has ended. A daemon that is cut off does not hear
// of it: see LeaseLeft.
func (s *Session) Lost() <-chan struct{} { return s.client.Lost() }

func (s *Session) lost() bool {
	select {
	case <-s.Lost():
		return true
	default:
		return false
	}
}

// Started moves the daemon's state from init to run: call it when the loops that
// serve the node are up. While ZooKeeper does not answer it tries again, until ctx or
// the session ends. A state that somebody else has set is errs.Conflict: the daemon
// must register again.
func (s *Session) Started(ctx context.Context) error {
	for {
		rctx, cancel := context.WithTimeout(ctx, requestTimeout)
		err := s.setDaemonState(rctx, model.DaemonRun, model.DaemonInit)
		cancel()
		if !errs.Is(err, errs.Unavailable) && !errs.Is(err, errs.Unknown) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-s.Lost():
			return err
		case <-time.After(reopenPace):
		}
	}
}

func (s *Session) childPath() string {
	return schema.Node(s.id.node, schema.NodeSession, s.id.child)
}

// setDaemonState goes from one of the states to another by compare-and-set. Being
// there already is no error.
func (s *Session) setDaemonState(ctx context.Context, to model.DaemonState, from ...model.DaemonState) error {
	txn, err := s.daemonStateChange(ctx, to, from...)
	if err != nil || len(txn.Ops) == 0 {
		return err
	}
	if _, err = s.client.Commit(ctx, txn); err != nil {
		return fmt.Errorf("set the daemon state of %s to %s: %w", s.id.node, to, err)
	}
	return nil
}

func (s *Session) daemonStateChange(ctx context.Context, to model.DaemonState, from ...model.DaemonState) (txn coord.Txn, err error) {
	path := schema.Node(s.id.node, schema.NodeDaemonState)
	data, st, err := s.client.Get(ctx, path)
	if err != nil {
		return txn, fmt.Errorf("read the daemon state of %s: %w", s.id.node, err)
	}
	now := model.DaemonState(data)
	if now == to {
		return txn, nil
	}
	for _, f := range from {
		if f == now {
			s.Check(&txn)
			txn.Set(path, []byte(to), st.Version)
			return txn, nil
		}
	}
	return txn, errs.Conflictf("the daemon state of %s is %q, it cannot become %s", s.id.node, model.Clip(string(now)), to)
}

// beat proves the session by a write. When the write finds that the node's record or
// the session's own znode is gone, there is nothing left to keep alive: the session
// is closed, and the daemon registers anew.
func (s *Session) beat(ctx context.Context) error {
	var txn coord.Txn
	s.Check(&txn)
	txn.Set(schema.Node(s.id.node, schema.NodeKeepalive), []byte(strconv.FormatInt(time.Now().Unix(), 10)), coord.AnyVersion)
	_, err := s.client.Commit(ctx, txn)
	if errors.Is(err, coord.ErrNoNode) {
		s.client.Close()
	}
	return err
}

// touch keeps the servers' picture of the session fresh between two beats.
func (s *Session) touch(ctx context.Context) {
	// An unanswered one is no news: the next beat decides.
	_, _, _ = s.client.Exists(ctx, s.childPath())
}

// leave ends the session cleanly: the state becomes stop and the identity child goes
// in one transaction. The state of a node that was declared dead stays.
func (s *Session) leave(ctx context.Context) error {
	txn, err := s.daemonStateChange(ctx, model.DaemonStop, model.DaemonInit, model.DaemonRun, model.DaemonShutdown)
	if err != nil && !errs.Is(err, errs.Conflict) {
		return err
	}
	txn.Delete(s.childPath(), coord.AnyVersion)
	_, err = s.client.Commit(ctx, txn)
	return err
}
