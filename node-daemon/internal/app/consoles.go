package app

import (
	"context"
	"sync"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/console"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/liveness"
)

// consoleStore gives the console logs, which are kept for as long as the daemon lives,
// the session of the moment.
type consoleStore struct {
	mu      sync.Mutex
	session *liveness.Session
}

func (s *consoleStore) use(session *liveness.Session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.session = session
}

func (s *consoleStore) current() (*liveness.Session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.session == nil {
		return nil, errs.Unavailablef("not registered yet")
	}
	return s.session, nil
}

func (s *consoleStore) commit(ctx context.Context, _ string, txn coord.Txn) error {
	session, err := s.current()
	if err != nil {
		return err
	}
	session.Check(&txn)
	_, err = session.Client().Commit(ctx, txn)
	return err
}

func (s *consoleStore) get(ctx context.Context, path string) ([]byte, coord.Stat, error) {
	session, err := s.current()
	if err != nil {
		return nil, coord.Stat{}, err
	}
	return session.Client().Get(ctx, path)
}

func (d *daemon) consoleOptions() console.Options {
	l := d.config.Logging
	return console.Options{
		Dir: d.config.Dirs.ConsoleLog, Node: d.config.Name, BootID: d.host.BootID, Interval: time.Second,
		Lines: l.ConsoleLines, MaxBytes: l.ConsoleMaxBytes, RotateBytes: int64(l.ConsoleRotateBytes),
		Store: console.NewZKStore(d.store.commit, d.store.get), Logger: d.log.Logger,
	}
}
