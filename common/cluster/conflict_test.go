package cluster_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

// rounds of two calls at once; most collide, as both look before either has committed.
const rounds = 10

// atOnce makes two calls through two APIs at the same moment.
func atOnce(ctx context.Context, a, b *cluster.Cluster, first, second deed) (errA, errB error) {
	begin, done := make(chan struct{}), make(chan error, 1)
	go func() { // received below
		<-begin
		_, err := second(ctx, b)
		done <- err
	}()
	close(begin)
	_, errA = first(ctx, a)
	return errA, <-done
}

// oneWins demands that one of two calls was refused as a conflict that says why.
func oneWins(t *testing.T, a, b error, says string) {
	t.Helper()
	lost := errors.Join(a, b)
	if (a == nil) == (b == nil) || !errs.Is(lost, errs.Conflict) && !errs.Is(a, errs.Conflict) && !errs.Is(b, errs.Conflict) ||
		!strings.Contains(lost.Error(), says) {
		t.Errorf("%v and %v; one success and one conflict with %q were expected", a, b, says)
	}
}

// decision: define
func TestOfTwoDefinitionsOfOneNameOneWins(t *testing.T) {
	w := newWorld(t)
	_, second := w.another(t)
	w.reset(t, hosts())
	for i := range rounds {
		name := fmt.Sprintf("twin%d", i)
		one := define(cluster.DefineVM{XML: document(name, "", ""), Node: "hv1"})
		two := define(cluster.DefineVM{XML: document(name, "", ""), Node: "hv2"})
		a, b := atOnce(t.Context(), w.rules, second, one, two)
		oneWins(t, a, b, fmt.Sprintf("a VM named %q exists already", name))
	}
	tree := w.tree(t)
	if n := len(tree.Children("/domains")); n != rounds {
		t.Errorf("%d VMs, want %d", n, rounds)
	}
	if n := len(tree.Children("/nodes/hv1/vms")) + len(tree.Children("/nodes/hv2/vms")); n != rounds {
		t.Errorf("%d entries in the indexes, want %d", n, rounds)
	}
}

// decision: shared images
func TestOfTwoDefinitionsWithOneImageOneWins(t *testing.T) {
	w := newWorld(t)
	_, second := w.another(t)
	w.reset(t, hosts())
	for i := range rounds {
		disk := device(file, fmt.Sprintf("/srv/%d", i))
		one := define(cluster.DefineVM{XML: document(fmt.Sprintf("a%d", i), "", disk)})
		two := define(cluster.DefineVM{XML: document(fmt.Sprintf("b%d", i), "", disk)})
		a, b := atOnce(t.Context(), w.rules, second, one, two)
		oneWins(t, a, b, "belongs to VM")
	}
}

// TestOfTwoDefinitionsOfDifferentVMsBothWin: they collide in the root of the VMs, and
// the loser is made to look again.
func TestOfTwoDefinitionsOfDifferentVMsBothWin(t *testing.T) {
	w := newWorld(t)
	_, second := w.another(t)
	w.reset(t, hosts())
	for i := range rounds {
		one := define(cluster.DefineVM{XML: document(fmt.Sprintf("a%d", i), "", "")})
		two := define(cluster.DefineVM{XML: document(fmt.Sprintf("b%d", i), "", "")})
		if a, b := atOnce(t.Context(), w.rules, second, one, two); a != nil || b != nil {
			t.Fatalf("%v and %v", a, b)
		}
	}
}

// decision: migrate
// decision: under way
func TestOfTwoMigrationsAtOnceOneWins(t *testing.T) {
	w := newWorld(t)
	v2, second := w.another(t)
	for range rounds {
		w.reset(t, hosts(), vm("start", "hv1"), claim("hv1"))
		sync(t, v2)
		one := relocate(cluster.SetVMNode{Action: "migrate", Node: "hv2"})
		two := relocate(cluster.SetVMNode{Action: "migrate", Node: "hv3"})
		a, b := atOnce(t.Context(), w.rules, second, one, two)
		oneWins(t, a, b, "state migrate")
		want := map[bool]string{true: "hv2", false: "hv3"}[a == nil]
		w.now = w.tree(t)
		if got := w.now["/domains/"+web1+"/node"]; got != want || !strings.Contains(w.now["/domains/"+web1+"/migration"], want) {
			t.Errorf("node %s, record %s, but the winner asked for %s", got, w.now["/domains/"+web1+"/migration"], want)
		}
	}
}

