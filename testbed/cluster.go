package testbed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// Cluster is a running testbed.
type Cluster struct {
	options Options
	secrets secrets
	sw      *host.Switch
	hosts   []*host.Host
}

// state is what another process needs to know to use the cluster.
type state struct {
	Options Options
	Secrets secrets
	Hosts   []*host.Host
}

// Up builds a cluster with nothing in it and returns when everything on it is
// ready to be used. It waits for another cluster of the same prefix to go down.
// On failure nothing is left running.
func Up(ctx context.Context, o Options) (c *Cluster, err error) {
	o, err = o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("testbed: %w", err)
	}
	if os.Getuid() != 0 {
		return nil, errors.New("testbed: only root can make namespaces")
	}
	lock, err := o.lock(ctx)
	if err != nil {
		return nil, fmt.Errorf("testbed %s: %w", o.Prefix, err)
	}
	defer lock.Close() // the switch holds it from now on
	c, err = o.create(ctx, lock)
	if err != nil {
		return nil, fmt.Errorf("testbed %s: %w", o.Prefix, err)
	}
	defer func() {
		if err != nil {
			// ctx may be what has failed.
			err = errors.Join(err, Down(context.WithoutCancel(ctx), o.Root, o.Prefix))
			c = nil
		}
	}()
	if err := c.boot(ctx); err != nil {
		return nil, fmt.Errorf("testbed %s: %w", o.Prefix, err)
	}
	return c, nil
}

// Open finds a cluster that another process has left running (Linger).
func Open(root, prefix string) (*Cluster, error) {
	o := Options{Root: root, Prefix: prefix}
	b, err := os.ReadFile(o.stateFile())
	if err != nil {
		return nil, fmt.Errorf("open testbed %s: %w", prefix, err)
	}
	var s state
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, fmt.Errorf("open testbed %s: %w", prefix, err)
	}
	c := &Cluster{options: s.Options, secrets: s.Secrets, hosts: s.Hosts, sw: s.Options.newSwitch(nil)}
	if c.options.Progress == nil {
		c.options.Progress = func(string) {}
	}
	if !c.sw.Up() {
		return nil, fmt.Errorf("open testbed %s: %w: its switch is off", prefix, os.ErrNotExist)
	}
	for _, h := range c.hosts {
		h.Switch = c.sw
	}
	return c, nil
}

// Down ends a cluster, whoever started it, whatever is left of it. Its files
// stay until the next Up.
func Down(ctx context.Context, root, prefix string) error {
	o := Options{Root: root, Prefix: prefix}
	ids, err := filepath.Glob(filepath.Join(o.dir(), "*", "init.id"))
	if err != nil {
		return err
	}
	var g errgroup.Group
	sw := o.newSwitch(nil)
	for _, id := range ids {
		if dir := filepath.Dir(id); dir != sw.Dir {
			g.Go((&host.Host{Name: filepath.Base(dir), Dir: dir}).PowerCut)
		}
	}
	// The switch goes last: it holds the lock.
	return errors.Join(g.Wait(), sw.PowerOff(ctx))
}

// Down ends the cluster.
func (c *Cluster) Down(ctx context.Context) error { return Down(ctx, c.options.Root, c.options.Prefix) }

// Host is host number i (1…).
func (c *Cluster) Host(i int) *host.Host { return c.hosts[i-1] }

// Hosts are all hosts.
func (c *Cluster) Hosts() []*host.Host { return c.hosts }

// Coordinators are those of them that are coordinators.
func (c *Cluster) Coordinators() []*host.Host { return c.hosts[:c.options.Coordinators] }

// Switch is the network between the hosts.
func (c *Cluster) Switch() *host.Switch { return c.sw }

// SharedDir is a folder that all hosts see at the same path.
func (c *Cluster) SharedDir() string { return c.options.shared() }

// LibvirtURI is the libvirt connection of host i for a program that does not run
// on that host.
func (c *Cluster) LibvirtURI(i int) string {
	return "qemu+unix:///system?socket=" + c.Host(i).Path(libvirtSocket)
}

// PeerURI is the libvirt connection of host i for a program on another host.
func (c *Cluster) PeerURI(i int) string { return "qemu+tls://" + c.options.name(i) + "/system" }

// ZooKeeperAddrs are the client addresses of the ensemble's servers.
func (c *Cluster) ZooKeeperAddrs() []string {
	var addrs []string
	for i := range c.Coordinators() {
		addrs = append(addrs, c.options.zooKeeper(i+1).ClientAddr())
	}
	return addrs
}

// ZooKeeperLeader is the number of the host whose server leads, 0 if none says so.
func (c *Cluster) ZooKeeperLeader(ctx context.Context) int {
	for i, addr := range c.ZooKeeperAddrs() {
		if c.hosts[i].On() && ensemble.ModeOf(ctx, addr) == ensemble.Leader {
			return i + 1
		}
	}
	return 0
}

