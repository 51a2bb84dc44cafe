package watch_test

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/coord/watch"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

// counting counts the watches that are left.
type counting struct {
	coord.Client
	watches atomic.Int32
}

func (c *counting) GetW(ctx context.Context, path string) ([]byte, coord.Stat, error) {
	c.watches.Add(1)
	return c.Client.GetW(ctx, path)
}

func (c *counting) ExistsW(ctx context.Context, path string) (coord.Stat, bool, error) {
	c.watches.Add(1)
	return c.Client.ExistsW(ctx, path)
}

func (c *counting) ChildrenW(ctx context.Context, path string) ([]string, coord.Stat, error) {
	c.watches.Add(1)
	return c.Client.ChildrenW(ctx, path)
}

func changed(t *testing.T, set *watch.Set, what string) {
	t.Helper()
	select {
	case <-set.Changed():
	case <-time.After(coordtest.Patience):
		t.Fatalf("no signal: %s", what)
	}
}

func value(t *testing.T, set *watch.Set, path, want string, exists bool) {
	t.Helper()
	data, _, ok, err := set.Value(t.Context(), path)
	if err != nil || string(data) != want || ok != exists {
		t.Fatalf("%s = %q, %v (%v), want %q, %v", path, data, ok, err, want, exists)
	}
}

func TestEveryChangeIsSignalledAndNoWatchIsLeftTwice(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	other := coordtest.Dial(t, e.Addrs(), 4*time.Second, nil)
	hub := new(watch.Hub)
	client := &counting{Client: coordtest.Dial(t, e.Addrs(), 4*time.Second, hub.OnEvent)}
	set := hub.NewSet(client)
	defer set.Close()

	value(t, set, "/a", "", false)
	coordtest.Put(t, other, "/a", "1")
	changed(t, set, "created")
	value(t, set, "/a", "1", true)
	coordtest.Put(t, other, "/a", "2")
	changed(t, set, "set")
	value(t, set, "/a", "2", true)
	before := client.watches.Load()
	for range 10 {
		value(t, set, "/a", "2", true)
	}
	if left := client.watches.Load() - before; left != 0 {
		t.Errorf("%d more watches on a znode that has one", left)
	}
	if names, err := set.Children(t.Context(), "/a"); err != nil || len(names) != 0 {
		t.Fatalf("children %v: %v", names, err)
	}
	coordtest.Put(t, other, "/a/b", "")
	changed(t, set, "child created")
	if names, err := set.Children(t.Context(), "/a"); err != nil || len(names) != 1 {
		t.Fatalf("children %v: %v", names, err)
	}
	txn := new(coord.Txn).Delete("/a/b", coord.AnyVersion).Delete("/a", coord.AnyVersion)
	if _, err := other.Commit(t.Context(), *txn); err != nil {
		t.Fatal(err)
	}
	changed(t, set, "deleted")
	coordtest.Eventually(t, "both gone", func() bool {
		_, _, ok, err := set.Value(t.Context(), "/a")
		return err == nil && !ok
	})
}

func TestAChangeMadeWhileTheConnectionWasAwayIsSignalled(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	other := coordtest.Dial(t, e.Addrs(), 4*time.Second, nil)
	proxy := coordtest.NewProxy(t, e.Addrs())
	hub := new(watch.Hub)
	client := coordtest.Dial(t, proxy.Addrs(), 4*time.Second, hub.OnEvent)
	set := hub.NewSet(client)
	defer set.Close()
	coordtest.Put(t, other, "/a", "1")
	value(t, set, "/a", "1", true)
	proxy.Drop()
	coordtest.Put(t, other, "/a", "2")
	coordtest.Eventually(t, "the new value by signals alone", func() bool {
		changed(t, set, "connection lost, back, or znode set")
		data, _, _, err := set.Value(t.Context(), "/a")
		return err == nil && string(data) == "2"
	})
}
