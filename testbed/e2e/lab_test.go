package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed/guest"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
	"github.com/parallelvirtualcluster/pvc/testbed/lab"
)

func must(t testing.TB, err error) { t.Helper(); lab.Must(t, err) }

// within waits until check returns "" and fails with its last word otherwise.
func within(t testing.TB, limit time.Duration, what string, check func() string) {
	t.Helper()
	lab.Until(t, limit, what, check)
}

// during checks for the given time that check returns "".
func during(t testing.TB, d time.Duration, what string, check func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		if wrong := check(); wrong != "" && ctx.Err() == nil {
			t.Fatalf("%s: %s", what, wrong)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}

// answer is what a call of the API returned.
type answer struct {
	status int
	body   []byte
}

// text is the message of an answer, or its body.
func (a answer) text() string {
	var m struct{ Message string }
	if json.Unmarshal(a.body, &m) == nil && m.Message != "" {
		return m.Message
	}
	return string(a.body)
}

// pairs makes values of name=value.
func pairs(list []string) url.Values {
	v := url.Values{}
	for _, p := range list {
		name, value, _ := strings.Cut(p, "=")
		v.Add(name, value)
	}
	return v
}

// call asks the primary's API and repeats what it did not answer: the primary may be
// moving. A 503 is an answer that nothing was changed.
func call(t testing.TB, method, path string, values ...string) answer {
	t.Helper()
	return callWithin(t, deadline, method, path, values...)
}

func callWithin(t testing.TB, limit time.Duration, method, path string, values ...string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit)
	defer cancel()
	for {
		a, err := cluster.API(ctx)
		if err != nil {
			t.Fatalf("%s %s: %v", method, path, err)
		}
		status, body, err := a.Call(ctx, method, "/api/v1"+path, pairs(values))
		if err == nil && status != http.StatusServiceUnavailable {
			return answer{status, body}
		}
		if ctx.Err() != nil {
			t.Fatalf("%s %s: not answered within %v: %d %s %v", method, path, limit, status, body, err)
		}
	}
}

// do is call for what has to succeed; it returns the message.
func do(t testing.TB, method, path string, values ...string) string {
	t.Helper()
	a := call(t, method, path, values...)
	if a.status != http.StatusOK {
		t.Fatalf("%s %s %v: %d %s", method, path, short(values), a.status, a.text())
	}
	return a.text()
}

// refused is call for what has to be refused with 510 and a word of the reason.
func refused(t testing.TB, reason, method, path string, values ...string) {
	t.Helper()
	a := call(t, method, path, values...)
	if a.status != http.StatusNotExtended || !strings.Contains(a.text(), reason) {
		t.Fatalf("%s %s %v: %d %s; 510 with %q was expected", method, path, short(values), a.status, a.text(), reason)
	}
}

// short leaves XML out of a message.
func short(values []string) []string {
	out := slices.Clone(values)
	for i, v := range out {
		if len(v) > 60 {
			out[i] = v[:60] + "…"
		}
	}
	return out
}

// vmState is what the API says of a VM.
type vmState struct {
	Name, UUID, State, Node string
	LastNode                string `json:"last_node"`
	FailedReason            string `json:"failed_reason"`
}

func getVM(t testing.TB, name string) (vm vmState, there bool) {
	t.Helper()
	var list []vmState
	get(t, "/vm/"+name, &list)
	if len(list) == 0 {
		return vm, false
	}
	return list[0], true
}

func get(t testing.TB, path string, into any) {
	t.Helper()
	a := call(t, http.MethodGet, path)
	if a.status != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, a.status, a.text())
	}
	if err := json.Unmarshal(a.body, into); err != nil {
		t.Fatalf("GET %s: %v: %s", path, err, a.body)
	}
}

// nodeState is what the API says of a node.
type nodeState struct {
	Name             string
	DaemonState      string `json:"daemon_state"`
	CoordinatorState string `json:"coordinator_state"`
	DomainState      string `json:"domain_state"`
	Condition        string
	FlushReport      string   `json:"flush_report"`
	DomainsCount     int      `json:"domains_count"`
	RunningDomains   []string `json:"running_domains"`
	CPUCount         int      `json:"cpu_count"`
	Kernel, OS, Arch string
	Memory           struct{ Total, Free, Allocated, Provisioned int }
}