func (o Options) stateFile() string { return filepath.Join(o.dir(), "cluster.json") }

func (o Options) newSwitch(lock *os.File) *host.Switch {
	sw := &host.Switch{Name: o.Prefix + "sw", Dir: filepath.Join(o.dir(), "switch"), Linger: o.Linger, Lock: lock, Trunk: o.OpenVSwitch}
	if o.Subnet != "" {
		sw.Subnet = o.subnet()
	}
	return sw
}

// lock takes the file lock that a cluster of this prefix holds while it is up.
func (o Options) lock(ctx context.Context) (*os.File, error) {
	if err := os.MkdirAll(o.Root, 0o711); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(o.Root, o.Prefix+".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			f.Close()
			return nil, err
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("a cluster of this name is up: %w", ctx.Err())
		}
	}
}

// create writes everything that the cluster needs on disk.
func (o Options) create(ctx context.Context, lock *os.File) (*Cluster, error) {
	if err := Down(ctx, o.Root, o.Prefix); err != nil { // what a killed process left
		return nil, err
	}
	if err := os.RemoveAll(o.dir()); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.shared(), 0o755); err != nil {
		return nil, err
	}
	if err := o.installBinaries(); err != nil {
		return nil, err
	}
	ca, err := newAuthority(o.Prefix)
	if err != nil {
		return nil, err
	}
	c := &Cluster{options: o, secrets: o.newSecrets(), sw: o.newSwitch(lock)}
	for i := 1; i <= o.Hosts; i++ {
		files, err := o.hostFiles(i, ca, c.secrets)
		if err != nil {
			return nil, err
		}
		if !o.NoZooKeeper && i <= o.Coordinators {
			if err := o.zooKeeper(i).Write(); err != nil {
				return nil, err
			}
		}
		h := &host.Host{Name: o.name(i), Index: i, Switch: c.sw, Linger: o.Linger, Dir: filepath.Join(o.dir(), o.name(i)), Etc: files,
			Dirs: []string{"/var/log/libvirt/qemu", "/var/log/pvc"}, Services: o.services(i), Disks: slices.Repeat([]int64{spareDiskSize}, o.Disks)}
		if o.Storage {
			h.Dirs = append(h.Dirs, cephDirs...)
		}
		if o.OpenVSwitch {
			if err := addOpenVSwitch(h); err != nil {
				return nil, err
			}
		}
		c.hosts = append(c.hosts, h)
	}
	if o.Storage {
		o.Progress("making the storage cluster")
		if err := c.createCeph(ctx); err != nil {
			return nil, err
		}
	}
	if err := os.WriteFile(c.TokenHeaderFile(), []byte("X-Api-Key: "+c.secrets.Token+"\n"), 0o600); err != nil {
		return nil, err
	}
	b, err := json.Marshal(state{o, c.secrets, c.hosts})
	if err != nil {
		return nil, err
	}
	return c, os.WriteFile(o.stateFile(), b, 0o600)
}

// installBinaries copies the daemons to where everybody on the hosts can run them, as an
// installation does: dnsmasq calls pvcd as a user of its own.
func (o *Options) installBinaries() error {
	if o.Binaries == "" {
		return nil
	}
	to := filepath.Join(o.dir(), "bin")
	if err := os.MkdirAll(to, 0o755); err != nil {
		return err
	}
	for _, name := range []string{"pvcd", "pvc-api"} {
		b, err := os.ReadFile(filepath.Join(o.Binaries, name))
		if err != nil {
			return fmt.Errorf("install the daemons: %w", err)
		}
		if err := os.WriteFile(filepath.Join(to, name), b, 0o755); err != nil {
			return fmt.Errorf("install the daemons: %w", err)
		}
	}
	o.Binaries = to
	return nil
}

// boot switches everything on and waits until it serves.
func (c *Cluster) boot(ctx context.Context) error {
	c.options.Progress("switching on " + fmt.Sprint(len(c.hosts)) + " hosts")
	if err := c.sw.PowerOn(ctx); err != nil {
		return err
	}
	if err := c.PowerOn(ctx); err != nil {
		return err
	}
	return c.WaitReady(ctx)
}

// PowerOn switches on all hosts that are off, at once, and does not wait for
// their services: see WaitReady.
func (c *Cluster) PowerOn(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	for _, h := range c.hosts {
		if !h.On() {
			g.Go(func() error { return h.PowerOn(gctx) })
		}
	}
	return g.Wait()
}

// PowerCut cuts all hosts from power, at once.
func (c *Cluster) PowerCut() error {
	var g errgroup.Group
	for _, h := range c.hosts {
		g.Go(h.PowerCut)
	}
	return g.Wait()
}
