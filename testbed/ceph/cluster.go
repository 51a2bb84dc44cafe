package ceph

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// startDeadline bounds the wait for a healthy cluster. An idle machine of two cores
// takes 5 s; test packages run beside each other. An emulated machine needs more and says
// so in the environment.
var startDeadline = durationOr(os.Getenv("PVC_TEST_CEPH_WAIT"), 90*time.Second)

func durationOr(text string, usual time.Duration) time.Duration {
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return d
	}
	return usual
}

// Options of Start.
type Options struct {
	OSDs    int               // 0 means DefaultOSDs
	Copies  int               // of each object; 0 means DefaultCopies, or one if there is one OSD
	OSDSize int64             // bytes of an OSD's sparse file; 0 means DefaultOSDSize
	Extra   map[string]string // settings of ceph.conf for all daemons and clients
}

// Cluster is a running cluster. Its methods belong to the test's own goroutine:
// they end the test when something fails. Tool may be called from anywhere.
type Cluster struct {
	t       testing.TB
	config  Config
	daemons map[string]*daemon
}

// Start runs a cluster until the end of the test and returns when it is healthy. It
// has no pool. The test is skipped on a machine without Ceph.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	if missing := Missing(); missing != "" {
		t.Skip("no Ceph: " + missing)
	}
	if os.Getuid() != 0 {
		t.Skip("no Ceph: its daemons run as root here")
	}
	// The names of sockets hold it: t.TempDir is too long.
	dir, err := os.MkdirTemp("", "pvc-ceph-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	c := &Cluster{t: t, daemons: map[string]*daemon{}}
	if c.config, err = o.config(dir); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), startDeadline)
	defer cancel()
	if err := c.create(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.shutDown)
	for _, name := range c.config.Daemons() {
		c.daemons[name] = &daemon{name: name, argv: c.config.Command(name), log: filepath.Join(dir, name+".out")}
		c.StartDaemon(name)
		if name == "mon.a" {
			c.waitMonitor(ctx)
		}
	}
	c.WaitHealthy()
	return c
}

// config of a cluster whose daemons share an address and a folder.
func (o Options) config(dir string) (Config, error) {
	if o.OSDs == 0 {
		o.OSDs = DefaultOSDs
	}
	if o.Copies == 0 {
		o.Copies = min(DefaultCopies, o.OSDs)
	}
	if o.OSDSize == 0 {
		o.OSDSize = DefaultOSDSize
	}
	if o.OSDs < 1 || o.Copies < 1 || o.Copies > o.OSDs || o.OSDSize < 1<<30 {
		return Config{}, fmt.Errorf("start Ceph: %d copies on %d OSDs of %d bytes: at least one, no more copies than OSDs, and 1 GiB were expected",
			o.Copies, o.OSDs, o.OSDSize)
	}
	addr, err := loopbackAddr()
	if err != nil {
		return Config{}, err
	}
	c := Config{FSID: NewUUID(), MonAddr: addr, Addr: addr, Root: dir, OSDs: o.OSDs, Copies: o.Copies, OSDSize: o.OSDSize, Extra: o.Extra}
	for i := range o.OSDs {
		c.Hosts = append(c.Hosts, fmt.Sprintf("host%d", i+1))
	}
	return c, nil
}

// create writes everything that the cluster is born with.
func (c *Cluster) create(ctx context.Context) error {
	keys := c.config.NewKeys()
	for path, content := range c.config.ClientFiles(keys) {
		mode := os.FileMode(0o600)
		if path == ConfPath {
			mode = 0o644
		}
		if err := write(c.config.path(path), content, mode); err != nil {
			return err
		}
	}
	for _, dir := range []string{RunPath, LogPath, dataPath + "/crash"} {
		if err := os.MkdirAll(c.config.path(dir), 0o755); err != nil {
			return err
		}
	}
	return c.config.Create(ctx, keys, func(_, path string) string { return c.config.path(path) })
}

// ConfFile is the cluster's ceph.conf. It names the keyrings of all users, so that a
// client needs nothing else.
func (c *Cluster) ConfFile() string { return c.config.path(ConfPath) }

// AdminKeyring is the keyring file of client.admin.
func (c *Cluster) AdminKeyring() string { return c.Keyring(Admin) }

// Keyring is the keyring file of a user: Admin, PVC or Libvirt.
func (c *Cluster) Keyring(user string) string { return c.config.path(KeyringPath(user)) }

// FSID is the cluster's identity, a UUID.
func (c *Cluster) FSID() string { return c.config.FSID }

// Hosts are the names of the hosts in the CRUSH map, in the order of their OSDs.
func (c *Cluster) Hosts() []string { return slices.Clone(c.config.Hosts) }

// Daemons are the names of all daemons, running or not: mon.a, mgr.x, osd.0 and so
// on.
func (c *Cluster) Daemons() []string { return c.config.Daemons() }

// Tool runs one of Ceph's own programs as client.admin and returns what it prints. The
// error holds the program's last words. It is for judging from outside: a call costs
// a quarter of a second (ceph) or some 50 ms (rbd).
func (c *Cluster) Tool(ctx context.Context, argv ...string) (string, error) {
	cmd := c.command(ctx, argv...)
	var out, words bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &words
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w: %s", strings.Join(argv, " "), err, lastLines(words.String()))
	}
	return out.String(), nil
}

