package vmctl

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

// phase adds a new phase of the handshake to a transaction.
func (j *job) phase(t *coord.Txn, change func(m *model.Migration)) {
	m := *j.w.VM.Migration
	change(&m)
	put(t, j.key(schema.VMMigration), j.w.VM.Versions.Migration, m)
}

// putClaim adds a changed claim to a transaction.
func (j *job) putClaim(t *coord.Txn, change func(c *model.Claim)) {
	claim := *j.w.Claim
	change(&claim)
	put(t, schema.Claim(j.uuid), j.w.claimVersion, claim)
}

// ringBell has a node's daemon look.
func ringBell(t *coord.Txn, node string) {
	t.Set(schema.Node(node, schema.NodeDoorbell), nil, coord.AnyVersion)
}

// beginMigration records the handshake for a move that an old client asked for by
// writing node and state only.
func (c *Controller) beginMigration(ctx context.Context, j *job, _ Action) error {
	vm := j.w.VM
	txn := new(coord.Txn)
	txn.Check(schema.Claim(j.uuid), j.w.claimVersion)
	setText(txn, j.key(schema.VMState), string(vm.State), string(model.VMMigrate), vm.Versions.State)
	can, err := c.mobility(ctx, j.uuid)
	if err != nil {
		return err
	}
	why, err := c.unreachable(ctx, vm.Node)
	if err != nil {
		return err
	}
	if can.local {
		why = can.why()
	}
	if why != "" {
		return c.refuseMove(ctx, j, why)
	}
	data, err := json.Marshal(model.Migration{
		ID: model.NewID(), Source: j.host.Node, Target: vm.Node, Home: homeBefore(vm, j.host.Node),
		Phase: model.MigrationPrepare, Cold: len(can.blockers) > 0})
	if err != nil {
		return err
	}
	txn.Create(j.key(schema.VMMigration), data)
	j.same(txn)
	if err := c.indexAt(ctx, txn, vm.Node, j.uuid); err != nil {
		return err
	}
	return c.commit(ctx, j.uuid, *txn)
}

// homeBefore guesses the home an old client's move has overwritten: it writes the node
// the VM is leaving, unless there was a home already.
func homeBefore(vm *model.VM, source string) string {
	if vm.LastNode == source {
		return ""
	}
	return vm.LastNode
}

// unreachable says why a node cannot receive a guest, empty if it can.
func (c *Controller) unreachable(ctx context.Context, node string) (string, error) {
	if model.CheckNodeName(node) != nil {
		return fmt.Sprintf("%q is no node", model.Clip(node)), nil
	}
	_, s, ok := c.current()
	if !ok {
		return "", errNoRecords
	}
	sessions, err := s.mirror.Children(ctx, schema.Node(node, schema.NodeSession))
	switch {
	case errors.Is(err, coord.ErrNoNode):
		return fmt.Sprintf("%q is no node", node), nil
	case err != nil:
		return "", err
	case len(sessions) == 0:
		return fmt.Sprintf("the daemon of %s does not answer", node), nil
	}
	return "", nil
}

// refuseMove puts the records back to where the guest is.
func (c *Controller) refuseMove(ctx context.Context, j *job, why string) error {
	vm := j.w.VM
	txn := new(coord.Txn)
	txn.Set(j.key(schema.VMNode), []byte(j.host.Node), vm.Versions.Node)
	setText(txn, j.key(schema.VMLastNode), vm.LastNode, homeBefore(vm, j.host.Node), vm.Versions.LastNode)
	setText(txn, j.key(schema.VMState), string(vm.State), string(model.VMStart), vm.Versions.State)
	setText(txn, j.key(schema.VMFailedReason), vm.FailedReason, "it was not moved: "+why, vm.Versions.FailedReason)
	txn.Check(schema.Claim(j.uuid), j.w.claimVersion)
	j.same(txn)
	return c.commit(ctx, j.uuid, *txn)
}

// indexAt makes the VM known to another node, whose index this daemon does not mirror.
func (c *Controller) indexAt(ctx context.Context, t *coord.Txn, node, uuid string) error {
	_, s, ok := c.current()
	if !ok {
		return errNoRecords
	}
	_, err := s.mirror.Get(ctx, schema.NodeVM(node, uuid))
	switch {
	case err == nil:
		t.Check(schema.NodeVM(node, uuid), coord.AnyVersion)
	case errors.Is(err, coord.ErrNoNode):
		t.Create(schema.NodeVM(node, uuid), nil)
	default:
		return err
	}
	ringBell(t, node)
	return nil
}

