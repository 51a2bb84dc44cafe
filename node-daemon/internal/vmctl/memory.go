package vmctl

import (
	"sync"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

// memory is what this daemon remembers of its guests and nobody else needs to know.
// All of it may be lost in a restart; Plan then asks the hypervisor.
type memory struct {
	mu     sync.Mutex
	guests map[string]*guest
}

type guest struct {
	ended     bool
	endReason hypervisor.StopReason
	// awaited is set until the guest of the present run is seen for the first time: an
	// end that is told before that was the end of an earlier one.
	awaited bool

	pressedAt time.Time // for the present wish
	orderedAt time.Time // last time this daemon asked for the end of the guest

	unlisted time.Time // since when the Ceph clients of the guest are looked for
	disks    guestDisks

	startAfter time.Time
	delay      time.Duration // before the next start after a crash

	handshake  string // id of the migration the following belong to
	phase      model.MigrationPhase
	since      time.Time
	sending    func() // aborts the transfer; nil if there is none
	sendError  string
	sent       bool
	aborted    bool
	sourceGone bool

	// sourceDoubt: the guest may have gone on at the source after it was complete here.
	sourceDoubt bool
}

func newMemory() *memory { return &memory{guests: map[string]*guest{}} }

// with calls fn with what is remembered of a VM.
func (m *memory) with(uuid string, fn func(g *guest)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	g := m.guests[uuid]
	if g == nil {
		g = new(guest)
		m.guests[uuid] = g
	}
	fn(g)
}

// sending reports whether a transfer of the guest is under way in this daemon.
func (m *memory) sending(uuid string) (is bool) {
	m.with(uuid, func(g *guest) { is = g.sending != nil })
	return is
}

func (m *memory) forget(uuid string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.guests, uuid)
}

// note remembers how a guest ended.
func (m *memory) note(e hypervisor.Event) {
	m.with(e.UUID, func(g *guest) {
		switch e.Kind {
		case hypervisor.EventStopped:
			if !g.awaited {
				g.ended, g.endReason = true, e.Reason
			}
		case hypervisor.EventStarted:
			g.ended, g.awaited = false, false
		}
	})
}

// begin forgets the former run of a guest.
func (g *guest) begin() {
	g.ended, g.endReason, g.awaited = false, 0, true
	g.pressedAt, g.orderedAt, g.unlisted = time.Time{}, time.Time{}, time.Time{}
}

// handshakeIs notes the phase of a handshake and forgets that of an earlier one.
func (g *guest) handshakeIs(m *model.Migration, now time.Time) {
	if m == nil {
		if g.sending == nil {
			g.forgetHandshake("")
		}
		return
	}
	if g.handshake != m.ID {
		g.forgetHandshake(m.ID)
	}
	if g.phase != m.Phase {
		g.phase, g.since = m.Phase, now
	}
}

func (g *guest) forgetHandshake(next string) {
	g.handshake, g.phase, g.sendError = next, "", ""
	g.sent, g.aborted, g.sourceGone, g.sourceDoubt = false, false, false, false
}

// seen is the part of Seen that is remembered.
func (m *memory) seen(uuid string, vm *model.VM, l Limits, now time.Time) (s Seen) {
	m.with(uuid, func(g *guest) {
		var record *model.Migration
		if vm != nil {
			record = vm.Migration
			if vm.State == model.VMStart {
				g.pressedAt = time.Time{}
			}
		}
		g.handshakeIs(record, now)
		s.Ended, s.EndReason = g.ended, g.endReason
		s.PressedAt = g.pressedAt
		s.Ordered = !g.orderedAt.IsZero() && now.Sub(g.orderedAt) < l.Shutdown
		s.Sending, s.Sent, s.SendError, s.Aborted = g.sending != nil, g.sent, g.sendError, g.aborted
		s.Since, s.SourceGone = g.since, g.sourceGone
		s.StartAfter = g.startAfter
	})
	return s
}

// slots bound how many VMs are in a costly step. A VM that finds none free is looked
// at again when one is.
type slots struct {
	mu      sync.Mutex
	free    int
	holders map[string]bool
	waiting []string
	wake    func(uuids ...string)
}

func newSlots(n int, wake func(...string)) *slots {
	return &slots{free: n, holders: map[string]bool{}, wake: wake}
}

func (s *slots) take(uuid string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.holders[uuid] {
		return true
	}
	if s.free == 0 {
		s.waiting = append(s.waiting, uuid)
		return false
	}
	s.free--
	s.holders[uuid] = true
	return true
}

func (s *slots) give(uuid string) {
	s.mu.Lock()
	if !s.holders[uuid] {
		s.mu.Unlock()
		return
	}
	delete(s.holders, uuid)
	s.free++
	waiting := s.waiting
	s.waiting = nil
	s.mu.Unlock()
	s.wake(waiting...)
}
