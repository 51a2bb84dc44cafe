package vmctl

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// flushLoop carries out the wishes for this node's domain state. What it has done is
// visible in the VMs themselves, so a pass that was interrupted is simply begun again;
// a changed wish cancels the pass that is under way.
func (c *Controller) flushLoop(ctx context.Context) {
	stop := func() {}
	defer func() { stop() }()
	var begun int32 = -1 // version of the wish that was begun last
	again := make(chan struct{}, 1)
	for {
		select {
		case <-ctx.Done():
			return
		case <-again:
			begun = -1
		case <-c.domainState:
		}
		want, version := c.domainWish()
		if want == "" || version == begun {
			continue
		}
		stop()
		stop, begun = func() {}, version
		if want == model.DomainFlush || want == model.DomainUnflush {
			stop = c.startPass(ctx, want, again)
		}
	}
}

// startPass begins a pass; stop cancels it and waits for it.
func (c *Controller) startPass(ctx context.Context, want model.DomainState, again chan struct{}) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var pass sync.WaitGroup
	pass.Go(func() {
		if c.pass(ctx, want) {
			return
		}
		if pause(ctx, passRetry); ctx.Err() == nil {
			signal(again)
		}
	})
	return func() { cancel(); pass.Wait() }
}

const passRetry = 5 * time.Second

// pass empties or refills this node once and records the result; false asks for
// another attempt.
func (c *Controller) pass(ctx context.Context, want model.DomainState) bool {
	viewing, done := context.WithCancel(ctx) // the view of the whole cluster is not kept
	defer done()
	rules := c.o.Cluster(viewing)
	if err := rules.View().Until(ctx, func(*view.Snapshot) (bool, error) { return rules.View().Ready(), nil }); err != nil {
		return false
	}
	move, result := c.leave, model.DomainFlushed
	if want == model.DomainUnflush {
		move, result = c.comeHome, model.DomainReady
	}
	stayed := c.moveAll(ctx, rules, move)
	if ctx.Err() != nil {
		return true // cancelled: the next wish has its own pass
	}
	slices.Sort(stayed)
	report := strings.Join(stayed, "; ")
	c.o.Logger.Info("a pass over the VMs of this node has ended", "wish", want, "stayed", report)
	if want == model.DomainFlush && report != "" {
		result = want // it ends as it is, and says why
	}
	if err := c.recordPass(ctx, want, result, report); err != nil {
		c.o.Logger.Warn("cannot record the end of a flush", "err", err)
		return false
	}
	return true
}

// moveAll moves every VM that move wants to, a few at a time, and names those that
// could not be.
func (c *Controller) moveAll(ctx context.Context, rules *cluster.Cluster, move func(*model.VM) *cluster.SetVMNode) (stayed []string) {
	var mu sync.Mutex
	var vms []*model.VM
	rules.View().Read(func(s *view.Snapshot) {
		for _, vm := range s.VMs() {
			if move(vm) != nil {
				vms = append(vms, vm)
			}
		}
	})
	var g errgroup.Group
	g.SetLimit(max(2*c.o.Migration.Parallel, 1)) // preparing one overlaps with sending another
	for _, vm := range vms {
		g.Go(func() error {
			if err := moveWithRetry(ctx, rules, vm.UUID, move); err != nil && ctx.Err() == nil {
				mu.Lock()
				defer mu.Unlock()
				stayed = append(stayed, fmt.Sprintf("%s: %v", vm.Name, err))
			}
			return nil
		})
	}
	_ = g.Wait() // no function returns an error
	return stayed
}

// moveAttempts are made for each VM: a migration that was begun by a daemon that died
// fails, and the next succeeds.
const moveAttempts = 3

func moveWithRetry(ctx context.Context, rules *cluster.Cluster, uuid string, move func(*model.VM) *cluster.SetVMNode) (err error) {
	for range moveAttempts {
		if err = moveOne(ctx, rules, uuid, move); !errs.Is(err, errs.Conflict) || ctx.Err() != nil {
			return err
		}
	}
	return err
}

// moveOne waits until nothing is under way for a VM and moves it, if it is still to be
// moved then: a user may have done so meanwhile.
func moveOne(ctx context.Context, rules *cluster.Cluster, uuid string, move func(*model.VM) *cluster.SetVMNode) error {
	var wish *cluster.SetVMNode
	settled := func(s *view.Snapshot) (bool, error) {
		wish = nil
		vm, ok := s.VM(uuid)
		if !ok {
			return true, nil
		}
		wish = move(vm)
		return wish == nil || !busy(vm), nil
	}
	patience, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	err := rules.View().Until(patience, settled)
	if err != nil && ctx.Err() == nil {
		return errs.Conflictf("what is under way for it has not ended in %v", settleLimit)
	}
	if err != nil || wish == nil {
		return err
	}
	_, err = rules.SetVMNode(ctx, *wish)
	if errs.Is(err, errs.NotFound) {
		return nil // deleted meanwhile
	}
	return err
}

// settleLimit is how long a flush waits for what is under way for a VM: longer than a
// shutdown takes, but a migration whose target is dead may never be cleared away.
const settleLimit = 5 * time.Minute

// busy reports that something is under way for a VM, also its end.
func busy(vm *model.VM) bool {
	switch vm.State {
	case model.VMMigrate, model.VMShutdown, model.VMRestart:
		return true
	case model.VMStop, model.VMFailed:
		return vm.Claim != nil
	}
	return vm.Migration != nil
}

// leave is the wish for a VM that is to leave this node: every one that runs here, or
// is about to.
func (c *Controller) leave(vm *model.VM) *cluster.SetVMNode {
	here := vm.Claim != nil && vm.Claim.Owner.Node == c.session.Node()
	starting := vm.Claim == nil && vm.Node == c.session.Node() && vm.State == model.VMStart
	if !here && !starting {
		return nil
	}
	return &cluster.SetVMNode{VM: vm.UUID, Action: "migrate", Force: vm.LastNode != "", Wait: true}
}

// comeHome is the wish for a VM whose home is this node.
func (c *Controller) comeHome(vm *model.VM) *cluster.SetVMNode {
	if vm.LastNode != c.session.Node() {
		return nil
	}
	return &cluster.SetVMNode{VM: vm.UUID, Action: "unmigrate", Wait: true}
}

// recordPass ends a pass unless the wish has changed.
func (c *Controller) recordPass(ctx context.Context, want, result model.DomainState, report string) error {
	session, s, ok := c.current()
	if !ok {
		return errNoRecords
	}
	path := schema.Node(session.Node(), schema.NodeDomainState)
	var now string
	var version int32
	s.mirror.Read(func(t schema.Tree) { now, version, _ = t.Data(path) })
	if model.DomainState(now) != want {
		return nil
	}
	txn := new(coord.Txn)
	if result != want {
		txn.Set(path, []byte(result), version)
	} else {
		txn.Check(path, version)
	}
	txn.Set(schema.Node(session.Node(), schema.NodeFlush), []byte(report), coord.AnyVersion)
	session.Check(txn)
	_, err := s.mirror.Commit(ctx, schema.Node(session.Node()), *txn)
	return err
}
