package rados

import (
	"context"
	"log/slog"
	"slices"
	"time"

	gorados "github.com/ceph/go-ceph/rados"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// Cluster is the ceph.Cluster of one daemon.
type Cluster struct {
	calls
	log   *slog.Logger
	ports [2]*port // what changes something, and what asks the manager
	lanes map[purpose]*lane
	known known
}

var _ ceph.Cluster = (*Cluster)(nil)

// closePatience is how long Close waits for connections to end.
const closePatience = time.Second

// Open returns a Cluster. It connects when it is first used.
func Open(o Options) *Cluster {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Step == nil {
		o.Step = func(string) {}
	}
	acting := &port{options: o, purposes: []purpose{short, long}}
	asking := &port{options: o, purposes: []purpose{manage}}
	c := &Cluster{log: o.Logger, ports: [2]*port{acting, asking}}
	c.lanes = map[purpose]*lane{
		short:  {port: acting, slots: make(chan struct{}, maxShort)},
		long:   {port: acting, slots: make(chan struct{}, maxLong)},
		manage: {port: asking, slots: make(chan struct{}, maxAsk)},
	}
	c.calls = calls{cluster: c}
	return c
}

// As implements ceph.Cluster.
func (c *Cluster) As(clients []string) ceph.Calls {
	return calls{c, append([]string{}, clients...)}
}

// Ended implements ceph.Cluster.
func (c *Cluster) Ended(ctx context.Context, clients []string) error {
	// It finds out whether they are fenced, and gives them up then. If Ceph does not answer
	// they may be this daemon's still.
	_, _ = c.Clients(ctx)
	return c.ports[0].quiet(ctx, clients)
}

// Close implements ceph.Cluster.
func (c *Cluster) Close() {
	patience := time.NewTimer(closePatience)
	defer patience.Stop()
	for _, p := range c.ports {
		select {
		case <-p.close():
		case <-patience.C:
			patience.Reset(0)
		}
	}
}

// Clients implements ceph.Calls.
func (c calls) Clients(ctx context.Context) ([]string, error) {
	return call(ctx, c, "name this daemon's Ceph clients", short, reads, func(l *link, conn *gorados.Conn) ([]string, error) {
		if err := notFenced(l, conn); err != nil {
			return nil, err
		}
		return slices.Clone(l.clients), nil
	})
}
