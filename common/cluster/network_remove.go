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

// RemoveNetwork removes a network, given by VNI or description, with its leases,
// reservations and rules. One that a VM's document names is errs.Conflict. What an
// interrupted removal has left can be removed by its VNI.
func (c *Cluster) RemoveNetwork(ctx context.Context, ref string) (Answer, error) {
	for {
		more := false
		answer, err := c.changeNetworks(ctx, func(ctx context.Context, since at) (rule, error) {
			n, vni, err := c.removable(ref)
			if err != nil {
				return nil, err
			}
			paths, complete, err := c.nextDeletions(ctx, vni)
			if errors.Is(err, coord.ErrNoNode) {
				return nil, errs.NotFoundf("no network has the VNI or description %q", model.Clip(ref))
			} else if err != nil {
				return nil, err
			}
			more = !complete
			return func(s *view.Snapshot) (plan, error) { return removeNetwork(s, vni, n, paths, since) }, nil
		})
		if err != nil || !more {
			return answer, err
		}
	}
}

// removable returns the network or, if there is only a number for it, nil.
func (c *Cluster) removable(ref string) (n *model.Network, vni int, err error) {
	c.o.View.Read(func(s *view.Snapshot) { n, err = s.FindNetwork(ref) })
	if err == nil {
		return n, n.VNI, nil
	}
	if vni, ok := schema.ParseVNI(ref); ok && errs.Is(err, errs.NotFound) {
		return nil, vni, nil
	}
	return nil, 0, err
}

func removeNetwork(s *view.Snapshot, vni int, n *model.Network, paths []string, since at) (plan, error) {
	if users := usersOf(s, model.BridgeOf(vni)); len(users) > 0 {
		return plan{}, errs.Conflictf("network %s is used by %s: it was not removed", nameOf(vni, n), strings.Join(users, ", "))
	}
	p := plan{about: schema.Network(vni), message: fmt.Sprintf("network %s is removed", nameOf(vni, n))}
	p.txn.Check(schema.Domains, since.domains) // no VM was put on it meanwhile
	if n != nil {
		sameNetwork(&p.txn, n)
	}
	for _, path := range paths {
		p.txn.Delete(path, coord.AnyVersion)
	}
	return p, nil
}

func nameOf(vni int, n *model.Network) string {
	if n == nil {
		return fmt.Sprint(vni)
	}
	return fmt.Sprintf("%q (VNI %d)", n.Description, vni)
}

// usersOf names the VMs whose documents name a bridge. A document that cannot be read
// counts if the name is in it.
func usersOf(s *view.Snapshot, bridge string) (users []string) {
	for _, vm := range s.VMs() {
		// References apart, what a document names is in it letter by letter: thousands
		// of them need not be parsed.
		if there := strings.Contains(vm.XML, bridge); !there && !strings.Contains(vm.XML, "&") {
			continue
		}
		if spec, err := s.Spec(vm); err != nil {
			if strings.Contains(vm.XML, bridge) {
				users = append(users, fmt.Sprintf("VM %q (its document cannot be read)", vm.Name))
			}
		} else {
			for _, nic := range spec.Networks {
				if nic.Source == bridge {
					users = append(users, fmt.Sprintf("VM %q", vm.Name))
					break
				}
			}
		}
	}
	return users
}

// deletions of one transaction, whose size is limited.
const deletions = 6000

// nextDeletions lists what the next transaction removes, children before parents: the
// network with everything below it, or, if that is too much for one, leases. While no VM
// names the network nobody needs them.
func (c *Cluster) nextDeletions(ctx context.Context, vni int) (paths []string, complete bool, err error) {
	names, err := c.children(ctx, schema.Network(vni))
	if err != nil {
		return nil, false, err
	}
	var rest []string
	for _, name := range names {
		list := &rest
		if name == schema.NetworkLeases || name == schema.NetworkLeases6 {
			list = &paths
		}
		if *list, err = c.addTree(ctx, *list, schema.Network(vni, name), depthOf(name)); err != nil {
			return nil, false, err
		}
	}
	if len(paths) > 0 && len(paths)+len(rest) >= deletions {
		return paths[:min(len(paths), deletions)], false, nil
	}
	return append(append(paths, rest...), schema.Network(vni)), true, nil
}

// depthOf says how many levels there are below a key.
func depthOf(key string) int {
	switch key {
	case schema.NetworkLeases, schema.NetworkReservations:
		return 2 // MAC, value
	case schema.NetworkRules:
		return 3 // direction, rule, value
	case schema.NetworkLeases6:
		return 1 // address
	}
	return 0
}

func (c *Cluster) addTree(ctx context.Context, paths []string, root string, depth int) ([]string, error) {
	if depth > 0 {
		names, err := c.children(ctx, root)
		if errors.Is(err, coord.ErrNoNode) {
			return paths, nil // a lease that has ended meanwhile
		} else if err != nil {
			return nil, err
		}
		for _, name := range names {
			if paths, err = c.addTree(ctx, paths, root+"/"+name, depth-1); err != nil {
				return nil, err
			}
		}
	}
	return append(paths, root), nil
}
