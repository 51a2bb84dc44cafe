package vmctl

import (
	"time"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

// planSource is the source's side of the handshake, while it owns the claim.
func planSource(h Host, l Limits, w Wanted, s Seen, now time.Time) Action {
	vm, m := w.VM, w.VM.Migration
	if m.Cold {
		return planCold(l, w, s, now)
	}
	wanted := vm.State == model.VMMigrate && vm.Node == m.Target
	switch m.Phase {
	case model.MigrationPrepare, model.MigrationReady:
		return planBeforeSending(l, w, s, now, wanted)
	case model.MigrationSending, model.MigrationArrived:
		// The transfer may have been begun by another instance of this daemon: it goes
		// on inside the hypervisor, and while it does the outcome is open.
		if !s.Sending && !s.Domain.Migrating {
			return planAfterSending(l, m, s, now)
		}
		if !wanted && !s.Aborted {
			return Action{Step: AbortJob, Reason: "it is wanted otherwise"}
		}
		return Action{Step: Wait, After: l.Silence}
	default:
		return Action{Step: FailMigration, Reason: "the handshake is in an unknown phase " + string(m.Phase)}
	}
}

// planBeforeSending: nothing has been transferred yet, everything can be taken back.
func planBeforeSending(l Limits, w Wanted, s Seen, now time.Time, wanted bool) Action {
	c, m := w.Claim, w.VM.Migration
	switch {
	case !wanted:
		return Action{Step: FailMigration, Reason: "it is wanted otherwise"}
	case s.gone():
		return Action{Step: FailMigration, Reason: "the guest ended before it was sent"}
	}
	// It may have started, or arrived here itself, only just now: a host that is flushed and
	// made ready again sends guests back at once.
	switch first := planRunning(c, s); first.Step {
	case Record, Resume, MarkResumed, Wait:
		return first
	}
	switch {
	case s.Domain.State != hypervisor.Running:
		return Action{Step: FailMigration, Reason: "the guest is paused"}
	case c.Incoming == nil || c.Incoming.Node != m.Target:
		return Action{Step: AddIncoming}
	case m.Phase == model.MigrationReady:
		return Action{Step: Send}
	}
	if wait := s.Since.Add(l.Handshake).Sub(now); wait > 0 {
		return Action{Step: Wait, After: wait}
	}
	return Action{Step: FailMigration, Reason: "the target does not answer"}
}

// planAfterSending: no transfer is under way any more. What counts is where the guest
// is now, not what the call has returned.
func planAfterSending(l Limits, m *model.Migration, s Seen, now time.Time) Action {
	reason := s.SendError
	if reason == "" {
		reason = "the transfer was interrupted"
	}
	switch {
	case s.gone():
		return planVanished(l, m, s, now)
	case s.Domain.State == hypervisor.Running:
		return Action{Step: FailMigration, Reason: reason}
	case s.Domain.State == hypervisor.Paused && s.Domain.Pause == hypervisor.PausedOther:
		return Action{Step: Wait, After: time.Second} // it cannot be found out now
	case s.Domain.State == hypervisor.Paused && m.Phase == model.MigrationArrived:
		// Both are paused and complete. The target's goes on; this one must never.
		return Action{Step: Destroy, Reason: "it has arrived at " + m.Target}
	case s.Domain.State == hypervisor.Paused:
		return Action{Step: FailMigration, Reason: reason}
	}
	return Action{Step: Wait, After: time.Second}
}

// planVanished: nothing of the guest is here any more. It may have been sent away, or
// have gone on here after a transfer whose end got lost, and ended: what the target
// has is then a stale copy that must never run. Only a sight of the sending itself
// hands the guest over; without one the target gets the time to find out what this
// host's hypervisor saw, and then the guest starts anew.
func planVanished(l Limits, m *model.Migration, s Seen, now time.Time) Action {
	cleared := s.EndReason == hypervisor.StoppedDestroyed && s.Ordered && m.Phase == model.MigrationArrived
	switch {
	case s.Sent, s.Ended && (s.EndReason == hypervisor.StoppedMigrated || cleared):
		return Action{Step: WriteGone}
	case s.Ended && s.EndReason != hypervisor.StoppedUnknown:
		return Action{Step: FailMigration, Reason: "the guest ended while it was sent"}
	}
	if wait := s.Since.Add(l.Handshake).Sub(now); wait > 0 {
		return Action{Step: Wait, After: wait}
	}
	return Action{Step: FailMigration, Reason: "nobody saw whether the guest was sent or ended here"}
}

// planCold moves a guest by shutting it down here and starting it there.
func planCold(l Limits, w Wanted, s Seen, now time.Time) Action {
	vm, m := w.VM, w.VM.Migration
	if vm.State != model.VMMigrate || vm.Node != m.Target {
		return Action{Step: FailMigration, Reason: "it is wanted otherwise"}
	}
	if s.gone() {
		return Action{Step: Release, State: model.VMStart}
	}
	return planShutdown(l, s, now)
}

// planIncoming is the target's side, while the source owns the claim.
func planIncoming(h Host, l Limits, w Wanted, s Seen, now time.Time) Action {
	m := w.VM.Migration
	if m == nil || m.Target != h.Node || m.Phase == model.MigrationFailed {
		if !s.gone() {
			return Action{Step: Destroy, Reason: "the migration has failed"}
		}
		return Action{Step: LeaveMigration}
	}
	if s.Domain.State == hypervisor.Running {
		return Action{Step: Destroy, Reason: "it runs before its source has let go"}
	}
	arrived := s.Domain.State == hypervisor.Paused && s.Domain.Pause == hypervisor.PausedByRequest
	switch m.Phase {
	case model.MigrationPrepare:
		if !s.gone() {
			return Action{Step: Destroy, Reason: "it is the rest of an earlier migration"}
		}
		return Action{Step: AcceptMigration}
	case model.MigrationReady, model.MigrationSending:
		if arrived && m.Phase == model.MigrationSending {
			return Action{Step: WriteArrived}
		}
		if !s.gone() {
			// The last event comes while the hypervisor still calls it incomplete.
			return Action{Step: Wait, After: l.Silence}
		}
		return Action{}
	case model.MigrationArrived:
		if s.SourceGone {
			return Action{Step: WriteGone}
		}
		if wait := s.Since.Add(l.Silence).Sub(now); wait > 0 {
			return Action{Step: Wait, After: wait}
		}
		return Action{Step: AskSource}
	}
	return Action{}
}

// planArrived: this host was the target and the claim has been handed over.
func planArrived(vm *model.VM, s Seen) Action {
	switch {
	case s.gone():
		// What was to arrive is not there: the guest starts anew, here.
		return Action{Step: Release, State: startIfMigrating(vm.State)}
	case stopping(vm.State):
		return Action{Step: Destroy, Reason: "it is to be in state " + string(vm.State)}
	case s.Domain.State == hypervisor.Paused && s.Domain.Pause == hypervisor.PausedIncoming:
		return Action{Step: Destroy, Reason: "it has not arrived completely, and the source is gone"}
	}
	return Action{Step: Adopt}
}

func startIfMigrating(s model.VMState) model.VMState {
	if s == model.VMMigrate {
		return model.VMStart
	}
	return ""
}