// addIncoming puts the target into the claim before anything is prepared there.
func (c *Controller) addIncoming(ctx context.Context, j *job, _ Action) error {
	target := j.w.VM.Migration.Target
	txn := new(coord.Txn)
	j.putClaim(txn, func(cl *model.Claim) { cl.Incoming = &model.ClaimHost{Node: target} })
	j.phase(txn, func(m *model.Migration) { m.From = c.o.Migration.PeerURI(j.host.Node) })
	j.same(txn)
	ringBell(txn, target)
	return c.commit(ctx, j.uuid, *txn)
}

// acceptMigration is the target's agreement, with the instance that will own the guest.
func (c *Controller) acceptMigration(ctx context.Context, j *job, _ Action) error {
	if err := c.connected(ctx, j.w.VM); err != nil {
		return err // it is tried again; the source does not wait for ever
	}
	before, err := c.expect(ctx, j)
	if err != nil {
		return errs.Unavailablef("prepare for a guest on Ceph: %w", err) // the same
	}
	txn := new(coord.Txn)
	j.putClaim(txn, func(cl *model.Claim) {
		h := c.claimHost(j)
		h.Before, cl.Incoming = before, &h
	})
	j.phase(txn, func(m *model.Migration) {
		m.Phase, m.URI = model.MigrationReady, c.o.Migration.PeerURI(j.host.Node)
	})
	j.same(txn)
	j.unfenced(txn)
	ringBell(txn, j.w.VM.Migration.Source)
	if err := c.commit(ctx, j.uuid, *txn); err != nil {
		return err
	}
	c.memory.with(j.uuid, (*guest).begin)
	return nil
}

// expect prepares this host for a guest with RBD images, and returns the clients that
// have them open before it comes: those of the source, most of all.
func (c *Controller) expect(ctx context.Context, j *job) (before []string, err error) {
	images := j.w.Claim.Images
	if len(images) == 0 && !hasImages(j.w.VM) {
		return nil, nil
	}
	if c.o.Storage == nil {
		return nil, errs.Conflictf("this host does not look after storage (enable_storage is off)")
	}
	if err := c.o.Storage.Ready(ctx); err != nil {
		return nil, err
	}
	if err := c.o.Storage.Key(ctx); err != nil {
		return nil, err
	}
	for _, image := range images {
		pool, id, _ := strings.Cut(image, "/")
		watchers, err := c.o.Storage.Watchers(ctx, pool, id)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", image, err)
		}
		before = append(before, watchers...)
	}
	return sorted(append(before, j.w.Claim.Owner.Clients...)), nil
}

// send records that the transfer begins and begins it. It goes on while other VMs are
// worked on; its end has the VM looked at again.
func (c *Controller) send(ctx context.Context, j *job, _ Action) (time.Duration, error) {
	if !c.sends.take(j.uuid) {
		return time.Hour, nil // woken when a slot is free
	}
	can, err := c.mobility(ctx, j.uuid)
	if err == nil && len(can.blockers) > 0 {
		c.sends.give(j.uuid)
		return 0, c.failMigration(ctx, j, Action{Reason: can.why()})
	}
	if err == nil {
		txn := new(coord.Txn)
		j.phase(txn, func(m *model.Migration) { m.Phase = model.MigrationSending })
		txn.Check(schema.Claim(j.uuid), j.w.claimVersion)
		j.same(txn)
		err = c.commit(ctx, j.uuid, *txn)
	}
	if err != nil {
		c.sends.give(j.uuid)
		return 0, err
	}
	m := j.w.VM.Migration
	o := hypervisor.MigrateOptions{URI: m.URI, BandwidthMiB: c.o.Migration.BandwidthMiB, TLS: c.o.Migration.TLS, UnsafeStorage: can.files}
	if c.o.Migration.MemoryURI != nil {
		o.MigrateURI = c.o.Migration.MemoryURI(m.Target)
	}
	// The transfer must not end with this step; abortJob and the end of the session end it.
	transfer, abort := context.WithCancel(context.WithoutCancel(ctx))
	c.memory.with(j.uuid, func(g *guest) { g.sending, g.sent, g.sendError = abort, false, "" })
	c.sending.Go(func() { c.transfer(transfer, j.uuid, o) })
	return 0, nil
}

func (c *Controller) transfer(ctx context.Context, uuid string, o hypervisor.MigrateOptions) {
	begin := time.Now()
	err := c.o.Hypervisor.MigratePaused(ctx, uuid, o)
	c.memory.with(uuid, func(g *guest) {
		g.sending, g.sent = nil, err == nil
		if err != nil {
			g.sendError = err.Error()
		}
	})
	c.o.Logger.Info("a transfer has ended", "vm", uuid, "seconds", time.Since(begin).Seconds(), "err", err)
	c.sends.give(uuid)
	c.queue.Add(uuid)
}

