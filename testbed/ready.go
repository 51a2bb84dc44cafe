package testbed

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// libvirtTLSPort is libvirt's registered port (IANA libvirt-tls).
const libvirtTLSPort = "16514"

// WaitReady waits until what runs on the hosts that have power serves: libvirtd,
// the ensemble, the storage cluster (healthy, if all hosts have power), and with daemons an API that shows all those hosts running.
func (c *Cluster) WaitReady(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	what := "libvirtd and ZooKeeper"
	if c.options.Storage {
		what = "libvirtd, ZooKeeper and Ceph"
	}
	c.options.Progress("waiting for " + what)
	for i, h := range c.hosts {
		if !h.On() {
			continue
		}
		g.Go(func() error { return c.waitLibvirt(gctx, h) })
		if !c.options.NoZooKeeper && i < c.options.Coordinators {
			g.Go(func() error { return c.waitZooKeeper(gctx, i+1) })
		}
	}
	if c.options.Storage && c.hosts[0].On() {
		g.Go(func() error { return c.waitCeph(gctx) })
	}
	if err := g.Wait(); err != nil {
		return err
	}
	if c.options.Binaries == "" {
		return nil
	}
	c.options.Progress("waiting for pvcd and pvc-api")
	return c.waitNodes(ctx)
}

// WaitLibvirt waits until the libvirtd of host i takes connections.
func (c *Cluster) WaitLibvirt(ctx context.Context, i int) error { return c.waitLibvirt(ctx, c.Host(i)) }

func (c *Cluster) waitLibvirt(ctx context.Context, h *host.Host) error {
	return until(ctx, "libvirtd of "+h.Name, h.Path("/var/log/libvirt/libvirtd.log"), func() error {
		if err := dials(ctx, "unix", h.Path(libvirtSocket)); err != nil {
			return err
		}
		return dials(ctx, "tcp", net.JoinHostPort(h.Addr(), libvirtTLSPort))
	})
}

func dials(ctx context.Context, network, addr string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, network, addr)
	if err != nil {
		return err
	}
	return conn.Close()
}

func (c *Cluster) waitZooKeeper(ctx context.Context, i int) error {
	addr := c.options.zooKeeper(i).ClientAddr()
	return until(ctx, "ZooKeeper server of "+c.options.name(i), c.Host(i).Path("/var/log/zookeeper.log"), func() error {
		if ensemble.ModeOf(ctx, addr) == ensemble.None {
			return errors.New("does not serve")
		}
		return nil
	})
}

// until repeats f until it succeeds. None of what is waited for announces itself
// to a process outside its host. The error ends with the last lines of a log.
func until(ctx context.Context, what, log string, f func() error) error {
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	var err error
	for {
		now := f()
		if now == nil {
			return nil
		}
		if ctx.Err() == nil || err == nil { // what fails because time is up tells nothing
			err = now
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return fmt.Errorf("wait for %s: %w; last: %w\n%s", what, ctx.Err(), err, lastLines(log))
		}
	}
}

// lastLines are the last few lines of a file, under its name.
func lastLines(file string) string {
	if file == "" {
		return ""
	}
	b, err := os.ReadFile(file)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return filepath.Clean(file) + ":\n  " + strings.Join(lines[max(0, len(lines)-8):], "\n  ")
}
