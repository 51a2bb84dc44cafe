package fake

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

// Host is the hypervisor of one host.
type Host struct {
	world *World
	name  string
	// OnCreate is told of each guest when CreatePaused is called, before anything
	// else happens. Set it before the first call.
	OnCreate func(uuid string, at time.Time)
	// Info is what Host answers. Set it before the first call.
	Info hypervisor.HostInfo

	faults
	events events

	// The rest is guarded by world.mu.
	guests  map[string]*guest // active, by UUID
	defined map[string]*guest // persistent definitions
	secrets map[string]hypervisor.Secret
	down    chan struct{} // closed when the connection is back; nil while it is there
	off     bool          // no power
	cut     bool          // no network
	closed  bool
}

var _ hypervisor.Hypervisor = (*Host)(nil)

type guest struct {
	uuid, name, xml string
	memory, vcpus   int
	state           hypervisor.State
	pause           hypervisor.PauseReason
	autostart       bool
	executed        bool // ever, on any host
	deaf            bool // ignores the power button
	pressed         bool // the power button, while it was paused
	sending         *transfer
	disks           map[string]uint64 // bytes, by target
}

func newHost(w *World, name string) *Host {
	return &Host{world: w, name: name, guests: map[string]*guest{}, defined: map[string]*guest{}, secrets: map[string]hypervisor.Secret{},
		Info: hypervisor.HostInfo{CPUModel: "qemu64", Machines: []string{"pc", "q35"}, UUID: name, Version: "fake"}}
}

// Host implements hypervisor.Hypervisor.
func (h *Host) Host(ctx context.Context) (hypervisor.HostInfo, error) {
	var info hypervisor.HostInfo
	err := h.do(ctx, HostFacts, "", func() error { info = h.Info; return nil })
	return info, err
}

// List implements hypervisor.Hypervisor; sorted by UUID.
func (h *Host) List(ctx context.Context) ([]hypervisor.Domain, error) {
	var list []hypervisor.Domain
	err := h.do(ctx, List, "", func() error {
		for uuid := range h.guests {
			list = append(list, h.domain(uuid))
		}
		return nil
	})
	slices.SortFunc(list, func(a, b hypervisor.Domain) int { return strings.Compare(a.UUID, b.UUID) })
	return list, err
}

// Lookup implements hypervisor.Hypervisor.
func (h *Host) Lookup(ctx context.Context, uuid string) (hypervisor.Domain, error) {
	var d hypervisor.Domain
	err := h.do(ctx, Lookup, uuid, func() error { d = h.domain(uuid); return nil })
	return d, err
}

// domain describes what there is. The caller holds the lock.
func (h *Host) domain(uuid string) hypervisor.Domain {
	def, defined := h.defined[uuid]
	g := h.guests[uuid]
	switch {
	case g == nil && !defined:
		return hypervisor.Domain{UUID: uuid}
	case g == nil:
		return hypervisor.Domain{UUID: uuid, Name: def.name, Persistent: true, Autostart: def.autostart, MemoryMiB: def.memory, VCPUs: def.vcpus}
	}
	return hypervisor.Domain{UUID: uuid, Name: g.name, State: g.state, Pause: g.pause, MemoryMiB: g.memory, VCPUs: g.vcpus,
		Persistent: defined, Autostart: defined && def.autostart, Migrating: g.sending != nil}
}

// XML implements hypervisor.Hypervisor.
func (h *Host) XML(ctx context.Context, uuid string) (string, error) {
	var xml string
	err := h.onGuest(ctx, XML, uuid, func(g *guest) error { xml = g.xml; return nil })
	return xml, err
}

// CreatePaused implements hypervisor.Hypervisor. The document must name a UUID.
func (h *Host) CreatePaused(ctx context.Context, xml string) error {
	g, err := parse(xml)
	if err != nil {
		return fmt.Errorf("create domain: %w", err)
	}
	if h.OnCreate != nil {
		h.OnCreate(g.uuid, time.Now())
	}
	return h.do(ctx, CreatePaused, g.uuid, func() error {
		if err := h.free(g); err != nil {
			return err
		}
		g.state, g.pause = hypervisor.Paused, hypervisor.PausedStart
		h.guests[g.uuid] = g
		h.emit(hypervisor.EventStarted, g, 0)
		return nil
	})
}

// free says whether a guest could be created. The caller holds the lock.
func (h *Host) free(g *guest) error {
	for _, other := range h.guests {
		if other.uuid == g.uuid || other.name == g.name {
			return errs.Conflictf("domain %q already exists with uuid %s", other.name, other.uuid)
		}
	}
	return nil
}

func parse(xml string) (*guest, error) {
	spec, err := domxml.Parse(xml)
	if err != nil {
		return nil, err
	}
	if spec.Name == "" || spec.UUID == "" {
		return nil, errs.Invalidf("the document has no name or no UUID")
	}
	return &guest{uuid: spec.UUID, name: spec.Name, xml: xml, memory: spec.MemoryMiB, vcpus: spec.VCPUs}, nil
}

// Resume implements hypervisor.Hypervisor.
func (h *Host) Resume(ctx context.Context, uuid string) error {
	return h.onGuest(ctx, Resume, uuid, func(g *guest) error {
		switch {
		case g.state == hypervisor.Running:
			return nil
		case g.state != hypervisor.Paused || g.pause == hypervisor.PausedIncoming || g.sending != nil:
			return errs.Conflictf("domain %s is migrating", uuid)
		}
		g.pause = hypervisor.PausedOther
		h.world.execute(g)
		h.emit(hypervisor.EventResumed, g, 0)
		if g.pressed && !g.deaf {
			h.end(g, hypervisor.StoppedShutdown)
		}
		return nil
	})
}

// Shutdown implements hypervisor.Hypervisor. The guest follows at once unless it is
// deaf; a paused one follows when it executes.
func (h *Host) Shutdown(ctx context.Context, uuid string) error {
	return h.onGuest(ctx, Shutdown, uuid, func(g *guest) error {
		g.pressed = true
		if g.state == hypervisor.Running && !g.deaf {
			h.end(g, hypervisor.StoppedShutdown)
		}
		return nil
	})
}

// Destroy implements hypervisor.Hypervisor.
func (h *Host) Destroy(ctx context.Context, uuid string) error {
	return h.do(ctx, Destroy, uuid, func() error {
		if g := h.guests[uuid]; g != nil {
			h.end(g, hypervisor.StoppedDestroyed)
		}
		return nil
	})
}

// Undefine implements hypervisor.Hypervisor.
func (h *Host) Undefine(ctx context.Context, uuid string) error {
	return h.do(ctx, Undefine, uuid, func() error { delete(h.defined, uuid); return nil })
}

// end removes an active guest. The caller holds the lock.
func (h *Host) end(g *guest, why hypervisor.StopReason) {
	if h.guests[g.uuid] != g {
		return
	}
	delete(h.guests, g.uuid)
	g.state = hypervisor.Absent
	if g.sending != nil {
		g.sending.abort(errs.Conflictf("domain is not running"))
	}
	h.emit(hypervisor.EventStopped, g, why)
}

// Subscribe implements hypervisor.Hypervisor.
func (h *Host) Subscribe(fn func(hypervisor.Event)) (cancel func()) { return h.events.add(fn) }

// Close implements hypervisor.Hypervisor.
func (h *Host) Close() error {
	h.world.mu.Lock()
	defer h.world.mu.Unlock()
	h.closed = true
	if h.down != nil {
		close(h.down)
		h.down = nil
	}
	return nil
}
