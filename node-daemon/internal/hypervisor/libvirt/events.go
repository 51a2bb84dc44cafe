package libvirt

import (
	"fmt"
	"sync"

	lv "libvirt.org/go/libvirt"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

// subscribers are those who want events. The zero value is ready.
type subscribers struct {
	mu   sync.Mutex
	next int
	fns  map[int]func(hypervisor.Event)
	// held are the guests that were created or are arriving and have never executed
	// here: libvirt reports their end and a crash as the same.
	held map[string]bool
}

// add registers fn and tells it to look around.
func (s *subscribers) add(fn func(hypervisor.Event)) (cancel func()) {
	s.mu.Lock()
	if s.fns == nil {
		s.fns = map[int]func(hypervisor.Event){}
	}
	id := s.next
	s.next++
	s.fns[id] = fn
	s.mu.Unlock()
	fn(hypervisor.Event{Kind: hypervisor.EventResync})
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.fns, id)
	}
}

func (s *subscribers) deliver(e hypervisor.Event) {
	s.mu.Lock()
	fns := make([]func(hypervisor.Event), 0, len(s.fns))
	for _, fn := range s.fns {
		fns = append(fns, fn)
	}
	s.mu.Unlock()
	for _, fn := range fns {
		fn(e)
	}
}

// attach registers for the events of a connection and returns what takes that back.
func (s *subscribers) attach(conn *lv.Connect) (detach func(), err error) {
	s.forget()
	id, err := conn.DomainEventLifecycleRegister(nil, func(_ *lv.Connect, d *lv.Domain, e *lv.DomainEventLifecycle) {
		s.lifecycle(d, e)
	})
	if err != nil {
		return nil, fmt.Errorf("register for events: %w", err)
	}
	// On a dead connection libvirt complains that it cannot tell the other side, after
	// it has done its own part.
	return func() { _ = conn.DomainEventDeregister(id) }, nil
}

// lifecycle is called by the event loop. The domain belongs to the caller.
func (s *subscribers) lifecycle(d *lv.Domain, e *lv.DomainEventLifecycle) {
	uuid, err := d.GetUUIDString() // local, it fails for no valid object
	if err != nil {
		return
	}
	event := hypervisor.Event{UUID: uuid}
	switch e.Event {
	case lv.DOMAIN_EVENT_STARTED:
		event.Kind = hypervisor.EventStarted
		s.hold(uuid)
	case lv.DOMAIN_EVENT_RESUMED:
		event.Kind = hypervisor.EventResumed
		s.release(uuid)
	case lv.DOMAIN_EVENT_SUSPENDED, lv.DOMAIN_EVENT_PMSUSPENDED, lv.DOMAIN_EVENT_CRASHED:
		event.Kind = hypervisor.EventSuspended
	case lv.DOMAIN_EVENT_STOPPED:
		event.Kind = hypervisor.EventStopped
		event.Reason = stopReason(lv.DomainEventStoppedDetailType(e.Detail), s.release(uuid))
	default: // definitions come and go; SHUTDOWN is followed by STOPPED
		return
	}
	s.deliver(event)
}

// stopReason translates. libvirt says FAILED when QEMU vanished without a word.
func stopReason(detail lv.DomainEventStoppedDetailType, held bool) hypervisor.StopReason {
	switch detail {
	case lv.DOMAIN_EVENT_STOPPED_SHUTDOWN:
		return hypervisor.StoppedShutdown
	case lv.DOMAIN_EVENT_STOPPED_DESTROYED:
		return hypervisor.StoppedDestroyed
	case lv.DOMAIN_EVENT_STOPPED_CRASHED:
		return hypervisor.StoppedCrashed
	case lv.DOMAIN_EVENT_STOPPED_MIGRATED:
		return hypervisor.StoppedMigrated
	case lv.DOMAIN_EVENT_STOPPED_FAILED:
		if held {
			return hypervisor.StoppedFailed
		}
		return hypervisor.StoppedCrashed
	}
	return hypervisor.StoppedUnknown
}

func (s *subscribers) hold(uuid string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held == nil {
		s.held = map[string]bool{}
	}
	s.held[uuid] = true
}

// release reports whether the guest was held until now.
func (s *subscribers) release(uuid string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	was := s.held[uuid]
	delete(s.held, uuid)
	return was
}

// forget drops what was known before the connection was lost.
func (s *subscribers) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = nil
}
