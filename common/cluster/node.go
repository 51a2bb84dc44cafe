package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// SetCoordinatorState asks for a node to become or stop being primary.
type SetCoordinatorState struct {
	Node  string
	State string // primary, secondary
	Wait  bool
}

// SetCoordinatorState commits the wish; the coordinators hand the role over.
func (c *Cluster) SetCoordinatorState(ctx context.Context, r SetCoordinatorState) (Answer, error) {
	if r.State != string(model.RouterPrimary) && r.State != string(model.RouterSecondary) {
		return Answer{}, errs.Invalidf("coordinator state %q is not one of primary, secondary", model.Clip(r.State))
	}
	return c.change(ctx, r.Wait, func(s *view.Snapshot) (plan, error) {
		n, err := findNode(s, r.Node)
		if err != nil {
			return plan{}, err
		}
		if n.Mode != model.ModeCoordinator {
			return plan{}, errs.Conflictf("node %q is no coordinator", n.Name)
		}
		if !n.Running() {
			return plan{}, errs.Conflictf("node %q cannot change its role: its daemon is in state %s", n.Name, n.EffectiveDaemonState())
		}
		if r.State == string(model.RouterPrimary) {
			return makePrimary(s, n)
		}
		return makeSecondary(s, n)
	})
}

func makePrimary(s *view.Snapshot, n *model.Node) (plan, error) {
	done := func(s *view.Snapshot) (bool, error) { return s.PrimaryNode() == n.Name, nil }
	if s.PrimaryNode() == n.Name && s.WantedPrimary() == n.Name {
		return plan{message: fmt.Sprintf("node %q is already primary", n.Name)}, nil
	}
	p := plan{about: schema.Primary, done: done, message: fmt.Sprintf("node %q becomes primary", n.Name)}
	p.txn.Set(schema.Primary, []byte(n.Name), s.PrimaryVersion())
	return p, nil
}

func makeSecondary(s *view.Snapshot, n *model.Node) (plan, error) {
	if s.PrimaryNode() != n.Name && s.WantedPrimary() != n.Name {
		return plan{message: fmt.Sprintf("node %q is already secondary", n.Name)}, nil
	}
	for _, o := range s.Nodes() {
		if o.Name == n.Name || o.Mode != model.ModeCoordinator || !o.Running() {
			continue
		}
		p := plan{about: schema.Primary, message: fmt.Sprintf("node %q gives up the primary role", n.Name)}
		p.txn.Set(schema.Primary, []byte(schema.NoPrimary), s.PrimaryVersion())
		p.done = func(s *view.Snapshot) (bool, error) {
			return s.PrimaryNode() != n.Name && s.PrimaryNode() != schema.NoPrimary, nil
		}
		return p, nil
	}
	return plan{}, errs.Conflictf("node %q stays primary: no other coordinator is running", n.Name)
}

// SetDomainState asks for a node to be emptied or to take VMs again.
type SetDomainState struct {
	Node  string
	State string // flush, ready
	Wait  bool
}

// SetDomainState commits the wish; the node's daemon carries it out. Repeating a wish
// that has not come to its end begins it again.
func (c *Cluster) SetDomainState(ctx context.Context, r SetDomainState) (Answer, error) {
	if r.State != "flush" && r.State != "ready" {
		return Answer{}, errs.Invalidf("domain state %q is not one of flush, ready", model.Clip(r.State))
	}
	return c.change(ctx, r.Wait, func(s *view.Snapshot) (plan, error) {
		n, err := findNode(s, r.Node)
		if err != nil {
			return plan{}, err
		}
		if !n.Running() {
			return plan{}, errs.Conflictf("node %q cannot do that: its daemon is in state %s", n.Name, n.EffectiveDaemonState())
		}
		if r.State == "flush" {
			return flush(s, n)
		}
		return ready(s, n)
	})
}

func flush(s *view.Snapshot, n *model.Node) (plan, error) {
	if n.DomainState == model.DomainFlushed {
		return plan{message: fmt.Sprintf("node %q is already flushed", n.Name)}, nil
	}
	if guests := claimedBy(s, n.Name); len(guests) > 0 && !otherReady(s, n.Name) {
		return plan{}, errs.Conflictf("no other node is ready to take the guests of %q (%s)", n.Name, strings.Join(guests, ", "))
	}
	p := domainState(n, model.DomainFlush)
	p.message = fmt.Sprintf("node %q is being flushed", n.Name)
	p.done = func(s *view.Snapshot) (bool, error) {
		now, ok := s.Node(n.Name)
		switch {
		case !ok || !now.Alive():
			return false, errs.Unavailablef("the daemon of %q does not answer any more", n.Name)
		case now.DomainState == model.DomainFlush && now.FlushReport != "":
			return false, errs.Conflictf("guests had to stay: %s", now.FlushReport)
		case now.DomainState == model.DomainFlush:
			return false, nil
		case now.DomainState != model.DomainFlushed:
			return false, errs.Conflictf("the flush was cancelled")
		}
		return true, nil
	}
	return p, nil
}

