package storagefaults

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// TestAnExecutorThatContinuesLateLeavesWhatUsersMadeMeanwhile stops an executor until its
// commands were taken over and the user has made something else under the same names.
//
// scenario 10
func TestAnExecutorThatContinuesLateLeavesWhatUsersMadeMeanwhile(t *testing.T) {
	for _, step := range steps {
		if !long && step != command.StepClaimed {
			continue
		}
		t.Run(step, func(t *testing.T) { continueLate(t, "late-"+step[len("command-"):], step) })
	}
	if !long {
		t.Logf("%d steps are left to PVC_TEST_LONG=1", len(steps)-1)
	}
}

// late is a verb with what the user makes in place of its object meanwhile: a late repetition
// would hit that, or bring back what was removed.
type late struct {
	act
	anew []call
	// monitor says that a monitor is told to do it, which does what fenced clients ask for: the
	// user has to wait until it is known that nothing comes late any more. Then there is what
	// the user has made, or is not: wrong says what is.
	monitor bool
	wrong   func(now truth, flags string) string
}

func again(tag string) (list []late) {
	volume := func(calls ...call) late { return late{anew: calls} }
	byMonitor := func(c call, wrong func(now truth, flags string) string) late {
		return late{anew: []call{c}, monitor: true, wrong: wrong}
	}
	in := func(osd, want string) func(truth, string) string {
		return func(now truth, _ string) string { return same("OSD "+osd+" in", now.In[osd], want) }
	}
	is := func(flag string, want bool) func(truth, string) string {
		return func(_ truth, flags string) string {
			return same(flag, fmt.Sprint(slices.Contains(strings.Split(flags, ","), flag)), fmt.Sprint(want))
		}
	}
	user := map[string]late{
		"volume_add":      volume(remove("add"+tag), add("add"+tag, "12M")),
		"snapshot_add":    volume(removeSnapshot("snap"+tag, "s"), snapshot("snap"+tag, "s")),
		"volume_remove":   volume(add("rm"+tag, "12M")),
		"snapshot_remove": volume(snapshot("unsnap"+tag, "s")),
		"volume_rename":   volume(add("name"+tag, "12M")),
		"volume_resize":   volume(remove("size"+tag), add("size"+tag, "8M")),
		"pool_add":        byMonitor(removePool("pa"+tag), func(now truth, _ string) string { return gone(now.Pools, "pa"+tag) }),
		"pool_remove":     byMonitor(addPool("pr"+tag), func(now truth, _ string) string { return there(now.Pools, "pr"+tag) }),
		"osd_out":         byMonitor(mark("0", "in"), in("0", "1")),
		"osd_in":          byMonitor(mark("3", "out"), in("3", "0")),
		"osd_set":         byMonitor(option("unset", "noscrub"), is("noscrub", false)),
		"osd_unset":       byMonitor(option("set", "nodeep-scrub"), is("nodeep-scrub", true)),
	}
	for _, a := range acts(tag) {
		if l, known := user[a.verb]; known {
			l.act = a
			list = append(list, l)
		}
	}
	return list
}

func continueLate(t *testing.T, tag, step string) {
	ready(t)
	list := again(tag)
	var tried []act
	for _, l := range list {
		tried = append(tried, l.act)
	}
	prepared(t, tried)
	before := agree(t, reconciled)
	calls := keyed(tried, tag)

	h := primary(t)
	reached, release := gate(t, h, step)
	wait := all(t, calls)
	reached()
	stand(t, calls, step)
	goOn := pause(t, h)
	sessionOver(t, h)
	for i, got := range wait() {
		if got.status != http.StatusOK {
			t.Errorf("%v: %d %s", calls[i], got.status, got.text)
		}
	}
	waiting := madeAnew(t, list, before, claimed(step))
	users, flags := agree(t, reconciled), flagsNow(t)
	for _, what := range []string{pool + "/rm" + tag, pool + "/name" + tag, pool + "/size" + tag} {
		if was := before.Images[what]; id(users.Images[what]) == id(was) || users.Images[what] == "" {
			t.Fatalf("%s is no other image: %q, was %q", what, users.Images[what], was)
		}
	}

	release()
	goOn()
	ready(t)
	for _, l := range waiting {
		for _, c := range l.anew {
			whenFree(t, c)
		}
	}
	after := agree(t, reconciled)
	if len(waiting) > 0 { // made since, and judged by itself
		users.Pools, users.In, flags = after.Pools, after.In, flagsNow(t)
	}
	judgeLate(t, list, users, after, flags)
	for _, c := range calls { // and the result stays that of the first
		if r := result(t, c); !r.OK {
			t.Errorf("%v: %+v", c, r)
		}
	}
}

// madeAnew has the user make everything anew that may be; what is reserved by the lost one is
// for later.
func madeAnew(t *testing.T, list []late, before truth, reserved bool) (waiting []late) {
	t.Helper()
	taken := agree(t, reconciled)
	flagsDone(t)
	for _, l := range list {
		if l.done != nil {
			if wrong := l.done(before, taken); wrong != "" {
				t.Errorf("%s was not taken over: %s", l.verb, wrong)
			}
		}
		if l.monitor && reserved {
			isReserved(t, l.anew[0])
			waiting = append(waiting, l)
			continue
		}
		for _, c := range l.anew {
			c.do(t)
		}
	}
	return waiting
}

// judgeLate compares what there is with what the user made.
func judgeLate(t *testing.T, list []late, users, after truth, flags string) {
	t.Helper()
	now := flagsNow(t)
	if now != flags {
		t.Errorf("flags %s, the user left %s", now, flags)
	}
	if d := cmp.Diff(users, after); d != "" {
		t.Errorf("what the user made (-) is not what there is (+):\n%s", d)
	}
	for _, l := range list {
		if l.monitor {
			if wrong := l.wrong(after, now); wrong != "" {
				t.Errorf("after a late %s: %s", l.verb, wrong)
			}
		}
	}
}

