// Package app wires pvcd: configuration, hypervisor, registration, and the loops that
// work for as long as a registration lasts.
package app

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/config"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/obs"
	"github.com/parallelvirtualcluster/pvc/common/service"
	"github.com/parallelvirtualcluster/pvc/common/version"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/console"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor/libvirt"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/liveness"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/vmctl"
)

// Run is the program; see service.Program.
func Run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	return service.Daemon[*config.Node, config.Warning]{
		Name: "pvcd", Env: config.NodeEnv, File: config.NodeFile, Load: config.LoadNode, Serve: serve,
	}.Program(ctx, args, stdout, stderr)
}

// daemon is what the loops of one registration share.
type daemon struct {
	config     *config.Node
	host       liveness.Host
	log        *obs.Log
	coord      coord.Options
	hypervisor hypervisor.Hypervisor
	console    *console.Manager
	store      *consoleStore
	vms        *vmctl.Controller
	registrar  *liveness.Registrar
	networks   *networks // nil if this host does not look after networks
	storage    *storage  // nil if it does nothing with Ceph
}

func serve(ctx context.Context, c *config.Node, stdout io.Writer) error {
	log, err := obs.NodeLog(c, stdout)
	if err != nil {
		return err
	}
	defer log.Close()
	host, err := liveness.ReadHost()
	if err != nil {
		return err
	}
	digest, err := c.Cluster.ZooKeeper.Digest()
	if err != nil {
		return err
	}
	driver := libvirt.New(libvirt.Options{URI: c.Migration.LibvirtURI, Logger: log.Logger})
	d := &daemon{config: c, host: host, log: log, hypervisor: driver, coord: coord.Options{
		Servers: config.Servers(c.Cluster.Coordinators), Timeout: c.Cluster.ZooKeeper.SessionTimeout, Digest: digest.Reveal(),
	}}
	if c.Functions.Networking {
		if d.networks, err = d.newNetworks(); err != nil {
			return err
		}
	}
	if c.Functions.Storage {
		d.storage = d.newStorage()
	}
	d.store = new(consoleStore)
	d.console = console.New(d.consoleOptions())
	d.vms = d.newController(libvirt.NewPeer())
	d.registrar = d.newRegistrar()

	reloads := service.NewReloads(log.Logger)
	reloads.Add("log", log.Reopen)
	group := service.Group{Log: log.Logger, OnReady: func() { _ = service.Notify(service.Ready) }, OnStop: func() { _ = service.Notify(service.Stopping) }}
	group.Add("reload", reloads)
	if c.Functions.Hypervisor {
		group.Add("libvirt", driver)    // guests are looked at through it until the last moment
		group.Add("console", d.console) // saves what is left when the VMs are let go
		group.Add("guests", service.RunFunc(d.vms.Watch))
	}
	if d.networks != nil {
		d.networks.add(&group)
	}
	if d.storage != nil {
		d.storage.add(&group)
		if c.Functions.Hypervisor {
			group.Add("key of the guests", d.storage.guests(d))
		}
	}
	group.Add("registration", service.RunFunc(func(ctx context.Context) error { return d.registrar.Run(ctx, d.work) }))
	return group.Run(ctx)
}

func (d *daemon) newRegistrar() *liveness.Registrar {
	c := d.config
	mode := model.ModeHypervisor
	if c.IsCoordinator() {
		mode = model.ModeCoordinator
	}
	ipmi := c.Fencing.IPMI
	return liveness.New(liveness.Options{
		Node: c.Name, Mode: mode, Host: d.host, Version: version.Version, LockDir: c.Dirs.Lock,
		IPMI: liveness.IPMI{Host: ipmi.Host, User: ipmi.User, Password: ipmi.Password.Reveal()},
		Dial: zk.Dial, Coord: d.coord, Guests: d.guests, Facts: d.facts, Logger: d.log.Logger,
	})
}

func (d *daemon) newController(peer hypervisor.Peer) *vmctl.Controller {
	c := d.config
	m := vmctl.Migration{PeerURI: c.PeerURI, BandwidthMiB: c.Migration.BandwidthMiB, TLS: c.Migration.EncryptMemory, Parallel: c.Migration.Parallel}
	var bridges func(context.Context, []string) error
	if d.networks != nil {
		bridges = d.networks.controller.Ready
	}
	return vmctl.New(vmctl.Options{
		Dial: zk.Dial, Servers: d.coord.Servers, Timeout: d.coord.Timeout, Digest: d.coord.Digest,
		Hypervisor: d.hypervisor, Peer: peer, Processes: hypervisor.Processes{}, Console: d.console, Migration: m,
		Limits:         vmctl.Limits{Shutdown: c.VM.ShutdownTimeout, Handshake: 30 * time.Second, Silence: time.Second},
		ParallelStarts: c.VM.ParallelStarts, CrashLimit: c.VM.CrashLimit, CrashWindow: c.VM.CrashWindow,
		Cluster: d.rules, Step: gate, Networks: bridges, Storage: d.guestStorage(), Logger: d.log.Logger,
	})
}

// facts are what the host tells about itself.
func (d *daemon) facts(ctx context.Context) (model.NodeFacts, error) {
	f := model.NodeFacts{Version: version.Version, MachineID: d.host.MachineID, MigrationURI: d.config.PeerURI(d.config.Name)}
	if d.networks != nil {
		d.networks.addFacts(ctx, &f, d.log.Logger)
	}
	if a := d.config.Networking.Cluster.Address; a.IsValid() {
		f.Address = a.Addr().String()
	}
	if !d.config.Functions.Networking {
		f.NoNetworks = "it has no virtual networks (enable_networking is off)"
	}
	if d.storage != nil {
		f.Health = d.storage.facts(f.Health)
	} else {
		f.NoStorage = "it has nothing to do with storage (enable_storage is off)"
	}
	if !d.config.Functions.Hypervisor {
		f.NoGuests = "it is no hypervisor (enable_hypervisor is off)"
		return f, nil
	}
	h, err := d.hypervisor.Host(ctx)
	if err != nil {
		return f, err
	}
	f.CPUModel, f.Machines, f.KVM = h.CPUModel, h.Machines, h.KVM
	return f, nil
}

// guests are the active domains of the host, for its figures.
func (d *daemon) guests(ctx context.Context) (liveness.Guests, error) {
	if !d.config.Functions.Hypervisor {
		return liveness.Guests{}, nil
	}
	domains, err := d.hypervisor.List(ctx)
	if err != nil {
		return liveness.Guests{}, fmt.Errorf("list the guests: %w", err)
	}
	var g liveness.Guests
	for _, dom := range domains {
		g.UUIDs = append(g.UUIDs, strings.ToLower(dom.UUID))
		g.MemMiB += dom.MemoryMiB
		g.VCPUs += dom.VCPUs
	}
	return g, nil
}
