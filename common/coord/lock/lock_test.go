package lock_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/lock"
	"github.com/parallelvirtualcluster/pvc/common/coord/watch"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

// party is one of our sessions.
type party struct {
	t      *testing.T
	client coord.Client
	hub    *watch.Hub
}

func join(t *testing.T, addrs []string) *party {
	t.Helper()
	p := &party{t: t, hub: new(watch.Hub)}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	client, err := zk.Dial(ctx, coord.Options{Servers: addrs, Timeout: 4 * time.Second, OnEvent: p.hub.OnEvent})
	if err != nil {
		t.Fatal(err)
	}
	p.client = client
	t.Cleanup(client.Close)
	return p
}

// acquire asks for a lock in the background; the channel gets the outcome.
func (p *party) acquire(ctx context.Context, path string, mode lock.Mode) <-chan *lock.Held {
	got := make(chan *lock.Held, 1)
	go func() {
		h, err := lock.Acquire(ctx, p.client, p.hub, path, mode, "test")
		if err != nil && ctx.Err() == nil {
			p.t.Error(err)
		}
		got <- h
	}()
	return got
}

func must(t *testing.T, what string, got <-chan *lock.Held) *lock.Held {
	t.Helper()
	select {
	case h := <-got:
		if h == nil {
			t.Fatalf("%s: not acquired", what)
		}
		return h
	case <-time.After(10 * time.Second):
		t.Fatalf("%s: not acquired in time", what)
		return nil
	}
}

func (p *party) contenders(path string) []string {
	p.t.Helper()
	names, _, err := p.client.Children(p.t.Context(), path)
	if err != nil {
		p.t.Fatal(err)
	}
	return names
}

// awaitContenders waits until so many stand in the queue.
func (p *party) awaitContenders(path string, n int) {
	p.t.Helper()
	deadline := time.Now().Add(10 * time.Second)
	for len(p.contenders(path)) != n {
		if time.Now().After(deadline) {
			p.t.Fatalf("%d contenders below %s, want %d", len(p.contenders(path)), path, n)
		}
	}
}

func waiting(t *testing.T, what string, got <-chan *lock.Held) {
	t.Helper()
	select {
	case <-got:
		t.Fatalf("%s: acquired although it is excluded", what)
	default:
	}
}

