package fake

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

const scheme = "fake://"

// World is a set of hosts that reach each other.
type World struct {
	mu    sync.Mutex // guards everything below, and all hosts
	hosts map[string]*Host
	twice []string
}

// NewWorld returns a world without hosts.
func NewWorld() *World { return &World{hosts: map[string]*Host{}} }

// Host returns the host of that name, a new one the first time.
func (w *World) Host(name string) *Host {
	w.mu.Lock()
	defer w.mu.Unlock()
	h, ok := w.hosts[name]
	if !ok {
		h = newHost(w, name)
		w.hosts[name] = h
	}
	return h
}

// URI is how migrations and peers name the host of that name.
func URI(name string) string { return scheme + name }

// Executing returns the names of the hosts on which the guest executes now.
func (w *World) Executing(uuid string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.executing(uuid)
}

func (w *World) executing(uuid string) []string {
	var names []string
	for name, h := range w.hosts {
		if g := h.guests[uuid]; g != nil && g.state == hypervisor.Running {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// Twice tells of each moment at which a guest executed on two hosts. It is empty in
// a world in which all is well.
func (w *World) Twice() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.twice)
}

// execute lets a guest run. The caller holds the lock.
func (w *World) execute(g *guest) {
	g.state, g.executed = hypervisor.Running, true
	if on := w.executing(g.uuid); len(on) > 1 {
		w.twice = append(w.twice, fmt.Sprintf("%s executes on %s", g.uuid, strings.Join(on, " and ")))
	}
}

// reachable finds a host by URI. The caller holds the lock.
func (w *World) reachable(from *Host, uri string) (*Host, error) {
	name, ok := strings.CutPrefix(uri, scheme)
	h := w.hosts[name]
	if !ok || h == nil || h.off || h.cut || (from != nil && from.cut) {
		return nil, errs.Unavailablef("unable to connect to server at %q", uri)
	}
	return h, nil
}

// Peer is the hypervisor.Peer of a world.
type Peer struct{ world *World }

var _ hypervisor.Peer = Peer{}

// Peer returns the way to ask any host of the world.
func (w *World) Peer() Peer { return Peer{w} }

// Lookup implements hypervisor.Peer.
func (p Peer) Lookup(ctx context.Context, uri, uuid string) (hypervisor.Domain, error) {
	if err := ctx.Err(); err != nil {
		return hypervisor.Domain{}, errs.Unavailablef("ask %s for domain %s: %w", uri, uuid, err)
	}
	p.world.mu.Lock()
	defer p.world.mu.Unlock()
	h, err := p.world.reachable(nil, uri)
	if err == nil && h.down != nil {
		err = errs.Unavailablef("no answer")
	}
	if err != nil {
		return hypervisor.Domain{}, fmt.Errorf("ask %s for domain %s: %w", uri, uuid, err)
	}
	return h.domain(uuid), nil
}