func ready(_ *view.Snapshot, n *model.Node) (plan, error) {
	if n.DomainState == model.DomainReady {
		return plan{message: fmt.Sprintf("node %q is already ready", n.Name)}, nil
	}
	p := domainState(n, model.DomainUnflush)
	p.message = fmt.Sprintf("node %q takes VMs again and fetches its own home", n.Name)
	p.done = func(s *view.Snapshot) (bool, error) {
		now, ok := s.Node(n.Name)
		switch {
		case !ok || !now.Alive():
			return false, errs.Unavailablef("the daemon of %q does not answer any more", n.Name)
		case now.DomainState == model.DomainFlush || now.DomainState == model.DomainFlushed:
			return false, errs.Conflictf("it was flushed again")
		}
		return now.DomainState == model.DomainReady, nil
	}
	return p, nil
}

func domainState(n *model.Node, want model.DomainState) plan {
	p := plan{about: schema.Node(n.Name), settles: schema.Domains}
	p.txn.Set(schema.Node(n.Name, schema.NodeDomainState), []byte(want), n.Versions.DomainState)
	if n.FlushReport != "" {
		p.txn.Set(schema.Node(n.Name, schema.NodeFlush), nil, coord.AnyVersion)
	}
	return p
}

func otherReady(s *view.Snapshot, except string) bool {
	for _, n := range s.Nodes() {
		if n.Name != except && n.Ready() {
			return true
		}
	}
	return false
}

// claimedBy names the VMs that may be running on a node.
func claimedBy(s *view.Snapshot, node string) []string {
	var out []string
	for _, vm := range s.VMs() {
		if vm.Claim.Holds(node) {
			out = append(out, vm.Name)
		}
	}
	return out
}

func findNode(s *view.Snapshot, name string) (*model.Node, error) {
	n, ok := s.Node(name)
	if !ok {
		return nil, errs.NotFoundf("no node is named %q", model.Clip(name))
	}
	return n, nil
}

// RemoveNode forgets a node that is gone for good.
func (c *Cluster) RemoveNode(ctx context.Context, name string) (Answer, error) {
	for range attempts {
		var err error
		c.o.View.Read(func(s *view.Snapshot) { _, err = removable(s, name) })
		if err != nil {
			return Answer{}, err
		}
		paths, err := c.subtree(ctx, schema.Node(name))
		if err != nil {
			return Answer{}, err
		}
		answer, err := c.change(ctx, false, func(s *view.Snapshot) (plan, error) {
			n, err := removable(s, name)
			if err != nil {
				return plan{}, err
			}
			p := plan{about: schema.Node(name), message: fmt.Sprintf("node %q is removed", name)}
			p.txn.Check(schema.Node(name, schema.NodeDaemonState), n.Versions.DaemonState)
			for _, path := range paths {
				p.txn.Delete(path, coord.AnyVersion)
			}
			return p, nil
		})
		if !errors.Is(err, coord.ErrNotEmpty) {
			return answer, err
		}
	}
	return Answer{}, errs.Conflictf("node %q is still being written to and was not removed", name)
}

func removable(s *view.Snapshot, name string) (*model.Node, error) {
	n, err := findNode(s, name)
	if err != nil {
		return nil, err
	}
	if n.Alive() {
		return nil, errs.Conflictf("node %q is alive (daemon state %s): stop its daemon first", name, n.DaemonState)
	}
	var assigned []string
	for _, vm := range s.VMs() {
		if vm.Node == name || vm.LastNode == name || vm.Claim.Holds(name) {
			assigned = append(assigned, vm.Name)
		}
	}
	if len(assigned) > 0 {
		return nil, errs.Conflictf("node %q still has VMs, or is their home: %s", name, strings.Join(assigned, ", "))
	}
	return n, nil
}

// subtree lists a path and all below it, children first.
func (c *Cluster) subtree(ctx context.Context, path string) ([]string, error) {
	names, err := c.o.View.FetchChildren(ctx, path)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, n := range names {
		below, err := c.subtree(ctx, path+"/"+n)
		if err != nil {
			return nil, err
		}
		out = append(out, below...)
	}
	return append(out, path), nil
}
