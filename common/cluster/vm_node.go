package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/placement"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// SetVMNode asks for a VM to run elsewhere.
type SetVMNode struct {
	VM        string // name or UUID
	Action    string // migrate, unmigrate, move
	Node      string // wanted target; an invalid one means automatic selection
	Selector  string
	Permanent bool // migrate and forget the home: the same as move
	Force     bool // migrate although it is away from home already
	ForceLive bool // refuse if it cannot be done without stopping the guest
	Wait      bool
}

// SetVMNode decides whether the VM can be moved live, says so, and commits.
func (c *Cluster) SetVMNode(ctx context.Context, r SetVMNode) (Answer, error) {
	switch r.Action {
	case "move":
		r.Permanent = true
	case "migrate", "unmigrate":
	default:
		return Answer{}, errs.Invalidf("action %q is not one of migrate, unmigrate, move", model.Clip(r.Action))
	}
	return c.change(ctx, r.Wait, func(s *view.Snapshot) (plan, error) {
		vm, err := s.FindVM(r.VM)
		if err != nil {
			return plan{}, err
		}
		return relocate(s, vm, r)
	})
}

// relocate is the rule: who is to run the VM, and how it gets there.
func relocate(s *view.Snapshot, vm *model.VM, r SetVMNode) (plan, error) {
	switch vm.State {
	case model.VMMigrate, model.VMShutdown, model.VMRestart, model.VMDelete:
		return plan{}, errs.Conflictf("VM %q is in state %s, it can be moved when that has ended", vm.Name, vm.State)
	}
	if vm.Claim != nil && vm.State != model.VMStart {
		// A move ends in a start, which would undo the stop that is under way.
		return plan{}, errs.Conflictf("VM %q is in state %s but its guest has not ended yet, it can be moved when it has", vm.Name, vm.State)
	}
	if vm.Migration != nil {
		return plan{}, errs.Conflictf("an earlier migration of VM %q to %s is still being cleared away", vm.Name, vm.Migration.Target)
	}
	if err := claimReachable(s, vm); err != nil {
		return plan{}, err
	}
	spec, err := s.Spec(vm)
	if err != nil {
		return plan{}, fmt.Errorf("VM %q: %w", vm.Name, err)
	}
	choice, home, err := destination(s, vm, spec, r)
	if err != nil {
		return plan{}, err
	}
	if choice.Node == vm.Node {
		return settleHere(vm, r)
	}
	if vm.Claim == nil {
		return reassign(s, vm, choice, home, r)
	}
	return migrate(s, vm, spec, choice, home, r)
}

// destination returns the target and the home to remember.
func destination(s *view.Snapshot, vm *model.VM, spec *domxml.Spec, r SetVMNode) (placement.Choice, string, error) {
	if r.Action == "unmigrate" {
		if vm.LastNode == "" {
			return placement.Choice{}, "", errs.Conflictf("VM %q is not migrated", vm.Name)
		}
		for _, h := range candidates(s, vm.Node, takes(spec, unfitHome)) {
			if h.Name == vm.LastNode {
				if why := h.Fits(spec.MemoryMiB); why != "" {
					return placement.Choice{}, "", errs.Conflictf("the home of VM %q, %s, cannot take it: %s", vm.Name, vm.LastNode, why)
				}
				return placement.Choice{Node: vm.LastNode, Why: "its home"}, "", nil
			}
		}
		if vm.LastNode == vm.Node {
			return placement.Choice{Node: vm.Node, Why: "its home"}, "", nil
		}
		return placement.Choice{}, "", errs.Conflictf("the home of VM %q, %q, is no node", vm.Name, model.Clip(vm.LastNode))
	}
	if r.Node == vm.Node {
		return placement.Choice{Node: vm.Node}, vm.LastNode, nil
	}
	if vm.LastNode != "" && !r.Permanent && !r.Force {
		return placement.Choice{}, "", errs.Conflictf("VM %q is migrated already (from %s): unmigrate it, or use force", vm.Name, vm.LastNode)
	}
	choice, err := target(s, r.Node, r.Selector, vm.Node, spec)
	if err != nil {
		return placement.Choice{}, "", fmt.Errorf("VM %q: %w", vm.Name, err)
	}
	home := vm.LastNode
	switch {
	case r.Permanent || choice.Node == vm.LastNode:
		home = ""
	case home == "":
		home = vm.Node
	}
	return choice, home, nil
}

// settleHere answers a request for the node the VM is on already.
func settleHere(vm *model.VM, r SetVMNode) (plan, error) {
	if vm.LastNode == "" || !r.Permanent && r.Action != "unmigrate" {
		return plan{message: fmt.Sprintf("VM %q is already on %s", vm.Name, vm.Node)}, nil
	}
	p := plan{about: schema.VM(vm.UUID), message: fmt.Sprintf("VM %q is already on %s, which is its home from now on", vm.Name, vm.Node)}
	p.txn.Set(schema.VM(vm.UUID, schema.VMLastNode), nil, vm.Versions.LastNode)
	same(&p.txn, vm)
	return p, nil
}

