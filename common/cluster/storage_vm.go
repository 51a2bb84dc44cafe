package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// disks are the volumes of a VM that is to be removed with them.
type disks struct {
	remove []*model.Volume
	keep   []string // volumes that stay, each with the reason
	begun  []Begun  // the removals, once they are begun
}

// disksOf sorts the volumes of a VM. Nothing is removed if one of its own could not be.
func disksOf(s *view.Snapshot, vm *model.VM) (d disks, err error) {
	for _, full := range vm.RBDList {
		pool, name, _ := strings.Cut(full, "/")
		v, recorded := s.Volume(pool, name)
		users := volumeUsers(s, full, vm.UUID)
		switch {
		case !recorded:
			d.keep = append(d.keep, fmt.Sprintf("rbd %s (no such volume is on record)", quote(full)))
		case len(users) > 0:
			d.keep = append(d.keep, fmt.Sprintf("rbd %s (used by %s)", quote(full), strings.Join(users, ", ")))
		case len(v.Snapshots) > 0:
			return disks{}, errs.Conflictf("volume %q of VM %q has %d snapshots: remove them first, nothing was changed", full, vm.Name, len(v.Snapshots))
		default:
			d.remove = append(d.remove, v)
		}
	}
	if len(d.remove) == 0 {
		return d, nil
	}
	_, err = anyHost(s)
	return d, err
}

// has reports whether a volume is to be removed or is mentioned as one that stays.
func (d disks) has(full string) bool {
	return slices.ContainsFunc(d.remove, func(v *model.Volume) bool { return v.FullName() == full }) ||
		slices.ContainsFunc(d.keep, func(k string) bool { return strings.HasPrefix(k, "rbd "+quote(full)+" ") })
}

// unclaimed refuses to go on while a host holds one of the volumes, under the image's id
// or, by an older daemon, its name.
func (c *Cluster) unclaimed(ctx context.Context, d disks) error {
	for _, v := range d.remove {
		names := []string{v.FullName()}
		if v.Stats != nil && v.Stats.ID != "" {
			names = append(names, v.Pool+"/"+v.Stats.ID)
		}
		for _, name := range names {
			_, err := c.o.View.Fetch(ctx, schema.ClaimDisk(name))
			if err == nil {
				return errs.Conflictf("volume %q is held by a host: neither it nor the VM was removed", v.FullName())
			}
			if !errors.Is(err, coord.ErrNoNode) {
				return err
			}
		}
	}
	return nil
}

// enqueue adds the removal of the volumes to the transaction that removes their VM: what is
// gone then is not forgotten. since is the version of /domains with which they were looked at.
func (d *disks) enqueue(s *view.Snapshot, queue *command.Queue, txn *coord.Txn, since int32) error {
	d.begun = nil
	for _, v := range d.remove {
		where, err := anyHost(s)
		if err != nil {
			return err
		}
		args := command.VolumeRemove{Pool: v.Pool, Volume: v.Name}
		h, err := queue.Add(s, txn, command.Request{Args: args, Node: where.node, Any: where.any, With: namedSince(takenAway(args), since)})
		if err != nil {
			return err
		}
		d.begun = append(d.begun, Begun{Handle: h, Verb: args.Verb(), Node: where.node})
	}
	return nil
}

// shown waits until the view shows the removals, which were begun in the transaction of a VM.
func (c *Cluster) shown(ctx context.Context, d disks) error {
	paths := []string{schema.Commands}
	for _, b := range d.begun {
		paths = append(paths, schema.Command(b.Handle.ID))
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.o.CommitTimeout)
	defer cancel()
	return c.o.View.Refresh(ctx, paths...)
}

// removals waits for the end of the removals of the volumes of a VM that is gone.
func (c *Cluster) removals(ctx context.Context, d disks) (removed, failed []string) {
	for i, v := range d.remove {
		_, err := c.WaitFor(ctx, d.begun[i])
		if name := "rbd " + quote(v.FullName()); err == nil || errs.Is(err, errs.NotFound) { // by somebody else meanwhile
			removed = append(removed, name)
		} else {
			failed = append(failed, name+": "+err.Error())
		}
	}
	return removed, failed
}

// usable refuses a document with a volume that a VM cannot have.
func usable(s *view.Snapshot, spec *domxml.Spec) error {
	if err := lockable(s, spec); err != nil {
		return err
	}
	return settled(s, spec)
}

// lockable refuses a document that writes to a volume without the feature by which a
// successor takes it over from a host that is cut off.
func lockable(s *view.Snapshot, spec *domxml.Spec) error {
	const feature = "exclusive-lock"
	for _, i := range domxml.WritableImages(spec) {
		if i.Kind != "rbd" {
			continue
		}
		pool, name, _ := strings.Cut(i.Name, "/")
		if v, ok := s.Volume(pool, name); ok && v.Stats != nil && !v.Stats.Has(feature) {
			return errs.Conflictf("volume %q has no %s: a VM cannot write to it safely (rbd feature enable %s %s)", i.Name, feature, i.Name, feature)
		}
	}
	return nil
}
