package cluster_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

// of makes a deed of a storage call.
func of[R any](call func(*cluster.Cluster, context.Context, R) (cluster.Answer, error), r R) deed {
	return func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) { return call(c, ctx, r) }
}

// awaited makes a deed of a storage call that can be waited for.
func awaited[R any](call func(*cluster.Cluster, context.Context, R) (cluster.Begun, error), r R) deed {
	return func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) {
		b, err := call(c, ctx, r)
		if err != nil {
			return cluster.Answer{}, err
		}
		return c.WaitFor(ctx, b)
	}
}

var (
	setOption      = (*cluster.Cluster).SetOption
	addOSD         = (*cluster.Cluster).AddOSD
	removeOSD      = (*cluster.Cluster).RemoveOSD
	setOSDState    = (*cluster.Cluster).SetOSDState
	addPool        = (*cluster.Cluster).AddPool
	removePool     = (*cluster.Cluster).RemovePool
	addVolume      = (*cluster.Cluster).AddVolume
	modifyVolume   = (*cluster.Cluster).ModifyVolume
	removeVolume   = (*cluster.Cluster).RemoveVolume
	addSnapshot    = (*cluster.Cluster).AddSnapshot
	removeSnapshot = (*cluster.Cluster).RemoveSnapshot
)

// stored are the records of a cluster with storage.
func stored() compat.Tree {
	tree := join(pool("vms"), volume("vms", "a"), volume("vms", "b"), snapshot("vms", "b", "s1"), osd(3, "hv1", "/dev/sdb"))
	delete(tree, "/ceph/volumes/vms") // one of the roots
	return tree
}

// user is web2, whose disk is a volume.
func user(of string) compat.Tree {
	return vmAs("web2", web2, "stop", "hv1", "rbdlist", of, "xml", document("web2", web2, device(rbd, of)))
}

