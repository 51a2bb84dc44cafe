package console_test

import (
	"context"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/console"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

// conform is what every Store does. The VM exists and has no log.
func conform(t *testing.T, store console.Store, uuid string) {
	t.Helper()
	load := func() console.Saved {
		t.Helper()
		s, err := store.Load(t.Context(), uuid)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	first := load()
	if first.Text != "" || !cmp.Equal(first.At, console.Position{}) {
		t.Errorf("the log of a new VM is %+v", first)
	}
	s := first
	s.Text = "ü\x1b[0m\n"
	s.At = console.Position{Node: "hv1", Boot: "b", Run: "r", Offset: 1 << 40, Inode: 1<<64 - 1, Tail: []byte{0xf0, 0x9f}, Cut: 4096}
	for i := range 3 { // creating both, then replacing both
		saved, err := store.Save(t.Context(), uuid, s)
		if err != nil {
			t.Fatalf("save %d: %v", i, err)
		}
		if diff := cmp.Diff(saved, load()); diff != "" {
			t.Errorf("save %d: the answer and what is stored differ:\n%s", i, diff)
		}
		if diff := cmp.Diff(s.At, saved.At); diff != "" || saved.Text != s.Text {
			t.Errorf("save %d: %q\n%s", i, saved.Text, diff)
		}
		s = saved
		s.Text += "more\n"
	}
	before := load()
	if _, err := store.Save(t.Context(), uuid, first); !errs.Is(err, errs.Conflict) {
		t.Errorf("a change of an old revision: %v", err)
	}
	if diff := cmp.Diff(before, load()); diff != "" {
		t.Errorf("a refused change left:\n%s", diff)
	}
}

func TestTheStoreInMemoryIsAStore(t *testing.T) { conform(t, newMemStore(), web1) }

func zkStore(client coord.Client) console.Store {
	commit := func(ctx context.Context, _ string, txn coord.Txn) error {
		_, err := client.Commit(ctx, txn)
		return err
	}
	return console.NewZKStore(commit, client.Get)
}

// oldKeys are those of every VM beside its console log.
var oldKeys = []string{schema.VMState, schema.VMNode, schema.VMLastNode, schema.VMFailedReason, schema.VMRBDList, schema.VMXML}

func define(t *testing.T, c coord.Conn, uuid string) {
	t.Helper()
	defineWithoutLog(t, c, uuid)
	coordtest.Put(t, c, schema.VM(uuid, schema.VMConsoleLog), "")
}

func defineWithoutLog(t *testing.T, c coord.Conn, uuid string) {
	t.Helper()
	txn := new(coord.Txn).Create(schema.VM(uuid), []byte("web1"))
	for _, key := range oldKeys {
		txn.Create(schema.VM(uuid, key), nil)
	}
	if _, err := c.Commit(t.Context(), *txn); err != nil {
		t.Fatal(err)
	}
}

func TestConsoleLogsInZooKeeper(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	c := coordtest.Dial(t, e.Addrs(), 4*time.Second, nil)
	coordtest.Put(t, c, schema.Domains, "")
	uuid := func(i int) string { return fmt.Sprintf("%08d-1111-4111-8111-111111111111", i) }

	t.Run("are kept like in every store", func(t *testing.T) {
		define(t, c, uuid(1))
		conform(t, zkStore(c), uuid(1))
	})
	t.Run("are made where an old client left out the key", func(t *testing.T) {
		defineWithoutLog(t, c, uuid(2))
		conform(t, zkStore(c), uuid(2))
	})
	t.Run("are not made anew while an old client deletes the VM key by key", func(t *testing.T) {
		for i, key := range oldKeys {
			defineWithoutLog(t, c, uuid(10+i))
			if _, err := c.Commit(t.Context(), *new(coord.Txn).Delete(schema.VM(uuid(10+i), key), coord.AnyVersion)); err != nil {
				t.Fatal(err)
			}
			_, err := zkStore(c).Save(t.Context(), uuid(10+i), console.Saved{Rev: console.Revision{Text: -1, At: -1}})
			if !errs.Is(err, errs.NotFound) {
				t.Errorf("without %s: save: %v", key, err)
			}
		}
	})
	t.Run("are not made for a VM that is gone", func(t *testing.T) {
		_, err := zkStore(c).Save(t.Context(), uuid(3), console.Saved{Rev: console.Revision{Text: -1, At: -1}})
		if !errs.Is(err, errs.NotFound) || !strings.Contains(err.Error(), uuid(3)) {
			t.Errorf("save: %v", err)
		}
	})
	t.Run("begin anew where the position is unreadable", func(t *testing.T) {
		define(t, c, uuid(4))
		coordtest.Put(t, c, schema.VM(uuid(4), schema.VMConsoleLog), "None")
		for _, broken := range []string{"{", "[]", `{"offset":-1,"run":"r"}`, `{"offset":"x"}`, ""} {
			coordtest.Put(t, c, schema.VM(uuid(4), schema.VMConsolePos), broken)
			s, err := zkStore(c).Load(t.Context(), uuid(4))
			if err != nil || s.Text != "" || !cmp.Equal(s.At, console.Position{}) {
				t.Errorf("position %q: %+v, %v", broken, s, err)
			}
		}
	})
	t.Run("follow a guest from host to host", func(t *testing.T) { followThrough(t, e, c) })
	t.Run("are text to an old client", func(t *testing.T) { readAsOldClient(t, e.Addrs()[0]) })
}

// followThrough has two hosts with a session each keep the log of web1, the first
// of which does not notice that its guest has moved.
func followThrough(t *testing.T, e *ensemble.Ensemble, c coord.Client) {
	define(t, c, web1)
	old := newHost(t.TempDir(), "hv1", zkStore(coordtest.Dial(t, e.Addrs(), 4*time.Second, nil)))
	owner := newHost(t.TempDir(), "hv2", zkStore(c))
	text := func() string {
		data, _ := coordtest.Data(t, c, schema.VM(web1, schema.VMConsoleLog))
		return data
	}
	g := old.guest("run1")
	old.Follow(g)
	old.print(t, "one\ntw")
	old.Round(t.Context())
	old.restart()
	old.Follow(g)
	old.print(t, "o\n")
	old.Round(t.Context())
	want(t, "after a restart", text(), "one\ntwo\n")
	owner.Follow(owner.guest("run2"))
	owner.print(t, "three\n")
	owner.Round(t.Context())
	old.print(t, "stray\n")
	old.Round(t.Context())
	want(t, "after the move", text(), "one\ntwo\nthree\n")
	if old.Following(web1) {
		t.Error("the old owner still follows")
	}
	if err := owner.Mark(t.Context(), web1, "--- mark ---"); err != nil {
		t.Fatal(err)
	}
	finish(t, owner)
	owner.Follow(owner.guest("run3"))
	owner.print(t, "Grüße\x1b[0m\n")
	finish(t, owner)
	want(t, "at the end", text(), "one\ntwo\nthree\n--- mark ---\nGrüße\x1b[0m\n")
}

// oldReader prints a VM's log as the old client's library reads it.
const oldReader = `import sys
from kazoo.client import KazooClient
c = KazooClient(hosts=sys.argv[1])
c.start(timeout=20)
sys.stdout.buffer.write(c.get(sys.argv[2])[0].decode("utf-8").encode("utf-8"))
c.stop()
`

func readAsOldClient(t *testing.T, server string) {
	const python = "/usr/bin/python3"
	if err := exec.Command(python, "-c", "import kazoo").Run(); err != nil {
		t.Skipf("the old client's library (Debian package python3-kazoo) is missing: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), coordtest.Patience)
	defer cancel()
	out, err := exec.CommandContext(ctx, python, "-c", oldReader, server, schema.VM(web1, schema.VMConsoleLog)).Output()
	if err != nil {
		t.Fatal(err)
	}
	want(t, "by the old client", string(out), "one\ntwo\nthree\n--- mark ---\nGrüße\x1b[0m\n")
}
