package storagefaults

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// steps of a command at which its executor is lost.
var steps = []string{command.StepBeforeClaim, command.StepClaimed, command.StepExecuted, command.StepBeforeResult, command.StepFinished}

// losses are the ways in which it is lost. end repairs it, when others have gone on.
var losses = map[string]func(t testing.TB, h *host.Host) (end func()){
	"kill": func(t testing.TB, h *host.Host) func() {
		must(t, h.Kill(bounded(t), testbed.PVCD))
		return func() {}
	},
	"stop": func(t testing.TB, h *host.Host) func() {
		goOn := pause(t, h)
		sessionOver(t, h)
		return goOn
	},
}

// dangerous are the cells of the short form; each holds all verbs. An executor that is
// stopped has a test of its own.
var dangerous = []string{"kill at command-executed"}

// TestALostExecutorLosesAndRepeatsNoCommand loses the executor of all verbs at once at
// each step.
//
// decision: abandoned calls
func TestALostExecutorLosesAndRepeatsNoCommand(t *testing.T) {
	cells, left := 0, 0
	for n, step := range steps {
		for _, how := range []string{"kill", "stop"} {
			name := how + " at " + step
			if !long && !slices.Contains(dangerous, name) {
				left++
				continue
			}
			cells++
			t.Run(name, func(t *testing.T) { lose(t, fmt.Sprint(n, how[:1]), step, how) })
		}
	}
	if left > 0 {
		t.Logf("%d cells of the matrix, each with 12 verbs, are left to PVC_TEST_LONG=1", left)
	}
}

// keyed are the calls of acts with keys of their own.
func keyed(list []act, tag string) (calls []call) {
	for _, a := range list {
		c := a.call
		c.key = a.verb + "-" + tag
		calls = append(calls, c)
	}
	return calls
}

// commandOf is the znode of a call with a key.
func commandOf(c call) string {
	sum := sha256.Sum256([]byte(c.key))
	return "/commands/k-" + hex.EncodeToString(sum[:])
}

func lose(t *testing.T, tag, step, how string) {
	ready(t)
	list := acts(tag)
	prepared(t, list)
	before := agree(t, reconciled)
	calls := keyed(list, tag)

	h := primary(t)
	reached, release := gate(t, h, step)
	wait := all(t, calls)
	reached()
	stand(t, calls, step)
	end := losses[how](t, h)
	if how == "stop" { // the others take over what has not ended
		for _, c := range calls {
			result(t, c)
		}
	}
	release()
	end()
	answers := wait()

	now := ofCeph(t)
	if d := cmp.Diff(now, ofZooKeeper(t)); d != "" {
		t.Errorf("Ceph (-) and the records (+) do not agree when all have their answers:\n%s", d)
	}
	for i, a := range list {
		judge(t, a, calls[i], answers[i], before, now)
	}
	flagsDone(t)
	if loose := remains(t, pool); len(loose) > 0 {
		t.Errorf("half images: %v", loose)
	}
	ready(t) // the lost one, too, has come to its end
	if d := cmp.Diff(now, agree(t, reconciled)); d != "" {
		t.Errorf("it went on afterwards (-before +after):\n%s", d)
	}
}

// stand waits until all commands are at a step.
func stand(t testing.TB, calls []call, step string) {
	t.Helper()
	key := map[string]string{command.StepBeforeClaim: "", command.StepFinished: "/" + schema.CommandResult}
	suffix, known := key[step]
	if !known {
		suffix = "/" + schema.CommandExecutor
	}
	within(t, deadline, "all commands are at "+step, func() string {
		for _, c := range calls {
			if _, there, err := zookeep.Exists(bounded(t), commandOf(c)+suffix); err != nil || !there {
				return fmt.Sprint(c, " is not, ", err)
			}
		}
		return ""
	})
}

// result waits for the end of a command as ZooKeeper has it.
func result(t testing.TB, c call) (r struct {
	OK      bool
	Message string
}) {
	t.Helper()
	within(t, deadline, fmt.Sprint(c, " ends"), func() string {
		data := znode(t, commandOf(c)+"/"+schema.CommandResult)
		if data == "" {
			return "no result; executor " + znode(t, commandOf(c)+"/"+schema.CommandExecutor)
		}
		must(t, json.Unmarshal([]byte(data), &r))
		return ""
	})
	return r
}

// judge compares what a client was told, what it is told again, and what there is.
func judge(t testing.TB, a act, c call, got answer, before, now truth) {
	t.Helper()
	if got.status != http.StatusOK {
		t.Errorf("%s: %d %s", a.verb, got.status, got.text)
	}
	if a.done != nil {
		if wrong := a.done(before, now); wrong != "" {
			t.Errorf("%s: %s", a.verb, wrong)
		}
	}
	if r := result(t, c); !r.OK {
		t.Errorf("%s: its record says %+v", a.verb, r)
	}
	if again := c.do(t); again.text != got.text {
		t.Errorf("%s: the client heard %s, and when it asked again %s", a.verb, got.text, again.text)
	}
	if a.audit != nil {
		executedOnce(t, a.audit)
	}
}