// decision: cluster options
// decision: OSDs
// decision: pools
// decision: volumes
// decision: sizes
// decision: shrinking
// decision: space
// decision: volumes in use
// decision: snapshots of volumes
// decision: storage names
// decision: idempotency key
func TestStorageRequestsThatCannotBeGrantedChangeNothing(t *testing.T) {
	w := newWorld(t)
	w.write(t, stored())
	add := func(pool, name, size string) deed {
		return of(addVolume, cluster.AddVolume{Pool: pool, Volume: name, Size: size})
	}
	change := func(name, size, to string, force bool) deed {
		return of(modifyVolume, cluster.ModifyVolume{Pool: "vms", Volume: name, Size: size, Name: to, Force: force})
	}
	osdOn := func(node, device, weight string) deed {
		return awaited(addOSD, cluster.AddOSD{Node: node, Device: device, Weight: weight})
	}
	off := node("hv1", "facts", `{"no_storage":"it has none"}`)
	for name, r := range map[string]rule{
		"an unknown option":             refuse(hosts(), of(setOption, cluster.SetOption{Option: "noot", Set: true}), errs.Invalid, `value "option": option "noot" is unknown`),
		"an option that stays":          refuse(hosts(), of(setOption, cluster.SetOption{Option: "sortbitwise"}), errs.Invalid, "cannot be unset"),
		"an OSD on an unknown node":     refuse(hosts(), osdOn("hv9", "/dev/sdc", "1"), errs.NotFound, `value "node": no node is named "hv9"`),
		"an OSD on a dead node":         refuse(join(hosts(), node("hv4", "dead", "")), osdOn("hv4", "/dev/sdc", "1"), errs.Conflict, `the daemon of node "hv4" is in state dead`),
		"an OSD on one without storage": refuse(join(node("hv2"), off), osdOn("hv1", "/dev/sdc", "1"), errs.Conflict, `node "hv1" has no storage`),
		"an OSD's device again":         refuse(hosts(), osdOn("hv1", "/dev/sdb", "1"), errs.Conflict, `/dev/sdb of node "hv1" is OSD 3 already`),
		"a device elsewhere":            refuse(hosts(), osdOn("hv1", "/etc/passwd", "1"), errs.Invalid, `value "device": device "/etc/passwd"`),
		"a device by a detour":          refuse(hosts(), osdOn("hv1", "/dev/../etc/x", "1"), errs.Invalid, `value "device"`),
		"a weight of nothing":           refuse(hosts(), osdOn("hv1", "/dev/sdc", "0"), errs.Invalid, `value "weight": weight 0`),
		"a weight below nothing":        refuse(hosts(), osdOn("hv1", "/dev/sdc", "-1"), errs.Invalid, `"-1"`),
		"removal of an unknown OSD":     refuse(hosts(), awaited(removeOSD, cluster.RemoveOSD{OSD: "osd.4"}), errs.NotFound, `"osd.4"`),
		"removal of a dead node's OSD":  refuse(join(node("hv1", "dead", ""), node("hv2")), awaited(removeOSD, cluster.RemoveOSD{OSD: "3"}), errs.Conflict, `its disk is in host hv1, whose daemon is in state dead`),
		"removal where pvcd ends":       refuse(join(node("hv1", "daemonstate", "shutdown"), node("hv2")), awaited(removeOSD, cluster.RemoveOSD{OSD: "3"}), errs.Conflict, `in state shutdown`),
		"removal of no OSD":             refuse(hosts(), awaited(removeOSD, cluster.RemoveOSD{OSD: "osd"}), errs.Invalid, `"osd"`),
		"an unknown OSD in":             refuse(hosts(), of(setOSDState, cluster.SetOSDState{OSD: "30", In: true}), errs.NotFound, `"30"`),
		"an OSD with a zero too many":   refuse(hosts(), of(setOSDState, cluster.SetOSDState{OSD: "03"}), errs.Invalid, `"03"`),

		"a pool that exists":        refuse(hosts(), of(addPool, cluster.AddPool{Pool: "vms", PGs: 64}), errs.Conflict, `a pool named "vms" exists already`),
		"a pool named as a path":    refuse(hosts(), of(addPool, cluster.AddPool{Pool: "snapshot", PGs: 64}), errs.Invalid, `"snapshot"`),
		"a pool's name with a /":    refuse(hosts(), of(addPool, cluster.AddPool{Pool: "a/b", PGs: 64}), errs.Invalid, `"a/b"`),
		"no placement groups":       refuse(hosts(), of(addPool, cluster.AddPool{Pool: "x"}), errs.Invalid, `value "pgs"`),
		"removal of no pool":        refuse(hosts(), of(removePool, cluster.RemovePool{Pool: "x"}), errs.NotFound, `"x"`),
		"removal of a pool in use":  refuse(join(hosts(), user("vms/a")), of(removePool, cluster.RemovePool{Pool: "vms"}), errs.Conflict, `pool "vms" is used by VM "web2"`),
		"a volume in no pool":       refuse(hosts(), add("x", "c", "1G"), errs.NotFound, `value "pool": no pool is named "x"`),
		"a volume that exists":      refuse(hosts(), add("vms", "a", "1G"), errs.Conflict, `value "volume": a volume "a" exists already`),
		"a size of nothing":         refuse(hosts(), add("vms", "c", "0"), errs.Invalid, `value "size": size "0"`),
		"a size below nothing":      refuse(hosts(), add("vms", "c", "-1G"), errs.Invalid, `"-1G"`),
		"a size in words":           refuse(hosts(), add("vms", "c", "20 GB"), errs.Invalid, `"20 GB"`),
		"a size beyond all":         refuse(hosts(), add("vms", "c", "8192P"), errs.Invalid, `"8192P"`),
		"a size beyond the pool":    refuse(hosts(), add("vms", "c", "11G"), errs.Conflict, `value "size": pool "vms" has 10G left, 11G are needed: use force`),
		"a volume's name with an @": refuse(hosts(), add("vms", "c@d", "1G"), errs.Invalid, `"c@d"`),
		"a volume of 97 bytes":      refuse(hosts(), add("vms", strings.Repeat("c", 97), "1G"), errs.Invalid, "at most 96 bytes"),

		"no change":                 refuse(hosts(), change("a", "", "", false), errs.Invalid, `neither value "size" nor "name"`),
		"a change of no volume":     refuse(hosts(), change("c", "1G", "", false), errs.NotFound, `pool "vms" has no volume "c"`),
		"shrinking":                 refuse(hosts(), change("a", "1G", "", false), errs.Conflict, `value "size": volume "vms/a" has 2048M: 1024M would cut off`),
		"shrinking by force in use": refuse(join(hosts(), user("vms/a")), change("a", "1G", "", true), errs.Conflict, `volume "vms/a" is used by VM "web2": it was not made smaller`),
		"growing beyond the pool":   refuse(hosts(), change("a", "13G", "", false), errs.Conflict, "has 10G left, 11G are needed"),
		"a name that is taken":      refuse(hosts(), change("a", "", "b", false), errs.Conflict, `value "name": a volume "b" exists already`),
		"a name with a /":           refuse(hosts(), change("a", "", "x/y", false), errs.Invalid, `value "name"`),
		"a new name in use":         refuse(join(hosts(), user("vms/a")), change("a", "", "c", true), errs.Conflict, `used by VM "web2": it was not renamed`),
		"both, with a taken name":   refuse(hosts(), change("a", "3G", "b", false), errs.Conflict, `value "name"`),
		"both, with a bad size":     refuse(hosts(), change("a", "0", "c", false), errs.Invalid, "the volume was not renamed, as its size could not be changed: value \"size\""),
		"removal of no volume":      refuse(hosts(), of(removeVolume, cluster.RemoveVolume{Pool: "vms", Volume: "c"}), errs.NotFound, `"c"`),
		"removal in use":            refuse(join(hosts(), user("vms/a")), of(removeVolume, cluster.RemoveVolume{Pool: "vms", Volume: "a"}), errs.Conflict, `used by VM "web2": it was not removed`),
		"a snapshot of no volume":   refuse(hosts(), of(addSnapshot, cluster.AddSnapshot{Pool: "vms", Volume: "c", Snapshot: "s"}), errs.NotFound, `"c"`),
		"a snapshot again":          refuse(hosts(), of(addSnapshot, cluster.AddSnapshot{Pool: "vms", Volume: "b", Snapshot: "s1"}), errs.Conflict, `value "snapshot": a snapshot "s1" of volume "vms/b" exists`),
		"a snapshot without a name": refuse(hosts(), of(addSnapshot, cluster.AddSnapshot{Pool: "vms", Volume: "b"}), errs.Invalid, `value "snapshot"`),
		"removal of no snapshot":    refuse(hosts(), of(removeSnapshot, cluster.RemoveSnapshot{Pool: "vms", Volume: "b", Snapshot: "s"}), errs.NotFound, `volume "vms/b" has no snapshot "s"`),

		"a key with a line end": refuse(hosts(), of(removeVolume, cluster.RemoveVolume{By: cluster.Caller{Key: "a\nb"}, Pool: "vms", Volume: "a"}), errs.Invalid, `header "Idempotency-Key"`),
		"a cluster without":     refuse(off, add("vms", "c", "1G"), errs.Conflict, "storage is not enabled"),
		"no host that runs":     refuse(join(off, node("hv2", "dead", "")), add("vms", "c", "1G"), errs.Conflict, "no host with storage is in operation"),
	} {
		t.Run(name, func(t *testing.T) { w.check(t, r) })
	}
}

