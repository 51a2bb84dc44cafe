package e2e

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
)

func TestNodesRegisterWithTheirFacts(t *testing.T) {
	primaries := 0
	for _, h := range cluster.Hosts() {
		n := getNode(t, h.Name)
		if n.DaemonState != "run" || n.CPUCount != runtime.NumCPU() || n.Memory.Total == 0 || n.Kernel == "" || n.OS == "" || n.Arch == "" {
			t.Errorf("%+v", n)
		}
		if n.CoordinatorState == "primary" {
			primaries++
		}
		for _, key := range []string{schema.NodeDaemonMode, schema.NodeKeepalive, schema.NodeStaticData, schema.NodeRunningDomains, schema.NodeIPMIHost} {
			if !onRecord(t, schema.Node(h.Name, key)) {
				t.Errorf("%s has no key %s", h.Name, key)
			}
		}
	}
	if primaries != 1 {
		t.Errorf("%d primaries", primaries)
	}
}

func TestSelectorSpreadsPlannedVMs(t *testing.T) {
	count := map[string]int{}
	for i := range 6 {
		vm := fmt.Sprintf("eespread%d", i)
		do(t, post, "/vm", "xml="+guest.Tick(guest.Options{Name: vm, Images: images}), "selector=vms")
		t.Cleanup(func() { remove(t, vm) })
		v, _ := getVM(t, vm)
		count[v.Node]++
	}
	if got := slices.Sorted(maps.Values(count)); !slices.Equal(got, []int{2, 2, 2}) {
		t.Errorf("VMs per node: %v", count)
	}
	for _, selector := range []string{"mem", "vcpus", "load"} {
		vm := "eeby" + selector
		m := do(t, post, "/vm", "xml="+guest.Tick(guest.Options{Name: vm, Images: images}), "selector="+selector)
		t.Cleanup(func() { remove(t, vm) })
		if v, _ := getVM(t, vm); !strings.Contains(m, v.Node) {
			t.Errorf("selector %s: on %q, message %q", selector, v.Node, m)
		}
	}
	refused(t, "nonsense", post, "/vm", "xml="+guest.Tick(guest.Options{Name: "eebynone", Images: images}), "selector=nonsense")
}

// population starts n tiny guests on host i and returns how far each has counted.
func population(t testing.TB, i, n int, prefix string) map[string]int {
	t.Helper()
	at := map[string]int{}
	for k := range n {
		vm := fmt.Sprintf("%s%d", prefix, k)
		defineTick(t, i, vm)
		at[vm] = 0
		do(t, post, "/vm/"+vm+"/state", "state=start")
	}
	for vm := range at {
		do(t, post, "/vm/"+vm+"/state", "state=start", "wait=True")
		at[vm] = waitTicks(t, vm, 1)
	}
	return at
}

// runElsewhere waits until guests are seen to run elsewhere. Who did not wait for a flush may see
// its end before that of the last migration.
func runElsewhere(t testing.TB, host string, at map[string]int) {
	t.Helper()
	within(t, deadline, "the guests of "+host+" run elsewhere", func() string {
		for vm := range at {
			if v, _ := getVM(t, vm); v.Node == host || v.State != "start" {
				return fmt.Sprintf("%+v", v)
			}
		}
		return ""
	})
}

// readyAgain puts host i back after a test of flushes.
func readyAgain(t testing.TB, i int) {
	t.Helper()
	do(t, post, "/node/"+cluster.Host(i).Name+"/domain-state", "domain-state=ready", "wait=True")
}

// decision: flush
// decision: ready
func TestFlushEmptiesANodeAndReadyBringsItsGuestsHome(t *testing.T) {
	const i = 3
	host := cluster.Host(i).Name
	at := population(t, i, 4, "eeflush")
	do(t, post, "/node/"+host+"/domain-state", "domain-state=flush")
	defer readyAgain(t, i)
	most := 0
	within(t, deadline, "end of the flush", func() string {
		var moving []vmState
		get(t, "/vm?state=migrate", &moving)
		most = max(most, len(moving))
		if n := getNode(t, host); n.DomainState != "flushed" {
			return fmt.Sprintf("%+v", n)
		}
		return ""
	})
	if most < 2 {
		t.Errorf("at most %d guests were moved at a time", most)
	}
	runElsewhere(t, host, at)
	for vm := range at {
		if v, _ := getVM(t, vm); v.LastNode != host {
			t.Errorf("after the flush: %+v", v)
		}
	}
	do(t, post, "/node/"+host+"/domain-state", "domain-state=ready", "wait=True")
	for vm, before := range at {
		if v, _ := getVM(t, vm); v.Node != host || v.LastNode != "" || v.State != "start" {
			t.Errorf("after ready: %+v", v)
		}
		goesOn(t, vm, before)
	}
}

