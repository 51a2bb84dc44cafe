package vmctl

import (
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor/fake"
)

func TestAnEmptiedOrUnreadableKeyLeavesTheGuestAlone(t *testing.T) {
	l := newLab(t, "hv1")
	for key, value := range map[string]string{schema.VMState: "", schema.VMXML: "", schema.VMMigration: "{"} {
		t.Run(key, func(t *testing.T) {
			name := "vm-" + key
			uuid := l.define(name, "hv1", "")
			created := l.world.Host("hv1").Calls(fake.CreatePaused)
			l.state(name, "start")
			l.runsOn(uuid, "hv1")
			path := schema.VM(uuid, key)
			before, _, err := l.conn.Get(t.Context(), path)
			there := err == nil
			if there {
				l.commit(new(coord.Txn).Set(path, []byte(value), coord.AnyVersion))
			} else {
				l.commit(new(coord.Txn).Create(path, []byte(value)))
			}
			n := l.nodes["hv1"]
			if err := n.c.refresh(t.Context(), uuid); err != nil {
				t.Fatal(err)
			}
			if _, _, err := n.c.look(t.Context(), uuid); err == nil {
				t.Error("the record is taken as it is")
			}
			if there {
				l.commit(new(coord.Txn).Set(path, before, coord.AnyVersion))
			} else {
				l.commit(new(coord.Txn).Delete(path, coord.AnyVersion))
			}
			l.runsOn(uuid, "hv1")
			if created := l.world.Host("hv1").Calls(fake.CreatePaused) - created; created != 1 {
				t.Errorf("guests were created %d times, want 1", created)
			}
			l.state(name, "stop")
		})
	}
}