func getNode(t testing.TB, name string) nodeState {
	t.Helper()
	var list []nodeState
	get(t, "/node/"+name, &list)
	if len(list) != 1 {
		t.Fatalf("GET /node/%s: %d nodes", name, len(list))
	}
	return list[0]
}

// defineTick defines a tiny guest on host i and removes it when the test ends.
func defineTick(t testing.TB, i int, name string) {
	t.Helper()
	define(t, i, name, guest.Tick(guest.Options{Name: name, Images: images}))
}

func define(t testing.TB, i int, name, xml string) {
	t.Helper()
	do(t, http.MethodPost, "/vm", "xml="+xml, "node="+cluster.Host(i).Name)
	t.Cleanup(func() { remove(t, name) })
}

// remove deletes a VM if it is still there; one that migrates has to arrive first.
func remove(t testing.TB, name string) {
	t.Helper()
	if _, there := getVM(t, name); !there {
		return
	}
	if a := call(t, http.MethodDelete, "/vm/"+name); a.status != http.StatusOK {
		t.Errorf("remove VM %s: %d %s", name, a.status, a.text())
	}
	within(t, deadline, "end of "+name, func() string {
		if pids := qemus(name); len(pids) > 0 {
			return fmt.Sprint("processes ", pids)
		}
		return ""
	})
}

// startTick defines and starts a tiny guest on host i and waits until it counts.
func startTick(t testing.TB, i int, name string) {
	t.Helper()
	defineTick(t, i, name)
	do(t, http.MethodPost, "/vm/"+name+"/state", "state=start", "wait=True")
	waitTicks(t, name, 1)
}

// waitState waits until a VM is in the state, with and only with the processes that go with it.
func waitState(t testing.TB, name, state string) vmState {
	t.Helper()
	var vm vmState
	want := 0
	if state == "start" {
		want = 1
	}
	within(t, deadline, "VM "+name+" in state "+state, func() string {
		vm, _ = getVM(t, name)
		if n := len(qemus(name)); vm.State != state || n != want {
			return fmt.Sprintf("%+v with %d processes", vm, n)
		}
		return ""
	})
	return vm
}

// qemus are the processes of a guest on the whole machine.
func qemus(name string) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is well-formed
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil || !bytes.Contains(b, []byte("\x00guest="+name+",")) {
			continue // gone meanwhile, or another
		}
		pid, err := strconv.Atoi(strings.Split(file, "/")[2])
		if err == nil && !zombie(pid) {
			pids = append(pids, pid)
		}
	}
	return pids
}

func zombie(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(b), ") ")
	return strings.HasPrefix(rest, "Z")
}

// onRecord reports whether a znode exists. The server that is asked may have been killed a
// moment ago by another test: then the next one is.
func onRecord(t testing.TB, path string) (there bool) {
	t.Helper()
	asked(t, path, func(path string) (err error) {
		_, there, err = zookeep.Exists(t.Context(), path)
		return err
	})
	return there
}

// children are the names below a path.
func children(t testing.TB, path string) (names []string) {
	t.Helper()
	asked(t, path, func(path string) (err error) {
		names, _, err = zookeep.Children(t.Context(), path)
		return err
	})
	return names
}

// asked repeats a question about a path until it is answered.
func asked(t testing.TB, path string, ask func(path string) error) {
	t.Helper()
	within(t, deadline, path+" is asked for", func() string {
		if err := ask(path); err != nil {
			return err.Error()
		}
		return ""
	})
}

// theQEMU is the one process of a guest.
func theQEMU(t testing.TB, name string) int {
	t.Helper()
	pids := qemus(name)
	if len(pids) != 1 {
		t.Fatalf("guest %s has the processes %v, one was expected", name, pids)
	}
	return pids[0]
}

