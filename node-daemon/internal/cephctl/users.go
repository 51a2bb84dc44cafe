package cephctl

import (
	"context"
	"sync"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// Users tells which VMs name which volumes, as their documents in ZooKeeper are at that moment.
// The documents of all VMs are read when somebody asks for the first time, later only those
// that have changed: they are watched. That is done in a session of its own, which is opened
// anew after a lost connection: thousands of watches have no place in the one on which the
// daemon's registration hangs. Set the fields before the first question.
type Users struct {
	Dial    coord.Dialer
	Options coord.Options // but OnEvent

	mu     sync.Mutex // of one question at a time
	index  *index     // nil if there is none
	closed bool
}

// Of is for [Executor.Users].
func (u *Users) Of(ctx context.Context, pool, volume string) (map[string][]string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		users, err := u.ask(ctx, pool, volume)
		if !errs.Is(err, errs.Unavailable) || ctx.Err() != nil {
			return users, err
		}
		again := time.NewTimer(pauseBetween)
		select {
		case <-again.C:
		case <-ctx.Done():
		}
		again.Stop()
	}
}

// ZooKeeper's servers take some seconds for the election of another leader, which is no
// reason for a command to fail.
const (
	patience     = 15 * time.Second
	pauseBetween = 250 * time.Millisecond
)

// Close ends the session. Questions fail from then on.
func (u *Users) Close() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.closed = true
	u.drop()
}

// drop gives the index up; u.mu is held.
func (u *Users) drop() {
	if u.index != nil {
		u.index.client.Close()
		u.index = nil
	}
}

func (u *Users) ask(ctx context.Context, pool, volume string) (_ map[string][]string, err error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed {
		return nil, errs.Conflictf("the daemon is ending")
	}
	if u.index != nil && u.index.isBroken() {
		u.drop()
	}
	if u.index == nil {
		if u.index, err = openIndex(ctx, u.Dial, u.Options); err != nil {
			return nil, err
		}
	}
	if err = u.index.refresh(ctx); err == nil && u.index.isBroken() {
		err = errs.Unavailablef("the connection to ZooKeeper was lost meanwhile")
	}
	if err != nil {
		u.drop() // what it knows may be incomplete now
		return nil, err
	}
	return u.index.users(pool, volume), nil
}
