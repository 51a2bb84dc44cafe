package osds

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
	"github.com/parallelvirtualcluster/pvc/testbed/lab"
)

func must(t testing.TB, err error) { t.Helper(); lab.Must(t, err) }

// within waits until check returns "" and fails with its last word otherwise.
func within(t testing.TB, what string, check func() string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), deadline)
	defer cancel()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		last := check()
		if last == "" {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %v: %s", what, deadline, last)
		}
	}
}

// on executes a program on a host.
func on(t testing.TB, h *host.Host, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), deadline)
	defer cancel()
	out, err := h.Exec(ctx, argv...)
	must(t, err)
	return strings.TrimSpace(out)
}

// submit asks a host for something.
func submit(t testing.TB, h *host.Host, args command.Args) command.Handle {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), deadline)
	defer cancel()
	within(t, "the commands are in view", func() string {
		if age, stale := shown.Stale(); stale {
			return fmt.Sprint("stale for ", age)
		}
		there := false
		shown.Read(func(s *view.Snapshot) {
			n, ok := s.Node(h.Name)
			there = ok && n.Alive()
		})
		if !there {
			return h.Name + " is not registered"
		}
		return ""
	})
	handle, err := queue.Submit(ctx, command.Request{Args: args, Node: h.Name, RequestID: t.Name()})
	must(t, err)
	return handle
}

func wait(t testing.TB, handle command.Handle) (command.Result, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*deadline)
	defer cancel()
	return queue.Wait(ctx, handle)
}

func do(t testing.TB, h *host.Host, args command.Args) (command.Result, error) {
	t.Helper()
	return wait(t, submit(t, h, args))
}

func adding(h *host.Host, device string) command.OSDAdd {
	return command.OSDAdd{Node: h.Name, Device: device, Weight: 1, UUID: host.RandomUUID()}
}

// add makes an OSD and returns its id.
func add(t testing.TB, h *host.Host, args command.OSDAdd) int {
	t.Helper()
	result, err := do(t, h, args)
	must(t, err)
	return added(t, result)
}

func added(t testing.TB, r command.Result) int {
	t.Helper()
	var data struct{ OSD *int }
	if err := json.Unmarshal(r.Data, &data); err != nil || data.OSD == nil {
		t.Fatalf("%q, %s: no id of an OSD: %v", r.Message, r.Data, err)
	}
	return *data.OSD
}

// osd is an OSD as Ceph's own tool shows it.
type osd struct {
	ID      int `json:"osd"`
	UUID    string
	Up, In  int
	State   []string
	Host    string  `json:"-"`
	Weight  float64 `json:"-"` // in CRUSH
	Missing bool    `json:"-"` // in CRUSH
}

func osds(t testing.TB) map[int]osd {
	t.Helper()
	var dump struct{ OSDs []osd }
	must(t, json.Unmarshal([]byte(on(t, cluster.Host(1), "ceph", "osd", "dump", "--format", "json")), &dump))
	var tree struct {
		Nodes []struct {
			ID       int
			Name     string
			Type     string
			Weight   float64 `json:"crush_weight"`
			Children []int
		}
	}
	must(t, json.Unmarshal([]byte(on(t, cluster.Host(1), "ceph", "osd", "tree", "--format", "json")), &tree))
	all := map[int]osd{}
	for _, o := range dump.OSDs {
		o.Missing = true
		for _, n := range tree.Nodes {
			if n.Type == "host" && slices.Contains(n.Children, o.ID) {
				o.Host, o.Missing = n.Name, false
			}
			if n.Type == "osd" && n.ID == o.ID {
				o.Weight = n.Weight
			}
		}
		all[o.ID] = o
	}
	return all
}