// reassign moves a VM that runs nowhere.
func reassign(s *view.Snapshot, vm *model.VM, choice placement.Choice, home string, r SetVMNode) (plan, error) {
	if r.ForceLive {
		return plan{}, errs.Conflictf("VM %q does not run, there is nothing to migrate live", vm.Name)
	}
	p := plan{about: schema.VM(vm.UUID)}
	p.txn.Set(schema.VM(vm.UUID, schema.VMNode), []byte(choice.Node), vm.Versions.Node)
	p.txn.Set(schema.VM(vm.UUID, schema.VMLastNode), []byte(home), vm.Versions.LastNode)
	p.txn.Check(schema.VM(vm.UUID, schema.VMState), vm.Versions.State)
	p.txn.Absent(schema.Claim(vm.UUID))
	same(&p.txn, vm)
	unindex(&p, s, vm.Node, vm.UUID)
	index(&p.txn, s, choice.Node, vm.UUID)
	p.message = fmt.Sprintf("VM %q does not run; it is assigned to %s (%s)", vm.Name, choice.Node, choice.Why)
	return p, nil
}

func unindex(p *plan, s *view.Snapshot, node, uuid string) {
	if n, ok := s.Node(node); ok && contains(n.VMs, uuid) {
		p.txn.Delete(schema.NodeVM(node, uuid), -1)
		ring(&p.txn, s, node)
	}
}

// migrate begins the handshake between the host that has the VM and the target.
func migrate(s *view.Snapshot, vm *model.VM, spec *domxml.Spec, choice placement.Choice, home string, r SetVMNode) (plan, error) {
	source := vm.Claim.Owner.Node
	if source != vm.Node {
		return plan{}, errs.Conflictf("VM %q is assigned to %s but still held by %s", vm.Name, vm.Node, source)
	}
	if class := domxml.StorageClass(spec, s.SharedDirectories()); class == domxml.Local {
		return plan{}, errs.Conflictf("VM %q cannot leave %s: %s", vm.Name, source, strings.Join(spec.LiveBlockers(s.SharedDirectories()), "; "))
	}
	blockers := append(spec.LiveBlockers(s.SharedDirectories()), misfits(s, spec, source, choice.Node)...)
	if r.ForceLive && len(blockers) > 0 {
		return plan{}, errs.Conflictf("VM %q cannot be migrated live to %s: %s", vm.Name, choice.Node, strings.Join(blockers, "; "))
	}
	m := model.Migration{ID: model.NewID(), Source: source, Target: choice.Node, Home: vm.LastNode, Phase: model.MigrationPrepare, Cold: len(blockers) > 0}
	record, err := json.Marshal(m)
	if err != nil {
		return plan{}, err
	}
	p := plan{about: schema.VM(vm.UUID), done: awaitNode(vm.UUID, choice.Node)}
	p.txn.Set(schema.VM(vm.UUID, schema.VMState), []byte(model.VMMigrate), vm.Versions.State)
	p.txn.Set(schema.VM(vm.UUID, schema.VMNode), []byte(choice.Node), vm.Versions.Node)
	p.txn.Set(schema.VM(vm.UUID, schema.VMLastNode), []byte(home), vm.Versions.LastNode)
	p.txn.Create(schema.VM(vm.UUID, schema.VMMigration), record)
	p.txn.Check(schema.Claim(vm.UUID), vm.Versions.Claim)
	same(&p.txn, vm)
	index(&p.txn, s, choice.Node, vm.UUID)
	ring(&p.txn, s, source)
	how := "live"
	if m.Cold {
		how = "by shutdown and start, because " + strings.Join(blockers, "; ")
	}
	p.message = fmt.Sprintf("VM %q: migrating from %s to %s (%s), %s", vm.Name, source, choice.Node, choice.Why, how)
	return p, nil
}

// misfits are the reasons why a running guest of one host cannot go on on another.
func misfits(s *view.Snapshot, spec *domxml.Spec, source, to string) []string {
	a, okA := s.Node(source)
	b, okB := s.Node(to)
	if !okA || !okB {
		return nil
	}
	var out []string
	if spec.DomainType == "kvm" && !b.Facts.KVM {
		out = append(out, to+" has no KVM")
	}
	hostCPU := spec.CPUMode == "host-passthrough" || spec.CPUMode == "host-model" || spec.CPUMode == "maximum"
	if hostCPU && spec.DomainType == "kvm" && a.Facts.CPUModel != b.Facts.CPUModel {
		out = append(out, fmt.Sprintf("its CPU is that of the host, and those differ (%s, %s)", a.Facts.CPUModel, b.Facts.CPUModel))
	}
	if spec.Machine != "" && len(b.Facts.Machines) > 0 && !slices.Contains(b.Facts.Machines, spec.Machine) {
		out = append(out, fmt.Sprintf("%s does not know the machine type %s", to, spec.Machine))
	}
	return out
}

// awaitNode reports the end of a migration.
func awaitNode(uuid, node string) func(*view.Snapshot) (bool, error) {
	return func(s *view.Snapshot) (bool, error) {
		vm, ok := s.VM(uuid)
		switch {
		case !ok:
			return false, errs.Conflictf("the VM was deleted meanwhile")
		case vm.State == model.VMMigrate:
			return false, nil
		case vm.State == model.VMFailed:
			return false, errs.Conflictf("it failed: %s", vm.FailedReason)
		case vm.Node != node:
			return false, errs.Conflictf("the migration failed and the VM stays on %s: %s", vm.Node, vm.FailedReason)
		case vm.State == model.VMStart:
			return vm.Claim != nil && vm.Claim.Owner.Node == node && vm.Claim.Resumed, nil
		}
		return true, nil
	}
}
