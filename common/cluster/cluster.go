package cluster

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// Options say how the rules reach the cluster and what they allow.
type Options struct {
	View   *view.View
	Policy domxml.Policy // what a VM's XML may contain
	// CommitTimeout bounds a write, so that a caller hears of an outage in time; 0 is 2 s.
	CommitTimeout time.Duration
	// WaitTimeout bounds a call that waits for the end of what it began; 0 is 10 minutes.
	WaitTimeout time.Duration
	// DeleteTimeout bounds the wait for a host to confirm that a guest is gone; 0 is 30 s.
	DeleteTimeout time.Duration
	// CheckRule says whether a text may be a rule of a network's firewall; errs.Invalid
	// if not, errs.Unavailable if that cannot be found out. Without it no rule can be added.
	CheckRule func(ctx context.Context, rule string) error
}

// Cluster applies the rules.
type Cluster struct {
	o Options
	// defining lets one definition through at a time: each checks that nothing was
	// defined meanwhile, so that several at once would only make each other fail.
	defining chan struct{}
	// networking is the same for changes of networks.
	networking chan struct{}
	commands   *command.Queue
}

// New returns a Cluster over a view.
func New(o Options) *Cluster {
	setDefault(&o.CommitTimeout, 2*time.Second)
	setDefault(&o.WaitTimeout, 10*time.Minute)
	setDefault(&o.DeleteTimeout, 30*time.Second)
	return &Cluster{o: o, defining: make(chan struct{}, 1), networking: make(chan struct{}, 1), commands: command.NewQueue(o.View)}
}

func setDefault(d *time.Duration, to time.Duration) {
	if *d == 0 {
		*d = to
	}
}

// View is the view the rules look at.
func (c *Cluster) View() *view.View { return c.o.View }

// Answer is what a successful change has to say.
type Answer struct{ Message string }

// plan is what a rule wants done. A plan without operations is an answer only.
type plan struct {
	about   string // path of the object the transaction is about
	txn     coord.Txn
	message string
	// once: a conflict is for the caller, who knows what to look at again.
	once bool
	// missing explains operations that fail because a znode does not exist.
	missing map[string]string
	// done reports the end of what was begun, or why it failed; nil if there is
	// nothing to wait for.
	done func(s *view.Snapshot) (bool, error)
	// settles is the path of what has changed before the end: whoever waited for the end
	// is to see it.
	settles string
}

type rule func(s *view.Snapshot) (plan, error)

// attempts a rule gets before a change that keeps colliding with others is refused.
const attempts = 4

// apply asks a rule, commits what it wants, and asks again when the cluster has
// changed meanwhile.
func (c *Cluster) apply(ctx context.Context, r rule) (plan, error) {
	var err error
	for range attempts {
		if _, stale := c.o.View.Stale(); stale {
			return plan{}, errs.Unavailablef("no connection to ZooKeeper, nothing was changed")
		}
		var p plan
		c.o.View.Read(func(s *view.Snapshot) { p, err = r(s) })
		if err != nil || len(p.txn.Ops) == 0 {
			return p, err
		}
		if err = c.commit(ctx, p); err == nil {
			return p, nil
		}
		if !errs.Is(err, errs.Conflict) {
			return plan{}, err
		}
		if why := p.explain(err); why != "" {
			return plan{}, errs.Conflictf("%s", why)
		}
		if p.once {
			return plan{}, err
		}
		if rerr := c.refresh(ctx, p); rerr != nil {
			return plan{}, rerr
		}
	}
	return plan{}, errs.Conflictf("the cluster changes faster than this call, nothing was changed: %w", err)
}

func (c *Cluster) commit(ctx context.Context, p plan) error {
	ctx, cancel := context.WithTimeout(ctx, c.o.CommitTimeout)
	defer cancel()
	return c.o.View.Commit(ctx, p.about, p.txn)
}

// refresh brings everything a refused transaction was about up to date.
func (c *Cluster) refresh(ctx context.Context, p plan) error {
	ctx, cancel := context.WithTimeout(ctx, c.o.CommitTimeout)
	defer cancel()
	paths := make([]string, 0, len(p.txn.Ops))
	for _, op := range p.txn.Ops {
		paths = append(paths, op.Path)
	}
	return c.o.View.Refresh(ctx, paths...)
}

func (p plan) explain(err error) string {
	var te *coord.TxnError
	if errors.As(err, &te) && errors.Is(te.Err, coord.ErrNoNode) {
		return p.missing[te.Op.Path]
	}
	return ""
}

// change applies a rule and, if asked, waits for the end of what it began.
func (c *Cluster) change(ctx context.Context, wait bool, r rule) (Answer, error) {
	p, err := c.apply(ctx, r)
	if err != nil {
		return Answer{}, err
	}
	if wait && p.done != nil {
		err := c.await(ctx, c.o.WaitTimeout, p.done)
		if err == nil && p.settles != "" {
			err = c.o.View.Settle(ctx, p.settles)
		}
		if err != nil {
			return Answer{}, fmt.Errorf("%s, but: %w", p.message, err)
		}
	}
	return Answer{p.message}, nil
}

func (c *Cluster) await(ctx context.Context, limit time.Duration, done func(*view.Snapshot) (bool, error)) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := c.o.View.Until(ctx, done)
	if errors.Is(err, context.DeadlineExceeded) {
		return errs.Conflictf("it has not ended after %v", limit)
	}
	return err
}

// same makes a transaction fail if the VM was deleted and defined anew meanwhile: the
// versions of its values begin at 0 again then, and may be those that were looked at.
func same(t *coord.Txn, vm *model.VM) {
	if vm.Gen != "" { // an old client gives a VM none
		t.Check(schema.VMGen(vm.UUID, vm.Gen), coord.AnyVersion)
	}
}

// ring tells a node's daemon to look, if it has a doorbell.
func ring(t *coord.Txn, s *view.Snapshot, names ...string) {
	rung := map[string]bool{}
	for _, name := range names {
		if n, ok := s.Node(name); ok && n.HasVMIndex && !rung[name] {
			t.Set(schema.Node(name, schema.NodeDoorbell), nil, coord.AnyVersion)
			rung[name] = true
		}
	}
}

// index makes a VM known to a node and rings it.
func index(t *coord.Txn, s *view.Snapshot, node, uuid string) {
	n, ok := s.Node(node)
	if !ok || !n.HasVMIndex {
		return
	}
	if contains(n.VMs, uuid) {
		t.Check(schema.NodeVM(node, uuid), coord.AnyVersion) // the daemon may be about to drop it
	} else {
		t.Create(schema.NodeVM(node, uuid), nil)
	}
	ring(t, s, node)
}