// decision: what 200 means
// decision: cluster options
// decision: OSDs
// decision: pools
// decision: volumes
// decision: shrinking
// decision: space
// decision: snapshots of volumes
func TestStorageRequestsAreExecutedAndAnsweredAtTheirEnd(t *testing.T) {
	w := newWorld(t)
	w.write(t, hosts(), stored(), user("vms/b"))
	sync(t, w.v)
	host := w.executes(t, "hv1")
	for _, tc := range []struct {
		do   deed
		asks string
	}{
		{of(setOption, cluster.SetOption{Option: "noout", Set: true}), `osd_set{"flag":"noout"}`},
		{of(setOption, cluster.SetOption{Option: "noout"}), `osd_unset{"flag":"noout"}`},
		{awaited(removeOSD, cluster.RemoveOSD{OSD: "osd.3", Force: true}), `osd_remove{"osd":3,"force":true}`},
		{of(setOSDState, cluster.SetOSDState{OSD: "3", In: true}), `osd_in{"osd":3}`},
		{of(setOSDState, cluster.SetOSDState{OSD: "osd.3"}), `osd_out{"osd":3}`},
		{of(addPool, cluster.AddPool{Pool: "slow disks", PGs: 100}), `pool_add{"pool":"slow disks","pgs":100}`},
		{of(removePool, cluster.RemovePool{Pool: "vms"}), ""},
		{of(addVolume, cluster.AddVolume{Pool: "vms", Volume: "c", Size: "1g"}), `volume_add{"pool":"vms","volume":"c","size":1073741824,"force":false}`},
		{of(addVolume, cluster.AddVolume{Pool: "vms", Volume: "d", Size: "4T", Force: true}), `volume_add{"pool":"vms","volume":"d","size":4398046511104,"force":true}`},
		{of(modifyVolume, cluster.ModifyVolume{Pool: "vms", Volume: "a", Size: "1G", Force: true}), `volume_resize{"pool":"vms","volume":"a","size":1073741824,"shrink":true,"force":true}`},
		{of(modifyVolume, cluster.ModifyVolume{Pool: "vms", Volume: "b", Size: "3G"}), `volume_resize{"pool":"vms","volume":"b","size":3221225472,"shrink":false,"force":false}`},
		{of(modifyVolume, cluster.ModifyVolume{Pool: "vms", Volume: "a", Name: "e"}), `volume_rename{"pool":"vms","volume":"a","name":"e"}`},
		{of(addSnapshot, cluster.AddSnapshot{Pool: "vms", Volume: "b", Snapshot: "s2"}), `snapshot_add{"pool":"vms","volume":"b","snapshot":"s2"}`},
		{of(removeSnapshot, cluster.RemoveSnapshot{Pool: "vms", Volume: "b", Snapshot: "s1"}), `snapshot_remove{"pool":"vms","volume":"b","snapshot":"s1"}`},
		{of(removeVolume, cluster.RemoveVolume{Pool: "vms", Volume: "d"}), `volume_remove{"pool":"vms","volume":"d"}`},
	} {
		answer, err := tc.do(t.Context(), w.rules)
		asked := strings.Join(host.take(), "\n")
		verb, _, _ := strings.Cut(tc.asks, "{")
		if tc.asks == "" && errs.Is(err, errs.Conflict) && asked == "" { // b is in use
			continue
		}
		if err != nil || asked != tc.asks || answer.Message != "done: "+verb {
			t.Errorf("%s: asked for %s: %q, %v", tc.asks, asked, answer.Message, err)
		}
	}
	begin := awaited(addOSD, cluster.AddOSD{Node: "hv1", Device: "/dev/sdc", Weight: "1.5"})
	if _, err := begin(t.Context(), w.rules); err != nil {
		t.Error(err)
	}
	if asked := strings.Join(host.take(), ""); !strings.HasPrefix(asked, `osd_add{"node":"hv1","device":"/dev/sdc","weight":1.5,"uuid":"`) {
		t.Errorf("asked for %s", asked)
	}
}