// keys are the OSDs that have a key.
func keys(t testing.TB) (names []string) {
	t.Helper()
	for line := range strings.Lines(on(t, cluster.Host(1), "ceph", "auth", "ls")) {
		if name := strings.TrimSpace(line); strings.HasPrefix(name, "osd.") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// record is what ZooKeeper holds of an OSD, nil if nothing.
func record(id int) (o *model.OSD) {
	shown.Read(func(s *view.Snapshot) { o, _ = s.OSD(id) })
	return o
}

// traces are what OSDs beyond those of the beginning have left: in Ceph, in the records, on
// the disk, in the folders and units of a host. A host that has had none has none.
func traces(t testing.TB, h *host.Host, device string) string {
	t.Helper()
	var b strings.Builder
	for id, o := range osds(t) {
		if id > 2 {
			fmt.Fprintf(&b, "osd.%d of host %s; ", id, o.Host)
		}
	}
	if k := keys(t); len(k) != 3 {
		fmt.Fprintf(&b, "keys %v; ", k)
	}
	for id := 3; id < 12; id++ {
		if record(id) != nil {
			fmt.Fprintf(&b, "record of osd.%d; ", id)
		}
	}
	if out := on(t, h, "wipefs", "--no-act", device); out != "" {
		fmt.Fprintf(&b, "on the disk: %s; ", out)
	}
	folders, err := os.ReadDir(h.Path("/var/lib/ceph/osd"))
	must(t, err)
	for _, f := range folders {
		if !slices.Contains([]string{"ceph-0", "ceph-1", "ceph-2"}, f.Name()) {
			fmt.Fprintf(&b, "folder %s; ", f.Name())
		}
	}
	all, err := h.Status(t.Context())
	must(t, err)
	for _, s := range all {
		if rest, ok := strings.CutPrefix(s.Name, "ceph-osd@"); ok && rest > "2" && (s.PID != 0 || s.Enabled) {
			fmt.Fprintf(&b, "unit %s: %+v; ", s.Name, s)
		}
	}
	return b.String()
}

// gone waits until an OSD has left no trace: the records follow Ceph.
func gone(t testing.TB, h *host.Host, device string) {
	t.Helper()
	within(t, "no trace of the OSD", func() string { return traces(t, h, device) })
}

// serves waits until an OSD is up, in, and where it was asked for.
func serves(t testing.TB, id int, h *host.Host, args command.OSDAdd) {
	t.Helper()
	within(t, fmt.Sprintf("osd.%d serves", id), func() string {
		o, there := osds(t)[id]
		if !there || o.Up != 1 || o.In != 1 || o.UUID != args.UUID || o.Host != h.Name || o.Weight != args.Weight {
			return fmt.Sprintf("%+v", o)
		}
		return ""
	})
}

// hold keeps the pvcd of a host before a step. reached waits until it is there.
func hold(t testing.TB, h *host.Host, step string) (reached, release func()) {
	t.Helper()
	dir := h.Path("/run/pvc/gates")
	must(t, os.MkdirAll(dir, 0o755))
	file := filepath.Join(dir, step)
	must(t, os.RemoveAll(file+".reached"))
	must(t, os.WriteFile(file+".hold", nil, 0o644))
	release = func() { _ = os.Remove(file + ".hold") }
	t.Cleanup(release)
	return func() {
		t.Helper()
		within(t, h.Name+" reaches the step "+step, func() string {
			if _, err := os.Stat(file + ".reached"); err != nil {
				return err.Error()
			}
			return ""
		})
	}, release
}

// killAt has the daemon of a host die at a step of a command, and lets it come back.
func killAt(t testing.TB, h *host.Host, step string, args command.Args) command.Handle {
	t.Helper()
	reached, release := hold(t, h, step)
	handle := submit(t, h, args)
	reached()
	must(t, h.KeepDown(t.Context(), testbed.PVCD))
	release()
	must(t, h.Up(t.Context(), testbed.PVCD))
	return handle
}

// healthy waits until no object lacks a copy.
func healthy(t testing.TB) {
	t.Helper()
	within(t, "all placement groups are clean", func() string {
		var s struct {
			PGMap struct {
				Total  int `json:"num_pgs"`
				States []struct {
					Name  string `json:"state_name"`
					Count int
				} `json:"pgs_by_state"`
			} `json:"pgmap"`
		}
		text := on(t, cluster.Host(1), "ceph", "status", "--format", "json")
		must(t, json.Unmarshal([]byte(text), &s))
		if len(s.PGMap.States) == 1 && strings.HasPrefix(s.PGMap.States[0].Name, "active+clean") && s.PGMap.States[0].Count == s.PGMap.Total {
			return ""
		}
		return fmt.Sprintf("%+v", s.PGMap)
	})
}
