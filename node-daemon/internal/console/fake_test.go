package console_test

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/console"
)

// memStore is a Store in memory that can be made to fail.
type memStore struct {
	mu     sync.Mutex
	logs   map[string]console.Saved
	writes int
	// fail is asked before a log is loaded or saved; nil lets it happen.
	fail func(op, uuid string) error
	// lose is asked after a log was saved: an error is the caller's answer.
	lose func(s console.Saved) error
	// before is called before the next log is saved, with the lock not held.
	before func()
}

func newMemStore() *memStore { return &memStore{logs: map[string]console.Saved{}} }

func (m *memStore) Load(ctx context.Context, uuid string) (console.Saved, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.refuse(ctx, "load", uuid); err != nil {
		return console.Saved{}, err
	}
	return m.logs[uuid], nil
}

func (m *memStore) Save(ctx context.Context, uuid string, s console.Saved) (console.Saved, error) {
	m.mu.Lock()
	before := m.before
	m.before = nil
	m.mu.Unlock()
	if before != nil {
		before()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.refuse(ctx, "save", uuid); err != nil {
		return s, err
	}
	if m.logs[uuid].Rev != s.Rev {
		return s, errs.Conflictf("the log of %s was changed meanwhile", uuid)
	}
	s.Rev.Text++
	s.Rev.At++
	m.logs[uuid] = s
	m.writes++
	if m.lose != nil {
		if err := m.lose(s); err != nil {
			return s, err
		}
	}
	return s, nil
}

func (m *memStore) refuse(ctx context.Context, op, uuid string) error {
	if ctx.Err() != nil {
		return errs.Unavailablef("%s: %w", op, ctx.Err())
	}
	if m.fail == nil {
		return nil
	}
	return m.fail(op, uuid)
}

func (m *memStore) text(uuid string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.logs[uuid].Text
}

func (m *memStore) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.writes
}

func (m *memStore) setFail(fail func(op, uuid string) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = fail
}

const web1 = "11111111-1111-4111-8111-111111111111"

// host is a directory with console files and the daemon's manager on it.
type host struct {
	*console.Manager
	o console.Options
}

func newHost(dir, node string, store console.Store, more ...func(*console.Options)) *host {
	h := &host{o: console.Options{Dir: dir, Node: node, BootID: node + "-1", Store: store, Logger: slog.New(slog.DiscardHandler)}}
	for _, change := range more {
		change(&h.o)
	}
	h.restart()
	return h
}

// restart replaces the daemon by one that remembers nothing.
func (h *host) restart() { h.Manager = console.New(h.o) }

// guest is web1 from where its file ends now.
func (h *host) guest(run string) console.Guest {
	return console.Guest{UUID: web1, Name: "web1", Run: run, Begin: h.Size("web1")}
}

func (h *host) print(t fataler, text string) {
	t.Helper()
	printTo(t, h.Path("web1"), text)
}

// fataler is what *testing.T and *rapid.T have in common.
type fataler interface {
	Helper()
	Fatal(args ...any)
}

// printTo appends to a console file as QEMU does.
func printTo(t fataler, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

func want(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s: the log is %q, want %q", what, clip(got), clip(want))
	}
}

func clip(s string) string {
	if len(s) > 300 {
		return s[:140] + " … " + s[len(s)-140:]
	}
	return s
}
