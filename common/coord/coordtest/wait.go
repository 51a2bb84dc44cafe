package coordtest

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
)

// Patience is how long [Eventually] waits: generous, as machines that test are busy.
const Patience = 30 * time.Second

// Eventually waits until the condition holds and fails the test if it never does.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	deadline := time.After(Patience)
	for !condition() {
		select {
		case <-ticker.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", Patience, what)
		}
	}
}

// Dial opens a session that ends with the test.
func Dial(t testing.TB, servers []string, timeout time.Duration, onEvent func(coord.Event)) coord.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	client, err := zk.Dial(ctx, coord.Options{Servers: servers, Timeout: timeout, OnEvent: onEvent})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

// Data returns the text of a znode, ok false if it does not exist.
func Data(t testing.TB, conn coord.Conn, path string) (text string, ok bool) {
	t.Helper()
	data, _, err := conn.Get(t.Context(), path)
	if err == nil {
		return string(data), true
	}
	if !errors.Is(err, coord.ErrNoNode) {
		t.Fatal(err)
	}
	return "", false
}

// Put sets a znode, creating it if it is missing.
func Put(t testing.TB, conn coord.Conn, path, text string) {
	t.Helper()
	txn := new(coord.Txn)
	if _, there, err := conn.Exists(t.Context(), path); err != nil {
		t.Fatal(err)
	} else if there {
		txn.Set(path, []byte(text), coord.AnyVersion)
	} else {
		txn.Create(path, []byte(text))
	}
	if _, err := conn.Commit(t.Context(), *txn); err != nil {
		t.Fatal(err)
	}
}
