package storage

import (
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
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
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

// call asks the primary's API and repeats what it did not answer.
func call(t testing.TB, method, path string, values ...string) (status int, text string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), bootDeadline)
	defer cancel()
	form := url.Values{}
	for _, v := range values {
		name, value, _ := strings.Cut(v, "=")
		form.Set(name, value)
	}
	for {
		a, err := cluster.API(ctx)
		must(t, err)
		status, body, err := a.Call(ctx, method, "/api/v1"+path, form)
		if err == nil && status != http.StatusServiceUnavailable {
			return status, string(body)
		}
		if ctx.Err() != nil {
			t.Fatalf("%s %s: not answered: %d %s %v", method, path, status, body, err)
		}
	}
}

// do is call for what has to succeed.
func do(t testing.TB, method, path string, values ...string) {
	t.Helper()
	if status, text := call(t, method, path, values...); status != http.StatusOK {
		t.Fatalf("%s %s: %d %s", method, path, status, text)
	}
}

// refused is call for what has to be refused with a word of the reason.
func refused(t testing.TB, reason, method, path string, values ...string) {
	t.Helper()
	if status, text := call(t, method, path, values...); status != http.StatusNotExtended || !strings.Contains(text, reason) {
		t.Fatalf("%s %s: %d %s; 510 with %q was expected", method, path, status, text, reason)
	}
}

// vmState is what the API says of a VM.
type vmState struct {
	UUID, State, Node string
	FailedReason      string `json:"failed_reason"`
}

func getVM(t testing.TB, name string) vmState {
	t.Helper()
	var list []vmState
	status, text := call(t, http.MethodGet, "/vm/"+name)
	if err := json.Unmarshal([]byte(text), &list); status != http.StatusOK || err != nil || len(list) != 1 {
		t.Fatalf("VM %s: %d %s", name, status, text)
	}
	return list[0]
}

func start(t testing.TB, name string) {
	t.Helper()
	do(t, http.MethodPost, "/vm/"+name+"/state", "state=start", "wait=True")
}

func stop(t testing.TB, name string) {
	t.Helper()
	do(t, http.MethodPost, "/vm/"+name+"/state", "state=stop", "wait=True")
}

func migrate(t testing.TB, name string, to *host.Host) {
	t.Helper()
	do(t, http.MethodPost, "/vm/"+name+"/node", "action=move", "node="+to.Name, "wait=True", "force_live=True")
}

// execute runs a program on a host.
func execute(t testing.TB, h *host.Host, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), deadline)
	defer cancel()
	out, err := h.Exec(ctx, argv...)
	must(t, err)
	return strings.TrimSpace(out)
}

// makeVolume makes an image behind the back of our daemons and waits for its record.
func makeVolume(t testing.TB, name, size string) {
	t.Helper()
	execute(t, cluster.Host(1), "rbd", "create", "--size", size, "vms/"+name)
	within(t, deadline, "record of volume "+name, func() string {
		_, there, err := zookeep.Exists(t.Context(), schema.Volume("vms", name))
		if err != nil || !there {
			return fmt.Sprintf("there %v, %v", there, err)
		}
		return ""
	})
}

// linux is the document of a guest that writes its sequence to a volume.
func linux(name, volume string) string {
	return guest.Linux(guest.Options{Name: name, UUID: host.RandomUUID(), Images: images, Seq: 100, RBD: &guest.RBD{
		Pool: "vms", Image: volume, Monitors: []string{cluster.Host(1).Addr()}, User: "libvirt", Secret: cluster.GuestSecret()}})
}

// define defines a VM on a host and removes it when the test ends.
func define(t testing.TB, h *host.Host, name, xml string) {
	t.Helper()
	do(t, http.MethodPost, "/vm", "xml="+xml, "node="+h.Name)
	t.Cleanup(func() { do(t, http.MethodDelete, "/vm/"+name) })
}

// console is what the API shows of a guest's console.
func console(t testing.TB, name string) string {
	t.Helper()
	var c struct{ Data string }
	status, text := call(t, http.MethodGet, "/vm/"+name+"/console", "lines=100000")
	if err := json.Unmarshal([]byte(text), &c); status != http.StatusOK || err != nil {
		t.Fatalf("console of %s: %d %s", name, status, text)
	}
	return c.Data
}

var record = regexp.MustCompile(`SEQ [0-9a-f-]{36} (\d+)\r?\n`)

// announced is the last number that a guest has told on its console; all before it are on
// its disk.
func announced(t testing.TB, name string) uint64 {
	t.Helper()
	all := record.FindAllStringSubmatch(console(t, name), -1)
	if len(all) == 0 {
		return 0
	}
	n, err := strconv.ParseUint(all[len(all)-1][1], 10, 64)
	must(t, err)
	return n
}

// writes waits until a guest has written more, and returns how far it is.
func writes(t testing.TB, name string) uint64 {
	t.Helper()
	before, now := announced(t, name), uint64(0)
	within(t, bootDeadline, "guest "+name+" writes", func() string {
		if now = announced(t, name); now < before+3 {
			return fmt.Sprintf("it is at %d, was at %d; its console ends with %q", now, before, tail(console(t, name)))
		}
		return ""
	})
	return now
}

