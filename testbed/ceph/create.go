package ceph

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
)

// Create makes the data of all daemons, as they are before their first start.
// place says where the machine has a file or folder of a daemon, as mon.a or
// osd.0, that the daemon's own host sees at the path given. No daemon has to run,
// and nothing that a cluster has written may be there.
func (c Config) Create(ctx context.Context, keys Keys, place func(daemon, path string) string) error {
	work, err := os.MkdirTemp("", "pvc-ceph-create-")
	if err != nil {
		return fmt.Errorf("create Ceph cluster: %w", err)
	}
	defer os.RemoveAll(work)
	m := &maker{config: c, keys: keys, work: work, place: place}
	// The commands write their logs to the work folder.
	offline := c
	offline.Root = work
	err = errors.Join(os.MkdirAll(offline.path(LogPath), 0o755), os.MkdirAll(offline.path(RunPath), 0o755),
		write(offline.path(ConfPath), offline.Text(), 0o644), write(m.file("keyring"), keys.Keyring(), 0o600))
	if err != nil {
		return fmt.Errorf("create Ceph cluster: %w", err)
	}
	g, gctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.monitor(gctx) })
	g.Go(func() error { return m.daemonFolder("mgr.x") })
	for i := range c.OSDs {
		g.Go(func() error { return m.osd(gctx, fmt.Sprintf("osd.%d", i)) })
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("create Ceph cluster: %w", err)
	}
	return nil
}

// maker makes the files of one cluster.
type maker struct {
	config Config
	keys   Keys
	work   string
	place  func(daemon, path string) string
}

func (m *maker) file(name string) string { return filepath.Join(m.work, name) }

func (m *maker) data(daemon string) string { return m.place(daemon, DataPath(daemon)) }

// monitor makes the maps that the cluster begins with, and the monitor's store of
// them. The map of OSDs has room for all of them and the CRUSH map holds them: an
// OSD that boots is taken in on the spot.
func (m *maker) monitor(ctx context.Context) error {
	if err := os.WriteFile(m.file("crush.txt"), []byte(m.config.crushMap()), 0o644); err != nil {
		return err
	}
	if err := m.daemonFolder("mon.a"); err != nil {
		return err
	}
	if err := os.WriteFile(m.file("false"), []byte("false"), 0o644); err != nil {
		return err
	}
	for _, argv := range [][]string{
		{"crushtool", "-c", m.file("crush.txt"), "-o", m.file("crush")},
		{"osdmaptool", "--createsimple", fmt.Sprint(m.config.OSDs), "--clobber", m.file("osdmap")},
		{"osdmaptool", m.file("osdmap"), "--import-crush", m.file("crush")},
		{"monmaptool", "--create", "--fsid", m.config.FSID, "--addv", "a", m.config.monHost(), m.file("monmap")},
		m.offline("ceph-mon", "mon.a", "--mkfs", "--monmap", m.file("monmap"), "--osdmap", m.file("osdmap"),
			"--keyring", m.file("keyring"), "--mon-data", m.data("mon.a")),
		// The setting is not one that ceph.conf could hold. With it the manager does not
		// make a pool for what it knows of the devices.
		{"ceph-kvstore-tool", "rocksdb", filepath.Join(m.data("mon.a"), "store.db"), "set", "mon_config_key",
			"config/mgr/mgr/devicehealth/enable_monitoring", "in", m.file("false")},
	} {
		if err := run(ctx, argv); err != nil {
			return err
		}
	}
	return nil
}

// osd makes the data of an OSD, its device a file in its folder.
func (m *maker) osd(ctx context.Context, daemon string) error {
	if err := m.daemonFolder(daemon); err != nil {
		return err
	}
	return run(ctx, m.offline("ceph-osd", daemon, "--no-mon-config", "--mkfs", "--osd-uuid", NewUUID(), "--osd-data", m.data(daemon),
		"--keyring", filepath.Join(m.data(daemon), "keyring")))
}

// offline is a command that makes the data of a daemon without its cluster.
func (m *maker) offline(program, daemon string, args ...string) []string {
	_, id, _ := strings.Cut(daemon, ".")
	return append([]string{program, "-c", filepath.Join(m.work, ConfPath), "-i", id}, args...)
}

// daemonFolder makes the folder of a daemon with its key. The monitor writes its
// own.
func (m *maker) daemonFolder(daemon string) error {
	if daemon == "mon.a" {
		return os.MkdirAll(m.data(daemon), 0o755)
	}
	return write(filepath.Join(m.data(daemon), "keyring"), m.keys.Keyring(daemon), 0o600)
}

// NewUUID is a random UUID (RFC 9562, version 4).
func NewUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	h := hex.EncodeToString(b[:])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// write writes a file and the folders on the way to it.
func write(file, content string, mode fs.FileMode) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(content), mode)
}

// run executes a program to its end.
func run(ctx context.Context, argv []string) error {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.WaitDelay = time.Second
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, lastLines(string(out)))
	}
	return nil
}

// lastLines are the last few lines of a text.
func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}
