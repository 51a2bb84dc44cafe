package vmctl

import (
	"time"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

// Step is the next thing to do for a VM.
type Step uint8

// The steps. Each is one transaction or one call of the hypervisor.
const (
	None            Step = iota // nothing to do until something changes
	Wait                        // look again after Action.After
	Claim                       // take the claim, so that nobody else can start the VM
	Create                      // create the guest, paused
	Record                      // put the guest's clients on record, before it runs
	Resume                      // let the guest run
	MarkResumed                 // say on record that it runs
	PressPower                  // ask the guest to shut down
	Destroy                     // end the guest's process, now
	Undefine                    // remove a persistent definition, which could start by itself
	Release                     // give the claim back and set the state to Action.State
	SetState                    // set the state to Action.State; there is no claim
	DropIndex                   // the VM no longer concerns this node
	BeginMigration              // source: record a migration that an old client asked for
	AddIncoming                 // source: put the target into the claim
	Send                        // source: record phase sending, then transfer the guest
	AbortJob                    // source: end a transfer that is under way
	WriteGone                   // source: the process is gone, hand the claim over
	FailMigration               // source: record that the guest stays
	AcceptMigration             // target: record phase ready
	WriteArrived                // target: the guest is complete and paused
	AskSource                   // target: the source is silent, ask its hypervisor
	Adopt                       // target: the claim is ours, record the clients and end the handshake
	LeaveMigration              // target: nothing of the guest is left here
	ClearMigration              // remove a handshake record that nobody needs
)

// Action is a step and what it needs to know.
type Action struct {
	Step   Step
	After  time.Duration
	State  model.VMState // for Release and SetState; empty leaves the state as it is
	Reason string        // for people
	Crash  bool          // Release: count a crash
}

// Host is who plans.
type Host struct {
	Node, BootID, Instance string
}

// Wanted is what the records say.
type Wanted struct {
	VM    *model.VM // nil if the record is gone
	Claim *model.Claim

	claimVersion int32
}

// Seen is what this host knows by itself.
type Seen struct {
	Domain  hypervisor.Domain
	Process bool // a QEMU process of the VM exists, whatever the hypervisor says

	Ended      bool // the end of the guest's process was seen
	EndReason  hypervisor.StopReason
	PressedAt  time.Time // when the power button was pressed for the present wish; zero if it was not
	Ordered    bool      // this daemon asked for the end of the guest a moment ago
	Sending    bool      // a transfer is under way in this daemon
	Aborted    bool      // this daemon has asked for the end of the transfer
	Sent       bool      // the hypervisor has told this daemon that the transfer succeeded
	SendError  string    // why the last transfer of this handshake failed
	Since      time.Time // when the present phase of the handshake was first seen
	SourceGone bool      // the source's hypervisor said that the guest is not there
	StartAfter time.Time // not before: a crashing guest is started with growing delays
	CrashLimit bool      // it has crashed too often
}

// Limits are the configured times.
type Limits struct {
	Shutdown  time.Duration // a guest has to shut down before it is destroyed
	Handshake time.Duration // a migration partner has to answer
	Silence   time.Duration // of the source before its hypervisor is asked
	Clients   time.Duration // a created guest has to show its Ceph clients; 0 is 30 s
}

// gone reports that nothing of the guest can be running here.
func (s Seen) gone() bool { return s.Domain.State == hypervisor.Absent && !s.Process }

// Plan decides the next step for one VM. It is asked again after each step and after
// everything that happens; it must not depend on how often.
func Plan(h Host, l Limits, w Wanted, s Seen, now time.Time) Action {
	if a := stray(h, w, s); a.Step != None {
		return a
	}
	if w.VM == nil {
		return planForgotten(h, w, s)
	}
	switch c := w.Claim; {
	case c == nil:
		return planUnclaimed(h, w.VM, s, now)
	case c.Owner.Node == h.Node:
		return planOwned(h, l, w, s, now)
	case c.Incoming != nil && c.Incoming.Node == h.Node:
		return planIncoming(h, l, w, s, now)
	default:
		return planElsewhere(h, w.VM)
	}
}

// stray finds a guest of ours that runs without this host's claim, and definitions
// that could start a guest behind our back.
func stray(h Host, w Wanted, s Seen) Action {
	if w.VM == nil && w.Claim == nil {
		return Action{} // not ours
	}
	if !s.gone() && !w.Claim.Holds(h.Node) {
		return Action{Step: Destroy, Reason: "it runs here without this host's claim"}
	}
	if s.Domain.Persistent {
		return Action{Step: Undefine, Reason: "it has a persistent definition, which could start by itself"}
	}
	return Action{}
}

// planForgotten handles a VM whose record was deleted while it was claimed.
func planForgotten(h Host, w Wanted, s Seen) Action {
	switch c := w.Claim; {
	case c == nil:
		return Action{Step: DropIndex}
	case !c.Holds(h.Node):
		return Action{Step: DropIndex}
	case !s.gone():
		return Action{Step: Destroy, Reason: "its record was deleted"}
	case c.Owner.Node == h.Node:
		return Action{Step: Release, Reason: "its record was deleted"}
	default:
		return Action{Step: LeaveMigration}
	}
}

// planUnclaimed handles a VM that runs nowhere.
func planUnclaimed(h Host, vm *model.VM, s Seen, now time.Time) Action {
	if vm.Node != h.Node {
		return planElsewhere(h, vm)
	}
	if vm.Migration != nil {
		return Action{Step: ClearMigration}
	}
	switch vm.State {
	case model.VMStart:
		if wait := s.StartAfter.Sub(now); wait > 0 {
			return Action{Step: Wait, After: wait}
		}
		return Action{Step: Claim}
	case model.VMRestart, model.VMMigrate:
		return Action{Step: SetState, State: model.VMStart}
	case model.VMShutdown:
		return Action{Step: SetState, State: model.VMStop}
	}
	return Action{}
}

// planElsewhere handles a VM that is not ours any more.
func planElsewhere(h Host, vm *model.VM) Action {
	if vm.Node == h.Node || vm.Migration != nil && vm.Migration.Target == h.Node {
		return Action{}
	}
	return Action{Step: DropIndex}
}

// planOwned handles a VM whose claim this host has.
func planOwned(h Host, l Limits, w Wanted, s Seen, now time.Time) Action {
	vm, c := w.VM, w.Claim
	if m := vm.Migration; m != nil && m.Target == h.Node && m.Phase == model.MigrationGone && !s.gone() {
		// Before the boot id: a guest that is here has arrived since the host was booted,
		// even if the handshake had begun before.
		return planArrived(vm, s)
	}
	if c.Owner.BootID != h.BootID {
		return planRebooted(h, w, s)
	}
	if m := vm.Migration; m != nil && m.Source == h.Node && m.Phase != model.MigrationFailed {
		return planSource(h, l, w, s, now)
	}
	if m := vm.Migration; m != nil && m.Target == h.Node {
		return planArrived(vm, s)
	}
	if s.gone() {
		return planEnded(h, w, s)
	}
	if s.Domain.Migrating {
		// Asked for by hand, or by a request of ours that was given up and is carried out
		// late: at its end the guest would be where no claim is.
		return Action{Step: AbortJob, Reason: "no migration of it is on record"}
	}
	switch vm.State {
	case model.VMStart:
		if vm.Node != h.Node && vm.Migration == nil {
			return Action{Step: BeginMigration}
		}
		return planRunning(c, s)
	case model.VMMigrate:
		if vm.Node == h.Node {
			return Action{Step: SetState, State: model.VMStart, Reason: "it is where it is wanted"}
		}
		return Action{Step: BeginMigration}
	case model.VMShutdown, model.VMRestart:
		return planShutdown(l, s, now)
	default: // stop, failed, delete, and words nobody knows
		if !stopping(vm.State) {
			return Action{}
		}
		return Action{Step: Destroy, Reason: "it is to be in state " + string(vm.State)}
	}
}

func stopping(s model.VMState) bool {
	return s == model.VMStop || s == model.VMFailed || s == model.VMDelete
}

// planRunning handles a guest that is to run and has a process.
func planRunning(c *model.Claim, s Seen) Action {
	switch s.Domain.State {
	case hypervisor.Running:
		switch {
		case !c.Recorded:
			return Action{Step: Record}
		case !c.Resumed:
			return Action{Step: MarkResumed}
		}
	case hypervisor.Paused:
		switch {
		case s.Domain.Pause == hypervisor.PausedOther && !c.Resumed:
			return Action{Step: Wait, After: time.Second} // it cannot be found out now
		case !c.Recorded:
			return Action{Step: Record}
		case !c.Resumed, s.Domain.Pause == hypervisor.PausedStart, s.Domain.Pause == hypervisor.PausedOutgoing:
			return Action{Step: Resume}
		}
		// Suspended by somebody, or by an I/O error: not for us to judge.
	case hypervisor.Absent: // the process is there, the hypervisor has lost it
		return Action{Step: Destroy, Reason: "the hypervisor has lost its process"}
	case hypervisor.Stopping:
	}
	return Action{}
}

// planShutdown presses the power button and destroys what does not follow in time.
func planShutdown(l Limits, s Seen, now time.Time) Action {
	if s.Domain.State != hypervisor.Running {
		return Action{Step: Destroy, Reason: "it is not executing and cannot shut down"}
	}
	if s.PressedAt.IsZero() {
		return Action{Step: PressPower}
	}
	if wait := s.PressedAt.Add(l.Shutdown).Sub(now); wait > 0 {
		return Action{Step: Wait, After: wait}
	}
	return Action{Step: Destroy, Reason: "it did not shut down in " + l.Shutdown.String()}
}

// planEnded handles a claimed VM without a process.
func planEnded(h Host, w Wanted, s Seen) Action {
	vm, c := w.VM, w.Claim
	switch vm.State {
	case model.VMStart:
		switch {
		case vm.Node != h.Node:
			return Action{Step: Release}
		case !c.Recorded && neverRan(s):
			return Action{Step: Create}
		default:
			return planCrashed(s)
		}
	case model.VMRestart, model.VMMigrate:
		return Action{Step: Release, State: model.VMStart}
	case model.VMShutdown:
		return Action{Step: Release, State: model.VMStop}
	default:
		return Action{Step: Release}
	}
}

// neverRan reports, of a guest that is not on record and so has never executed, that what was
// seen is not its end: it cannot have shut down or moved. Those are ends of an earlier run, whose
// release and the claim after it were committed without this daemon being told.
func neverRan(s Seen) bool {
	if !s.Ended {
		return true
	}
	switch s.EndReason {
	case hypervisor.StoppedUnknown, hypervisor.StoppedShutdown, hypervisor.StoppedMigrated:
		return true
	}
	return false
}

// planCrashed handles a guest that ended although it was to run.
func planCrashed(s Seen) Action {
	if s.Ordered { // our own doing, overtaken by a wish to run
		return Action{Step: Release}
	}
	if s.Ended && s.EndReason == hypervisor.StoppedShutdown {
		return Action{Step: Release, State: model.VMStop, Reason: "the guest powered itself off"}
	}
	reason := "the guest ended unseen"
	if s.Ended {
		reason = endings[s.EndReason]
	}
	if s.CrashLimit {
		return Action{Step: Release, State: model.VMFailed, Crash: true, Reason: reason + "; it ended too often in a short time and is not started again"}
	}
	return Action{Step: Release, Crash: true, Reason: reason}
}

var endings = map[hypervisor.StopReason]string{
	hypervisor.StoppedUnknown:   "the guest ended for an unknown reason",
	hypervisor.StoppedDestroyed: "the guest was destroyed by somebody else",
	hypervisor.StoppedCrashed:   "the guest crashed",
	hypervisor.StoppedMigrated:  "the guest was sent away by somebody else",
	hypervisor.StoppedFailed:    "the guest did not come up",
}

// planRebooted handles a claim from before this host was booted: its process cannot
// exist any more.
func planRebooted(h Host, w Wanted, s Seen) Action {
	if !s.gone() {
		return Action{Step: Destroy, Reason: "it runs here without this host's claim"}
	}
	if m := w.VM.Migration; m != nil && m.Source == h.Node && m.Phase != model.MigrationFailed {
		return Action{Step: FailMigration, Reason: "the source was rebooted"}
	}
	a := Action{Step: Release, Reason: "its host was rebooted"}
	switch w.VM.State {
	case model.VMShutdown:
		a.State = model.VMStop
	case model.VMRestart, model.VMMigrate:
		a.State = model.VMStart
	}
	return a
}
