package lock

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/watch"
	"github.com/parallelvirtualcluster/pvc/common/errs"
)

const (
	// requestTimeout bounds a single request to ZooKeeper.
	requestTimeout = 5 * time.Second
	// retryPace is the time between attempts while there is no connection.
	retryPace = 100 * time.Millisecond
)

// Held is a lock that was acquired. It ends with its session: whoever writes under
// it puts [Held.Check] into the transaction.
type Held struct {
	client coord.Client
	node   string // path of the contender
}

// Acquire takes the lock on a znode, creating it empty if it is missing, and waits
// until ctx ends for those before it. id is informative text that is stored in the
// contender. When it fails nothing is left behind, unless ZooKeeper could not be
// reached for as long as the session lives; it then goes with the session.
func Acquire(ctx context.Context, client coord.Client, hub *watch.Hub, path string, mode Mode, id string) (*Held, error) {
	prefix := newPrefix()
	h, err := acquire(ctx, client, hub, path, prefix, mode, id)
	if err == nil {
		return h, nil
	}
	err = fmt.Errorf("lock %s: %w", path, err)
	if cerr := remove(context.WithoutCancel(ctx), client, path, prefix); cerr != nil {
		err = errors.Join(err, cerr)
	}
	return nil, err
}

func acquire(ctx context.Context, client coord.Client, hub *watch.Hub, path, prefix string, mode Mode, id string) (*Held, error) {
	if err := ensure(ctx, client, path); err != nil {
		return nil, err
	}
	node, err := client.CreateSequential(ctx, path+"/"+prefix+mode.infix(), []byte(id))
	if errs.Is(err, errs.Unknown) {
		node, err = find(ctx, client, path, prefix)
		if err == nil && node == "" {
			err = errs.Unavailablef("the connection to ZooKeeper broke before the lock was requested")
		}
	}
	if err != nil {
		return nil, err
	}
	if err := wait(ctx, client, hub, path, node); err != nil {
		return nil, err
	}
	return &Held{client: client, node: node}, nil
}

// wait returns when no contender stands before node any more.
func wait(ctx context.Context, client coord.Client, hub *watch.Hub, path, node string) error {
	set := hub.NewSet(client)
	defer set.Close()
	own := node[strings.LastIndexByte(node, '/')+1:]
	for {
		children, _, err := client.Children(ctx, path)
		if err == nil {
			before, there := predecessor(children, own)
			switch {
			case !there:
				return errs.Conflictf("the contender %s was removed by somebody", own)
			case before == "":
				return nil
			}
			var exists bool
			if _, exists, err = set.Exists(ctx, path+"/"+before); err == nil && !exists {
				continue
			}
		}
		if err != nil && !errs.Is(err, errs.Unavailable) {
			return err
		}
		again := make(<-chan time.Time) // a watch is in force: nothing else to wait for
		if err != nil {
			again = time.After(retryPace)
		}
		select {
		case <-set.Changed(): // also when the connection has come back
		case <-again:
		case <-client.Lost():
			return errs.Unavailablef("the ZooKeeper session ended while waiting")
		case <-ctx.Done():
			return errs.Unavailablef("waiting for the holder was given up: %w", ctx.Err())
		}
	}
}

// Path is the contender's znode.
func (h *Held) Path() string { return h.node }

// Check makes a transaction fail unless the lock is still held.
func (h *Held) Check(t *coord.Txn) { t.Check(h.node, coord.AnyVersion) }

// Release gives the lock back. It goes on after ctx was cancelled, for as long as the
// session can live; a lock whose session is gone is released.
func (h *Held) Release(ctx context.Context) error {
	i := strings.LastIndexByte(h.node, '/')
	prefix, _, _ := strings.Cut(h.node[i+1:], "__")
	if err := remove(context.WithoutCancel(ctx), h.client, h.node[:i], prefix); err != nil {
		return fmt.Errorf("release %s: %w", h.node, err)
	}
	return nil
}

// ensure creates the data znode, empty, if it is missing.
func ensure(ctx context.Context, client coord.Client, path string) error {
	_, there, err := client.Exists(ctx, path)
	if err != nil || there {
		return err
	}
	_, err = client.Commit(ctx, *new(coord.Txn).Create(path, nil))
	if errors.Is(err, coord.ErrNodeExists) {
		return nil
	}
	return err
}

// find looks for the contender with the prefix, "" if there is none. The Sync makes
// the answer final: it was sent after the creation, on the same session.
func find(ctx context.Context, client coord.Client, path, prefix string) (string, error) {
	if err := client.Sync(ctx, path); err != nil {
		return "", err
	}
	children, _, err := client.Children(ctx, path)
	if errors.Is(err, coord.ErrNoNode) {
		return "", nil
	}
	for _, name := range children {
		if strings.HasPrefix(name, prefix) {
			return path + "/" + name, nil
		}
	}
	return "", err
}

// remove deletes the contender with the prefix. Without a connection it tries again
// until the session is over, with which the contender goes.
func remove(ctx context.Context, client coord.Client, path, prefix string) error {
	ctx, cancel := context.WithTimeout(ctx, client.Timeout()+requestTimeout)
	defer cancel()
	for {
		err := removeOnce(ctx, client, path, prefix)
		if err == nil {
			return nil
		}
		select {
		case <-client.Lost():
			return nil
		case <-ctx.Done():
			return err
		case <-time.After(retryPace):
		}
	}
}

func removeOnce(ctx context.Context, client coord.Client, path, prefix string) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	node, err := find(ctx, client, path, prefix)
	if err != nil || node == "" {
		return err
	}
	_, err = client.Commit(ctx, *new(coord.Txn).Delete(node, coord.AnyVersion))
	if errors.Is(err, coord.ErrNoNode) {
		return nil
	}
	return err
}

func newPrefix() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return hex.EncodeToString(b[:])
}