func tail(s string) string { return s[max(0, len(s)-300):] }

// onImage judges what is on an image or a snapshot of one: an unbroken run of one boot
// from the first record.
func onImage(t testing.TB, spec string) guest.Sequence {
	t.Helper()
	file := filepath.Join(cluster.SharedDir(), "export.img")
	execute(t, cluster.Host(1), "rbd", "export", "--no-progress", spec, file)
	defer os.Remove(file)
	s, err := guest.Disk(file)
	if err != nil || s.First != 1 {
		t.Fatalf("%s: %+v, %v", spec, s, err)
	}
	return s
}

// claim is what is on record of where a VM may run.
func claim(t testing.TB, uuid string) (c model.Claim, there bool) {
	t.Helper()
	if _, there, err := zookeep.Exists(t.Context(), schema.Claim(uuid)); err != nil || !there {
		must(t, err)
		return c, false
	}
	data, _, err := zookeep.Get(t.Context(), schema.Claim(uuid))
	must(t, err)
	must(t, json.Unmarshal(data, &c))
	return c, true
}

// watchers are the clients of an image, as Ceph's own tool tells.
func watchers(t testing.TB, volume string) (list []string) {
	t.Helper()
	var status struct{ Watchers []struct{ Address string } }
	must(t, json.Unmarshal([]byte(execute(t, cluster.Host(1), "rbd", "status", "--format", "json", "vms/"+volume)), &status))
	for _, w := range status.Watchers {
		list = append(list, w.Address)
	}
	slices.Sort(list)
	return list
}

// imageOf is id and size of an image, as Ceph's own tool tells.
func imageOf(t testing.TB, volume string) (i struct {
	ID   string
	Size uint64
}) {
	t.Helper()
	must(t, json.Unmarshal([]byte(execute(t, cluster.Host(1), "rbd", "info", "--format", "json", "vms/"+volume)), &i))
	return i
}

// onRecord checks that a guest's claim is that of a host, with exactly the clients that
// have its volume open.
func onRecord(t testing.TB, name, volume string, on *host.Host) model.Claim {
	t.Helper()
	c, _ := claim(t, getVM(t, name).UUID)
	image := "vms/" + imageOf(t, volume).ID
	if c.Owner.Node != on.Name || !c.Recorded || !slices.Equal(c.Images, []string{image}) || !slices.Equal(c.Disks, []string{schema.EscapeDisk(image)}) {
		t.Errorf("claim %+v; host %s and image %s were expected", c, on.Name, image)
	}
	if open := watchers(t, volume); len(open) != 1 || !slices.Equal(c.Owner.Clients, open) || !strings.HasPrefix(open[0], on.Addr()+":0/") {
		t.Errorf("clients on record %v, the image is open for %v; one on %s was expected", c.Owner.Clients, open, on.Addr())
	}
	return c
}

// qemus are the processes of a guest on the whole machine.
func qemus(name string) (pids []int) {
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline") // the pattern is well-formed
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil || !strings.Contains(string(b), "\x00guest="+name+",") {
			continue // gone meanwhile, or another
		}
		if pid, err := strconv.Atoi(strings.Split(file, "/")[2]); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
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

// typeTo types on the console of a guest. The terminal stays open until the test ends:
// QEMU looks for an open one once a second and drops what comes before.
func typeTo(t testing.TB, h *host.Host, name, text string) {
	t.Helper()
	tty := execute(t, h, "virsh", "-q", "ttyconsole", name)
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/root%s", theQEMU(t, name), tty), os.O_RDWR|syscall.O_NOCTTY, 0)
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

// hold has the daemon of a host wait before a step of a VM. reached waits until it does;
// letGo lets it go on and may be repeated.
func hold(t testing.TB, h *host.Host, step string) (reached, letGo func()) {
	t.Helper()
	dir := h.Path("/run/pvc/gates")
	must(t, os.MkdirAll(dir, 0o755))
	gate := filepath.Join(dir, step)
	must(t, os.WriteFile(gate+".hold", nil, 0o600))
	letGo = sync.OnceFunc(func() { must(t, os.Remove(gate+".hold")) })
	t.Cleanup(letGo)
	return func() {
		t.Helper()
		within(t, deadline, "the step "+step, func() string {
			if _, err := os.Stat(gate + ".reached"); err != nil {
				return err.Error()
			}
			return ""
		})
		must(t, os.Remove(gate+".reached"))
	}, letGo
}

// waitsForCeph waits until a VM says that it does, with nothing of it left.
func waitsForCeph(t testing.TB, name string) {
	t.Helper()
	within(t, bootDeadline, name+" says what it waits for", func() string {
		vm := getVM(t, name)
		_, claimed := claim(t, vm.UUID)
		if vm.State != "start" || claimed || !strings.HasPrefix(vm.FailedReason, "not started yet: ") || len(qemus(name)) > 0 {
			return fmt.Sprintf("%+v, claimed %v, processes %v", vm, claimed, qemus(name))
		}
		return ""
	})
}

// ready waits until everything on the hosts that have power serves.
func ready(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), bootDeadline)
	defer cancel()
	must(t, cluster.WaitReady(ctx))
}