// decision: failures of Ceph
func TestAnExecutorsReasonIsPassedOnAsItIs(t *testing.T) {
	w := newWorld(t)
	w.write(t, hosts(), pool("vms"))
	sync(t, w.v)
	w.executes(t, "hv1")
	for name, kind := range map[string]errs.Kind{"busy": errs.Conflict, "down": errs.Conflict, "forbidden": errs.Conflict, "lost": errs.NotFound} {
		_, err := w.rules.AddVolume(t.Context(), cluster.AddVolume{Pool: "vms", Volume: name, Size: "1G"})
		if !errs.Is(err, kind) || err.Error() != reasons[name].Error() {
			t.Errorf("%s: %v of kind %v, want %q of kind %v", name, err, errs.KindOf(err), reasons[name], kind)
		}
	}
}

// decision: the executing host
func TestThePrimaryIsAskedFirstAndAnotherOneWhenItIsGone(t *testing.T) {
	do := of(addVolume, cluster.AddVolume{Pool: "vms", Volume: "c", Size: "1G"})
	for name, tc := range map[string]struct {
		given   compat.Tree
		primary string
		want    string
	}{
		"the primary":                 {hosts(), "hv2", "hv2"},
		"a primary without storage":   {join(hosts(), node("hv2", "facts", `{"no_storage":"x"}`)), "hv2", "hv1"},
		"a primary that is not ready": {join(hosts(), node("hv2", "daemonstate", "init")), "hv2", "hv1"},
		"no primary":                  {join(node("hv1", "dead", ""), node("hv2"), node("hv3")), "", "hv2"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.write(t, tc.given, pool("vms"))
			if tc.primary != "" {
				w.write(t, compat.Tree{"/primary_node/holder": tc.primary})
			}
			sync(t, w.v)
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // it is only begun
			if _, err := do(ctx, w.rules); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "it waits for host "+tc.want) {
				t.Errorf("%v, want it to wait for %s", err, tc.want)
			}
		})
	}
}

