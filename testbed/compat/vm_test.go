package compat_test

import (
	"net/http"
	"net/url"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

func TestAVMOfAnOldClientLivesThroughItsStates(t *testing.T) {
	l := theCluster(t)
	c := compat.StartOldClient(t, l.ZooKeeperAddrs())
	v := l.define(t, c, "states", "cc2")
	within(t, "the API shows it", func() string {
		if got, ok := l.vm(t, "states"); !ok || got.State != "stop" || got.Node != "cc2" {
			return "not yet"
		}
		return ""
	})

	v.set("state", "start")
	v.awaits(t, "start", 2, "state", "start", "lastnode", "", "failedreason", "")
	within(t, "it boots", func() string { return count(l.boots(t, "states"), 1) })

	v.set("state", "restart")
	within(t, "it boots again", func() string { return count(l.boots(t, "states"), 2) })
	v.awaits(t, "restart", 2, "state", "start")

	v.set("state", "shutdown")
	v.awaits(t, "shutdown", 0, "state", "stop")
	within(t, "the claim is released", v.released)

	v.set("state", "start")
	v.awaits(t, "start after a shutdown", 2, "state", "start")
	v.set("state", "stop")
	v.awaits(t, "stop", 0, "state", "stop")
	within(t, "the claim is released", v.released)
}

func TestAnOldClientMovesAStoppedVMByItsNodeAlone(t *testing.T) {
	l := theCluster(t)
	c := compat.StartOldClient(t, l.ZooKeeperAddrs())
	v := l.define(t, c, "moved", "cc1")
	v.set("node", "cc3", "lastnode", "")
	v.set("state", "start")
	v.awaits(t, "start where it was moved to", 3, "state", "start", "node", "cc3")
}

func TestAnOldClientsMigrationIsLiveAndBack(t *testing.T) {
	l := theCluster(t)
	c := compat.StartOldClient(t, l.ZooKeeperAddrs())
	v := l.define(t, c, "migrant", "cc1")
	v.set("state", "start")
	v.awaits(t, "start", 1, "state", "start")
	within(t, "it boots", func() string { return count(l.boots(t, "migrant"), 1) })

	v.set("state", "migrate", "node", "cc2", "lastnode", "cc1")
	v.awaits(t, "migrate", 2, "state", "start", "node", "cc2", "lastnode", "cc1")

	v.set("state", "migrate", "node", "cc1", "lastnode", "")
	v.awaits(t, "unmigrate", 1, "state", "start", "node", "cc1", "lastnode", "")

	// A move writes no home.
	v.set("state", "migrate", "node", "cc3", "lastnode", "")
	v.awaits(t, "move", 3, "state", "start", "node", "cc3", "lastnode", "")
	if n := l.boots(t, "migrant"); n != 1 {
		t.Errorf("it booted %d times, want once", n)
	}
}

// TestAMigrationToWhereNobodyIsLeavesTheGuestAlone: the old client checks no target.
//
// decision: failed migration
func TestAMigrationToWhereNobodyIsLeavesTheGuestAlone(t *testing.T) {
	l := theCluster(t)
	c := compat.StartOldClient(t, l.ZooKeeperAddrs())
	v := l.define(t, c, "nowhere", "cc1")
	v.set("state", "start")
	v.awaits(t, "start", 1, "state", "start")
	for _, node := range []string{"cc9", "None", "", "../cc2"} {
		v.set("state", "migrate", "node", node, "lastnode", "cc1")
		v.awaits(t, "it stays instead of going to "+node, 1, "state", "start", "node", "cc1", "lastnode", "")
		if got, _ := l.vm(t, "nowhere"); got.Failed == "" {
			t.Errorf("to %q: no reason is given", node)
		}
	}
	within(t, "it boots", func() string { return count(l.boots(t, "nowhere"), 1) })
}

// TestARecordDeletedUnderARunningGuestEndsItAndItsClaim waits for the first output to be
// stored: that makes a key, and one made between an old client's listing and its deletions
// has it fail, so that a person repeats it. Later output makes none.
func TestARecordDeletedUnderARunningGuestEndsItAndItsClaim(t *testing.T) {
	l := theCluster(t)
	c := compat.StartOldClient(t, l.ZooKeeperAddrs())
	v := l.define(t, c, "deleted", "cc1")
	v.set("state", "start")
	v.awaits(t, "start", 1, "state", "start")
	within(t, "the first output is stored", func() string {
		if c.Tree(v.key("consolelog"))[v.key("consolelog")] == "" {
			return "not yet"
		}
		return ""
	})
	c.Remove("/domains/" + v.uuid)
	v.isForgotten(t, "cc1")
	if _, ok := l.vm(t, "deleted"); ok {
		t.Error("the API still shows it")
	}
}

// TestTheWayOfAnOldUndefineEndsTheGuestFirst: the pauses of two seconds after stop and
// delete are for the daemon; it is waited for what they are to achieve.
func TestTheWayOfAnOldUndefineEndsTheGuestFirst(t *testing.T) {
	l := theCluster(t)
	c := compat.StartOldClient(t, l.ZooKeeperAddrs())
	v := l.define(t, c, "undefined", "cc2")
	v.set("state", "start")
	v.awaits(t, "start", 2, "state", "start")
	v.set("state", "stop")
	v.awaits(t, "stop", 0)
	v.set("state", "delete")
	during(t, time.Second, "nobody takes the wish to delete for another", func() string { return v.shows("state", "delete") })
	c.Remove("/domains/" + v.uuid)
	v.isForgotten(t, "cc2")
}

func TestBothKindsOfClientsSeeEachOthersVMs(t *testing.T) {
	l := theCluster(t)
	c := compat.StartOldClient(t, l.ZooKeeperAddrs())
	v := l.define(t, c, "mixed", "cc1")
	within(t, "the API knows it", func() string {
		if _, ok := l.vm(t, "mixed"); !ok {
			return "not yet"
		}
		return ""
	})
	status, body := l.call(t, http.MethodPost, "/api/v1/vm/mixed/state", url.Values{"state": {"start"}, "wait": {"True"}})
	if status != http.StatusOK {
		t.Fatalf("start: %d %s", status, body)
	}
	v.awaits(t, "start by the API", 1, "state", "start")
	status, body = l.call(t, http.MethodPost, "/api/v1/vm/mixed/node", url.Values{"action": {"migrate"}, "node": {"cc3"}, "wait": {"True"}})
	if status != http.StatusOK {
		t.Fatalf("migrate: %d %s", status, body)
	}
	v.awaits(t, "migrated by the API", 3, "state", "start", "node", "cc3", "lastnode", "cc1")
	v.set("state", "migrate", "node", "cc1", "lastnode", "")
	v.awaits(t, "brought home by the old client", 1, "state", "start", "node", "cc1", "lastnode", "")
	if got, _ := l.vm(t, "mixed"); got != (vm{State: "start", Node: "cc1"}) {
		t.Errorf("the API shows %+v", got)
	}
	status, body = l.call(t, http.MethodDelete, "/api/v1/vm/mixed", nil)
	if status != http.StatusOK {
		t.Fatalf("delete: %d %s", status, body)
	}
	if tree := c.Tree("/domains/" + v.uuid); len(tree) > 0 {
		t.Errorf("left: %v", tree.Paths())
	}
}

// TestWritesInQuickSuccessionEndInTheLast: the old client's commands do not wait.
//
// decision: contradictory requests
func TestWritesInQuickSuccessionEndInTheLast(t *testing.T) {
	l := theCluster(t)
	c := compat.StartOldClient(t, l.ZooKeeperAddrs())
	v := l.define(t, c, "hasty", "cc1")
	for _, state := range []string{"start", "stop", "start", "shutdown", "start", "stop"} {
		v.set("state", state)
	}
	v.awaits(t, "the last wish", 0, "state", "stop")
	within(t, "the claim is released", v.released)
	during(t, time.Second, "it stays so", func() string { return l.runs(t, "hasty", 0) })
}