// decision: contradictory requests
func TestOfTwoContradictoryStatesTheLaterStands(t *testing.T) {
	w := newWorld(t)
	v2, second := w.another(t)
	for range rounds {
		w.reset(t, hosts(), vm("start", "hv1"), claim("hv1"))
		sync(t, v2)
		a, b := atOnce(t.Context(), w.rules, second, state("stop"), state("restart"))
		w.now = w.tree(t)
		got := w.now["/domains/"+web1+"/state"]
		// After a stop there is nothing to restart, so either that is refused or it came first.
		if a != nil || got != "stop" || b != nil && !errs.Is(b, errs.Conflict) {
			t.Errorf("stop: %v, restart: %v, the state is %s", a, b, got)
		}
	}
}

// TestAChangeUnderTheRuleIsSeen: an old client writes while we decide, round after round.
func TestAnOldClientsWritesNeverMixWithOurs(t *testing.T) {
	w := newWorld(t)
	old := compat.StartOldClient(t, w.addrs)
	for range rounds {
		w.reset(t, hosts(), vm("stop", "hv1"))
		moved := make(chan error, 1)
		go func() { // received below
			_, err := relocate(cluster.SetVMNode{Action: "move", Node: "hv2"})(t.Context(), w.rules)
			moved <- err
		}()
		committed := old.TryWrite(map[string]string{schema.VM(web1, "node"): "hv3", schema.VM(web1, "lastnode"): "hv1"})
		if err := <-moved; err != nil {
			t.Fatal(err)
		}
		w.now = w.tree(t)
		got := []string{w.now["/domains/"+web1+"/node"], w.now["/domains/"+web1+"/lastnode"]}
		ours, theirs := []string{"hv2", ""}, []string{"hv3", "hv1"}
		if !slices.Equal(got, ours) && !(committed && slices.Equal(got, theirs)) {
			t.Errorf("node and home are %v: half of each", got)
		}
	}
}

// decision: what 200 means
func TestAWaitingCallEndsWithWhatItBegan(t *testing.T) {
	w := newWorld(t)
	key := func(name string) string { return "/domains/" + web1 + "/" + name }
	for name, tc := range map[string]struct {
		given compat.Tree
		do    deed
		then  func(t *testing.T) // what the host does
		says  string             // the error; empty if it succeeds
	}{
		"a start that comes to run": {
			given: join(hosts(), vm("stop", "hv1")), do: waiting(cluster.SetVMState{State: "start"}),
			then: func(t *testing.T) { w.write(t, claim("hv1")) }},
		"a start that fails": {
			given: join(hosts(), vm("stop", "hv1")), do: waiting(cluster.SetVMState{State: "start"}), says: "it failed: no such disk",
			then: func(t *testing.T) {
				w.commit(t, new(coord.Txn).Set(key("state"), []byte("failed"), -1).Set(key("failedreason"), []byte("no such disk"), -1))
			}},
		"a stop": {
			given: join(hosts(), vm("start", "hv1"), claim("hv1")), do: waiting(cluster.SetVMState{State: "stop"}),
			then: func(t *testing.T) { w.commit(t, new(coord.Txn).Delete("/claims/"+web1, -1)) }},
		"a start under which the VM is deleted": {
			given: join(hosts(), vm("stop", "hv1")), do: waiting(cluster.SetVMState{State: "start"}), says: "deleted meanwhile",
			then: func(t *testing.T) {
				txn := new(coord.Txn)
				paths := w.tree(t).Below("/domains/" + web1).Paths()
				for i := len(paths) - 1; i >= 0; i-- {
					txn.Delete(paths[i], -1)
				}
				w.commit(t, txn)
			}},
		"a flush that ends": {
			given: hosts(), do: waitingDomain("flush"), then: func(t *testing.T) { w.set(t, "/nodes/hv1/domainstate", "flushed") }},
		"a flush that leaves a guest": {
			given: hosts(), do: waitingDomain("flush"), says: "guests had to stay: web1: why",
			then: func(t *testing.T) { w.set(t, "/nodes/hv1/flush", "web1: why") }},
		"a flush that is cancelled": {
			given: hosts(), do: waitingDomain("flush"), says: "cancelled", then: func(t *testing.T) { w.set(t, "/nodes/hv1/domainstate", "unflush") }},
		"a flush whose node dies": {
			given: hosts(), do: waitingDomain("flush"), says: "does not answer any more",
			then: func(t *testing.T) { w.commit(t, new(coord.Txn).Delete("/nodes/hv1/session/session-b-1", -1)) }},
		"a migration that fails": {
			given: join(hosts(), vm("start", "hv1"), claim("hv1")), says: "stays on hv1: no room",
			do: relocate(cluster.SetVMNode{Action: "migrate", Node: "hv2", Wait: true}),
			then: func(t *testing.T) {
				w.commit(t, new(coord.Txn).Set(key("state"), []byte("start"), -1).Set(key("node"), []byte("hv1"), -1).
					Set(key("failedreason"), []byte("no room"), -1).Delete(key("migration"), -1))
			}},
		"a migration that arrives": {
			given: join(hosts(), vm("start", "hv1"), claim("hv1")), do: relocate(cluster.SetVMNode{Action: "migrate", Node: "hv2", Wait: true}),
			then: func(t *testing.T) {
				w.commit(t, new(coord.Txn).Set(key("state"), []byte("start"), -1).Delete(key("migration"), -1).
					Set("/claims/"+web1, []byte(claim("hv2")["/claims/"+web1]), -1))
			}},
	} {
		t.Run(name, func(t *testing.T) {
			w.now = nil // the hosts' part is not written by a case of the table
			w.reset(t, tc.given)
			begun := make(chan error, 1)
			generation := generationOf(w.v)
			go func() { // received below
				_, err := tc.do(t.Context(), w.rules)
				begun <- err
			}()
			coordtest.Eventually(t, "the wish is committed", func() bool { return generationOf(w.v) != generation })
			tc.then(t)
			err := <-begun
			if tc.says == "" && err != nil || tc.says != "" && (err == nil || !strings.Contains(err.Error(), tc.says)) {
				t.Errorf("err = %v, want %q", err, tc.says)
			}
		})
	}
}