// decision: abandoned calls
func TestAClientThatHangsUpEndsOnlyItsWaiting(t *testing.T) {
	w := newWorld(t)
	w.write(t, hosts(), stored())
	sync(t, w.v)
	host := w.executes(t, "hv1")
	host.hold = make(chan struct{})
	for what, do := range map[string]deed{
		"one":  of(addVolume, cluster.AddVolume{Pool: "vms", Volume: "c", Size: "1G"}),
		"both": of(modifyVolume, cluster.ModifyVolume{Pool: "vms", Volume: "a", Size: "4G", Name: "e"}),
	} {
		ctx, hangUp := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { // received below
			_, err := do(ctx, w.rules)
			done <- err
		}()
		host.waitFor(t, 1)
		hangUp()
		host.hold <- struct{}{}
		if what == "both" { // the second step comes, though nobody waits
			host.waitFor(t, 2)
			host.hold <- struct{}{}
		}
		if err := <-done; err != nil && (!errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "it goes on")) {
			t.Errorf("%s: %v", what, err)
		}
		host.take()
	}
	coordtest.Eventually(t, "the volume is there", func() bool {
		_, there := coordtest.Data(t, w.client, "/ceph/volumes/vms/c/stats")
		return there
	})
}

// waitFor waits until so many commands were asked for since the last take.
func (e *executor) waitFor(t *testing.T, n int) {
	t.Helper()
	coordtest.Eventually(t, fmt.Sprintf("%d commands", n), func() bool {
		e.mu.Lock()
		defer e.mu.Unlock()
		return len(e.asked) >= n
	})
}

// decision: PUT of a volume
func TestASizeIsChangedBeforeANameAndTheFirstFailureEndsIt(t *testing.T) {
	w := newWorld(t)
	w.write(t, hosts(), stored(), volume("vms", "busy"))
	sync(t, w.v)
	host := w.executes(t, "hv1")
	for _, tc := range []struct{ volume, to, says, asks string }{
		{"a", "c", "done: volume_resize; done: volume_rename", "volume_resize volume_rename"},
		{"busy", "c", "the volume was not renamed, as its size could not be changed: EBUSY: image has snapshots", "volume_resize"},
		{"a", "busy2", "done: volume_resize; done: volume_rename", "volume_resize volume_rename"},
		{"a", "down", "done: volume_resize, but it was not renamed: Ceph does not answer: no monitor within 10 s", "volume_resize volume_rename"},
		{"a", "a", "done: volume_resize; volume \"vms/a\" has that name already", "volume_resize"},
	} {
		answer, err := w.rules.ModifyVolume(t.Context(), cluster.ModifyVolume{Pool: "vms", Volume: tc.volume, Size: "3G", Name: tc.to})
		says := answer.Message
		if err != nil {
			says = err.Error()
		}
		var verbs []string
		for _, a := range host.take() {
			verb, _, _ := strings.Cut(a, "{")
			verbs = append(verbs, verb)
		}
		if says != tc.says || strings.Join(verbs, " ") != tc.asks {
			t.Errorf("%s to %s: %q after %v", tc.volume, tc.to, says, verbs)
		}
	}
}

