package liveness

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/lease"
	"github.com/parallelvirtualcluster/pvc/common/coord/watch"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// oldKeepaliveWatch is longer than the interval at which daemons of the old system
// write their time stamp (5 s as shipped).
const oldKeepaliveWatch = 6 * time.Second

// register makes the client's session the node's.
func (r *Registrar) register(ctx context.Context, client coord.Client, hub *watch.Hub) (*Session, error) {
	if err := Layout(ctx, client, hub, r.o.Mode == model.ModeCoordinator); err != nil {
		return nil, err
	}
	s := &Session{
		client: client, hub: hub, id: r.identity(),
		proven: lease.New(client.Timeout(), r.o.Margin), held: lease.New(client.Timeout(), r.o.Margin),
	}
	set := hub.NewSet(client)
	defer set.Close()
	patience := time.Now().Add(client.Timeout() + time.Second)
	for {
		done, err := r.registerOnce(ctx, s, set, patience)
		if done || err != nil {
			return s, err
		}
	}
}

func (r *Registrar) identity() identity {
	mem, load, err := r.figures.host()
	if err != nil {
		r.log.Warn("figures of the node cannot be read yet", "err", err)
	}
	return identity{
		mem: mem, load: load,
		node: r.o.Node, mode: r.o.Mode, static: r.o.Host.Static, ipmi: r.o.IPMI,
		child: childPrefix(r.o.Host.BootID) + random(8),
		session: model.NodeSession{
			Instance: r.instance, BootID: r.o.Host.BootID, MachineID: r.o.Host.MachineID, Version: r.o.Version,
		},
	}
}

// registerOnce looks at the record and registers; done is false when it has changed
// meanwhile and has to be looked at again.
func (r *Registrar) registerOnce(ctx context.Context, s *Session, set *watch.Set, patience time.Time) (done bool, err error) {
	qctx, cancel := context.WithTimeout(ctx, requestTimeout)
	rec, err := readRecord(qctx, s.client, s.id.node)
	cancel()
	if err != nil {
		return false, err
	}
	switch judgeRest(rec, s.id.session) {
	case restAlien:
		return false, refuseAlien(s.id.node, rec.session)
	case restWait:
		return false, waitForRest(ctx, s, set, rec.live, patience)
	}
	if err := r.refuseOldDaemon(ctx, s, set, rec); err != nil {
		return false, err
	}
	return commitRegistration(ctx, s, rec)
}

func commitRegistration(ctx context.Context, s *Session, rec record) (done bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	sent := lease.Now()
	_, err = s.client.Commit(ctx, registration(rec, s.id, time.Now()))
	switch {
	case err == nil:
		s.proven.Answered(sent)
		s.held.Answered(sent)
		return true, nil
	case errs.Is(err, errs.Conflict):
		return false, nil // the next look says what has changed
	}
	// After an unknown outcome the session is given up, and its ephemeral with it.
	return false, err
}

// waitForRest waits until a session of an earlier boot of this machine has expired.
func waitForRest(ctx context.Context, s *Session, set *watch.Set, live []string, patience time.Time) error {
	_, there, err := set.Exists(ctx, schema.Node(s.id.node, schema.NodeSession, live[0]))
	if err != nil || !there {
		return err
	}
	select {
	case <-set.Changed():
		return nil
	case <-time.After(time.Until(patience)):
		return errs.Conflictf("a pvcd of this machine is still connected as node %s: its session %s has not expired", s.id.node, live[0])
	case <-s.client.Lost():
		return errs.Unavailablef("the ZooKeeper session ended while waiting for an earlier one of node %s to expire", s.id.node)
	case <-ctx.Done():
		return errs.Unavailablef("given up waiting for an earlier session of node %s to expire: %w", s.id.node, ctx.Err())
	}
}

// refuseOldDaemon recognises a daemon of the old system, which keeps no session, by
// its time stamp: no clock is compared, only whether it changes. It is looked for only
// on a node that our release has never registered.
func (r *Registrar) refuseOldDaemon(ctx context.Context, s *Session, set *watch.Set, rec record) error {
	if !rec.exists || rec.hasSession || rec.daemonState != model.DaemonRun {
		return nil
	}
	path := schema.Node(s.id.node, schema.NodeKeepalive)
	first, _, _, err := set.Value(ctx, path)
	if err != nil {
		return err
	}
	r.log.Info("this node was registered by PVC 0.5; watching whether its daemon still runs", "node", s.id.node)
	end := time.After(r.oldWatch)
	for {
		select {
		case <-set.Changed():
			now, _, _, err := set.Value(ctx, path)
			if err != nil {
				return err
			}
			if !bytes.Equal(now, first) {
				return errs.Conflictf("a PVC 0.5 node daemon runs as node %s: stop it first, the two cannot share a host", s.id.node)
			}
		case <-end:
			return nil
		case <-s.client.Lost():
			return errs.Unavailablef("the ZooKeeper session ended")
		case <-ctx.Done():
			return errs.Unavailablef("given up: %w", errors.Join(ctx.Err()))
		}
	}
}