// abortTransfers ends what this session has begun: without a connection nobody could
// finish it, and the guests go on here.
func (c *Controller) abortTransfers() {
	c.memory.mu.Lock()
	defer c.memory.mu.Unlock()
	for _, g := range c.memory.guests {
		if g.sending != nil {
			g.sending()
		}
	}
}

// abortJob ends a transfer and has its end looked at; that of one that this daemon has
// not begun is not told.
func (c *Controller) abortJob(ctx context.Context, j *job, _ Action) (time.Duration, error) {
	var abort func()
	c.memory.with(j.uuid, func(g *guest) { abort, g.aborted = g.sending, true })
	if abort != nil {
		abort()
		return 0, nil
	}
	return time.Second, c.o.Hypervisor.AbortJob(ctx, j.uuid)
}

// writeGone hands the claim over: the source's process is gone. The source does it,
// or the target when the source is silent and its hypervisor has said so.
func (c *Controller) writeGone(ctx context.Context, j *job, _ Action) error {
	m := j.w.VM.Migration
	source := m.Source == j.host.Node
	if source {
		c.follow(j)
		if err := c.o.Console.Finish(ctx, j.uuid); err != nil {
			return err
		}
	}
	txn := new(coord.Txn)
	j.putClaim(txn, func(cl *model.Claim) {
		cl.Owner, cl.Incoming = *cl.Incoming, nil
		cl.Recorded, cl.Resumed = false, false
	})
	j.phase(txn, func(m *model.Migration) { m.Phase = model.MigrationGone })
	j.same(txn)
	if source {
		ringBell(txn, m.Target)
	}
	if err := c.commit(ctx, j.uuid, *txn); err != nil {
		return err
	}
	if source {
		c.memory.with(j.uuid, (*guest).begin)
		return nil
	}
	// What the source had not saved yet is never added: the guest goes on now.
	line := fmt.Sprintf("--- the daemon of %s was silent at the end of a migration; the last output there may be missing ---", m.Source)
	if err := c.o.Console.Mark(ctx, j.uuid, line); err != nil {
		c.o.Logger.Warn("cannot mark the console log", "vm", j.name, "err", err)
	}
	return nil
}

// failMigration records that the guest stays where it is. The target stays in the
// claim until it has cleared its part away.
func (c *Controller) failMigration(ctx context.Context, j *job, a Action) error {
	vm, m := j.w.VM, j.w.VM.Migration
	txn := new(coord.Txn)
	if j.w.Claim.Incoming == nil {
		txn.Delete(j.key(schema.VMMigration), vm.Versions.Migration)
	} else {
		j.phase(txn, func(m *model.Migration) { m.Phase, m.Reason = model.MigrationFailed, a.Reason })
		ringBell(txn, m.Target)
	}
	if vm.Node == m.Target {
		txn.Set(j.key(schema.VMNode), []byte(m.Source), vm.Versions.Node)
		setText(txn, j.key(schema.VMLastNode), vm.LastNode, m.Home, vm.Versions.LastNode)
		if vm.State == model.VMMigrate {
			txn.Set(j.key(schema.VMState), []byte(model.VMStart), vm.Versions.State)
		} else {
			txn.Check(j.key(schema.VMState), vm.Versions.State)
		}
	}
	reason := fmt.Sprintf("the migration to %s failed: %s", m.Target, a.Reason)
	setText(txn, j.key(schema.VMFailedReason), vm.FailedReason, reason, vm.Versions.FailedReason)
	txn.Check(schema.Claim(j.uuid), j.w.claimVersion)
	j.same(txn)
	return c.commit(ctx, j.uuid, *txn)
}

// writeArrived says that the guest is complete and paused here, with its clients. While
// they are not known it has not arrived: the source may still go on.
func (c *Controller) writeArrived(ctx context.Context, j *job, _ Action) (time.Duration, error) {
	clients, err := c.clients(ctx, j.w.Claim.Images, j.w.Claim.Incoming.Before...)
	if err != nil {
		c.o.Logger.Warn("a guest has arrived and its Ceph clients are not known", "vm", j.name, "err", err)
		return clientsPace, nil
	}
	txn := new(coord.Txn)
	j.phase(txn, func(m *model.Migration) { m.Phase = model.MigrationArrived })
	j.putClaim(txn, func(cl *model.Claim) {
		h := *cl.Incoming
		h.Clients, cl.Incoming = clients, &h
	})
	j.same(txn)
	return 0, c.commit(ctx, j.uuid, *txn)
}

