package fleet

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/service"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/console"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor/fake"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/liveness"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/primary"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/vmctl"
)

// node is one host's daemon, wired as node-daemon/internal/app does it.
type node struct {
	fleet       *Fleet
	name        string
	coordinator bool
	line        line
	host        *fake.Host
	registrar   *liveness.Registrar
	vms         *vmctl.Controller

	running     chan struct{} // closed when the node was in daemon state run
	runningOnce sync.Once
}

func (f *Fleet) newNode(name string, coordinator bool) *node {
	n := &node{fleet: f, name: name, coordinator: coordinator, host: f.world.Host(name), running: make(chan struct{})}
	if f.o.Created != nil {
		n.host.OnCreate = func(uuid string, at time.Time) { f.o.Created(name, uuid, at) }
	}
	mode := model.ModeHypervisor
	if coordinator {
		mode = model.ModeCoordinator
	}
	n.registrar = liveness.New(liveness.Options{
		Node: name, Mode: mode, Host: liveness.Host{BootID: "b00-" + hexOf(name), MachineID: hexOf(name), Static: "8 simulated GNU/Linux x86_64"},
		Version: "fleet", LockDir: f.o.LockDir, Dial: n.line.dial, Coord: n.coord(),
		Guests: n.guests, Facts: n.facts, Logger: f.o.Logger,
	})
	n.vms = vmctl.New(vmctl.Options{
		Dial: n.line.dial, Servers: f.o.Servers, Timeout: f.o.Timeout,
		Hypervisor: n.host, Peer: f.world.Peer(), Processes: noProcesses{}, Console: noConsole{},
		Migration:      vmctl.Migration{PeerURI: fake.URI, Parallel: 2},
		Limits:         vmctl.Limits{Shutdown: 90 * time.Second, Handshake: 30 * time.Second, Silence: time.Second},
		ParallelStarts: 4, CrashLimit: 5, CrashWindow: 10 * time.Minute,
		Cluster: n.rules, Logger: f.o.Logger,
	})
	return n
}

// hexOf is an identifier of hexadecimal digits that goes with a name.
func hexOf(name string) string { return "f" + strings.TrimLeft(name, "n") }

func (n *node) coord() coord.Options {
	return coord.Options{Servers: n.fleet.o.Servers, Timeout: n.fleet.o.Timeout}
}

// run is the daemon's life.
func (n *node) run(ctx context.Context) error {
	group := service.Group{Log: n.fleet.o.Logger}
	group.Add("guests", service.RunFunc(n.vms.Watch))
	group.Add("registration", service.RunFunc(func(ctx context.Context) error { return n.registrar.Run(ctx, n.work) }))
	return group.Run(ctx)
}

func (n *node) work(ctx context.Context, s *liveness.Session) error {
	cancel := n.host.Subscribe(func(hypervisor.Event) { n.registrar.GuestsChanged() })
	defer cancel()
	group := service.Group{Log: n.fleet.o.Logger}
	group.Add("daemon state", service.RunFunc(func(ctx context.Context) error {
		if err := s.Started(ctx); err != nil {
			return err
		}
		n.runningOnce.Do(func() { close(n.running) })
		<-ctx.Done()
		return nil
	}))
	group.Add("VMs", service.RunFunc(func(ctx context.Context) error { return n.vms.Run(ctx, s) }))
	if n.coordinator {
		group.Add("election", n.candidate(s))
	}
	return group.Run(ctx)
}

func (n *node) candidate(s *liveness.Session) *primary.Candidate {
	log := n.fleet.o.Logger
	var names []string
	for _, other := range n.fleet.nodes {
		if other.coordinator {
			names = append(names, other.name)
		}
	}
	overview := primary.NewOverview(primary.OverviewOptions{
		Session: s, Dial: n.line.dial, Coord: n.coord(), Logger: log,
		Answers: func(context.Context, primary.Sight) bool { return false },
	})
	failed := func(err error) { log.Error("a duty of the primary has failed", "node", n.name, "err", err) }
	return primary.NewCandidate(s, primary.Options{
		Coordinators: names, Roles: []primary.Role{primary.NewDuty("overview", overview.Run, failed)}, Logger: log,
	})
}

func (n *node) rules(ctx context.Context) *cluster.Cluster {
	v := view.New(view.Options{Dial: n.line.dial, Servers: n.fleet.o.Servers, Timeout: n.fleet.o.Timeout, Connections: 1, Logger: n.fleet.o.Logger})
	go func() { _ = v.Run(ctx) }() // ends with ctx
	return cluster.New(cluster.Options{View: v})
}

func (n *node) facts(ctx context.Context) (model.NodeFacts, error) {
	h, err := n.host.Host(ctx)
	return model.NodeFacts{Version: "fleet", MachineID: hexOf(n.name), MigrationURI: fake.URI(n.name), CPUModel: h.CPUModel, Machines: h.Machines}, err
}

func (n *node) guests(ctx context.Context) (g liveness.Guests, err error) {
	domains, err := n.host.List(ctx)
	for _, d := range domains {
		g.UUIDs = append(g.UUIDs, d.UUID)
		g.MemMiB += d.MemoryMiB
		g.VCPUs += d.VCPUs
	}
	return g, err
}

// noProcesses: guests in memory have no processes.
type noProcesses struct{}

func (noProcesses) Gone(string) (bool, error) { return true, nil }
func (noProcesses) Kill(string) error         { return nil }

// noConsole: guests in memory say nothing.
type noConsole struct{}

func (noConsole) Follow(console.Guest)                       {}
func (noConsole) Finish(context.Context, string) error       { return nil }
func (noConsole) Mark(context.Context, string, string) error { return nil }
func (noConsole) Size(string) int64                          { return 0 }
func (noConsole) Path(name string) string                    { return "/nowhere/" + name + ".log" }