func release(t *testing.T, h *lock.Held) {
	t.Helper()
	if err := h.Release(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestWritersExcludeEverybodyAndReadersOnlyWriters(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	a, b := join(t, e.Addrs()), join(t, e.Addrs())
	ctx := t.Context()
	const path = "/locked"
	r1 := must(t, "first reader", a.acquire(ctx, path, lock.Read))
	r2 := must(t, "second reader", b.acquire(ctx, path, lock.Read))
	w := a.acquire(ctx, path, lock.Write)
	a.awaitContenders(path, 3)
	r3 := b.acquire(ctx, path, lock.Read)
	a.awaitContenders(path, 4)
	release(t, r1)
	waiting(t, "writer behind a reader", w)
	waiting(t, "reader behind a waiting writer", r3)
	release(t, r2)
	held := must(t, "writer", w)
	waiting(t, "reader behind a writer", r3)
	if _, err := b.client.Commit(ctx, checked(held)); err != nil {
		t.Errorf("a transaction under the lock: %v", err)
	}
	release(t, held)
	if _, err := b.client.Commit(ctx, checked(held)); !errs.Is(err, errs.Conflict) {
		t.Errorf("a transaction after the release: %v, want a conflict", err)
	}
	release(t, must(t, "third reader", r3))
	if left := a.contenders(path); len(left) != 0 {
		t.Errorf("%v left behind", left)
	}
}

func checked(h *lock.Held) coord.Txn {
	var txn coord.Txn
	h.Check(&txn)
	return txn
}

func TestACancelledContenderLeavesNothingAndBlocksNobody(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	a := join(t, e.Addrs())
	const path = "/cancelled"
	held := must(t, "holder", a.acquire(t.Context(), path, lock.Write))
	ctx, cancel := context.WithCancel(t.Context())
	got := a.acquire(ctx, path, lock.Write)
	a.awaitContenders(path, 2)
	cancel()
	if h := <-got; h != nil {
		t.Fatal("acquired after it was cancelled")
	}
	if names := a.contenders(path); len(names) != 1 {
		t.Errorf("contenders %v, want the holder alone", names)
	}
	release(t, held)
	release(t, must(t, "next", a.acquire(t.Context(), path, lock.Write)))
}

func TestALockEndsWithTheSessionOfItsHolder(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	a, b := join(t, e.Addrs()), join(t, e.Addrs())
	const path = "/abandoned"
	must(t, "holder", a.acquire(t.Context(), path, lock.Write))
	next := b.acquire(t.Context(), path, lock.Write)
	b.awaitContenders(path, 2)
	a.client.Close()
	release(t, must(t, "next", next))
}

// lostReply loses the answer to the creation of the contender.
type lostReply struct{ coord.Client }

func (c lostReply) CreateSequential(ctx context.Context, path string, data []byte) (string, error) {
	if _, err := c.Client.CreateSequential(ctx, path, data); err != nil {
		return "", err
	}
	return "", errs.New(errs.Unknown, "the connection broke")
}

func TestAContenderIsFoundAgainWhenTheAnswerWasLost(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	a := join(t, e.Addrs())
	h, err := lock.Acquire(t.Context(), lostReply{a.client}, a.hub, "/lost", lock.Write, "test")
	if err != nil {
		t.Fatal(err)
	}
	if names := a.contenders("/lost"); len(names) != 1 {
		t.Errorf("contenders %v, want one", names)
	}
	release(t, h)
}

const oldClient = `
import sys
from kazoo.client import KazooClient
zk = KazooClient(hosts=sys.argv[1]); zk.start()
lock = {"write": zk.WriteLock, "read": zk.ReadLock}[sys.argv[2]](sys.argv[3])
print("started", flush=True)
if lock.acquire(blocking=False):
    print("free", flush=True)
else:
    print("excluded", flush=True)
    lock.acquire()
print("acquired", flush=True)
sys.stdin.readline()
lock.release()
print("released", flush=True)
zk.stop()
`

// kazoo is a lock taken by the old client's library.
type kazoo struct {
	t   *testing.T
	in  io.WriteCloser
	out *bufio.Scanner
}

func startKazoo(t *testing.T, addr, mode, path string) *kazoo {
	t.Helper()
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import kazoo.client").Run(); err != nil {
		t.Skipf("%s has no kazoo (Debian: python3-kazoo): %v", python, err)
	}
	cmd := exec.CommandContext(t.Context(), python, "-c", oldClient, addr, mode, path)
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { in.Close(); _ = cmd.Wait() })
	return &kazoo{t, in, bufio.NewScanner(out)}
}

func (k *kazoo) expect(word string) {
	k.t.Helper()
	if !k.out.Scan() || strings.TrimSpace(k.out.Text()) != word {
		k.t.Fatalf("the old client said %q, want %q", k.out.Text(), word)
	}
}

func (k *kazoo) release() {
	k.t.Helper()
	if _, err := fmt.Fprintln(k.in); err != nil {
		k.t.Fatal(err)
	}
	k.expect("released")
}

func TestLocksOfOldClientsAndOursExcludeEachOther(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	for _, tc := range []struct {
		theirs  string
		ours    lock.Mode
		exclude bool
	}{
		{"write", lock.Write, true}, {"write", lock.Read, true}, {"read", lock.Write, true}, {"read", lock.Read, false},
	} {
		t.Run(fmt.Sprintf("%s-%d", tc.theirs, tc.ours), func(t *testing.T) {
			a := join(t, e.Addrs())
			path := fmt.Sprintf("/kazoo-%s-%d", tc.theirs, tc.ours)

			old := startKazoo(t, e.Addrs()[0], tc.theirs, path) // theirs first
			old.expect("started")
			old.expect("free")
			old.expect("acquired")
			ours := a.acquire(t.Context(), path, tc.ours)
			a.awaitContenders(path, 2)
			if tc.exclude {
				waiting(t, "ours", ours)
				old.release()
			}
			held := must(t, "ours", ours)
			if !tc.exclude {
				old.release()
			}

			old = startKazoo(t, e.Addrs()[0], tc.theirs, path) // ours first
			old.expect("started")
			if tc.exclude {
				old.expect("excluded")
			} else {
				old.expect("free")
			}
			release(t, held)
			old.expect("acquired")
			old.release()
		})
	}
}