func killQEMU(t testing.TB, name string) {
	t.Helper()
	must(t, syscall.Kill(theQEMU(t, name), syscall.SIGKILL))
}

// console is what the API shows of a guest's console.
func console(t testing.TB, name string) string {
	t.Helper()
	var c struct{ Data string }
	get(t, "/vm/"+name+"/console", &c)
	return c.Data
}

var tickLine = regexp.MustCompile(`TICK (\d{8}|boot)`)

// ticks reads the count of a tiny guest: how often it booted, its last number, and
// the first fault in the sequence of numbers.
func ticks(text string) (boots, last int, fault string) {
	for _, m := range tickLine.FindAllStringSubmatch(text, -1) {
		if m[1] == "boot" {
			boots, last = boots+1, 0
			continue
		}
		n, _ := strconv.Atoi(m[1]) // eight digits
		if n != last+1 && boots > 0 && fault == "" {
			fault = fmt.Sprintf("number %d follows %d", n, last)
		}
		last = n
	}
	return boots, last, fault
}

// waitTicks waits until a guest has counted that far and returns how far it is. It
// fails if the guest booted more than once or if a number is missing or doubled.
func waitTicks(t testing.TB, name string, n int) int {
	t.Helper()
	last := 0
	within(t, deadline, fmt.Sprintf("guest %s counts to %d", name, n), func() string {
		text := console(t, name)
		boots, now, fault := ticks(text)
		if boots > 1 || fault != "" {
			t.Fatalf("guest %s: %d boots, %s; its console:\n%s", name, boots, fault, text)
		}
		if last = now; now < n {
			return fmt.Sprintf("it is at %d", now)
		}
		return ""
	})
	return last
}

// goesOn checks that a guest that had counted to before is still the same and counts.
func goesOn(t testing.TB, name string, before int) {
	t.Helper()
	waitTicks(t, name, before+2)
	theQEMU(t, name)
}

// typeTo types on the serial console of a guest. The terminal stays open until the
// test ends: QEMU looks for an open one once a second and drops what comes before.
func typeTo(t testing.TB, h *host.Host, vm, text string) {
	t.Helper()
	tty := strings.TrimSpace(execute(t, h, "virsh", "-q", "ttyconsole", vm))
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/root%s", theQEMU(t, vm), tty), os.O_RDWR|syscall.O_NOCTTY, 0)
	must(t, err)
	drained := make(chan struct{})
	go func() { // a full buffer would hold the guest up
		defer close(drained)
		_, _ = io.Copy(io.Discard, f) // ends with the guest or the test
	}()
	t.Cleanup(func() {
		_ = f.Close() // nothing was kept in it
		<-drained
	})
	_, err = f.WriteString(text)
	must(t, err)
}

func execute(t testing.TB, h *host.Host, argv ...string) string {
	t.Helper()
	out, err := h.Exec(t.Context(), argv...)
	must(t, err)
	return out
}

// hostNamed is the host of a node.
func hostNamed(t testing.TB, name string) *host.Host {
	t.Helper()
	for _, h := range cluster.Hosts() {
		if h.Name == name {
			return h
		}
	}
	t.Fatalf("no host %q", name)
	return nil
}

// primary is the host whose API answers.
func primary(t testing.TB) *host.Host {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	a, err := cluster.API(ctx)
	must(t, err)
	return hostNamed(t, a.Node)
}

// others are the numbers of the hosts but one.
func others(h *host.Host) (list []int) {
	for i := range cluster.Hosts() {
		if cluster.Host(i+1) != h {
			list = append(list, i+1)
		}
	}
	return list
}

// healthy waits until every host that has power is as it should be.
func healthy(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), deadline)
	defer cancel()
	must(t, cluster.WaitReady(ctx))
	within(t, deadline, "all nodes ready", func() string {
		for _, h := range cluster.Hosts() {
			n := getNode(t, h.Name)
			if n.DaemonState != "run" || n.DomainState != "ready" || n.Condition != "" {
				return fmt.Sprintf("%+v", n)
			}
		}
		return ""
	})
}
