package storagefaults

import (
	"net/http"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/command"
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

// again are the verbs of which a late repetition would hit something else, and what
// the user makes in its place.
func again(tag string) (list []act, anew [][]call) {
	user := map[string][]call{
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
	for i, a := range list {
		if wrong := a.done(before, taken); wrong != "" {
			t.Errorf("%s was not taken over: %s", a.verb, wrong)
		}
		for _, c := range anew[i] {
			c.do(t)
		}
	}
	users := agree(t, reconciled)
	for _, what := range []string{pool + "/rm" + tag, pool + "/name" + tag, pool + "/size" + tag} {
		if was := before.Images[what]; id(users.Images[what]) == id(was) || users.Images[what] == "" {
			t.Fatalf("%s is no other image: %q, was %q", what, users.Images[what], was)
		}
	}

	release()
	goOn()
	ready(t)
	if d := cmp.Diff(users, agree(t, reconciled)); d != "" {
		t.Errorf("what the user made (-) is not what there is (+):\n%s", d)
	}
	for _, c := range calls { // and the result stays that of the first
		if r := result(t, c); !r.OK {
			t.Errorf("%v: %+v", c, r)
		}
	}
}
