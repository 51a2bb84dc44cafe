package testbed

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/parallelvirtualcluster/pvc/testbed/ceph"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// The services of Ceph, as host.Kill and its like name them. Host 1 has monitor and
// manager; OSD i is on host i modulo the number of hosts, plus one.
const (
	CephMon     = "ceph-mon"
	CephMgr     = "ceph-mgr"
	cephOSDUnit = "ceph-osd@"
)

// CephOSD is the service of an OSD.
func CephOSD(id int) string { return fmt.Sprintf("%s%d", cephOSDUnit, id) }

// GuestSecret is the UUID by which the documents of guests name the key of the user
// client.libvirt; empty without Storage.
func (c *Cluster) GuestSecret() string { return c.secrets.GuestSecret }

// spareDiskSize is enough for BlueStore, bytes.
const spareDiskSize = 4 << 30

// cephConfig is the storage cluster as host i sees it.
func (o Options) cephConfig(i int, s secrets) ceph.Config {
	c := ceph.Config{FSID: s.FSID, MonAddr: o.addr(1), Addr: o.addr(i), OSDs: o.OSDs, Copies: min(ceph.DefaultCopies, o.OSDs), OSDSize: ceph.DefaultOSDSize}
	for h := 1; h <= o.Hosts; h++ {
		c.Hosts = append(c.Hosts, o.name(h))
	}
	return c
}

// cephFiles are the files below /etc that clients of the storage cluster need.
func (o Options) cephFiles(i int, s secrets) []host.File {
	var files []host.File
	for path, content := range o.cephConfig(i, s).ClientFiles(s.Ceph) {
		mode := fs.FileMode(0o600)
		if path == ceph.ConfPath {
			mode = 0o644
		}
		if name, ok := strings.CutPrefix(path, "/etc/"); ok {
			files = append(files, host.File{Name: name, Content: content, Mode: mode})
		}
	}
	return files
}

// cephDirs are folders that the daemons and ceph-volume expect.
var cephDirs = []string{ceph.RunPath, ceph.LogPath, "/var/lib/ceph/crash", filepath.Dir(ceph.BootstrapPath), "/var/lib/ceph/osd", "/var/lib/ceph/tmp"}

// cephServices of host i. Every host has the template of the OSDs, so that one can
// be added anywhere.
func (o Options) cephServices(i int) []host.Service {
	var all []host.Service
	config := o.cephConfig(i, secrets{})
	if i == 1 {
		all = append(all, host.Service{Name: CephMon, Argv: config.Command("mon.a"), Log: ceph.LogPath + "/mon.out", Env: cephEnv},
			host.Service{Name: CephMgr, Argv: config.Command("mgr.x"), Log: ceph.LogPath + "/mgr.out", Env: cephEnv})
	}
	return append(all, host.Service{Name: cephOSDUnit, Argv: config.Command("osd.%i"), Log: ceph.LogPath + "/osd.%i.out", Env: cephEnv})
}

// cephEnv: a daemon is known by address and process id, and after a power cut a host gives
// the same ones again. An OSD that comes back as the one that is still in the map
// would not be taken in.
var cephEnv = []string{"CEPH_USE_RANDOM_NONCE=1"}

// createCeph makes the storage cluster's data on the disks of the hosts.
func (c *Cluster) createCeph(ctx context.Context) error {
	config := c.options.cephConfig(1, c.secrets)
	place := func(daemon, path string) string {
		return c.hosts[config.HostOfDaemon(daemon)].Path(path)
	}
	if err := config.Create(ctx, c.secrets.Ceph, place); err != nil {
		return err
	}
	for osd := range config.OSDs {
		if err := c.hosts[config.HostOfDaemon(fmt.Sprintf("osd.%d", osd))].Enable(CephOSD(osd)); err != nil {
			return err
		}
	}
	bootstrap := config.ClientFiles(c.secrets.Ceph)[ceph.BootstrapPath]
	for _, h := range c.hosts {
		file := h.Path(ceph.BootstrapPath)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(file, []byte(bootstrap), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// waitCeph waits until the storage cluster is healthy, or, while hosts with OSDs have
// no power or an OSD is kept down, until the others serve what there is.
func (c *Cluster) waitCeph(ctx context.Context) error {
	sockets, complete, err := c.cephDaemons(ctx)
	if err != nil {
		return err
	}
	if err := ceph.AwaitDaemons(ctx, sockets); err != nil {
		return err
	}
	shell, err := c.hosts[0].Command(context.WithoutCancel(ctx), ceph.Shell()...)
	if err != nil {
		return err
	}
	osds := 0
	for daemon := range sockets {
		if strings.HasPrefix(daemon, "osd.") {
			osds++
		}
	}
	return ceph.Await(ctx, shell, func(s ceph.Status) bool {
		if complete {
			return s.Healthy(osds)
		}
		return s.Serving(osds)
	})
}

// cephDaemons are those that should run on the hosts that have power, also OSDs that
// were added, with their admin sockets; and whether that is all of them.
func (c *Cluster) cephDaemons(ctx context.Context) (sockets map[string]string, complete bool, err error) {
	sockets, complete = map[string]string{}, true
	for _, h := range c.hosts {
		if !h.On() {
			complete = false
			continue
		}
		services, err := h.Status(ctx)
		if err != nil {
			return nil, false, err
		}
		for _, s := range services {
			daemon, ok := cephDaemon(s.Name)
			switch {
			case !ok:
			case s.Down:
				complete = false
			default:
				sockets[daemon] = h.Path(ceph.SocketPath(daemon))
			}
		}
	}
	return sockets, complete, nil
}

// cephDaemon is Ceph's own name of a daemon that is a service.
func cephDaemon(service string) (daemon string, ok bool) {
	switch service {
	case CephMon:
		return "mon.a", true
	case CephMgr:
		return "mgr.x", true
	}
	id, ok := strings.CutPrefix(service, cephOSDUnit)
	return "osd." + id, ok
}
