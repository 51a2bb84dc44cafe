package osd

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/run"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph/rados"
	"github.com/parallelvirtualcluster/pvc/testbed/ceph"
)

// diskEnv names a whole disk that a test may use up, on a machine with device-mapper.
const diskEnv = "PVC_TEST_DISK"

// processUnits are units without anybody who supervises them: the daemon of an OSD is a
// child of the test. ceph-volume does what its unit would do at boot.
type processUnits struct {
	t       *testing.T
	conf    string
	enabled map[string]bool
	daemons map[string]*exec.Cmd
}

func (p *processUnits) Start(_ context.Context, unit string) error {
	if p.daemons[unit] != nil {
		return nil
	}
	id := strings.TrimSuffix(strings.TrimPrefix(unit, "ceph-osd@"), ".service")
	cmd := exec.Command("ceph-osd", "-f", "-c", p.conf, "-i", id, "--osd-data", DataFolder+"/ceph-"+id, "--keyring", DataFolder+"/ceph-"+id+"/keyring")
	p.daemons[unit] = cmd
	p.t.Cleanup(func() { _ = p.Stop(context.Background(), unit) })
	return cmd.Start()
}

func (p *processUnits) Stop(_ context.Context, unit string) error {
	cmd := p.daemons[unit]
	if cmd == nil {
		return nil
	}
	delete(p.daemons, unit)
	err := cmd.Process.Signal(os.Interrupt)
	_ = cmd.Wait() // how it ended does not matter
	return err
}

func (p *processUnits) Enable(_ context.Context, unit string) error {
	p.enabled[unit] = true
	return nil
}

func (p *processUnits) Disable(_ context.Context, unit string) error {
	delete(p.enabled, unit)
	return nil
}

func (p *processUnits) Active(_ context.Context, unit string) (bool, error) {
	return p.daemons[unit] != nil, nil
}

// monitor runs a cluster of nothing but a monitor, which is all that an emulated machine
// has time for, and returns its configuration file.
func monitor(t *testing.T) string {
	t.Helper()
	if missing := ceph.Missing(); missing != "" {
		t.Skip("no Ceph: " + missing)
	}
	root := t.TempDir()
	c := ceph.Config{FSID: ceph.NewUUID(), MonAddr: "127.0.0.1", Addr: "127.0.0.1", Root: root, Hosts: []string{"host0"}, OSDs: 1, Copies: 1, OSDSize: 1 << 30}
	keys := c.NewKeys()
	for path, content := range c.ClientFiles(keys) {
		must(t, os.MkdirAll(filepath.Dir(filepath.Join(root, path)), 0o755))
		must(t, os.WriteFile(filepath.Join(root, path), []byte(content), 0o600))
	}
	for _, dir := range []string{ceph.RunPath, ceph.LogPath, "/var/lib/ceph/crash"} {
		must(t, os.MkdirAll(filepath.Join(root, dir), 0o755))
	}
	must(t, c.Create(t.Context(), keys, func(_, path string) string { return filepath.Join(root, path) }))
	argv := c.Command("mon.a")
	cmd := exec.Command(argv[0], argv[1:]...)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended
		_ = cmd.Wait()
	})
	return filepath.Join(root, ceph.ConfPath)
}

