package cluster_test

import (
	"context"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

func state(want string) deed {
	return func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) {
		return c.SetVMState(ctx, cluster.SetVMState{VM: "web1", State: want})
	}
}

func forced(want string) deed {
	return func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) {
		return c.SetVMState(ctx, cluster.SetVMState{VM: "web1", State: want, Force: true})
	}
}

// becomes is the change of the one key that a state request writes.
func becomes(want string) compat.Tree { return compat.Tree{"/domains/" + web1 + "/state": want} }

// waited is becomes for a VM that could not be started yet.
func waited(want string) compat.Tree {
	return join(becomes(want), compat.Tree{"/domains/" + web1 + "/failedreason": ""})
}

// without is a tree of hosts and one that lacks keys.
func without(tree compat.Tree, keys ...string) compat.Tree {
	tree = join(hosts(), tree)
	for _, key := range keys {
		delete(tree, key)
	}
	return tree
}

// TestAVMThatWaitsIsStoppedWithoutAReasonThatComesLate: its host writes it between the look
// of the API and its change.
//
// decision: stop
func TestAVMThatWaitsIsStoppedWithoutAReasonThatComesLate(t *testing.T) {
	w := newWorld(t)
	w.reset(t, hosts(), vm("start", "hv1"))
	late := w.late(t)
	w.set(t, "/domains/"+web1+"/failedreason", "not started yet: no monitor")
	if _, err := state("stop")(t.Context(), late); !errs.Is(err, errs.Conflict) {
		t.Errorf("%v", err)
	}
	if now, _ := coordtest.Data(t, w.client, "/domains/"+web1+"/state"); now != "start" {
		t.Errorf("state %s", now)
	}
}

