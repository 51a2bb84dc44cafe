package vmctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/console"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

// put adds a JSON value to a transaction.
func put(t *coord.Txn, path string, version int32, value any) {
	data, err := json.Marshal(value)
	if err != nil {
		panic(err) // plain structs of strings: cannot fail
	}
	t.Set(path, data, version)
}

func (j *job) key(name string) string { return schema.VM(j.uuid, name) }

// same makes a transaction fail if the VM was deleted and defined anew meanwhile.
func (j *job) same(t *coord.Txn) {
	if vm := j.w.VM; vm != nil && vm.Gen != "" {
		t.Check(schema.VMGen(j.uuid, vm.Gen), coord.AnyVersion)
	}
}

// unfenced makes a transaction fail while a fence of this host is on record.
func (j *job) unfenced(t *coord.Txn) { t.Absent(schema.Fences + "/" + j.host.Node) }

// setText sets a value of the VM if it differs.
func setText(t *coord.Txn, path, now, want string, version int32) {
	if now != want {
		t.Set(path, []byte(want), version)
	}
}

// claim takes the claim of the VM and of its images, so that nobody else starts it.
func (c *Controller) claim(ctx context.Context, j *job, _ Action) (time.Duration, error) {
	session, _, _ := c.current()
	if session.LeaseLeft() <= 0 {
		return time.Second, nil // it would be in vain
	}
	m, err := mediaOf(j.w.VM.XML)
	if err != nil {
		return 0, c.fail(ctx, j, err.Error())
	}
	starts := c.starts
	if m.key {
		starts = c.startsOnCeph
	}
	if !starts.take(j.uuid) {
		return time.Hour, nil // woken when a slot is free
	}
	d, err := c.resolve(ctx, m)
	switch {
	case errs.Is(err, errs.Unavailable):
		return c.later(ctx, j, err)
	case err != nil:
		return 0, c.fail(ctx, j, err.Error())
	}
	if err := c.connected(ctx, j.w.VM); err != nil {
		return 0, c.fail(ctx, j, err.Error())
	}
	return 0, c.takeClaim(ctx, j, d)
}

// takeClaim writes the claims of a VM and its images.
func (c *Controller) takeClaim(ctx context.Context, j *job, d disks) error {
	vm := j.w.VM
	record := model.Claim{Disks: d.own, Images: d.images, Document: vm.Versions.XML, Owner: c.claimHost(j)}
	record.Owner.Before = d.before
	data, err := json.Marshal(record)
	if err != nil {
		return err
	}
	txn := new(coord.Txn)
	txn.Create(schema.Claim(j.uuid), data)
	for _, i := range d.own {
		txn.Create(schema.ClaimDisks+"/"+i, []byte(j.uuid))
	}
	for _, i := range d.shared {
		txn.Absent(schema.ClaimDisks + "/" + i)
	}
	txn.Check(j.key(schema.VMState), vm.Versions.State).Check(j.key(schema.VMNode), vm.Versions.Node)
	j.same(txn)
	j.unfenced(txn)
	err = c.commit(ctx, j.uuid, *txn)
	var te *coord.TxnError
	if errors.As(err, &te) && te.Err == coord.ErrNodeExists && strings.HasPrefix(te.Op.Path, schema.ClaimDisks+"/") {
		return c.fail(ctx, j, fmt.Sprintf("the image %s is in use by another VM", imageName(te.Op.Path)))
	}
	if err == nil {
		c.memory.with(j.uuid, (*guest).begin)
	}
	return err
}

// bridgeLimit bounds the wait for the bridges of a guest: the host's networks are made
// within a second, also after its start.
const bridgeLimit = 15 * time.Second