// decision: idempotency key
func TestARepetitionWithTheSameKeyGetsTheFirstResult(t *testing.T) {
	w := newWorld(t)
	w.write(t, hosts(), stored())
	sync(t, w.v)
	_, second := w.another(t)
	host := w.executes(t, "hv1")
	by := cluster.Caller{Key: "retry-1", Request: "r1"}
	add := cluster.AddVolume{By: by, Pool: "vms", Volume: "c", Size: "1G"}
	for _, c := range []*cluster.Cluster{w.rules, second} {
		if answer, err := c.AddVolume(t.Context(), add); err != nil || answer.Message != "done: volume_add" {
			t.Errorf("%q, %v", answer.Message, err)
		}
	}
	both := cluster.ModifyVolume{By: cluster.Caller{Key: "retry-2"}, Pool: "vms", Volume: "a", Size: "3G", Name: "e"}
	for range 2 {
		if answer, err := w.rules.ModifyVolume(t.Context(), both); err != nil || answer.Message != "done: volume_resize; done: volume_rename" {
			t.Errorf("%q, %v", answer.Message, err)
		}
	}
	if asked := host.take(); len(asked) != 3 {
		t.Errorf("asked for %v", asked)
	}
	add.Volume = "d"
	if _, err := second.AddVolume(t.Context(), add); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), `"retry-1"`) {
		t.Errorf("another request with that key: %v", err)
	}
	add.By = cluster.Caller{}
	if _, err := second.AddVolume(t.Context(), add); err != nil {
		t.Errorf("without a key: %v", err)
	}
	if _, err := second.AddVolume(t.Context(), add); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("again without a key: %v", err)
	}
}

// decision: joined requests
func TestOfTwoVolumesOfOneNameOneIsMade(t *testing.T) {
	w := newWorld(t)
	w.write(t, hosts(), stored())
	sync(t, w.v)
	_, second := w.another(t)
	w.executes(t, "hv1")
	add := func(i int, size string) deed {
		return of(addVolume, cluster.AddVolume{Pool: "vms", Volume: fmt.Sprintf("twin%d", i), Size: size})
	}
	for i := range rounds {
		a, b := atOnce(t.Context(), w.rules, second, add(i, "1G"), add(i, "2G"))
		lost := a
		if a == nil {
			lost = b
		}
		if (a == nil) == (b == nil) || !errs.Is(lost, errs.Conflict) || !strings.Contains(lost.Error(), "exists") {
			t.Errorf("%v and %v; one success was expected", a, b)
		}
	}
}

// decision: joined requests
func TestTheSameRequestOfTwoClientsIsOneCommand(t *testing.T) {
	w := newWorld(t)
	w.write(t, hosts(), stored())
	sync(t, w.v)
	_, second := w.another(t)
	began := make(chan cluster.Begun, 2*rounds)
	for i := range 2 * rounds {
		c := []*cluster.Cluster{w.rules, second}[i%2]
		go func() { // received below
			b, err := c.RemoveOSD(t.Context(), cluster.RemoveOSD{OSD: "3"})
			if err != nil {
				t.Error(err)
			}
			began <- b
		}()
	}
	first := <-began
	for range 2*rounds - 1 {
		if b := <-began; b != first {
			t.Errorf("%v and %v", first, b)
		}
	}
	host := w.executes(t, "hv1")
	for _, c := range []*cluster.Cluster{w.rules, second} {
		if answer, err := c.WaitFor(t.Context(), first); err != nil || answer.Message != "done: osd_remove" {
			t.Errorf("%q, %v", answer.Message, err)
		}
	}
	if asked := host.take(); len(asked) != 1 {
		t.Errorf("asked for %v", asked)
	}
}

// decision: tasks
func TestATaskTellsHowFarItsCommandIs(t *testing.T) {
	w := newWorld(t)
	w.write(t, hosts(), stored())
	sync(t, w.v)
	b, err := w.rules.RemoveOSD(t.Context(), cluster.RemoveOSD{OSD: "3"})
	if err != nil || b.Node != "hv1" || b.Verb != command.VerbOSDRemove {
		t.Fatalf("%+v, %v", b, err)
	}
	if task, err := w.rules.Task(b.Handle.ID); err != nil || task.State != command.TaskPending || task.RunsOn != "hv1" {
		t.Errorf("%+v, %v", task, err)
	}
	w.executes(t, "hv1")
	if _, err := w.rules.WaitFor(t.Context(), b); err != nil {
		t.Error(err)
	}
	want := command.Task{ID: b.Handle.ID, Verb: "osd_remove", State: command.TaskSuccess, RunsOn: "hv1", Status: "done: osd_remove", Result: command.Result{Message: "done: osd_remove"}}
	if task, err := w.rules.Task(b.Handle.ID); err != nil || cmp.Diff(want, task) != "" {
		t.Errorf("%+v, %v", task, err)
	}
	if _, err := w.rules.Task("r-1"); !errs.Is(err, errs.NotFound) {
		t.Errorf("an unknown one: %v", err)
	}
}

