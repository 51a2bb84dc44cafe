package e2e

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed/guest"
)

// settled waits until a VM is in the state and stays there for a second with the
// same process: what was under way before has ended.
func settled(t testing.TB, vm, state string) {
	t.Helper()
	var since time.Time
	held := ""
	within(t, deadline, "VM "+vm+" settles in state "+state, func() string {
		v, _ := getVM(t, vm)
		now := fmt.Sprint(v.State, qemus(vm))
		if now != held {
			held, since = now, time.Now()
		}
		running := len(qemus(vm)) == 1
		if v.State != state || running != (state == "start") || time.Since(since) < time.Second {
			return fmt.Sprintf("%+v, processes %v", v, qemus(vm))
		}
		return ""
	})
}

// decision: contradictory requests
func TestContradictoryRequestsEndInTheLaterOne(t *testing.T) {
	t.Parallel()
	for i, c := range []struct{ from, first, second, end string }{
		{"start", "shutdown", "start", "start"},
		{"stop", "start", "stop", "stop"},
		{"start", "stop", "start", "start"},
		{"start", "restart", "stop", "stop"},
	} {
		vm := "ee" + c.first + c.second
		t.Run(c.first+" then "+c.second, func(t *testing.T) {
			t.Parallel()
			defineTick(t, i%3+1, vm)
			for range contradictions {
				do(t, post, "/vm/"+vm+"/state", "state="+c.from, "wait=True")
				do(t, post, "/vm/"+vm+"/state", "state="+c.first)
				do(t, post, "/vm/"+vm+"/state", "state="+c.second)
				settled(t, vm, c.end)
			}
		})
	}
}

// TestTwoClientsAtOnceEndInTheLastWish lets two clients quarrel: every answer is a
// yes or a reasoned no, and the wish after the quarrel is fulfilled.
func TestTwoClientsAtOnceEndInTheLastWish(t *testing.T) {
	t.Parallel()
	const vm = "eequarrel"
	defineTick(t, 3, vm)
	var clients sync.WaitGroup
	for _, wishes := range [][]string{{"start", "shutdown", "start", "stop"}, {"start", "restart", "stop", "start"}} {
		clients.Go(func() {
			for round := range 2 * len(wishes) {
				a := call(t, post, "/vm/"+vm+"/state", "state="+wishes[round%len(wishes)])
				if a.status != http.StatusOK && a.status != http.StatusNotExtended {
					t.Errorf("%s: %d %s", wishes[round%len(wishes)], a.status, a.text())
				}
			}
		})
	}
	clients.Wait()
	do(t, post, "/vm/"+vm+"/state", "state=start")
	settled(t, vm, "start")
	do(t, post, "/vm/"+vm+"/state", "state=stop")
	settled(t, vm, "stop")
}

// idle is a guest without anything to boot: it sits in the firmware, costs nothing and
// ignores the power button.
func idle(name string) string {
	xml := guest.Tick(guest.Options{Name: name, Images: images})
	return strings.Replace(xml, "<kernel>"+images.Tick+"</kernel>", "", 1)
}

func TestStartIsNotHeldUpByManyShutdowns(t *testing.T) {
	var slow []string
	for i := range crowd {
		slow = append(slow, fmt.Sprintf("eeslow%d", i))
		define(t, 3, slow[i], idle(slow[i]))
		do(t, post, "/vm/"+slow[i]+"/state", "state=start")
	}
	for _, vm := range slow {
		do(t, post, "/vm/"+vm+"/state", "state=start", "wait=True")
	}
	const vm = "eequick"
	defineTick(t, 3, vm)
	all(t, slow, func(vm string) { do(t, post, "/vm/"+vm+"/state", "state=shutdown") })
	began := time.Now()
	do(t, post, "/vm/"+vm+"/state", "state=start", "wait=True")
	took := time.Since(began)
	still := 0
	for _, vm := range slow {
		still += len(qemus(vm))
	}
	t.Logf("started in %v, %d of %d guests still had to shut down", took, still, crowd)
	// In a queue behind them, however many were ended at a time, it would be among the last.
	if still < crowd/4 {
		t.Errorf("%d of %d guests had not ended when the other ran: the start was held up (%v)", still, crowd, took)
	}
	all(t, slow, func(vm string) { waitState(t, vm, "stop") })
}

// all does something for every VM, all at once.
func all(t testing.TB, vms []string, f func(vm string)) {
	t.Helper()
	var g sync.WaitGroup
	for _, vm := range vms {
		g.Go(func() { f(vm) })
	}
	g.Wait()
}