// decision: start
// decision: shutdown
// decision: restart
// decision: stop
// decision: setting what is so
// decision: contradictory requests
// decision: host not there
func TestStatesFollowTheTable(t *testing.T) {
	w := newWorld(t)
	on := func(now string, pairs ...string) compat.Tree { return join(hosts(), vm(now, "hv1", pairs...)) }
	runs := func(now string) compat.Tree { return join(on(now), claim("hv1")) }
	failedKeys := join(becomes("start"), compat.Tree{"/domains/" + web1 + "/failedreason": "", "/domains/" + web1 + "/crashes": gone})
	for name, r := range map[string]rule{
		"start of a stopped one":     {given: on("stop"), do: state("start"), says: "starting on hv1", writes: becomes("start")},
		"start of a failed one":      {given: on("failed", "failedreason", "why", "crashes", `{"node":"hv1","times":[1,2]}`), do: state("start"), writes: failedKeys},
		"start again":                {given: runs("start"), do: state("start"), says: "already"},
		"start while it shuts down":  {given: runs("shutdown"), do: state("start"), writes: becomes("start")},
		"start while it restarts":    {given: runs("restart"), do: state("start"), writes: becomes("start")},
		"start while it migrates":    {given: runs("migrate"), do: state("start"), says: "already"},
		"start of one being deleted": {given: on("delete"), do: state("start"), no: true, kind: errs.Conflict, says: "deleted"},
		"start where there is no node": {
			given: join(hosts(), vm("stop", "hv1", "node", "hv9")), do: state("start"), no: true, kind: errs.Conflict, says: `"hv9", which is no node`},
		"start where an old client put nothing": {
			given: join(hosts(), vm("stop", "hv1", "node", "None")), do: state("start"), no: true, kind: errs.Conflict, says: "no node"},
		"start on a host that is away": {
			given: join(node("hv1", "dead", ""), node("hv2"), vm("stop", "hv1")), do: state("start"), says: "acts when it is back", writes: becomes("start")},

		"shutdown of a running one":     {given: runs("start"), do: state("shutdown"), says: "shutting down", writes: becomes("shutdown")},
		"shutdown of a stopped one":     {given: on("stop"), do: state("shutdown"), says: "already"},
		"shutdown of a failed one":      {given: on("failed"), do: state("shutdown"), says: "already"},
		"shutdown while it restarts":    {given: runs("restart"), do: state("shutdown"), writes: becomes("shutdown")},
		"shutdown while it migrates":    {given: runs("migrate"), do: state("shutdown"), writes: becomes("shutdown")},
		"forced shutdown is stop":       {given: runs("start"), do: forced("shutdown"), says: "stopping", writes: becomes("stop")},
		"forced shutdown of a shutdown": {given: runs("shutdown"), do: forced("shutdown"), writes: becomes("stop")},

		"stop of one that waits":      {given: on("start", "failedreason", "not started yet: no monitor"), do: state("stop"), writes: waited("stop")},
		"shutdown of one that waits":  {given: on("start", "failedreason", "not started yet: no monitor"), do: state("shutdown"), writes: waited("shutdown")},
		"stop keeps another reason":   {given: on("start", "failedreason", "it crashed"), do: state("stop"), writes: becomes("stop")},
		"stop where the key is not":   {given: without(vm("start", "hv1"), "/domains/"+web1+"/gen-1", "/domains/"+web1+"/failedreason"), do: state("stop"), writes: becomes("stop")},
		"restart of a running one":    {given: runs("start"), do: state("restart"), says: "restarting", writes: becomes("restart")},
		"restart of a stopped one":    {given: on("stop"), do: state("restart"), no: true, kind: errs.Conflict, says: "state stop"},
		"restart of a failed one":     {given: on("failed"), do: state("restart"), no: true, kind: errs.Conflict, says: "state failed"},
		"restart while it migrates":   {given: runs("migrate"), do: state("restart"), no: true, kind: errs.Conflict, says: "state migrate"},
		"restart while it shuts down": {given: runs("shutdown"), do: state("restart"), no: true, kind: errs.Conflict, says: "state shutdown"},

		"stop of a running one":     {given: runs("start"), do: state("stop"), says: "stopping", writes: becomes("stop")},
		"stop of a stopped one":     {given: on("stop"), do: state("stop"), says: "already"},
		"stop of a failed one":      {given: on("failed"), do: state("stop"), writes: becomes("stop")},
		"stop while it migrates":    {given: runs("migrate"), do: state("stop"), writes: becomes("stop")},
		"stop of one being deleted": {given: on("delete"), do: state("stop"), writes: becomes("stop")},
		"stop of an unknown state":  {given: on("provision"), do: state("stop"), writes: becomes("stop")},

		"a word that is no state":     {given: on("stop"), do: state("reboot"), no: true, kind: errs.Invalid, says: `"reboot"`},
		"a state nobody may ask for":  {given: on("stop"), do: state("migrate"), no: true, kind: errs.Invalid, says: `"migrate"`},
		"of a VM that does not exist": {given: hosts(), do: state("start"), no: true, kind: errs.NotFound, says: `"web1"`},
	} {
		t.Run(name, func(t *testing.T) { w.check(t, r) })
	}
}

// TestAStateMakesTheVMKnownToItsNode: what an old client defined stands in no index.
func TestAStateMakesTheVMKnownToItsNode(t *testing.T) {
	w := newWorld(t)
	old := join(hosts(), vm("stop", "hv1"))
	delete(old, "/nodes/hv1/vms/"+web1)
	delete(old, "/domains/"+web1+"/gen-1")
	w.check(t, rule{given: old, do: state("start"), writes: join(becomes("start"), compat.Tree{"/nodes/hv1/vms/" + web1: ""})})
}

// decision: two VMs of one name
func TestTwoVMsOfOneNameAreReachedByUUID(t *testing.T) {
	w := newWorld(t)
	twins := join(hosts(), vm("stop", "hv1"), vmAs("web1", web2, "stop", "hv1"))
	w.check(t, rule{given: twins, do: state("start"), no: true, kind: errs.Conflict, says: web2})
	byUUID := func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) {
		return c.SetVMState(ctx, cluster.SetVMState{VM: "{" + web2 + "}", State: "start"})
	}
	w.check(t, rule{given: twins, do: byUUID, writes: compat.Tree{"/domains/" + web2 + "/state": "start"}})
}