// askSource asks the hypervisor of a silent source whether the guest is still there.
func (c *Controller) askSource(ctx context.Context, j *job, _ Action) (time.Duration, error) {
	m := j.w.VM.Migration
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	d, err := c.o.Peer.Lookup(ctx, m.From, j.uuid)
	var gone bool
	c.memory.with(j.uuid, func(g *guest) {
		g.heardOfSource(d, err)
		gone = g.sourceGone
	})
	if gone {
		return 0, nil
	}
	if err != nil {
		c.o.Logger.Warn("the source of a migration is silent and its hypervisor cannot be asked", "vm", j.name, "node", m.Source, "err", err)
	}
	return time.Second, nil
}

// heardOfSource notes what the hypervisor of a silent source has answered. That the
// guest is not there means that it has left for here only if it cannot have gone on
// there meanwhile, as it does by itself when the word of its arrival gets lost: once it
// was seen executing, or nothing was heard for a while, only the source's daemon knows.
func (g *guest) heardOfSource(d hypervisor.Domain, err error) {
	switch {
	case err != nil, d.State == hypervisor.Running && !d.Migrating:
		g.sourceDoubt = true
	case d.State == hypervisor.Absent && !g.sourceDoubt:
		g.sourceGone = true
	}
}

// adopt ends the handshake: the guest is ours, and goes on record before it runs. Its
// clients are known from its arrival, unless the source was faster to let go; they are
// waited for as long as it takes, because there is no other copy of the guest.
func (c *Controller) adopt(ctx context.Context, j *job, _ Action) (time.Duration, error) {
	vm, clients := j.w.VM, j.w.Claim.Owner.Clients
	if len(clients) == 0 {
		var err error
		if clients, err = c.clients(ctx, j.w.Claim.Images, j.w.Claim.Owner.Before...); err != nil {
			return c.unadopted(ctx, j, err)
		}
	}
	txn := new(coord.Txn)
	j.putClaim(txn, func(cl *model.Claim) {
		cl.Recorded, cl.Owner.BootID, cl.Owner.Instance, cl.Owner.Clients = true, j.host.BootID, j.host.Instance, clients
	})
	txn.Delete(j.key(schema.VMMigration), vm.Versions.Migration)
	if vm.State == model.VMMigrate {
		txn.Set(j.key(schema.VMState), []byte(model.VMStart), vm.Versions.State)
	} else {
		txn.Check(j.key(schema.VMState), vm.Versions.State)
	}
	j.same(txn)
	j.unfenced(txn)
	return 0, c.commit(ctx, j.uuid, *txn)
}

// notResumed is how the reason begins why a guest that has arrived waits.
const notResumed = "arrived and not resumed yet: its Ceph clients are not known: "

// unadopted says on record, once, why a guest that has arrived does not run yet.
func (c *Controller) unadopted(ctx context.Context, j *job, why error) (time.Duration, error) {
	vm := j.w.VM
	if strings.HasPrefix(vm.FailedReason, notResumed) {
		return storagePace, nil
	}
	c.o.Logger.Error("a guest that has arrived waits for its storage", "vm", j.name, "err", why)
	txn := new(coord.Txn)
	txn.Check(schema.Claim(j.uuid), j.w.claimVersion)
	setText(txn, j.key(schema.VMFailedReason), vm.FailedReason, notResumed+why.Error(), vm.Versions.FailedReason)
	j.same(txn)
	return storagePace, c.commit(ctx, j.uuid, *txn)
}

// leaveMigration takes this host out of the claim; nothing of the guest is here.
func (c *Controller) leaveMigration(ctx context.Context, j *job, _ Action) error {
	txn := new(coord.Txn)
	j.putClaim(txn, func(cl *model.Claim) { cl.Incoming = nil })
	if vm := j.w.VM; vm != nil && vm.Migration != nil && vm.Migration.Target == j.host.Node {
		txn.Delete(j.key(schema.VMMigration), vm.Versions.Migration)
	}
	j.same(txn)
	return c.commit(ctx, j.uuid, *txn)
}

// clearMigration removes a handshake record that outlived its claim.
func (c *Controller) clearMigration(ctx context.Context, j *job, _ Action) error {
	txn := new(coord.Txn)
	txn.Delete(j.key(schema.VMMigration), j.w.VM.Versions.Migration)
	txn.Absent(schema.Claim(j.uuid))
	j.same(txn)
	return c.commit(ctx, j.uuid, *txn)
}