// decision: interrupted flush
func TestReadyCancelsAFlush(t *testing.T) {
	const i = 3
	host := cluster.Host(i).Name
	at := population(t, i, 4, "eecancel")
	do(t, post, "/node/"+host+"/domain-state", "domain-state=flush")
	do(t, post, "/node/"+host+"/domain-state", "domain-state=ready", "wait=True")
	if n := getNode(t, host); n.DomainState != "ready" {
		t.Errorf("%+v", n)
	}
	for vm, before := range at {
		within(t, deadline, vm+" is at home", func() string {
			if v, _ := getVM(t, vm); v.Node != host || v.LastNode != "" || v.State != "start" {
				return fmt.Sprintf("%+v", v)
			}
			return ""
		})
		goesOn(t, vm, before)
	}
}

// TestFlushGoesOnAfterAKillAndLeavesAloneWhatAUserMoved moves one guest to a node of
// the user's choice, for good, while the flush is under way, and kills the daemon that
// flushes: the user's guest stays where it was put, also after ready, and all others go.
func TestFlushGoesOnAfterAKillAndLeavesAloneWhatAUserMoved(t *testing.T) {
	const i = 3
	h, chosen := cluster.Host(i), cluster.Host(1).Name
	at := population(t, i, 4, "eeuser")
	const mine = "eeuser3"
	do(t, post, "/vm/"+mine+"/node", "action=move", "node="+chosen)
	do(t, post, "/node/"+h.Name+"/domain-state", "domain-state=flush")
	defer readyAgain(t, i)
	must(t, h.Kill(t.Context(), testbed.PVCD))
	within(t, 2*deadline, "end of the flush", func() string {
		if n := getNode(t, h.Name); n.DomainState != "flushed" {
			return fmt.Sprintf("%+v", n)
		}
		return ""
	})
	runElsewhere(t, h.Name, at)
	if v, _ := getVM(t, mine); v.Node != chosen || v.LastNode != "" {
		t.Errorf("moved by the user: %+v", v)
	}
	do(t, post, "/node/"+h.Name+"/domain-state", "domain-state=ready", "wait=True")
	for vm, before := range at {
		if v, _ := getVM(t, vm); (v.Node == h.Name) == (vm == mine) {
			t.Errorf("after ready: %+v", v)
		}
		goesOn(t, vm, before)
	}
}

func TestGuestsOfTheLastReadyNodeStay(t *testing.T) {
	startTick(t, 1, "eelast")
	for _, i := range []int{2, 3} {
		do(t, post, "/node/"+cluster.Host(i).Name+"/domain-state", "domain-state=flush", "wait=True")
		defer readyAgain(t, i)
	}
	last := cluster.Host(1).Name
	refused(t, "eelast", post, "/node/"+last+"/domain-state", "domain-state=flush")
	if n := getNode(t, last); n.DomainState != "ready" {
		t.Errorf("%+v", n)
	}
	do(t, post, "/vm/eelast/state", "state=stop", "wait=True")
	do(t, post, "/node/"+last+"/domain-state", "domain-state=flush", "wait=True")
	defer readyAgain(t, 1)
	refused(t, "node", post, "/vm", "xml="+guest.Tick(guest.Options{Name: "eenowhere", Images: images}))
}

