package faults_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/faults"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// vm is one guest of a cluster with everything that is known about it from outside.
type vm struct {
	cluster    *testbed.Cluster
	name, uuid string
	disk       string
	witness    *faults.Witness
	zk         coord.Client
	boot       string     // of the guest's kernel, once known
	end        *testing.T // with which it goes
	removed    bool
}

// newVM defines and starts a Linux guest that writes its sequence, and waits for it.
func newVM(t *testing.T, c *testbed.Cluster, name string, on *host.Host) *vm {
	t.Helper()
	return newVMFrom(t, t, c, name, images, on)
}

// newVMFrom makes a guest that goes when another test than this one ends.
func newVMFrom(t, end *testing.T, c *testbed.Cluster, name string, images guest.Images, on *host.Host) *vm {
	t.Helper()
	v := prepare(end, c, name)
	v.startFrom(t, v.linux(t, images), on)
	v.writes(t)
	return v
}

// linux is the domain XML of a Linux guest with a disk of its own.
func (v *vm) linux(t *testing.T, images guest.Images) string {
	t.Helper()
	v.disk = filepath.Join(v.cluster.SharedDir(), v.name+".img")
	must(t, os.RemoveAll(v.disk))
	must(t, guest.MakeDisk(v.disk, 4<<20))
	return guest.Linux(guest.Options{Name: v.name, UUID: v.uuid, Images: images, Disk: v.disk, Seq: 100,
		Log: "/var/log/libvirt/" + v.name + ".log"})
}

// prepare begins to watch a guest that is to come.
func prepare(t *testing.T, c *testbed.Cluster, name string) *vm {
	t.Helper()
	v := &vm{cluster: c, name: name, uuid: host.RandomUUID(), end: t}
	sockets := map[string]string{}
	for _, h := range c.Hosts() {
		sockets[h.Name] = h.Path(v.socket())
	}
	v.witness = faults.Watch(sockets)
	t.Cleanup(v.witness.Stop)
	return v
}

func (v *vm) socket() string { return "/run/qmp-" + v.name }

// startFrom defines the guest with a monitor for the witness, and starts it.
func (v *vm) startFrom(t *testing.T, xml string, on *host.Host) {
	t.Helper()
	v.call(t, http.MethodPost, "/api/v1/vm", "xml", faults.Monitored(xml, v.socket()), "node", on.Name)
	v.end.Cleanup(func() { v.remove(v.end) })
	v.call(t, http.MethodPost, v.path("/state"), "state", "start", "wait", "true")
}

// remove ends what newVM has begun. A second call does nothing.
func (v *vm) remove(t *testing.T) {
	t.Helper()
	if v.removed {
		return
	}
	v.removed = true
	v.call(t, http.MethodPost, v.path("/state"), "state", "stop", "wait", "true")
	v.call(t, http.MethodDelete, v.path(""))
	v.witness.Stop()
	if v.zk != nil {
		v.zk.Close()
	}
}

func (v *vm) path(rest string) string { return "/api/v1/vm/" + v.name + rest }

// request sends a request to the primary with values as name, value, ….
func (v *vm) request(ctx context.Context, method, path string, values ...string) (int, string, error) {
	api, err := v.cluster.API(ctx)
	if err != nil {
		return 0, "", err
	}
	form := url.Values{}
	for i := 0; i < len(values); i += 2 {
		form.Set(values[i], values[i+1])
	}
	status, body, err := api.Call(ctx, method, path, form)
	return status, string(body), err
}

// call is request with an answer of 200, sent again while no API answers.
func (v *vm) call(t *testing.T, method, path string, values ...string) string {
	t.Helper()
	ctx, cancel := cleanup()
	defer cancel()
	for {
		status, body, err := v.request(ctx, method, path, values...)
		switch {
		case err == nil && status == http.StatusOK:
			return body
		case err == nil && status != http.StatusServiceUnavailable, ctx.Err() != nil:
			t.Fatalf("%s %s %.60v: %d %s %v", method, path, values, status, body, err)
		}
	}
}

// sequence is what the guest has written to its disk so far.
func (v *vm) sequence() (guest.Sequence, error) {
	s, err := guest.Disk(v.disk)
	if err == nil && v.boot != "" && s.Boot != v.boot {
		err = fmt.Errorf("the guest was booted again: %s, before %s", s.Boot, v.boot)
	}
	return s, err
}

