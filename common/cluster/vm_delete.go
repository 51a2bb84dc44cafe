package cluster

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// DeleteVM stops a VM and removes it.
type DeleteVM struct {
	VM          string // name or UUID
	DeleteDisks bool   // its volumes, too
}

// deletionTimeout bounds what a deletion does beside waiting for hosts.
const deletionTimeout = time.Minute

// DeleteVM stops the guest, waits until its host confirms that it is gone, and then
// removes the records and, if asked, the volumes that no other VM names: the removals are
// begun in the transaction that removes the VM. A VM whose host does not answer is left as it is. What is begun
// goes on when ctx ends; only the waiting for the volumes does not.
func (c *Cluster) DeleteVM(ctx context.Context, r DeleteVM) (Answer, error) {
	work, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.o.DeleteTimeout+deletionTimeout)
	defer cancel()
	uuid, d, err := c.stopToDelete(work, r)
	if err != nil {
		return Answer{}, err
	}
	if err := c.unclaimed(work, d); err != nil {
		return Answer{}, err
	}
	answer, d, err := c.removeRecords(work, uuid, r.DeleteDisks)
	if err != nil || !r.DeleteDisks {
		return answer, err
	}
	if err := c.shown(ctx, d); err != nil {
		return Answer{}, fmt.Errorf("%s; its volumes are being removed: %w", answer.Message, err)
	}
	removed, failed := c.removals(ctx, d)
	for _, list := range []struct {
		what  string
		names []string
	}{{"removed with it", removed}, {"left", d.keep}, {"not removed", failed}} {
		if len(list.names) > 0 {
			answer.Message += "; " + list.what + ": " + strings.Join(list.names, ", ")
		}
	}
	if len(failed) > 0 {
		return Answer{}, errs.Conflictf("%s", answer.Message)
	}
	return answer, nil
}

// stopToDelete stops a VM that can be deleted and waits until no host holds it.
func (c *Cluster) stopToDelete(ctx context.Context, r DeleteVM) (uuid string, d disks, err error) {
	_, err = c.apply(ctx, func(s *view.Snapshot) (plan, error) {
		vm, err := s.FindVM(r.VM)
		if err != nil {
			return plan{}, err
		}
		uuid = vm.UUID
		if err := claimReachable(s, vm); err != nil {
			return plan{}, err
		}
		if r.DeleteDisks {
			if d, err = disksOf(s, vm); err != nil {
				return plan{}, err
			}
		}
		if vm.State == model.VMStop {
			return plan{}, nil
		}
		return setState(s, vm, model.VMStop)
	})
	if err != nil {
		return uuid, d, err
	}
	gone := func(s *view.Snapshot) (bool, error) {
		vm, ok := s.VM(uuid)
		return !ok || vm.Claim == nil && vm.Migration == nil, nil
	}
	if err := c.await(ctx, c.o.DeleteTimeout, gone); err != nil {
		return uuid, d, fmt.Errorf("VM %q is stopping and was not removed, its host has not confirmed that the guest is gone: %w", r.VM, err)
	}
	return uuid, d, nil
}

// removeRecords deletes a stopped VM in one transaction, whatever keys it has. With its
// disks it begins the removal of the volumes that it names in that moment.
func (c *Cluster) removeRecords(ctx context.Context, uuid string, withDisks bool) (answer Answer, d disks, err error) {
	if withDisks {
		release, err := c.defineAlone(ctx)
		if err != nil {
			return Answer{}, d, err
		}
		defer release()
	}
	var since int32
	for range attempts {
		if withDisks {
			if since, err = c.allDefined(ctx); err != nil {
				return Answer{}, d, err
			}
		}
		names, err := c.o.View.FetchChildren(ctx, schema.VM(uuid))
		if errors.Is(err, coord.ErrNoNode) {
			return Answer{}, d, errs.NotFoundf("the VM was deleted by somebody else meanwhile")
		} else if err != nil {
			return Answer{}, d, err
		}
		answer, err := c.change(ctx, false, func(s *view.Snapshot) (plan, error) {
			if vm, ok := s.VM(uuid); ok && withDisks {
				if d, err = disksOf(s, vm); err != nil {
					return plan{}, err
				}
			}
			p, err := remove(s, uuid, names, d)
			if err != nil || !withDisks {
				return p, err
			}
			p.once = true // what names its volumes has to be looked at again
			return p, d.enqueue(s, c.commands, &p.txn, since)
		})
		var collided *coord.TxnError
		again := errors.As(err, &collided) && (withDisks || errors.Is(err, coord.ErrNotEmpty))
		if !again {
			return answer, d, err
		}
	}
	return Answer{}, d, errs.Conflictf("it changes, or other VMs are changed, all the time: the VM was not removed")
}

func remove(s *view.Snapshot, uuid string, names []string, d disks) (plan, error) {
	vm, ok := s.VM(uuid)
	if !ok {
		return plan{}, errs.NotFoundf("the VM was deleted by somebody else meanwhile")
	}
	if vm.State != model.VMStop || vm.Claim != nil {
		return plan{}, errs.Conflictf("VM %q was started again meanwhile and was not removed", vm.Name)
	}
	p := plan{about: schema.VM(uuid), message: fmt.Sprintf("VM %q is removed%s", vm.Name, leftBehind(s, vm, d))}
	p.txn.Check(schema.VM(uuid, schema.VMState), vm.Versions.State)
	p.txn.Absent(schema.Claim(uuid))
	for _, n := range names {
		p.txn.Delete(schema.VM(uuid, n), coord.AnyVersion)
	}
	p.txn.Delete(schema.VM(uuid), coord.AnyVersion)
	for _, n := range s.Nodes() {
		unindex(&p, s, n.Name, uuid)
	}
	return p, nil
}

// leftBehind names what a removed VM leaves, beside the volumes that are dealt with.
func leftBehind(s *view.Snapshot, vm *model.VM, d disks) string {
	spec, err := s.Spec(vm)
	if err != nil {
		return ""
	}
	var left []string
	for _, i := range domxml.WritableImages(spec) {
		if i.Kind == "rbd" && d.has(i.Name) {
			continue
		}
		left = append(left, i.Kind+" "+quote(i.Name))
	}
	if len(left) == 0 {
		return ""
	}
	return "; left behind: " + strings.Join(left, ", ")
}

// defaultConsoleLines are returned when a caller asks for no number.
const defaultConsoleLines = 1000

// ConsoleLog returns the last lines of a VM's serial console.
func (c *Cluster) ConsoleLog(ctx context.Context, ref string, lines int) (string, error) {
	var vm *model.VM
	var err error
	c.o.View.Read(func(s *view.Snapshot) { vm, err = s.FindVM(ref) })
	if err != nil {
		return "", err
	}
	if lines <= 0 {
		lines = defaultConsoleLines
	}
	ctx, cancel := context.WithTimeout(ctx, c.o.CommitTimeout)
	defer cancel()
	data, err := c.o.View.Fetch(ctx, schema.VM(vm.UUID, schema.VMConsoleLog))
	if err != nil && !errors.Is(err, coord.ErrNoNode) {
		return "", err
	}
	return lastLines(strings.ToValidUTF8(schema.Text(string(data)), "\uFFFD"), lines), nil
}

// lastLines returns the last n lines of a text; a final line without an end counts.
func lastLines(text string, n int) string {
	end := len(strings.TrimSuffix(text, "\n"))
	for i := end - 1; i >= 0; i-- {
		if text[i] == '\n' {
			if n--; n == 0 {
				return text[i+1:]
			}
		}
	}
	return text
}