func generationOf(v *view.View) (n uint64) {
	v.Read(func(s *view.Snapshot) { n = s.Generation() })
	return n
}

func waiting(r cluster.SetVMState) deed {
	r.VM, r.Wait = "web1", true
	return func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) { return c.SetVMState(ctx, r) }
}

func waitingDomain(state string) deed {
	return func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) {
		return c.SetDomainState(ctx, cluster.SetDomainState{Node: "hv1", State: state, Wait: true})
	}
}

func TestAWaitThatDoesNotEndSaysSoAndChangesNothingMore(t *testing.T) {
	w := newWorld(t)
	w.reset(t, hosts(), vm("stop", "hv1"))
	impatient := cluster.New(cluster.Options{View: w.v, WaitTimeout: 50 * time.Millisecond, CommitTimeout: coordtest.Patience})
	_, err := waiting(cluster.SetVMState{State: "start"})(t.Context(), impatient)
	if !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "has not ended after 50ms") {
		t.Errorf("err = %v", err)
	}
	if got := w.tree(t)["/domains/"+web1+"/state"]; got != "start" {
		t.Errorf("state %q: what was begun goes on", got)
	}
}

// decision: console
func TestTheConsoleLogIsReadByLines(t *testing.T) {
	w := newWorld(t)
	for name, tc := range map[string]struct {
		stored string
		lines  int
		want   string
	}{
		"all of it":          {"a\nb\nc\n", 0, "a\nb\nc\n"},
		"the last two":       {"a\nb\nc\n", 2, "b\nc\n"},
		"an unfinished line": {"a\nb\nc", 1, "c"},
		"more than there is": {"a\nb\n", 9, "a\nb\n"},
		"an old None":        {"None", 5, ""},
		"nothing":            {"", 5, ""},
		"not UTF-8":          {"a\xff\n", 5, "a\uFFFD\n"},
	} {
		t.Run(name, func(t *testing.T) {
			w.now = nil
			w.reset(t, hosts(), vm("start", "hv1", "consolelog", tc.stored))
			got, err := w.rules.ConsoleLog(t.Context(), "web1", tc.lines)
			if err != nil || got != tc.want {
				t.Errorf("%q, %v, want %q", got, err, tc.want)
			}
		})
	}
	if _, err := w.rules.ConsoleLog(t.Context(), "web9", 1); !errs.Is(err, errs.NotFound) {
		t.Errorf("of a VM that does not exist: %v", err)
	}
}