// TestAnOSDOnALogicalVolume: ceph-volume lists what was made, brings it up as at a boot,
// and finds nothing when it was removed.
func TestAnOSDOnALogicalVolume(t *testing.T) {
	disk := os.Getenv(diskEnv)
	if disk == "" {
		t.Skip(diskEnv + " names no disk")
	}
	l := &Local{Run: run.System{}, Layout: Volume}
	if !l.hasLVM() {
		t.Skip("no device-mapper or no LVM here")
	}
	l.Conf = monitor(t)
	cluster := rados.Open(rados.Options{Conf: l.Conf, User: strings.TrimPrefix(ceph.PVC, "client.")})
	t.Cleanup(cluster.Close)
	u := &processUnits{t, l.Conf, map[string]bool{}, map[string]*exec.Cmd{}}
	h := &Host{Node: "host1", Disks: l, Units: u, Limits: Limits{Up: 4 * time.Minute}}
	args := command.OSDAdd{Node: "host1", Device: disk, Weight: 1, UUID: ours}
	ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
	defer cancel()
	tell := func(current, total int64, status string) { t.Logf("%d/%d %s", current, total, status) }
	must(t, h.await(ctx, 5*time.Minute, func() (bool, error) {
		_, err := cluster.OSDs(ctx)
		return err == nil, err
	}))
	// The cluster was born with a key for an OSD that it does not have.
	_, err := run.System{}.Run(ctx, run.Command{Argv: []string{"ceph", "-c", l.Conf, "auth", "del", "osd.0"}, Timeout: 5 * time.Minute})
	must(t, err)
	made, err := h.Add(ctx, cluster, args, 1, tell)
	must(t, err)
	o := Identity{ID: made.OSD.ID, UUID: ours}
	unit := fmt.Sprintf("ceph-volume@lvm-%d-%s.service", o.ID, ours)
	if !u.enabled[unit] || len(u.enabled) != 1 {
		t.Errorf("enabled: %v", u.enabled)
	}
	if again, err := h.Add(ctx, cluster, args, 2, tell); err != nil || again.OSD.ID != o.ID {
		t.Errorf("added once more: %+v, %v", again, err)
	}
	if _, err := h.Add(ctx, cluster, command.OSDAdd{Node: "host1", Device: disk, Weight: 1, UUID: theirs}, 1, tell); err == nil || !strings.Contains(err.Error(), group) {
		t.Errorf("added as another one: %v", err)
	}
	listed := volumeTool(t, l.Conf, "list", "--format", "json")
	var all map[string][]struct {
		Devices []string
		Tags    map[string]string
	}
	must(t, json.Unmarshal([]byte(listed), &all))
	if got := all[fmt.Sprint(o.ID)]; len(got) != 1 || got[0].Tags["ceph.osd_fsid"] != ours || len(got[0].Devices) != 1 || got[0].Devices[0] != disk {
		t.Errorf("ceph-volume lists %s", listed)
	}
	must(t, u.Stop(ctx, Unit(o.ID)))
	must(t, h.waitDown(ctx, cluster, ours))
	must(t, os.RemoveAll(l.folder(o.ID)))
	volumeTool(t, l.Conf, "activate", "--no-systemd", fmt.Sprint(o.ID), ours)
	must(t, u.Start(ctx, Unit(o.ID)))
	must(t, h.await(ctx, 4*time.Minute, func() (bool, error) {
		o, err := find(ctx, cluster, withUUID(ours))
		return o != nil && o.Up, err
	}))
	removed, err := h.Remove(ctx, cluster, command.OSDRemove{OSD: o.ID, Force: true}, Removal{
		Presence: func(string) Presence { return Connected }, Tell: tell, Keep: func(context.Context, Noted) error { return nil },
	})
	if err != nil || strings.Contains(removed.Message, "not erased") {
		t.Errorf("%+v, %v", removed, err)
	}
	if left := strings.TrimSpace(volumeTool(t, l.Conf, "list", "--format", "json")); left != "{}" {
		t.Errorf("ceph-volume still lists %s", left)
	}
	d, err := l.Inspect(ctx, disk)
	if err != nil || d.Refusal(theirs) != nil || exists(l.folder(o.ID), "fsid") || len(u.enabled) > 0 {
		t.Errorf("left: %+v, %v, units %v", d, err, u.enabled)
	}
}

// volumeTool runs ceph-volume lvm.
func volumeTool(t *testing.T, conf string, args ...string) string {
	t.Helper()
	out, err := run.System{}.Run(t.Context(), run.Command{Argv: append([]string{"ceph-volume", "lvm"}, args...), Env: []string{"CEPH_CONF=" + conf}, Timeout: 5 * time.Minute})
	if err != nil {
		t.Fatalf("%v\n%s", err, out.Stderr)
	}
	return string(out.Stdout)
}