// TestALongRemovalThatIsFrozenHalfWayIsFinishedByAnother stops the executor while objects of
// an image go; the user makes a volume of that name before it continues.
func TestALongRemovalThatIsFrozenHalfWayIsFinishedByAnother(t *testing.T) {
	if !long {
		t.Skip("a minute: PVC_TEST_LONG=1; the short form is HalfRemovedImageIsFinishedByItsID of ceph/rados")
	}
	ready(t)
	// Without an object map each of its 32,768 objects is asked for.
	tool(t, "rbd", "create", "--size", "128M", "--object-size", "4K", "--image-feature", "layering,exclusive-lock", pool+"/long")
	was := agree(t, reconciled).Images[pool+"/long"]
	c := remove("long")
	c.key = "long"
	h := primary(t)
	wait := all(t, []call{c})
	var at struct{ Current, Total int64 }
	within(t, deadline, "it is half-way", func() string {
		data := znode(t, commandOf(c)+"/progress")
		if data != "" {
			must(t, json.Unmarshal([]byte(data), &at))
		}
		return same("begun", fmt.Sprint(at.Current > 0 && at.Current < at.Total), "true")
	})
	goOn := pause(t, h)
	if znode(t, commandOf(c)+"/"+schema.CommandResult) != "" {
		t.Fatal("it had ended before it was stopped")
	}
	sessionOver(t, h)
	if got := wait()[0]; got.status != http.StatusOK {
		t.Fatalf("%d %s", got.status, got.text)
	}
	t.Logf("stopped at %d of %d", at.Current, at.Total)
	add("long", "12M").do(t)
	users := agree(t, reconciled)
	if now := users.Images[pool+"/long"]; id(now) == id(was) || now == "" {
		t.Fatalf("image %q, was %q", now, was)
	}
	goOn()
	ready(t)
	if d := cmp.Diff(users, agree(t, reconciled)); d != "" {
		t.Errorf("what the user made (-) is not what there is (+):\n%s", d)
	}
	if loose := remains(t, pool); len(loose) > 0 {
		t.Errorf("%d objects are left, such as %s", len(loose), loose[0])
	}
}

// claimed reports whether an executor that is lost at a step has a command in its hands.
func claimed(step string) bool {
	return step != command.StepBeforeClaim && step != command.StepFinished
}

// isReserved sends a call about what is reserved.
func isReserved(t testing.TB, c call) {
	t.Helper()
	got, err := c.untilAnswered(bounded(t))
	must(t, err)
	if got.status != http.StatusNotExtended || !strings.Contains(got.text, "is reserved: host") {
		t.Errorf("%v: %d %s", c, got.status, got.text)
	}
}

// whenFree repeats a call until what it is about is not reserved any more.
func whenFree(t testing.TB, c call) {
	t.Helper()
	within(t, deadline, fmt.Sprint(c, " is done"), func() string {
		got, err := c.untilAnswered(bounded(t))
		must(t, err)
		if got.status == http.StatusOK {
			return ""
		}
		if !strings.Contains(got.text, "is reserved") {
			t.Fatalf("%v: %d %s", c, got.status, got.text)
		}
		return got.text
	})
}

// TestALateCommandForAMonitorUndoesNothing stops an executor between its look and its
// command, which the monitor takes from a fenced client too, until the command was taken over
// and the user wants the opposite.
func TestALateCommandForAMonitorUndoesNothing(t *testing.T) {
	ready(t)
	unreserved(t)
	addPool("late-rm").do(t)
	option("unset", "nobackfill").do(t)
	for _, tc := range []struct {
		name, gate  string
		late, again call
		there       func(truth) bool
		want        bool // in the end
	}{
		{"late-rm", "ceph-osd-pool-delete", removePool("late-rm"), addPool("late-rm"), hasPool("late-rm"), true},
		{"late-add", "ceph-osd-pool-create", addPool("late-add"), removePool("late-add"), hasPool("late-add"), false},
		{"late-set", "ceph-osd-set", option("set", "nobackfill"), option("unset", "nobackfill"),
			func(truth) bool { return strings.Contains(flagsNow(t), "nobackfill") }, false},
		{"late-out", "ceph-osd-out", mark("2", "out"), mark("2", "in"), func(now truth) bool { return now.In["2"] == "1" }, true},
	} {
		t.Run(tc.gate, func(t *testing.T) {
			if !long && tc.name != "late-rm" {
				t.Skip("PVC_TEST_LONG=1; the removal of a pool is the most dangerous one")
			}
			ready(t)
			h := primary(t)
			reached, release := gate(t, h, tc.gate)
			late := tc.late
			late.key = tc.name // asked again when the command has ended, it is answered the same
			wait := all(t, []call{late})
			reached()
			goOn := pause(t, h)
			sessionOver(t, h)
			if got := wait()[0]; got.status != http.StatusOK {
				t.Fatalf("taken over: %d %s", got.status, got.text)
			}
			before := agree(t, reconciled)
			isReserved(t, tc.again)
			release()
			goOn()
			whenFree(t, tc.again)
			ready(t)
			if now := agree(t, reconciled); tc.there(now) != tc.want {
				t.Errorf("it is the other way round: %+v, before the late command %+v", now, before)
			}
		})
	}
}

func hasPool(name string) func(truth) bool {
	return func(now truth) bool { return now.Pools[name] != "" }
}
