package vmctl

import (
	"errors"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

var (
	here   = Host{Node: "hv1", BootID: "boot1", Instance: "i1"}
	limits = Limits{Shutdown: 90 * time.Second, Handshake: 30 * time.Second, Silence: time.Second}
	now    = time.Unix(1_800_000_000, 0)
)

func vm(state model.VMState, node string) *model.VM {
	return &model.VM{UUID: "u", Name: "web1", State: state, Node: node}
}

func owned(stage string) *model.Claim {
	c := &model.Claim{Owner: model.ClaimHost{Node: "hv1", BootID: "boot1", Instance: "i1"}}
	c.Recorded = stage == "recorded" || stage == "resumed"
	c.Resumed = stage == "resumed"
	return c
}

func domain(s hypervisor.State, p hypervisor.PauseReason) hypervisor.Domain {
	return hypervisor.Domain{State: s, Pause: p}
}

var (
	running    = domain(hypervisor.Running, 0)
	fresh      = domain(hypervisor.Paused, hypervisor.PausedStart)
	suspended  = domain(hypervisor.Paused, hypervisor.PausedByRequest)
	arriving   = domain(hypervisor.Paused, hypervisor.PausedIncoming)
	switchOver = domain(hypervisor.Paused, hypervisor.PausedOutgoing)
)

func ended(r hypervisor.StopReason) Seen { return Seen{Ended: true, EndReason: r} }

// decision: ended unseen
// decision: shutdown
// decision: power cut
func TestPlanOfALife(t *testing.T) {
	persistent := running
	persistent.Persistent = true
	old := owned("resumed")
	old.Owner.BootID = "boot0"
	other := &model.Claim{Owner: model.ClaimHost{Node: "hv2"}}
	tests := []struct {
		name string
		w    Wanted
		s    Seen
		want Action
	}{
		{"a stopped VM needs nothing", Wanted{VM: vm("stop", "hv1")}, Seen{}, Action{}},
		{"a wanted VM is claimed first", Wanted{VM: vm("start", "hv1")}, Seen{}, Action{Step: Claim}},
		{"a crashing VM waits for its next start", Wanted{VM: vm("start", "hv1")}, Seen{StartAfter: now.Add(time.Second)}, Action{Step: Wait, After: time.Second}},
		{"a claimed VM is created paused", Wanted{VM: vm("start", "hv1"), Claim: owned("")}, Seen{}, Action{Step: Create}},
		{"a created guest is recorded before it runs", Wanted{VM: vm("start", "hv1"), Claim: owned("")}, Seen{Domain: fresh}, Action{Step: Record}},
		{"a recorded guest is resumed", Wanted{VM: vm("start", "hv1"), Claim: owned("recorded")}, Seen{Domain: fresh}, Action{Step: Resume}},
		{"a resumed guest is marked", Wanted{VM: vm("start", "hv1"), Claim: owned("recorded")}, Seen{Domain: running}, Action{Step: MarkResumed}},
		{"a running guest is left alone", Wanted{VM: vm("start", "hv1"), Claim: owned("resumed")}, Seen{Domain: running}, Action{}},
		{"a guest that somebody suspended is left alone", Wanted{VM: vm("start", "hv1"), Claim: owned("resumed")}, Seen{Domain: suspended}, Action{}},
		{"a guest that never ran is resumed whatever the record says", Wanted{VM: vm("start", "hv1"), Claim: owned("resumed")}, Seen{Domain: fresh}, Action{Step: Resume}},
		{"a pause that cannot be explained now is asked about again", Wanted{VM: vm("start", "hv1"), Claim: owned("recorded")}, Seen{Domain: domain(hypervisor.Paused, hypervisor.PausedOther)}, Action{Step: Wait, After: time.Second}},
		{"a process that the hypervisor has lost is ended", Wanted{VM: vm("start", "hv1"), Claim: owned("resumed")}, Seen{Process: true}, Action{Step: Destroy, Reason: "the hypervisor has lost its process"}},

		{"a guest without a claim is destroyed", Wanted{VM: vm("start", "hv1")}, Seen{Domain: running}, Action{Step: Destroy, Reason: "it runs here without this host's claim"}},
		{"a guest that another host has claimed is destroyed", Wanted{VM: vm("start", "hv2"), Claim: other}, Seen{Domain: running}, Action{Step: Destroy, Reason: "it runs here without this host's claim"}},
		{"a definition that could start by itself is removed", Wanted{VM: vm("start", "hv1"), Claim: owned("resumed")}, Seen{Domain: persistent}, Action{Step: Undefine, Reason: "it has a persistent definition, which could start by itself"}},
		{"somebody else's guest is none of our business", Wanted{}, Seen{Domain: running}, Action{Step: DropIndex}},
		{"a VM of another host leaves the index", Wanted{VM: vm("start", "hv2")}, Seen{}, Action{Step: DropIndex}},

		{"a shutdown presses the power button", Wanted{VM: vm("shutdown", "hv1"), Claim: owned("resumed")}, Seen{Domain: running}, Action{Step: PressPower}},
		{"a shutdown waits", Wanted{VM: vm("shutdown", "hv1"), Claim: owned("resumed")}, Seen{Domain: running, PressedAt: now.Add(-30 * time.Second)}, Action{Step: Wait, After: 60 * time.Second}},
		{"a guest that ignores it is destroyed", Wanted{VM: vm("shutdown", "hv1"), Claim: owned("resumed")}, Seen{Domain: running, PressedAt: now.Add(-90 * time.Second)}, Action{Step: Destroy, Reason: "it did not shut down in 1m30s"}},
		{"a guest that is down is released as stopped", Wanted{VM: vm("shutdown", "hv1"), Claim: owned("resumed")}, ended(hypervisor.StoppedShutdown), Action{Step: Release, State: "stop"}},
		{"a shutdown of what does not run ends at once", Wanted{VM: vm("shutdown", "hv1")}, Seen{}, Action{Step: SetState, State: "stop"}},
		{"a restart comes up again", Wanted{VM: vm("restart", "hv1"), Claim: owned("resumed")}, ended(hypervisor.StoppedShutdown), Action{Step: Release, State: "start"}},
		{"a stop is at once, also in a shutdown", Wanted{VM: vm("stop", "hv1"), Claim: owned("resumed")}, Seen{Domain: running, PressedAt: now}, Action{Step: Destroy, Reason: "it is to be in state stop"}},
		{"a stopped guest gives its claim back", Wanted{VM: vm("stop", "hv1"), Claim: owned("resumed")}, ended(hypervisor.StoppedDestroyed), Action{Step: Release}},
		{"a state that nobody knows changes nothing", Wanted{VM: vm("provision", "hv1"), Claim: owned("resumed")}, Seen{Domain: running}, Action{}},

		{"a guest that powers itself off is stopped", Wanted{VM: vm("start", "hv1"), Claim: owned("resumed")}, ended(hypervisor.StoppedShutdown), Action{Step: Release, State: "stop", Reason: "the guest powered itself off"}},
		{"a start that overtakes a shutdown wins", Wanted{VM: vm("start", "hv1"), Claim: owned("resumed")}, Seen{Ended: true, EndReason: hypervisor.StoppedShutdown, Ordered: true}, Action{Step: Release}},
		{"one that has not run yet has not done so", Wanted{VM: vm("start", "hv1"), Claim: owned("")}, ended(hypervisor.StoppedShutdown), Action{Step: Create}},
		{"nor moved away", Wanted{VM: vm("start", "hv1"), Claim: owned("")}, ended(hypervisor.StoppedMigrated), Action{Step: Create}},
		{"but it may have failed to come up", Wanted{VM: vm("start", "hv1"), Claim: owned("")}, ended(hypervisor.StoppedFailed), Action{Step: Release, Crash: true, Reason: "the guest did not come up"}},
		{"a crash is counted and started again", Wanted{VM: vm("start", "hv1"), Claim: owned("resumed")}, ended(hypervisor.StoppedCrashed), Action{Step: Release, Crash: true, Reason: "the guest crashed"}},
		{"too many crashes end in failed", Wanted{VM: vm("start", "hv1"), Claim: owned("resumed")}, Seen{Ended: true, EndReason: hypervisor.StoppedCrashed, CrashLimit: true}, Action{Step: Release, State: "failed", Crash: true, Reason: "the guest crashed; it ended too often in a short time and is not started again"}},
		{"an end that nobody saw counts as a crash", Wanted{VM: vm("start", "hv1"), Claim: owned("resumed")}, Seen{}, Action{Step: Release, Crash: true, Reason: "the guest ended unseen"}},

		{"a claim from before the reboot is given back, and the VM starts", Wanted{VM: vm("start", "hv1"), Claim: old}, Seen{}, Action{Step: Release, Reason: "its host was rebooted"}},
		{"a guest under a claim from before the reboot is destroyed", Wanted{VM: vm("start", "hv1"), Claim: old}, Seen{Domain: running}, Action{Step: Destroy, Reason: "it runs here without this host's claim"}},
		{"a deleted VM's guest is destroyed", Wanted{Claim: owned("resumed")}, Seen{Domain: running}, Action{Step: Destroy, Reason: "its record was deleted"}},
		{"and its claim given back", Wanted{Claim: owned("resumed")}, Seen{}, Action{Step: Release, Reason: "its record was deleted"}},
		{"an old client's move of a running VM becomes a migration", Wanted{VM: vm("migrate", "hv2"), Claim: owned("resumed")}, Seen{Domain: running}, Action{Step: BeginMigration}},
		{"an old client's migrate of a stopped VM is a start", Wanted{VM: vm("migrate", "hv1")}, Seen{}, Action{Step: SetState, State: "start"}},
		{"a running VM that is assigned elsewhere is not destroyed", Wanted{VM: vm("start", "hv2"), Claim: owned("resumed")}, Seen{Domain: running}, Action{Step: BeginMigration}},
		{"an ended VM that is assigned elsewhere is let go", Wanted{VM: vm("start", "hv2"), Claim: owned("resumed")}, Seen{}, Action{Step: Release}},
	}
	for _, tt := range tests {
		if got := Plan(here, limits, tt.w, tt.s, now); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func migrating(p model.MigrationPhase, state model.VMState) *model.VM {
	v := vm(state, "hv2")
	v.Migration = &model.Migration{ID: "m", Source: "hv1", Target: "hv2", Phase: p}
	return v
}

// decision: failed migration
func TestPlanOfTheSourceOfAMigration(t *testing.T) {
	both := owned("resumed")
	both.Incoming = &model.ClaimHost{Node: "hv2"}
	sending := running
	sending.Migrating = true
	cold := migrating(model.MigrationPrepare, model.VMMigrate)
	cold.Migration.Cold = true
	tests := []struct {
		name string
		w    Wanted
		s    Seen
		want Action
	}{
		{"the target goes into the claim first", Wanted{VM: migrating("prepare", "migrate"), Claim: owned("resumed")}, Seen{Domain: running}, Action{Step: AddIncoming}},
		{"then it is waited for", Wanted{VM: migrating("prepare", "migrate"), Claim: both}, Seen{Domain: running, Since: now.Add(-20 * time.Second)}, Action{Step: Wait, After: 10 * time.Second}},
		{"but not for ever", Wanted{VM: migrating("prepare", "migrate"), Claim: both}, Seen{Domain: running, Since: now.Add(-30 * time.Second)}, Action{Step: FailMigration, Reason: "the target does not answer"}},
		{"one that has only just arrived here is let go first", Wanted{VM: migrating("prepare", "migrate"), Claim: owned("recorded")}, Seen{Domain: domain(hypervisor.Paused, hypervisor.PausedByRequest)}, Action{Step: Resume}},
		{"and put on record before that", Wanted{VM: migrating("prepare", "migrate"), Claim: owned("")}, Seen{Domain: domain(hypervisor.Paused, hypervisor.PausedStart)}, Action{Step: Record}},
		{"one that somebody has suspended stays", Wanted{VM: migrating("prepare", "migrate"), Claim: owned("resumed")}, Seen{Domain: domain(hypervisor.Paused, hypervisor.PausedByRequest)}, Action{Step: FailMigration, Reason: "the guest is paused"}},
		{"a ready target is sent the guest", Wanted{VM: migrating("ready", "migrate"), Claim: both}, Seen{Domain: running}, Action{Step: Send}},
		{"a stop before that takes it back", Wanted{VM: migrating("ready", "stop"), Claim: both}, Seen{Domain: running}, Action{Step: FailMigration, Reason: "it is wanted otherwise"}},
		{"an end before that takes it back", Wanted{VM: migrating("ready", "migrate"), Claim: both}, ended(hypervisor.StoppedShutdown), Action{Step: FailMigration, Reason: "the guest ended before it was sent"}},
		{"a transfer is waited for", Wanted{VM: migrating("sending", "migrate"), Claim: both}, Seen{Domain: sending, Sending: true}, Action{Step: Wait, After: time.Second}},
		{"also one that another instance began", Wanted{VM: migrating("sending", "migrate"), Claim: both}, Seen{Domain: sending}, Action{Step: Wait, After: time.Second}},
		{"a stop aborts it", Wanted{VM: migrating("sending", "stop"), Claim: both}, Seen{Domain: sending, Sending: true}, Action{Step: AbortJob, Reason: "it is wanted otherwise"}},
		{"once", Wanted{VM: migrating("sending", "stop"), Claim: both}, Seen{Domain: sending, Sending: true, Aborted: true}, Action{Step: Wait, After: time.Second}},
		{"a process that is gone is written down", Wanted{VM: migrating("sending", "migrate"), Claim: both}, ended(hypervisor.StoppedMigrated), Action{Step: WriteGone}},
		{"also when only the call told", Wanted{VM: migrating("arrived", "migrate"), Claim: both}, Seen{Sent: true}, Action{Step: WriteGone}},
		{"and when it was ended because it had arrived", Wanted{VM: migrating("arrived", "migrate"), Claim: both}, Seen{Ended: true, EndReason: hypervisor.StoppedDestroyed, Ordered: true}, Action{Step: WriteGone}},
		{"when nobody saw it go, the target finds out", Wanted{VM: migrating("arrived", "migrate"), Claim: both}, Seen{Since: now.Add(-10 * time.Second)}, Action{Step: Wait, After: 20 * time.Second}},
		{"also when the call said it failed", Wanted{VM: migrating("sending", "migrate"), Claim: both}, Seen{SendError: "hangup", Since: now}, Action{Step: Wait, After: 30 * time.Second}},
		{"and if it cannot, its copy may be stale and does not run", Wanted{VM: migrating("arrived", "migrate"), Claim: both}, Seen{Since: now.Add(-30 * time.Second)}, Action{Step: FailMigration, Reason: "nobody saw whether the guest was sent or ended here"}},
		{"a guest that somebody else destroyed has not migrated", Wanted{VM: migrating("arrived", "migrate"), Claim: both}, ended(hypervisor.StoppedDestroyed), Action{Step: FailMigration, Reason: "the guest ended while it was sent"}},
		{"a process that the hypervisor has lost is not gone", Wanted{VM: migrating("sending", "migrate"), Claim: both}, Seen{Process: true}, Action{Step: Wait, After: time.Second}},
		{"a guest that powered off while it was sent has not migrated", Wanted{VM: migrating("sending", "migrate"), Claim: both}, ended(hypervisor.StoppedShutdown), Action{Step: FailMigration, Reason: "the guest ended while it was sent"}},
		{"a guest that still runs here stays", Wanted{VM: migrating("sending", "migrate"), Claim: both}, Seen{Domain: running, SendError: "no route"}, Action{Step: FailMigration, Reason: "no route"}},
		{"even if the target has all of it", Wanted{VM: migrating("arrived", "migrate"), Claim: both}, Seen{Domain: running}, Action{Step: FailMigration, Reason: "the transfer was interrupted"}},
		{"switched off here and not complete there: it stays", Wanted{VM: migrating("sending", "migrate"), Claim: both}, Seen{Domain: switchOver}, Action{Step: FailMigration, Reason: "the transfer was interrupted"}},
		{"switched off here and complete there: it goes", Wanted{VM: migrating("arrived", "migrate"), Claim: both}, Seen{Domain: switchOver}, Action{Step: Destroy, Reason: "it has arrived at hv2"}},
		{"a pause that cannot be explained now decides nothing", Wanted{VM: migrating("arrived", "migrate"), Claim: both}, Seen{Domain: domain(hypervisor.Paused, hypervisor.PausedOther)}, Action{Step: Wait, After: time.Second}},
		{"a guest that stays is switched on again", Wanted{VM: func() *model.VM { v := migrating("failed", "start"); v.Node = "hv1"; return v }(), Claim: both}, Seen{Domain: switchOver}, Action{Step: Resume}},
		{"a cold migration shuts down", Wanted{VM: cold, Claim: owned("resumed")}, Seen{Domain: running}, Action{Step: PressPower}},
		{"and lets go", Wanted{VM: cold, Claim: owned("resumed")}, ended(hypervisor.StoppedShutdown), Action{Step: Release, State: "start"}},
	}
	for _, tt := range tests {
		if got := Plan(here, limits, tt.w, tt.s, now); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestPlanOfTheTargetOfAMigration(t *testing.T) {
	target := Host{Node: "hv2", BootID: "boot2", Instance: "i2"}
	incoming := owned("resumed")
	incoming.Incoming = &model.ClaimHost{Node: "hv2"}
	mine := &model.Claim{Owner: model.ClaimHost{Node: "hv2", BootID: "boot2"}}
	adopted := &model.Claim{Owner: mine.Owner, Recorded: true}
	before := &model.Claim{Owner: model.ClaimHost{Node: "hv2", BootID: "boot1"}}
	tests := []struct {
		name string
		w    Wanted
		s    Seen
		want Action
	}{
		{"nothing before the claim names it", Wanted{VM: migrating("prepare", "migrate"), Claim: owned("resumed")}, Seen{}, Action{}},
		{"it agrees", Wanted{VM: migrating("prepare", "migrate"), Claim: incoming}, Seen{}, Action{Step: AcceptMigration}},
		{"after it has cleared away what is left of an earlier one", Wanted{VM: migrating("prepare", "migrate"), Claim: incoming}, Seen{Domain: suspended}, Action{Step: Destroy, Reason: "it is the rest of an earlier migration"}},
		{"an incomplete guest is looked at again", Wanted{VM: migrating("sending", "migrate"), Claim: incoming}, Seen{Domain: arriving}, Action{Step: Wait, After: time.Second}},
		{"the beginning of a transfer is told by an event", Wanted{VM: migrating("sending", "migrate"), Claim: incoming}, Seen{}, Action{}},
		{"a complete one is reported", Wanted{VM: migrating("sending", "migrate"), Claim: incoming}, Seen{Domain: suspended}, Action{Step: WriteArrived}},
		{"and never resumed before the source is gone", Wanted{VM: migrating("arrived", "migrate"), Claim: incoming}, Seen{Domain: suspended, Since: now}, Action{Step: Wait, After: time.Second}},
		{"a silent source's hypervisor is asked", Wanted{VM: migrating("arrived", "migrate"), Claim: incoming}, Seen{Domain: suspended, Since: now.Add(-time.Second)}, Action{Step: AskSource}},
		{"and if the guest is not there, that is written down", Wanted{VM: migrating("arrived", "migrate"), Claim: incoming}, Seen{Domain: suspended, SourceGone: true}, Action{Step: WriteGone}},
		{"a guest that runs too early is destroyed", Wanted{VM: migrating("arrived", "migrate"), Claim: incoming}, Seen{Domain: running}, Action{Step: Destroy, Reason: "it runs before its source has let go"}},
		{"a failed migration is cleared away", Wanted{VM: migrating("failed", "start"), Claim: incoming}, Seen{Domain: suspended}, Action{Step: Destroy, Reason: "the migration has failed"}},
		{"and left", Wanted{VM: migrating("failed", "start"), Claim: incoming}, Seen{}, Action{Step: LeaveMigration}},
		{"handed over to a host that was booted anew while the guest was on its way", Wanted{VM: migrating("gone", "migrate"), Claim: before}, Seen{Domain: suspended}, Action{Step: Adopt}},
		{"handed over to a host that was booted anew since", Wanted{VM: migrating("gone", "migrate"), Claim: before}, Seen{}, Action{Step: Release, State: "start", Reason: "its host was rebooted"}},
		{"handed over, the guest goes on record", Wanted{VM: migrating("gone", "migrate"), Claim: mine}, Seen{Domain: suspended}, Action{Step: Adopt}},
		{"unless it is to stop by now", Wanted{VM: migrating("gone", "stop"), Claim: mine}, Seen{Domain: suspended}, Action{Step: Destroy, Reason: "it is to be in state stop"}},
		{"then it is resumed", Wanted{VM: vm("start", "hv2"), Claim: adopted}, Seen{Domain: suspended}, Action{Step: Resume}},
		{"a guest that is to stop is stopped here", Wanted{VM: vm("stop", "hv2"), Claim: adopted}, Seen{Domain: suspended}, Action{Step: Destroy, Reason: "it is to be in state stop"}},
		{"nothing arrived and the source is gone: it starts anew", Wanted{VM: migrating("gone", "migrate"), Claim: mine}, Seen{}, Action{Step: Release, State: "start"}},
		{"half of it arrived and the source is gone: it starts anew", Wanted{VM: migrating("gone", "migrate"), Claim: mine}, Seen{Domain: arriving}, Action{Step: Destroy, Reason: "it has not arrived completely, and the source is gone"}},
	}
	for _, tt := range tests {
		if got := Plan(target, limits, tt.w, tt.s, now); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestASilentSourceIsBelievedOnlyWhileTheGuestCannotHaveGoneOnThere(t *testing.T) {
	var absent hypervisor.Domain
	sending := running
	sending.Migrating = true
	lost := errors.New("no route to host")
	type answer struct {
		domain hypervisor.Domain
		err    error
	}
	tests := []struct {
		name    string
		answers []answer
		gone    bool
	}{
		{"it has left", []answer{{absent, nil}}, true},
		{"it is leaving, then has left", []answer{{sending, nil}, {switchOver, nil}, {absent, nil}}, true},
		{"it goes on there", []answer{{running, nil}}, false},
		{"it went on there and has ended", []answer{{running, nil}, {absent, nil}}, false},
		{"nothing was heard for a while", []answer{{absent, lost}, {absent, nil}}, false},
	}
	for _, tt := range tests {
		g := new(guest)
		for _, a := range tt.answers {
			g.heardOfSource(a.domain, a.err)
		}
		if g.sourceGone != tt.gone {
			t.Errorf("%s: gone is %v", tt.name, g.sourceGone)
		}
		g.forgetHandshake("next")
		if g.heardOfSource(absent, nil); !g.sourceGone {
			t.Errorf("%s: the doubt outlives its migration", tt.name)
		}
	}
}
