package fake

import (
	"context"
	"maps"
	"sync"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

// Method names a call of hypervisor.Hypervisor.
type Method string

// The methods that can be made to fail.
const (
	HostFacts     Method = "host"
	List          Method = "list"
	Lookup        Method = "look up"
	XML           Method = "read"
	CreatePaused  Method = "create"
	Resume        Method = "resume"
	Shutdown      Method = "shut down"
	Destroy       Method = "destroy"
	Undefine      Method = "undefine"
	MigratePaused Method = "migrate"
	AbortJob      Method = "abort"
	SetSecret     Method = "set secret"
	DiskSize      Method = "read a disk's size of"
	ResizeDisk    Method = "resize a disk of"
)

// faults is what a test wants to go wrong. The zero value is a host without any.
type faults struct {
	mu    sync.Mutex
	calls map[Method]int
	fail  map[Method]error
	lose  map[Method]error
	delay map[Method]time.Duration
	hooks map[Method]func(uuid string)
	steps map[Step]func(uuid string) error
}

// Fail makes every call of m fail with err before it does anything, until Fail(m, nil).
func (f *faults) Fail(m Method, err error) { set(f, &f.fail, m, err) }

// LoseAnswer makes every call of m do its work and then fail with err, until
// LoseAnswer(m, nil).
func (f *faults) LoseAnswer(m Method, err error) { set(f, &f.lose, m, err) }

// Delay makes every call of m take at least d.
func (f *faults) Delay(m Method, d time.Duration) { set(f, &f.delay, m, d) }

// Before has fn called at the beginning of every call of m, without locks held.
func (f *faults) Before(m Method, fn func(uuid string)) { set(f, &f.hooks, m, fn) }

// At has fn called when a migration from this host reaches the step, without locks
// held. An error makes the migration fail there, as the real one does.
func (f *faults) At(s Step, fn func(uuid string) error) { set(f, &f.steps, s, fn) }

// Calls returns how often m was called.
func (f *faults) Calls(m Method) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls[m]
}

func set[K comparable, V any](f *faults, m *map[K]V, k K, v V) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[k] = v
}

// before does what is to happen before a call has any effect.
func (f *faults) before(ctx context.Context, m Method, uuid string) error {
	f.mu.Lock()
	if f.calls == nil {
		f.calls = map[Method]int{}
	}
	f.calls[m]++
	hook, delay, err := f.hooks[m], f.delay[m], f.fail[m]
	f.mu.Unlock()
	if hook != nil {
		hook(uuid)
	}
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return errs.Unavailablef("the hypervisor has not answered: %w", context.Cause(ctx))
		}
	}
	return err
}

func (f *faults) after(m Method) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lose[m]
}

func (f *faults) step(s Step, uuid string) error {
	f.mu.Lock()
	fn := f.steps[s]
	f.mu.Unlock()
	if fn == nil {
		return nil
	}
	return fn(uuid)
}

// happen changes the host from outside of any call.
func (h *Host) happen(fn func()) {
	h.world.mu.Lock()
	fn()
	h.world.mu.Unlock()
	h.events.drain()
}

// onActive changes an active guest and reports whether there was one.
func (h *Host) onActive(uuid string, fn func(*guest)) (found bool) {
	h.happen(func() {
		if g := h.guests[uuid]; g != nil {
			found = true
			fn(g)
		}
	})
	return found
}

// PowerOff has the guest power itself off. It reports whether there was one that
// executes.
func (h *Host) PowerOff(uuid string) (done bool) {
	h.onActive(uuid, func(g *guest) {
		if done = g.state == hypervisor.Running; done {
			h.end(g, hypervisor.StoppedShutdown)
		}
	})
	return done
}

// Crash kills the guest's process. It reports whether there was one.
func (h *Host) Crash(uuid string) bool {
	return h.onActive(uuid, func(g *guest) {
		if g.executed && g.pause != hypervisor.PausedIncoming && g.pause != hypervisor.PausedByRequest {
			h.end(g, hypervisor.StoppedCrashed)
		} else {
			h.end(g, hypervisor.StoppedFailed)
		}
	})
}

// IgnoreShutdown makes the guest deaf to the power button, or not. It reports whether
// there is one.
func (h *Host) IgnoreShutdown(uuid string, deaf bool) bool {
	return h.onActive(uuid, func(g *guest) { g.deaf = deaf })
}

// Executed reports whether the guest is active here and has ever executed anywhere.
func (h *Host) Executed(uuid string) (executed bool) {
	h.onActive(uuid, func(g *guest) { executed = g.executed })
	return executed
}

// Define stores a persistent definition, as an administrator would, with autostart.
func (h *Host) Define(xml string) error {
	g, err := parse(xml)
	if err != nil {
		return err
	}
	g.autostart = true
	h.happen(func() { h.defined[g.uuid] = g })
	return nil
}

// Secrets are the keys that the hypervisor has now, by UUID. They are lost when it
// disconnects.
func (h *Host) Secrets() map[string]hypervisor.Secret {
	h.world.mu.Lock()
	defer h.world.mu.Unlock()
	return maps.Clone(h.secrets)
}

// SetDiskSize says how large a guest's disk is, bytes; before that it has none. It
// reports whether there is such a guest.
func (h *Host) SetDiskSize(uuid, dev string, bytes uint64) bool {
	return h.onActive(uuid, func(g *guest) {
		if g.disks == nil {
			g.disks = map[string]uint64{}
		}
		g.disks[dev] = bytes
	})
}

// Disconnect makes all calls wait, as when libvirtd has died. Guests go on, and so
// does nothing that is being sent.
func (h *Host) Disconnect() {
	h.happen(func() {
		if h.down == nil {
			h.down = make(chan struct{})
		}
		h.secrets = map[string]hypervisor.Secret{}
		for _, g := range h.guests {
			if g.sending != nil {
				g.sending.abort(errs.New(errs.Unknown, "the connection to the hypervisor was lost"))
			}
		}
	})
}

// Reconnect ends what Disconnect began and tells all subscribers to look around.
func (h *Host) Reconnect() {
	h.happen(func() {
		if h.down != nil {
			close(h.down)
			h.down = nil
		}
		h.events.put(hypervisor.Event{Kind: hypervisor.EventResync})
	})
}

// CutLink separates the host from all others, or heals that. Migrations from it and
// to it fail.
func (h *Host) CutLink(cut bool) {
	h.happen(func() {
		h.cut = cut
		if !cut {
			return
		}
		for _, other := range h.world.hosts {
			for _, g := range other.guests {
				if g.sending != nil && (other == h || g.sending.to == h) {
					g.sending.abort(errs.Conflictf("client socket is closed"))
				}
			}
		}
	})
}

// PowerCut ends everything on the host without a word. All calls fail until PowerOn.
func (h *Host) PowerCut() {
	h.CutLink(true)
	h.happen(func() {
		h.off = true
		if h.down == nil {
			h.down = make(chan struct{})
		}
		h.guests, h.secrets = map[string]*guest{}, map[string]hypervisor.Secret{}
	})
}

// PowerOn boots the host again, without guests.
func (h *Host) PowerOn() {
	h.CutLink(false)
	h.happen(func() {
		h.off = false
	})
	h.Reconnect()
}