// connected waits until the networks of a guest are there on this host.
func (c *Controller) connected(ctx context.Context, vm *model.VM) error {
	if c.o.Networks == nil {
		return nil
	}
	spec, err := domxml.Parse(vm.XML)
	if err != nil {
		return err
	}
	var bridges []string
	for _, nic := range spec.Networks {
		if nic.Type == "bridge" {
			bridges = append(bridges, nic.Source)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, bridgeLimit)
	defer cancel()
	return c.o.Networks(ctx, bridges)
}

// claimHost is this host as it stands in a claim, for a run of the guest to come.
func (c *Controller) claimHost(j *job) model.ClaimHost {
	return model.ClaimHost{
		Node: j.host.Node, BootID: j.host.BootID, Instance: j.host.Instance,
		Run: model.NewID(), ConsoleAt: c.o.Console.Size(j.w.VM.Name),
	}
}

// fail records that a VM without a claim cannot be started.
func (c *Controller) fail(ctx context.Context, j *job, reason string) error {
	return c.setState(ctx, j, Action{State: model.VMFailed, Reason: reason})
}

// create starts the guest, paused. A refusal of the hypervisor makes the VM failed.
func (c *Controller) create(ctx context.Context, j *job, _ Action) error {
	if j.w.Claim.Document != j.w.VM.Versions.XML {
		return c.release(ctx, j, Action{}) // other disks than those of this document are claimed
	}
	xml, err := domxml.WithConsoleLog(j.w.VM.XML, c.o.Console.Path(j.w.VM.Name))
	if err == nil && c.o.Storage != nil && hasImages(j.w.VM) {
		err = c.o.Storage.Key(ctx)
	}
	if err == nil {
		err = c.o.Hypervisor.CreatePaused(ctx, xml)
	}
	if err == nil || unanswered(err) {
		return err
	}
	if there, lerr := c.present(ctx, j.uuid); lerr != nil || there {
		// A request whose answer was given up earlier has been carried out meanwhile: the
		// claim stays, and what is there is looked at.
		return lerr
	}
	c.o.Logger.Warn("a guest cannot be started", "vm", j.name, "err", err)
	return c.release(ctx, j, Action{State: model.VMFailed, Reason: err.Error()})
}

// present reports that something of the guest is there.
func (c *Controller) present(ctx context.Context, uuid string) (bool, error) {
	d, err := c.o.Hypervisor.Lookup(ctx, uuid)
	if err != nil || d.State != hypervisor.Absent {
		return true, err
	}
	gone, err := c.o.Processes.Gone(uuid)
	return !gone, err
}

// unanswered reports that the hypervisor has not said what it did: look again.
func unanswered(err error) bool {
	return errs.Is(err, errs.Unavailable) || errs.Is(err, errs.Unknown)
}

// record puts the guest and its clients on record before it runs: a daemon that was
// stopped before this leaves a paused guest, after it a recorded one.
func (c *Controller) record(ctx context.Context, j *job, _ Action) (time.Duration, error) {
	claim := *j.w.Claim
	clients, err := c.clients(ctx, claim.Images, claim.Owner.Before...)
	if err != nil {
		return c.unlisted(ctx, j, err)
	}
	claim.Recorded = true
	claim.Owner.Instance, claim.Owner.Clients = j.host.Instance, clients
	txn := new(coord.Txn)
	put(txn, schema.Claim(j.uuid), j.w.claimVersion, claim)
	j.same(txn)
	j.unfenced(txn)
	return 0, c.commit(ctx, j.uuid, *txn)
}

// executes reports that a guest runs whatever is on record.
func executes(j *job) bool { return j.domain.State == hypervisor.Running }

func (c *Controller) resume(ctx context.Context, j *job, _ Action) error {
	if err := c.o.Hypervisor.Resume(ctx, j.uuid); err != nil || j.w.Claim.Resumed {
		return err
	}
	return c.markResumed(ctx, j, Action{})
}

// markResumed says on record that the guest runs, and forgets an earlier failure.
func (c *Controller) markResumed(ctx context.Context, j *job, _ Action) error {
	claim := *j.w.Claim
	claim.Resumed = true
	txn := new(coord.Txn)
	put(txn, schema.Claim(j.uuid), j.w.claimVersion, claim)
	setText(txn, j.key(schema.VMFailedReason), j.w.VM.FailedReason, "", j.w.VM.Versions.FailedReason)
	return c.commit(ctx, j.uuid, *txn)
}

func (c *Controller) pressPower(ctx context.Context, j *job, _ Action) error {
	err := c.o.Hypervisor.Shutdown(ctx, j.uuid)
	if unanswered(err) {
		return err
	}
	if err != nil { // it has its time all the same, then it is destroyed
		c.o.Logger.Warn("the guest cannot be asked to shut down", "vm", j.name, "err", err)
	}
	c.memory.with(j.uuid, func(g *guest) { g.pressedAt = time.Now(); g.orderedAt = g.pressedAt })
	return nil
}

func (c *Controller) destroy(ctx context.Context, j *job, a Action) error {
	if !j.w.Claim.Holds(j.host.Node) {
		c.o.Logger.Error("a guest runs here without a claim and is destroyed", "vm", j.name, "reason", a.Reason)
	}
	c.memory.with(j.uuid, func(g *guest) { g.orderedAt = time.Now() })
	if err := c.o.Hypervisor.Destroy(ctx, j.uuid); err != nil {
		return err
	}
	if j.domain.State == hypervisor.Absent {
		return c.o.Processes.Kill(j.uuid)
	}
	return nil
}

func (c *Controller) undefine(ctx context.Context, j *job, _ Action) error {
	return c.o.Hypervisor.Undefine(ctx, j.uuid)
}

// release gives the claim back; the guest's process was seen to be gone.
func (c *Controller) release(ctx context.Context, j *job, a Action) error {
	c.follow(j) // what the guest said while this daemon was not there
	if err := c.o.Console.Finish(ctx, j.uuid); err != nil {
		return err
	}
	vm, claim := j.w.VM, j.w.Claim
	txn := new(coord.Txn)
	txn.Delete(schema.Claim(j.uuid), j.w.claimVersion)
	for _, i := range claim.Disks {
		txn.Delete(schema.ClaimDisks+"/"+i, coord.AnyVersion)
	}
	if vm != nil {
		c.releaseState(txn, j, a)
	}
	if err := c.commit(ctx, j.uuid, *txn); err != nil {
		return err
	}
	if claim.Owner.BootID != j.host.BootID && vm != nil {
		line := fmt.Sprintf("--- the power of %s was cut; the last second of output may be missing ---", j.host.Node)
		if err := c.o.Console.Mark(ctx, j.uuid, line); err != nil {
			c.o.Logger.Warn("cannot mark the console log", "vm", j.name, "err", err)
		}
	}
	c.memory.with(j.uuid, func(g *guest) { g.released(a, time.Now()) })
	return nil
}

// releaseState is the part of a release that is about the VM's own keys.
func (c *Controller) releaseState(txn *coord.Txn, j *job, a Action) {
	vm := j.w.VM
	j.same(txn)
	if a.State != "" && a.State != vm.State {
		txn.Set(j.key(schema.VMState), []byte(a.State), vm.Versions.State)
	} else {
		txn.Check(j.key(schema.VMState), vm.Versions.State)
	}
	reason := a.Reason
	if a.Step == Release && !a.Crash && a.State != model.VMStop && a.State != model.VMFailed {
		reason = "" // nothing a person has to know
	}
	setText(txn, j.key(schema.VMFailedReason), vm.FailedReason, reason, vm.Versions.FailedReason)
	if a.Crash {
		countCrash(txn, j, time.Now(), c.o.CrashWindow)
	}
	if m := vm.Migration; m != nil {
		txn.Delete(j.key(schema.VMMigration), vm.Versions.Migration)
	}
}

func countCrash(txn *coord.Txn, j *job, now time.Time, window time.Duration) {
	c := model.Crashes{Node: j.host.Node}
	if j.crashes.Node == j.host.Node {
		for _, at := range j.crashes.Times {
			if now.Sub(time.Unix(at, 0)) < window {
				c.Times = append(c.Times, at)
			}
		}
	}
	c.Times = append(c.Times, now.Unix())
	if j.w.VM.Crashes > 0 {
		put(txn, j.key(schema.VMCrashes), coord.AnyVersion, c)
		return
	}
	data, _ := json.Marshal(c)
	txn.Create(j.key(schema.VMCrashes), data)
}

// crashDelays begin with an immediate restart.
const (
	firstCrashDelay = time.Second
	maxCrashDelay   = time.Minute
)

// released ends the memory of a run.
func (g *guest) released(a Action, now time.Time) {
	g.begin()
	if !a.Crash {
		g.delay, g.startAfter = 0, time.Time{}
		return
	}
	g.delay = min(max(2*g.delay, firstCrashDelay), maxCrashDelay)
	g.startAfter = now.Add(g.delay)
}

// setState sets the state of a VM that has no claim.
func (c *Controller) setState(ctx context.Context, j *job, a Action) error {
	vm := j.w.VM
	txn := new(coord.Txn)
	txn.Set(j.key(schema.VMState), []byte(a.State), vm.Versions.State)
	if j.w.Claim == nil {
		txn.Absent(schema.Claim(j.uuid))
	} else {
		txn.Check(schema.Claim(j.uuid), j.w.claimVersion)
	}
	if a.State == model.VMFailed {
		setText(txn, j.key(schema.VMFailedReason), vm.FailedReason, a.Reason, vm.Versions.FailedReason)
	}
	j.same(txn)
	return c.commit(ctx, j.uuid, *txn)
}

// dropIndex says that a VM no longer concerns this node.
func (c *Controller) dropIndex(ctx context.Context, j *job, _ Action) (time.Duration, error) {
	if !j.indexed {
		c.memory.forget(j.uuid)
		return never, nil
	}
	txn := new(coord.Txn)
	txn.Delete(schema.NodeVM(j.host.Node, j.uuid), coord.AnyVersion)
	if vm := j.w.VM; vm != nil {
		txn.Check(j.key(schema.VMNode), vm.Versions.Node)
	} else {
		txn.Absent(schema.VM(j.uuid))
	}
	if err := c.commit(ctx, j.uuid, *txn); err != nil {
		return 0, err
	}
	c.memory.forget(j.uuid)
	return never, nil
}

// follow keeps the console log of a guest that this host runs.
func (c *Controller) follow(j *job) {
	if cl := j.w.Claim; j.w.VM != nil && cl != nil && cl.Owner.Node == j.host.Node && cl.Recorded {
		c.o.Console.Follow(console.Guest{UUID: j.uuid, Name: j.w.VM.Name, Run: cl.Owner.Run, Begin: cl.Owner.ConsoleAt})
	}
}

// rest is where a turn ends: nothing is to be done now.
func (c *Controller) rest(ctx context.Context, j *job) error {
	if j.w.Claim == nil || j.w.Claim.Owner.Node != j.host.Node {
		if _, s, ok := c.current(); ok {
			s.followVolumes(j.uuid, nil)
		}
		return c.o.Console.Finish(ctx, j.uuid) // another host has it; nothing if it was not followed
	}
	c.follow(j)
	return c.grow(ctx, j)
}

func imageName(path string) string { return schema.UnescapeDisk(schema.Base(path)) }
