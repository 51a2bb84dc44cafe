package compat_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

// primary is who holds the role, by the API.
func (l *rig) primary(t testing.TB) string {
	t.Helper()
	_, body := l.call(t, http.MethodGet, "/api/v1/status/primary_node", nil)
	var p struct {
		Node string `json:"primary_node"`
	}
	must(t, json.Unmarshal([]byte(body), &p))
	return p.Node
}

// other is the name of a host that is not that one.
func other(node string) string {
	if node == "cc1" {
		return "cc2"
	}
	return "cc1"
}

func TestAnOldClientHandsThePrimaryRoleOver(t *testing.T) {
	l := theCluster(t)
	c := compat.StartOldClient(t, l.ZooKeeperAddrs())
	role := func(node string) string {
		return c.Tree("/nodes/" + node + "/routerstate")["/nodes/"+node+"/routerstate"]
	}
	settled := func(node string) string {
		for _, n := range []string{"cc1", "cc2", "cc3"} {
			if want := map[bool]string{true: "primary", false: "secondary"}[n == node]; role(n) != want {
				return fmt.Sprintf("%s is %s, want %s", n, role(n), want)
			}
		}
		if got := c.Tree("/primary_node")["/primary_node"]; got != node {
			return "the key holds " + got
		}
		return ""
	}
	from := l.primary(t)
	to := other(from)
	c.Write(map[string]string{"/primary_node": to})
	within(t, "the named one is primary", func() string { return settled(to) })
	if got := l.primary(t); got != to {
		t.Errorf("the API names %s, want %s", got, to)
	}

	c.Write(map[string]string{"/primary_node": "none"})
	within(t, "another one takes the role", func() string {
		now := c.Tree("/primary_node")["/primary_node"]
		if now == to || now == "none" {
			return "the key holds " + now
		}
		return settled(now)
	})
}

// decision: an impossible wish
// decision: an impossible wish
func TestAWishForAPrimaryThatCannotBeIsOverwritten(t *testing.T) {
	l := theCluster(t)
	c := compat.StartOldClient(t, l.ZooKeeperAddrs())
	now := l.primary(t)
	c.Write(map[string]string{"/primary_node": "cc9"})
	within(t, "the primary asserts itself", func() string {
		if got := c.Tree("/primary_node")["/primary_node"]; got != now {
			return "the key holds " + got
		}
		return ""
	})
}

func TestAnOldClientFlushesANodeAndMakesItReady(t *testing.T) {
	l := theCluster(t)
	c := compat.StartOldClient(t, l.ZooKeeperAddrs())
	a, b := l.define(t, c, "flushed", "cc3"), l.define(t, c, "resting", "cc3")
	a.set("state", "start")
	a.awaits(t, "start", 3, "state", "start")
	domains := func(want string) func() string {
		return func() string {
			if got := c.Tree("/nodes/cc3/domainstate")["/nodes/cc3/domainstate"]; got != want {
				return got
			}
			return ""
		}
	}
	c.Write(map[string]string{"/nodes/cc3/domainstate": "flush"})
	within(t, "the node is flushed", domains("flushed"))
	if wrong := l.runs(t, "flushed", 3); wrong == "" {
		t.Error("the guest is still there")
	}
	if wrong := a.shows("state", "start", "lastnode", "cc3"); wrong != "" {
		t.Error(wrong)
	}
	if wrong := b.shows("state", "stop"); wrong != "" {
		t.Error(wrong)
	}
	c.Write(map[string]string{"/nodes/cc3/domainstate": "unflush"})
	within(t, "the node is ready", domains("ready"))
	a.awaits(t, "it is home", 3, "state", "start", "node", "cc3", "lastnode", "")
	within(t, "once booted", func() string { return count(l.boots(t, "flushed"), 1) })
}