// command prepares a client of the cluster.
func (c *Cluster) command(ctx context.Context, argv ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "CEPH_CONF="+c.ConfFile())
	cmd.WaitDelay = time.Second
	return cmd
}

// StartDaemon starts a daemon again with the data it had and does not wait until it
// serves: see WaitHealthy.
func (c *Cluster) StartDaemon(name string) {
	c.t.Helper()
	if err := c.daemon(name).start(); err != nil {
		c.t.Fatal(err)
	}
}

// Kill ends a daemon with SIGKILL and returns when the process is gone. One that does
// not run is left alone.
func (c *Cluster) Kill(name string) {
	c.t.Helper()
	if err := c.daemon(name).kill(); err != nil {
		c.t.Fatal(err)
	}
}

// Stop freezes a daemon with SIGSTOP: its connections stay open and silent.
func (c *Cluster) Stop(name string) { c.signal(name, syscall.SIGSTOP) }

// Cont lets a frozen daemon go on.
func (c *Cluster) Cont(name string) { c.signal(name, syscall.SIGCONT) }

// PID is the process of a daemon, 0 if it does not run.
func (c *Cluster) PID(name string) int { return c.daemon(name).pid() }

func (c *Cluster) signal(name string, sig syscall.Signal) {
	c.t.Helper()
	if err := c.daemon(name).signal(sig); err != nil {
		c.t.Fatal(err)
	}
}

func (c *Cluster) daemon(name string) *daemon {
	c.t.Helper()
	d := c.daemons[name]
	if d == nil {
		c.t.Fatalf("no Ceph daemon %q; there are %v", name, c.Daemons())
	}
	return d
}

// WaitHealthy waits until the cluster is healthy: every OSD up and in, every placement
// group active and clean, nothing to complain of. The test ends with the cluster's
// complaints if it does not get there.
func (c *Cluster) WaitHealthy() {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startDeadline)
	defer cancel()
	sockets := map[string]string{}
	for _, name := range c.Daemons() {
		if !c.daemons[name].running() {
			c.t.Fatalf("wait for a healthy cluster: %s does not run\n%s", name, c.lastWords())
		}
		sockets[name] = c.config.path(SocketPath(name))
	}
	if err := AwaitDaemons(ctx, sockets); err != nil {
		c.t.Fatalf("%v\n%s", err, c.lastWords())
	}
	c.WaitStatus("healthy", func(s Status) bool { return s.Healthy(c.config.OSDs) })
}

// WaitStatus waits until done says that the status of the cluster is what is waited
// for, in a word.
func (c *Cluster) WaitStatus(what string, done func(Status) bool) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), startDeadline)
	defer cancel()
	if err := Await(ctx, c.command(context.Background(), Shell()...), done); err != nil {
		c.t.Fatalf("cluster does not become %s: %v\n%s", what, err, c.lastWords())
	}
}

// waitMonitor waits until the monitor takes connections: a client that comes too
// early would ask again only after a while.
func (c *Cluster) waitMonitor(ctx context.Context) {
	c.t.Helper()
	mon := c.daemons["mon.a"]
	ticker := time.NewTicker(10 * time.Millisecond)
	defer ticker.Stop()
	for {
		conn, err := net.Dial("tcp", net.JoinHostPort(c.config.MonAddr, monPort))
		if err == nil {
			conn.Close()
			return
		}
		select {
		case <-ticker.C:
		case <-mon.exited:
			c.t.Fatalf("the monitor has ended while starting\n%s", c.lastWords())
		case <-ctx.Done():
			c.t.Fatalf("the monitor takes no connection: %v\n%s", err, c.lastWords())
		}
	}
}

// lastWords are those of all daemons.
func (c *Cluster) lastWords() string {
	var b strings.Builder
	for _, name := range c.Daemons() {
		for _, file := range []string{filepath.Join(c.config.Root, name+".out"), c.config.path(LogPath + "/" + name + ".log")} {
			if text, err := os.ReadFile(file); err == nil && len(text) > 0 {
				fmt.Fprintf(&b, "%s:\n%s\n", file, lastLines(string(text)))
			}
		}
	}
	return b.String()
}

func (c *Cluster) shutDown() {
	var wg sync.WaitGroup
	for _, d := range c.daemons {
		wg.Go(func() {
			if err := d.kill(); err != nil {
				c.t.Error(err)
			}
		})
	}
	wg.Wait()
}

// loopbackAddr finds an address 127.x.y.z on which no monitor listens.
func loopbackAddr() (string, error) {
	for range 100 {
		addr := fmt.Sprintf("127.%d.%d.%d", 1+rand.IntN(254), 1+rand.IntN(254), 1+rand.IntN(254))
		l, err := net.Listen("tcp", net.JoinHostPort(addr, monPort))
		if err == nil {
			return addr, l.Close()
		}
	}
	return "", fmt.Errorf("find a free loopback address: 100 tries, all taken")
}