// decision: what 200 means
func TestACommandThatDoesNotEndIsReportedAsSuch(t *testing.T) {
	w := newWorld(t)
	w.write(t, hosts(), stored())
	sync(t, w.v)
	impatient := cluster.New(cluster.Options{View: w.v, WaitTimeout: 10 * time.Millisecond})
	_, err := impatient.AddVolume(t.Context(), cluster.AddVolume{Pool: "vms", Volume: "c", Size: "1G"})
	if !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "it has not ended after 10ms") || !strings.Contains(err.Error(), "it waits for host hv1") {
		t.Errorf("%v", err)
	}
}

// decision: storage reads
func TestWhatThePrimaryPublishesOfCephIsShown(t *testing.T) {
	w := newWorld(t)
	w.write(t, node("hv1", "facts", `{"no_storage":"x"}`))
	sync(t, w.v)
	refused := func(why string, err error) {
		t.Helper()
		if !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want %q", err, why)
		}
	}
	_, err := w.rules.StorageStatus(t.Context())
	refused("storage is not enabled", err)
	refused("storage is not enabled", w.rules.StorageKnown(t.Context()))
	w.set(t, "/nodes/hv1/facts", "{}")
	sync(t, w.v)
	_, err = w.rules.StorageUsage(t.Context())
	refused("nothing is known of Ceph yet", err)
	refused("nothing is known of Ceph yet", w.rules.StorageKnown(t.Context()))
	w.set(t, "/ceph", "  cluster:\n    id: 1\n\n ")
	w.write(t, compat.Tree{"/ceph/radosdf": "POOL_NAME\n", "/ceph/usage": `{"pools":[]}`, "/ceph/status": "broken"})
	for _, tc := range []struct {
		read       func(context.Context) (cluster.StorageText, error)
		text, json string
	}{{w.rules.StorageStatus, "  cluster:\n    id: 1", ""}, {w.rules.StorageUsage, "POOL_NAME", `{"pools":[]}`}} {
		if got, err := tc.read(t.Context()); err != nil || got.Text != tc.text || string(got.JSON) != tc.json {
			t.Errorf("%q, %s, %v", got.Text, got.JSON, err)
		}
	}
	if err := w.rules.StorageKnown(t.Context()); err != nil {
		t.Error(err)
	}
	w.set(t, "/ceph", "Ceph does not answer: ETIMEDOUT\n")
	_, err = w.rules.StorageStatus(t.Context())
	refused("Ceph does not answer: ETIMEDOUT", err)
	w.set(t, "/ceph", "")
}

// decision: writable volumes
func TestNoVMGetsAVolumeThatIsAboutToGo(t *testing.T) {
	for what, begin := range map[string]deed{
		"volume_remove": of(removeVolume, cluster.RemoveVolume{Pool: "vms", Volume: "a"}),
		"volume_rename": of(modifyVolume, cluster.ModifyVolume{Pool: "vms", Volume: "a", Name: "c"}),
		"pool_remove":   of(removePool, cluster.RemovePool{Pool: "vms"}),
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.write(t, hosts(), stored(), vm("stop", "hv1"))
			sync(t, w.v)
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // it is only begun
			if _, err := begin(ctx, w.rules); !strings.Contains(err.Error(), "it goes on") {
				t.Fatal(err)
			}
			for _, do := range []deed{
				define(cluster.DefineVM{XML: document("web2", web2, device(rbd, "vms/a"))}), modify(document("web1", web1, device(rbd, "vms/a")), false),
			} {
				if _, err := do(t.Context(), w.rules); !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), `volume "vms/a" cannot be used: `+what) {
					t.Errorf("%v", err)
				}
			}
		})
	}
}
