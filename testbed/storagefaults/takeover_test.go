package storagefaults

import (
	"encoding/json"
	"fmt"
	"net/http"
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

// again are the verbs with what the user makes in place of their objects meanwhile: a late
// repetition would hit that, or bring back what was removed.
func again(tag string) (list []act, anew [][]call) {
	user := map[string][]call{
		"volume_add":      {remove("add" + tag), add("add"+tag, "12M")},
		"snapshot_add":    {removeSnapshot("snap"+tag, "s"), snapshot("snap"+tag, "s")},
		"pool_add":        {removePool("pa" + tag), addPool("pa" + tag)},
		"osd_out":         {mark("0", "in")},
		"osd_in":          {mark("3", "out")},
		"osd_set":         {option("unset", "noscrub")},
		"osd_unset":       {option("set", "nodeep-scrub")},
		"volume_remove":   {add("rm"+tag, "12M")},
		"pool_remove":     {addPool("pr" + tag)},
		"snapshot_remove": {snapshot("unsnap"+tag, "s")},
		"volume_rename":   {add("name"+tag, "12M")},
		"volume_resize":   {remove("size" + tag), add("size"+tag, "8M")},
	}
	for _, a := range acts(tag) {
		if calls := user[a.verb]; calls != nil {
			list, anew = append(list, a), append(anew, calls)
		}
	}
	return list, anew
}

func continueLate(t *testing.T, tag, step string) {
	ready(t)
	list, anew := again(tag)
	prepared(t, list)
	before := agree(t, reconciled)
	calls := keyed(list, tag)

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
	taken := agree(t, reconciled)
	var waiting []call // until it is known what the stopped one may still do
	flagsDone(t)
	for i, a := range list {
		if a.done != nil {
			if wrong := a.done(before, taken); wrong != "" {
				t.Errorf("%s was not taken over: %s", a.verb, wrong)
			}
		}
		if strings.HasPrefix(a.verb, "pool_") && claimed(step) {
			isReserved(t, anew[i][0])
			waiting = append(waiting, anew[i]...)
			continue
		}
		for _, c := range anew[i] {
			c.do(t)
		}
	}
	users, flags := agree(t, reconciled), flagsNow(t)
	for _, what := range []string{pool + "/rm" + tag, pool + "/name" + tag, pool + "/size" + tag} {
		if was := before.Images[what]; id(users.Images[what]) == id(was) || users.Images[what] == "" {
			t.Fatalf("%s is no other image: %q, was %q", what, users.Images[what], was)
		}
	}

	release()
	goOn()
	ready(t)
	for _, c := range waiting {
		whenFree(t, c)
	}
	after := agree(t, reconciled)
	if len(waiting) > 0 { // made since
		users.Pools["pr"+tag], users.Pools["pa"+tag] = after.Pools["pr"+tag], after.Pools["pa"+tag]
	}
	if now := flagsNow(t); now != flags {
		t.Errorf("flags %s, the user left %s", now, flags)
	}
	if d := cmp.Diff(users, after); d != "" {
		t.Errorf("what the user made (-) is not what there is (+):\n%s", d)
	}
	for _, c := range calls { // and the result stays that of the first
		if r := result(t, c); !r.OK {
			t.Errorf("%v: %+v", c, r)
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

// isReserved sends a call about a pool whose name is.
func isReserved(t testing.TB, c call) {
	t.Helper()
	got, err := c.untilAnswered(bounded(t))
	must(t, err)
	if got.status != http.StatusNotExtended || !strings.Contains(got.text, "is reserved: host") {
		t.Errorf("%v: %d %s", c, got.status, got.text)
	}
}

// whenFree repeats a call about a pool until its name is not reserved any more.
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

// TestALateCommandForAMonitorHitsNoPoolMadeAnew stops an executor between its look and its
// command, which the monitor takes from a fenced client too, until the command was taken over
// and the user wants another pool of that name.
func TestALateCommandForAMonitorHitsNoPoolMadeAnew(t *testing.T) {
	ready(t)
	addPool("late-rm").do(t)
	for _, tc := range []struct {
		name, gate  string
		late, again call
		there       bool // in the end
	}{
		{"late-rm", "ceph-osd-pool-delete", removePool("late-rm"), addPool("late-rm"), true},
		{"late-add", "ceph-osd-pool-create", addPool("late-add"), removePool("late-add"), false},
	} {
		t.Run(tc.gate, func(t *testing.T) {
			if !long && !tc.there {
				t.Skip("PVC_TEST_LONG=1; the other one is the dangerous one")
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
			now := agree(t, reconciled)
			if (now.Pools[tc.name] != "") != tc.there {
				t.Errorf("pools %v, before the late command %v", now.Pools, before.Pools)
			}
		})
	}
}
