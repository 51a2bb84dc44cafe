package fake

import (
	"slices"
	"sync"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

// events delivers in order, without a goroutine: whoever finds the queue unattended
// empties it.
type events struct {
	mu       sync.Mutex
	queue    []hypervisor.Event
	draining bool
	next     int
	subs     []subscriber
	lose     bool
	double   bool
}

type subscriber struct {
	id int
	fn func(hypervisor.Event)
}

func (e *events) add(fn func(hypervisor.Event)) (cancel func()) {
	e.mu.Lock()
	id := e.next
	e.next++
	e.subs = append(e.subs, subscriber{id, fn})
	e.mu.Unlock()
	fn(hypervisor.Event{Kind: hypervisor.EventResync})
	return func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		e.subs = slices.DeleteFunc(e.subs, func(s subscriber) bool { return s.id == id })
	}
}

// put queues an event; drain delivers it.
func (e *events) put(event hypervisor.Event) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.lose && event.Kind != hypervisor.EventResync {
		return
	}
	e.queue = append(e.queue, event)
	if e.double {
		e.queue = append(e.queue, event)
	}
}

// drain delivers what is queued, outside of all locks.
func (e *events) drain() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.draining {
		return
	}
	e.draining = true
	for len(e.queue) > 0 {
		event, subs := e.queue[0], slices.Clone(e.subs)
		e.queue = e.queue[1:]
		e.mu.Unlock()
		for _, s := range subs {
			s.fn(event)
		}
		e.mu.Lock()
	}
	e.draining = false
}

// emit queues an event of a guest. The caller holds the world's lock and drains
// after releasing it.
func (h *Host) emit(kind hypervisor.EventKind, g *guest, why hypervisor.StopReason) {
	h.events.put(hypervisor.Event{Kind: kind, UUID: g.uuid, Reason: why})
}

// LoseEvents makes the host send no events but Resync until it is called with false.
func (h *Host) LoseEvents(lose bool) {
	h.events.mu.Lock()
	defer h.events.mu.Unlock()
	h.events.lose = lose
}

// DoubleEvents makes the host send every event twice.
func (h *Host) DoubleEvents(double bool) {
	h.events.mu.Lock()
	defer h.events.mu.Unlock()
	h.events.double = double
}
