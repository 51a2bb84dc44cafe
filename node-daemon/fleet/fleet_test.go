package fleet

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

const deadline = time.Minute

const xml = `<domain type='qemu'><name>%s</name><uuid>%s</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type arch='x86_64'>hvm</type></os></domain>`

// define makes a VM on a node that is to be started.
func define(t *testing.T, c coord.Conn, i int, node string) string {
	t.Helper()
	uuid, name := fmt.Sprintf("f1ee0000-0000-4000-8000-%012x", i), fmt.Sprintf("vm%d", i)
	txn := new(coord.Txn).Create(schema.VM(uuid), []byte(name))
	for key, value := range map[string]string{
		schema.VMState: string(model.VMStart), schema.VMNode: node, schema.VMXML: fmt.Sprintf(xml, name, uuid),
		schema.VMLastNode: "", schema.VMFailedReason: "", schema.VMConsoleLog: "", schema.VMRBDList: "", schema.VMGenPrefix + model.NewID(): "",
	} {
		txn.Create(schema.VM(uuid, key), []byte(value))
	}
	if _, err := c.Commit(t.Context(), *txn.Create(schema.NodeVM(node, uuid), nil)); err != nil {
		t.Fatal(err)
	}
	return uuid
}

func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for began := time.Now(); !ok(); <-ticker.C {
		if time.Since(began) > deadline {
			t.Fatal("waited in vain: ", what)
		}
	}
}

func TestNodesStartGuestsAndALostOneKeepsItsOwn(t *testing.T) {
	zoo := ensemble.Start(t, ensemble.Options{})
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	var mu sync.Mutex
	created := map[string]string{}
	f, err := Start(ctx, Options{Nodes: 3, Coordinators: 1, Servers: zoo.Addrs(), LockDir: t.TempDir(),
		Created: func(node, uuid string, _ time.Time) {
			mu.Lock()
			defer mu.Unlock()
			created[uuid] = node
		}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}()
	c, err := zk.Dial(ctx, coord.Options{Servers: zoo.Addrs(), Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	runs := func(uuid, node string) func() bool {
		return func() bool {
			on := f.Running(uuid)
			return len(on) == 1 && on[0] == node
		}
	}

	first := define(t, c, 1, Name(1))
	until(t, "the first guest runs", runs(first, Name(1)))
	if err := f.Lose(Name(1)); err != nil {
		t.Fatal(err)
	}
	until(t, "the lost node has no session", func() bool {
		live, _, err := c.Children(ctx, schema.Node(Name(1), schema.NodeSession))
		return err == nil && len(live) == 0
	})
	second := define(t, c, 2, Name(2))
	until(t, "the second guest runs", runs(second, Name(2)))
	if !runs(first, Name(1))() {
		t.Errorf("the guest of the lost node runs on %v", f.Running(first))
	}
	if n, err := f.Guests(ctx); err != nil || n != 2 {
		t.Errorf("%d guests, %v; want 2", n, err)
	}
	mu.Lock()
	defer mu.Unlock()
	if created[first] != Name(1) || created[second] != Name(2) {
		t.Errorf("creations told: %v", created)
	}
	if err := f.Lose("n999"); err == nil {
		t.Error("a node that does not exist was lost")
	}
}