// decision: guests that cannot leave
// decision: local disks
func TestGuestThatCannotLeaveStaysAndIsNamed(t *testing.T) {
	const vm, i = "eelocal", 3
	h := cluster.Host(i)
	disk := "/var/lib/libvirt/images/eelocal.img" // every host has its own
	must(t, os.MkdirAll(filepath.Dir(h.Path(disk)), 0o755))
	must(t, guest.MakeDisk(h.Path(disk), 1<<20))
	xml := strings.Replace(guest.Tick(guest.Options{Name: vm, Images: images}), "</devices>",
		"<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'/><source file='"+disk+"'/><target dev='vda' bus='virtio'/></disk></devices>", 1)
	define(t, i, vm, xml)
	do(t, post, "/vm/"+vm+"/state", "state=start", "wait=True")
	startTick(t, i, "eemobile")
	refused(t, vm, post, "/node/"+h.Name+"/domain-state", "domain-state=flush", "wait=True")
	defer readyAgain(t, i)
	if n := getNode(t, h.Name); n.DomainState != "flush" || !strings.Contains(n.FlushReport, vm) || strings.Contains(n.FlushReport, "eemobile") {
		t.Errorf("%+v", n)
	}
	if v, _ := getVM(t, "eemobile"); v.Node == h.Name {
		t.Errorf("%+v", v)
	}
	waitState(t, vm, "start")
	do(t, post, "/node/"+h.Name+"/domain-state", "domain-state=ready", "wait=True")
	if n := getNode(t, h.Name); n.FlushReport != "" {
		t.Errorf("after ready: %+v", n)
	}
}

// decision: removal
func TestNodeIsRemovedOnlyWhenNothingDependsOnIt(t *testing.T) {
	const i = 3
	h := cluster.Host(i)
	defineTick(t, i, "eetenant")
	refused(t, "yes_i_really_mean_it", del, "/node/"+h.Name)
	refused(t, "alive", del, "/node/"+h.Name, "yes_i_really_mean_it=True")
	must(t, h.Stop(t.Context(), testbed.PVCD))
	defer healthy(t)
	defer func() { must(t, h.Up(context.WithoutCancel(t.Context()), testbed.PVCD)) }()
	within(t, deadline, "a clean stop", func() string {
		if n := getNode(t, h.Name); n.DaemonState != "stop" {
			return fmt.Sprintf("%+v", n)
		}
		return ""
	})
	refused(t, "eetenant", del, "/node/"+h.Name, "yes_i_really_mean_it=True")
	do(t, del, "/vm/eetenant")
	do(t, del, "/node/"+h.Name, "yes_i_really_mean_it=True")
	var list []nodeState
	if get(t, "/node/"+h.Name, &list); len(list) != 0 {
		t.Errorf("removed, but there: %+v", list)
	}
}

// TestSecondDaemonOfANameIsRefused runs host 1's configuration on host 2 while the
// true one lives.
//
// decision: one name, one daemon
func TestSecondDaemonOfANameIsRefused(t *testing.T) {
	one, two := cluster.Host(1), cluster.Host(2)
	config := filepath.Join(cluster.SharedDir(), "twin.yaml")
	b, err := os.ReadFile(one.Path("/etc/pvc/pvcd.yaml"))
	must(t, err)
	text := strings.ReplaceAll(string(b), "/run/pvc", "/run/twin")
	must(t, os.WriteFile(config, []byte(text), 0o600))
	sessions := func() string {
		return strings.Join(children(t, schema.Node(one.Name, schema.NodeSession)), " ")
	}
	before := sessions()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	pid, err := two.PID(ctx, testbed.PVCD)
	must(t, err)
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid))
	must(t, err)
	cmd, err := two.Command(ctx, "env", "PVC_BOOT_ID_FILE=/run/boot-id", exe, "--config", config)
	must(t, err)
	out := new(lines)
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = out, out, time.Second
	must(t, cmd.Start())
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }() // received below
	var end error
	within(t, deadline, "end of the second daemon", func() string {
		if now := sessions(); now != before {
			t.Errorf("the sessions of %s were %s, now %s", one.Name, before, now)
		}
		select {
		case end = <-ended:
			return ""
		default:
			return "it runs and says " + out.String()
		}
	})
	if end == nil || !strings.Contains(out.String(), "two hosts must not have one name") {
		t.Errorf("%v ended with %v and said:\n%s", cmd.Args, end, out.String())
	}
	if getNode(t, one.Name).DaemonState != "run" {
		t.Error("the true one was hurt")
	}
}
