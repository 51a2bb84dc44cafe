package vmctl

import (
	"context"
	"errors"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

// stepsPerTurn bounds a turn: more steps than any life of a VM has are a mistake in
// Plan, which the back-off of the queue then keeps from burning the host.
const stepsPerTurn = 40

// job is one VM in one step.
type job struct {
	uuid    string
	name    string // for people; the UUID while the record is unknown
	host    Host
	w       Wanted
	crashes model.Crashes
	indexed bool
	domain  hypervisor.Domain
}

// reconcile brings one VM one step after the other into its wanted state.
func (c *Controller) reconcile(ctx context.Context, uuid string) (again time.Duration, err error) {
	defer c.starts.give(uuid)
	defer c.startsOnCeph.give(uuid)
	var refused error
	for range stepsPerTurn {
		j, seen, err := c.look(ctx, uuid)
		if errors.Is(err, errNoRecords) {
			return 0, nil // looked at again when the records are back
		}
		if err != nil {
			return 0, err
		}
		a := Plan(j.host, c.o.Limits, j.w, seen, time.Now())
		switch a.Step {
		case None, Wait:
			return a.After, c.rest(ctx, j)
		}
		again, err := c.carryOut(ctx, j, a)
		if errs.Is(err, errs.Conflict) { // the records changed meanwhile: look again
			refused = err
			if err = c.refresh(ctx, uuid); err == nil {
				continue
			}
		}
		if again == never {
			return 0, c.o.Console.Finish(ctx, uuid) // another host has it, or nobody
		}
		if err != nil || again > 0 {
			return again, err
		}
	}
	return 0, errs.New(errs.Internal, "%d steps did not bring it into its state; what was refused last: %w", stepsPerTurn, refused)
}

// refresh waits until all that was committed about a VM is in the picture.
func (c *Controller) refresh(ctx context.Context, uuid string) error {
	_, s, ok := c.current()
	if !ok {
		return errNoRecords
	}
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	return s.mirror.Refresh(ctx, view.GroupOf(schema.VM(uuid)))
}

// look gathers what Plan needs to know.
func (c *Controller) look(ctx context.Context, uuid string) (*job, Seen, error) {
	session, s, ok := c.current()
	if !ok {
		return nil, Seen{}, errNoRecords
	}
	j := &job{uuid: uuid, name: uuid, host: Host{Node: session.Node(), BootID: session.BootID(), Instance: session.Instance()}}
	var err error
	if j.w, j.crashes, j.indexed, err = s.records(ctx, uuid); err != nil {
		return nil, Seen{}, err
	}
	if j.w.VM != nil {
		j.name = j.w.VM.Name
	}
	// A transfer may end between the answer and a look at the memory: the guest that is
	// described then is one that was not sent yet. The end has it looked at again.
	sending := c.memory.sending(uuid)
	if j.domain, err = c.o.Hypervisor.Lookup(ctx, uuid); err != nil {
		return nil, Seen{}, err
	}
	if j.domain.State != hypervisor.Absent {
		c.memory.with(uuid, func(g *guest) { g.awaited = false })
	}
	now := time.Now()
	seen := c.memory.seen(uuid, j.w.VM, c.o.Limits, now)
	seen.Domain, seen.Sending = j.domain, seen.Sending || sending
	if j.domain.State == hypervisor.Absent && j.w.Claim.Holds(j.host.Node) {
		// The scan costs milliseconds, so it is made only where the answer counts.
		gone, err := c.o.Processes.Gone(uuid)
		if err != nil {
			return nil, Seen{}, err
		}
		seen.Process = !gone
	}
	seen.CrashLimit = recent(j.crashes, j.host.Node, now, c.o.CrashWindow) >= c.o.CrashLimit-1
	return j, seen, nil
}

// carryOut does one step and logs it.
func (c *Controller) carryOut(ctx context.Context, j *job, a Action) (again time.Duration, err error) {
	c.o.Step(j.uuid, a)
	step := steps[a.Step]
	log := c.o.Logger.With("vm", j.name, "step", step.name)
	if a.Reason != "" {
		log = log.With("reason", a.Reason)
	}
	ctx, cancel := context.WithTimeout(ctx, stepTimeout)
	defer cancel()
	again, err = step.do(c, ctx, j, a)
	switch {
	case errs.Is(err, errs.Conflict):
		log.Debug("the records changed meanwhile", "err", err)
	case err == nil && again == 0:
		log.Info("step done")
	}
	return again, err
}

// never is returned by a step after which a VM is looked at only when it is added again.
const never time.Duration = -1

// stepTimeout bounds a step; the calls of the hypervisor have a shorter one.
const stepTimeout = 2 * hypervisor.CallTimeout

// String names the step for logs.
func (s Step) String() string {
	switch s {
	case None:
		return "none"
	case Wait:
		return "wait"
	}
	return steps[s].name
}

// steps are the functions that carry the steps out.
var steps map[Step]struct {
	name string
	do   func(c *Controller, ctx context.Context, j *job, a Action) (time.Duration, error)
}

func init() {
	type entry = struct {
		name string
		do   func(c *Controller, ctx context.Context, j *job, a Action) (time.Duration, error)
	}
	plain := func(name string, do func(*Controller, context.Context, *job, Action) error) entry {
		return entry{name, func(c *Controller, ctx context.Context, j *job, a Action) (time.Duration, error) {
			return 0, do(c, ctx, j, a)
		}}
	}
	steps = map[Step]entry{
		Claim:           {"claim", (*Controller).claim},
		Create:          plain("create", (*Controller).create),
		Record:          {"record", (*Controller).record},
		Resume:          plain("resume", (*Controller).resume),
		MarkResumed:     plain("mark resumed", (*Controller).markResumed),
		PressPower:      plain("press power", (*Controller).pressPower),
		Destroy:         plain("destroy", (*Controller).destroy),
		Undefine:        plain("undefine", (*Controller).undefine),
		Release:         plain("release", (*Controller).release),
		SetState:        plain("set state", (*Controller).setState),
		DropIndex:       {"drop from index", (*Controller).dropIndex},
		BeginMigration:  plain("begin migration", (*Controller).beginMigration),
		AddIncoming:     plain("add target to claim", (*Controller).addIncoming),
		Send:            {"send", (*Controller).send},
		AbortJob:        {"abort transfer", (*Controller).abortJob},
		WriteGone:       plain("hand over", (*Controller).writeGone),
		FailMigration:   plain("give migration up", (*Controller).failMigration),
		AcceptMigration: plain("accept migration", (*Controller).acceptMigration),
		WriteArrived:    {"arrived", (*Controller).writeArrived},
		AskSource:       {"ask source", (*Controller).askSource},
		Adopt:           {"adopt", (*Controller).adopt},
		LeaveMigration:  plain("leave migration", (*Controller).leaveMigration),
		ClearMigration:  plain("clear migration", (*Controller).clearMigration),
	}
}

// recent counts the crashes within the window.
func recent(c model.Crashes, node string, now time.Time, window time.Duration) int {
	if c.Node != node {
		return 0
	}
	n := 0
	for _, at := range c.Times {
		if age := now.Sub(time.Unix(at, 0)); age < window {
			n++
		}
	}
	return n
}
