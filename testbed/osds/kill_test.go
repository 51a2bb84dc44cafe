package osds

import (
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// steps at which the daemon is killed.
var (
	addSteps    = []string{"osd-registered", "osd-up", "command-claimed", "osd-prepared", "osd-placed", "osd-started", "command-before-result"}
	removeSteps = []string{"osd-stopped", "osd-purged", "osd-out", "osd-drained", "osd-wiped", "command-before-result"}
)

// TestADaemonKilledAtAnyStepLeavesOneOSDOrNone adds and removes an OSD with a daemon that
// dies on the way, each time.
func TestADaemonKilledAtAnyStepLeavesOneOSDOrNone(t *testing.T) {
	if !long {
		t.Skip("minutes: PVC_TEST_LONG=1; the short form, at every call and in memory, is in cephctl/osd")
	}
	h, disk := cluster.Host(2), host.DiskPath(1)
	for i := range addSteps {
		args := adding(h, disk)
		var id int
		if !t.Run("add at "+addSteps[i], func(t *testing.T) {
			result, err := wait(t, killAt(t, h, addSteps[i], args))
			must(t, err)
			id = added(t, result)
			serves(t, id, h, args)
			if all := osds(t); len(all) != 4 {
				t.Errorf("OSDs %+v", all)
			}
			if r := record(id); r == nil || r.Node != h.Name || r.Device != disk {
				t.Errorf("record %+v", r)
			}
		}) {
			return
		}
		step := removeSteps[i%len(removeSteps)]
		if !t.Run("remove at "+step, func(t *testing.T) {
			result, err := wait(t, killAt(t, h, step, command.OSDRemove{OSD: id}))
			must(t, err)
			t.Log(result.Message)
			gone(t, h, disk)
		}) {
			return
		}
	}
}