// writes waits until the guest has written a few more records.
func (v *vm) writes(t *testing.T) {
	t.Helper()
	var first uint64
	limit := deadline
	if v.boot == "" {
		limit = bootDeadline
	}
	_, err := wait(limit, func() error {
		// A record that is just being written may be seen torn.
		s, err := v.sequence()
		if err != nil {
			return err
		}
		if first == 0 {
			first, v.boot = s.Last, s.Boot
		}
		if s.Last < first+3 {
			return fmt.Errorf("record %d", s.Last)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%s writes: %v", v.name, err)
	}
}

// records are what ZooKeeper holds about a VM.
type records struct {
	state, node, lastNode, reason string
	claim                         *model.Claim
	migration                     *model.Migration
}

// get reads a znode through a session that is opened anew when it is lost.
func (v *vm) get(ctx context.Context, path string) (string, error) {
	if v.zk != nil {
		select {
		case <-v.zk.Lost():
			v.zk.Close()
			v.zk = nil
		default:
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if v.zk == nil {
		var err error
		if v.zk, err = zk.Dial(ctx, coord.Options{Servers: v.cluster.ZooKeeperAddrs(), Timeout: 10 * time.Second}); err != nil {
			v.zk = nil
			return "", err
		}
	}
	b, _, err := v.zk.Get(ctx, path)
	if errors.Is(err, coord.ErrNoNode) {
		return "", nil
	}
	return string(b), err
}

func (v *vm) records(ctx context.Context) (r records, err error) {
	text := func(path string) (s string) {
		if err == nil {
			s, err = v.get(ctx, path)
		}
		return s
	}
	r.state, r.node = text(schema.VM(v.uuid, schema.VMState)), text(schema.VM(v.uuid, schema.VMNode))
	r.lastNode, r.reason = text(schema.VM(v.uuid, schema.VMLastNode)), text(schema.VM(v.uuid, schema.VMFailedReason))
	claim, migration := text(schema.Claim(v.uuid)), text(schema.VM(v.uuid, schema.VMMigration))
	if err == nil && claim != "" {
		r.claim = new(model.Claim)
		err = json.Unmarshal([]byte(claim), r.claim)
	}
	if err == nil && migration != "" {
		r.migration = new(model.Migration)
		err = json.Unmarshal([]byte(migration), r.migration)
	}
	return r, err
}

func (r records) String() string {
	claim, _ := json.Marshal(r.claim)
	migration, _ := json.Marshal(r.migration)
	return fmt.Sprintf("state %s, node %s, last node %q, reason %q, claim %s, migration %s", r.state, r.node, r.lastNode, r.reason, claim, migration)
}

// settled says what is missing until the guest runs once and the records agree.
func (v *vm) settled(ctx context.Context) (node string, err error) {
	executing := v.witness.Executing()
	if len(executing) != 1 {
		return "", fmt.Errorf("executing on %v", executing)
	}
	r, err := v.records(ctx)
	if err != nil {
		return "", err
	}
	c := r.claim
	ok := r.state == "start" && r.migration == nil && c != nil && c.Owner.Node == r.node && c.Incoming == nil && c.Recorded && c.Resumed &&
		executing[0] == r.node
	if !ok {
		return "", fmt.Errorf("executing on %v; %s", executing, r)
	}
	if p := processes(v.uuid); len(p) != 1 {
		return "", fmt.Errorf("its processes are %v", p)
	}
	return r.node, nil
}

// waitSettled waits for settled and returns where the guest runs.
func (v *vm) waitSettled(t *testing.T) (node string) {
	t.Helper()
	within(t, v.name+" is settled", func() (err error) {
		node, err = v.settled(t.Context())
		return err
	})
	return node
}

func (v *vm) host(t *testing.T, name string) *host.Host {
	t.Helper()
	for _, h := range v.cluster.Hosts() {
		if h.Name == name {
			return h
		}
	}
	t.Fatalf("no host %q", name)
	return nil
}

// next is the host after h.
func (v *vm) next(h *host.Host) *host.Host { return v.cluster.Host(h.Index%len(v.cluster.Hosts()) + 1) }

// processes are the QEMU processes of a domain on the whole machine.
func processes(uuid string) []string {
	var found []string
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, file := range files {
		b, err := os.ReadFile(file) // one that is gone meanwhile does not count
		if err == nil && strings.Contains(string(b), "\x00-uuid\x00"+uuid+"\x00") {
			found = append(found, strings.Split(file, "/")[2])
		}
	}
	return found
}

// hold keeps the pvcd of a host from carrying out a step. reached waits until it is
// about to; release lets it go on.
func hold(t *testing.T, h *host.Host, step string) (reached, release func()) {
	t.Helper()
	dir := h.Path("/run/pvc/gates")
	must(t, os.MkdirAll(dir, 0o755))
	file := filepath.Join(dir, step)
	must(t, os.RemoveAll(file+".reached"))
	must(t, os.WriteFile(file+".hold", nil, 0o644))
	release = func() { _ = os.Remove(file + ".hold") } // gone with the host's power
	t.Cleanup(release)
	return func() {
		t.Helper()
		within(t, h.Name+" reaches the step "+step, func() error {
			_, err := os.Stat(file + ".reached")
			return err
		})
	}, release
}

// cleanup is a context for what has to be done when a test has ended.
func cleanup() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), deadline)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within repeats f until it succeeds.
func within(t *testing.T, what string, f func() error) {
	t.Helper()
	if _, err := wait(deadline, f); err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

// wait repeats f until it succeeds and says how long that took.
func wait(limit time.Duration, f func() error) (time.Duration, error) {
	begin := time.Now()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := f()
		if err == nil {
			return time.Since(begin), nil
		}
		if time.Since(begin) > limit {
			return time.Since(begin), fmt.Errorf("not within %v: %w", limit, err)
		}
		<-ticker.C
	}
}

// children counts the children of a znode.
func (v *vm) children(ctx context.Context, path string) (int, error) {
	if _, err := v.get(ctx, path); err != nil { // opens a session if there is none
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	names, _, err := v.zk.Children(ctx, path)
	return len(names), err
}
