package app

import (
	"context"
	"net"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/service"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/liveness"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/primary"
)

// work is what the daemon does while one registration lasts. Guests go on when it ends.
func (d *daemon) work(ctx context.Context, s *liveness.Session) error {
	cancel := d.hypervisor.Subscribe(func(e hypervisor.Event) { d.registrar.GuestsChanged() })
	defer cancel()
	d.store.use(s)
	group := service.Group{Log: d.log.Logger}
	group.Add("daemon state", service.RunFunc(func(ctx context.Context) error {
		if err := s.Started(ctx); err != nil {
			return err
		}
		<-ctx.Done()
		return nil
	}))
	if d.config.Functions.Hypervisor {
		group.Add("VMs", service.RunFunc(func(ctx context.Context) error { return d.vms.Run(ctx, s) }))
	}
	if d.storage != nil {
		group.Add("storage commands", service.RunFunc(func(ctx context.Context) error {
			err := d.storage.worker(d, s).Run(ctx)
			<-ctx.Done() // it also ends by itself when the session does
			return err
		}))
	}
	if d.config.IsCoordinator() { // last, so that the role is handed over first
		group.Add("election", primary.NewCandidate(s, primary.Options{
			Coordinators: d.coordinators(), Roles: d.duties(s), Logger: d.log.Logger,
		}))
	}
	return group.Run(ctx)
}

// coordinators are the names of the nodes behind the configured servers. One that is
// configured by address names nobody, and takes part under the name it registers.
func (d *daemon) coordinators() []string {
	var names []string
	for _, e := range d.config.Cluster.Coordinators {
		if net.ParseIP(e.Host) == nil {
			name, _, _ := strings.Cut(e.Host, ".")
			names = append(names, name)
		}
	}
	return names
}

// duties are what this node does while it is primary.
func (d *daemon) duties(s *liveness.Session) []primary.Role {
	failed := func(err error) { d.log.Error("a duty of the primary has failed", "node", s.Node(), "err", err) }
	publisher := &primary.Publisher{Session: s, Logger: d.log.Logger, Settings: primary.Settings{
		TargetSelector: string(d.config.Migration.Selector), SharedDirectories: d.config.Migration.SharedDirs,
	}}
	overview := primary.NewOverview(primary.OverviewOptions{
		Session: s, Dial: zk.Dial, Coord: d.coord, Answers: primary.HostAnswers, Logger: d.log.Logger,
	})
	roles := []primary.Role{
		primary.NewDuty("settings", publisher.Run, failed),
		primary.NewDuty("overview", overview.Run, failed),
	}
	if d.storage != nil {
		roles = append(roles, d.storage.duties(d, s, failed)...)
	}
	if d.networks != nil {
		roles = append(roles, d.networks.controller.Role())
	}
	return roles
}

// rules opens the rules over a view of the whole cluster, for as long as ctx lasts.
func (d *daemon) rules(ctx context.Context) *cluster.Cluster {
	v := view.New(view.Options{
		Dial: zk.Dial, Servers: d.coord.Servers, Timeout: d.coord.Timeout, Digest: d.coord.Digest, Connections: 1, Logger: d.log.Logger,
	})
	go func() { _ = v.Run(ctx) }() // ends with ctx
	return cluster.New(cluster.Options{View: v, WaitTimeout: migrationLimit})
}

// migrationLimit bounds the wait for one VM during a flush: a large guest on a slow
// network takes its time.
const migrationLimit = 6 * time.Hour