// TestVMsOfADeadHost: what rests there can be started elsewhere, what may run there
// cannot, whatever an old client writes.
//
// decision: unreachable host
//
// decision: unreachable host
// decision: host not there
func TestVMsOfADeadHost(t *testing.T) {
	l := theCluster(t)
	c := compat.StartOldClient(t, l.ZooKeeperAddrs()[:2]) // the third dies with its host
	rests, runs := l.define(t, c, "rests", "cc3"), l.define(t, c, "runs", "cc3")
	runs.set("state", "start")
	runs.awaits(t, "start", 3, "state", "start")
	within(t, "it boots", func() string { return count(l.boots(t, "runs"), 1) })
	must(t, l.Host(3).PowerCut())
	t.Cleanup(func() { l.restore(t, 3) })
	within(t, "the host is missed", func() string { return l.daemon(t, "cc3", "dead") })

	rests.set("node", "cc1", "lastnode", "")
	rests.set("state", "start")
	rests.awaits(t, "start elsewhere", 1, "state", "start", "node", "cc1")

	// What an old coordinator's fence writes.
	runs.set("state", "start", "node", "cc2", "lastnode", "cc3")
	during(t, 3*time.Second, "without proof it is started nowhere", func() string { return l.runs(t, "runs", 0) })
	status, body := l.call(t, http.MethodPost, "/api/v1/vm/runs/node", url.Values{"action": {"migrate"}, "node": {"cc1"}, "force": {"True"}})
	if status != 510 || !strings.Contains(body, "cc3") || !strings.Contains(body, "free when") {
		t.Errorf("migrate: %d %s; 510 was expected, naming cc3 and what would free the VM", status, body)
	}
	status, body = l.call(t, http.MethodDelete, "/api/v1/vm/runs", nil)
	if status != 510 || !strings.Contains(body, "cc3") {
		t.Errorf("delete: %d %s", status, body)
	}

	l.restore(t, 3)
	runs.awaits(t, "start once its host is back and knows that it is gone", 2, "state", "start", "node", "cc2")
	within(t, "once booted again", func() string { return count(l.boots(t, "runs"), 2) })
}

// TestAMoveAwayFromAHostWithoutDaemonWaitsForIt: the guest lives, so it must not run twice.
func TestAMoveAwayFromAHostWithoutDaemonWaitsForIt(t *testing.T) {
	l := theCluster(t)
	c := compat.StartOldClient(t, l.ZooKeeperAddrs())
	v := l.define(t, c, "orphan", "cc2")
	v.set("state", "start")
	v.awaits(t, "start", 2, "state", "start")
	within(t, "it boots", func() string { return count(l.boots(t, "orphan"), 1) })
	must(t, l.Host(2).KeepDown(t.Context(), testbed.PVCD))
	t.Cleanup(func() { l.restore(t, 2) })
	within(t, "the daemon is missed", func() string { return l.daemon(t, "cc2", "dead") })

	v.set("state", "start", "node", "cc1", "lastnode", "cc2")
	during(t, 3*time.Second, "the guest goes on where it is", func() string { return l.runs(t, "orphan", 2) })
	status, body := l.call(t, http.MethodPost, "/api/v1/vm/orphan/node", url.Values{"action": {"move"}, "node": {"cc3"}})
	if status != 510 || !strings.Contains(body, "cc2") {
		t.Errorf("move: %d %s; 510 was expected, naming cc2", status, body)
	}
	l.restore(t, 2)
	v.awaits(t, "the daemon carries the move out, live", 1, "state", "start", "node", "cc1")
	if n := l.boots(t, "orphan"); n != 1 {
		t.Errorf("it booted %d times, want once", n)
	}
}

// daemon says what is wrong if the API does not show that state of a node's daemon.
func (l *rig) daemon(t testing.TB, node, want string) string {
	t.Helper()
	status, body := l.call(t, http.MethodGet, "/api/v1/node/"+node, nil)
	var list []struct {
		State string `json:"daemon_state"`
	}
	if err := json.Unmarshal([]byte(body), &list); err != nil || status != http.StatusOK || len(list) != 1 {
		t.Fatalf("node %s: %d %s", node, status, body)
	}
	if list[0].State != want {
		return fmt.Sprintf("%s is in state %s, want %s", node, list[0].State, want)
	}
	return ""
}

// restore brings host i back with all its services.
func (l *rig) restore(t testing.TB, i int) {
	t.Helper()
	h := l.Host(i)
	if !h.On() {
		must(t, h.PowerOn(context.WithoutCancel(t.Context())))
	} else {
		must(t, h.Up(context.WithoutCancel(t.Context()), testbed.PVCD))
	}
	within(t, h.Name+" runs", func() string { return l.daemon(t, h.Name, "run") })
}
