package app

import (
	"context"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/run"
	"github.com/parallelvirtualcluster/pvc/common/service"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph/rados"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/cephctl"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/cephctl/osd"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/liveness"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/primary"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/units"
)

// storage is the part of the daemon that works with Ceph. It lives as long as the daemon.
// Nothing else waits for it: Ceph may hang.
type storage struct {
	cluster ceph.Cluster   // connects when it is first used
	users   *cephctl.Users // likewise
	view    *view.View

	mu     sync.Mutex
	health string // what the primary has found wrong; empty if nothing
}

// setHealth keeps what is to be told about Ceph.
func (s *storage) setHealth(sentence string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.health = sentence
}

// facts adds to what is wrong with the host.
func (s *storage) facts(wrong []string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.health == "" {
		return wrong
	}
	return append(slices.Clone(wrong), s.health)
}

func (d *daemon) newStorage() *storage {
	c := d.config.Ceph
	return &storage{
		cluster: rados.Open(rados.Options{Conf: c.ConfigFile, User: c.User, Keyring: c.Keyring, Logger: d.log.Logger, Step: holdCeph}),
		users:   &cephctl.Users{Dial: zk.Dial, Options: d.coord},
		view: view.New(view.Options{
			Scope: view.StorageHost, Dial: zk.Dial, Servers: d.coord.Servers, Timeout: d.coord.Timeout, Digest: d.coord.Digest,
			Connections: 1, Logger: d.log.Logger,
		}),
	}
}

// add makes the parts services of the daemon.
func (s *storage) add(group *service.Group) {
	group.Add("storage view", s.view)
	group.Add("Ceph", service.RunFunc(func(ctx context.Context) error {
		<-ctx.Done()
		s.cluster.Close()
		s.users.Close()
		return nil
	}))
}

// Commands of storage under way at the same time on this host. Many of them wait for
// Ceph, and not for this host.
const (
	parallelCommands     = 16
	parallelLongCommands = 8
)

// holdCeph is hold for the steps of Ceph's commands, whose names have blanks.
func holdCeph(step string) { hold(strings.ReplaceAll(step, " ", "-")) }

// worker executes commands for as long as a registration lasts.
func (s *storage) worker(d *daemon, session *liveness.Session) *command.Worker {
	e := &cephctl.Executor{
		Cluster: s.cluster, View: s.view, Users: s.users.Of, OSDs: d.osds(session.Node()), Logger: d.log.Logger,
	}
	return &command.Worker{
		Session: session, View: s.view, Client: e.Client, Fence: e.Fence, Quiet: e.Quiet, Execute: e.Execute,
		Parallel: parallelCommands, Long: e.Long, ParallelLong: parallelLongCommands, Step: hold, Logger: d.log.Logger,
	}
}

// osds makes and removes the OSDs of this host.
func (d *daemon) osds(node string) *osd.Host {
	return &osd.Host{
		Node: node, Disks: &osd.Local{Run: run.System{}, Conf: d.config.Ceph.ConfigFile},
		Units: units.New(os.Getenv(units.SocketEnv), run.System{}), Step: hold,
	}
}

// duties are what the primary does for storage.
func (s *storage) duties(d *daemon, session *liveness.Session, failed func(error)) []primary.Role {
	reconciler := &cephctl.Reconciler{Session: session, Cluster: s.cluster, View: s.view, Health: s.setHealth, Logger: d.log.Logger}
	purger := &command.Purger{Session: session, View: s.view, Logger: d.log.Logger}
	slot := &cephctl.Slot{Session: session, Hub: session.Hub(), View: s.view, Queue: command.NewQueue(s.view), Logger: d.log.Logger}
	return []primary.Role{
		primary.NewDuty("storage records", reconciler.Run, failed),
		primary.NewDuty("finished commands", purger.Run, failed),
		primary.NewDuty("command slot of old clients", slot.Run, failed),
	}
}
