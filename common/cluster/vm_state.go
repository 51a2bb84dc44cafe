package cluster

import (
	"context"
	"fmt"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// SetVMState asks for a VM to be started, shut down, stopped or restarted.
type SetVMState struct {
	VM    string // name or UUID
	State string // start, shutdown, stop, restart
	Force bool   // makes a shutdown a stop
	Wait  bool   // for the end of it
}

// SetVMState commits the wish. While something is under way the later wish wins; to
// ask for what is already so has no effect.
func (c *Cluster) SetVMState(ctx context.Context, r SetVMState) (Answer, error) {
	want := model.VMState(r.State)
	switch want {
	case model.VMStart, model.VMShutdown, model.VMStop, model.VMRestart:
	default:
		return Answer{}, errs.Invalidf("state %q is not one of start, shutdown, stop, restart", model.Clip(r.State))
	}
	if want == model.VMShutdown && r.Force {
		want = model.VMStop
	}
	return c.change(ctx, r.Wait, func(s *view.Snapshot) (plan, error) {
		vm, err := s.FindVM(r.VM)
		if err != nil {
			return plan{}, err
		}
		return setState(s, vm, want)
	})
}

// setState is the rule; the table is that of the documentation.
func setState(s *view.Snapshot, vm *model.VM, want model.VMState) (plan, error) {
	name, now := vm.Name, vm.State
	done := awaitState(vm.UUID, want)
	switch {
	case now == model.VMDelete && want != model.VMStop:
		return plan{}, errs.Conflictf("VM %q is being deleted", name)
	case now == want:
		return plan{message: fmt.Sprintf("VM %q is already in state %s", name, now), done: done}, nil
	case want == model.VMStart && now == model.VMMigrate:
		return plan{message: fmt.Sprintf("VM %q is already running and is being migrated", name)}, nil
	case want == model.VMShutdown && (now == model.VMStop || now == model.VMFailed):
		return plan{message: fmt.Sprintf("VM %q is already down (state %s)", name, now)}, nil
	case want == model.VMRestart && now != model.VMStart:
		return plan{}, errs.Conflictf("VM %q is in state %s, only a started VM can be restarted", name, now)
	}
	p := plan{about: schema.VM(vm.UUID), done: done}
	p.txn.Set(schema.VM(vm.UUID, schema.VMState), []byte(want), vm.Versions.State)
	if want == model.VMStart {
		if err := startable(s, vm); err != nil {
			return plan{}, err
		}
		clearFailure(&p.txn, vm)
	} else {
		clearWaiting(&p.txn, vm)
	}
	same(&p.txn, vm)
	index(&p.txn, s, vm.Node, vm.UUID)
	p.message = fmt.Sprintf("VM %q: %s on %s%s", name, verbs[want], vm.Node, absentNode(s, vm))
	return p, nil
}

var verbs = map[model.VMState]string{
	model.VMStart: "starting", model.VMShutdown: "shutting down", model.VMStop: "stopping", model.VMRestart: "restarting",
}

// clearFailure forgets an earlier failure and the crashes counted for it.
func clearFailure(t *coord.Txn, vm *model.VM) {
	if vm.FailedReason != "" {
		t.Set(schema.VM(vm.UUID, schema.VMFailedReason), nil, vm.Versions.FailedReason)
	}
	if vm.Crashes > 0 {
		t.Delete(schema.VM(vm.UUID, schema.VMCrashes), coord.AnyVersion)
	}
}

// clearWaiting forgets why a VM was not started yet, as it is not to be started any more.
// Its host may be about to write that.
func clearWaiting(t *coord.Txn, vm *model.VM) {
	path := schema.VM(vm.UUID, schema.VMFailedReason)
	switch {
	case strings.HasPrefix(vm.FailedReason, model.NotStarted):
		t.Set(path, nil, vm.Versions.FailedReason)
	case vm.State == model.VMStart && vm.Claim == nil && vm.Gen != "": // not an old client's, which may lack the key
		t.Check(path, vm.Versions.FailedReason)
	}
}

// startable refuses a start on a node that does not exist: nobody would ever do it.
func startable(s *view.Snapshot, vm *model.VM) error {
	if _, ok := s.Node(vm.Node); !ok {
		return errs.Conflictf("VM %q is assigned to %q, which is no node: migrate it to one first", vm.Name, model.Clip(vm.Node))
	}
	return nil
}

// absentNode is the remark that a node will act only when it is back.
func absentNode(s *view.Snapshot, vm *model.VM) string {
	if n, ok := s.Node(vm.Node); !ok || !n.Alive() {
		return fmt.Sprintf("; the daemon of %s does not answer, it acts when it is back", vm.Node)
	}
	return ""
}

// awaitState reports the end of a wish for a state.
func awaitState(uuid string, want model.VMState) func(*view.Snapshot) (bool, error) {
	return func(s *view.Snapshot) (bool, error) {
		vm, ok := s.VM(uuid)
		if !ok {
			return false, errs.Conflictf("the VM was deleted meanwhile")
		}
		switch want {
		case model.VMStart, model.VMRestart:
			if vm.State == model.VMFailed {
				return false, errs.Conflictf("it failed: %s", vm.FailedReason)
			}
			if vm.State == model.VMStop {
				return false, errs.Conflictf("it was stopped: %s", vm.FailedReason)
			}
			return vm.State == model.VMStart && vm.Claim != nil && vm.Claim.Resumed, nil
		default:
			if vm.State == model.VMStart && vm.Claim != nil {
				return false, errs.Conflictf("it was started again meanwhile")
			}
			return vm.Claim == nil && (vm.State == model.VMStop || vm.State == model.VMFailed), nil
		}
	}
}

// claimReachable says why nothing can be done about a VM whose claim is held by a
// host that does not answer.
func claimReachable(s *view.Snapshot, vm *model.VM) error {
	if vm.Claim == nil {
		return nil
	}
	n, ok := s.Node(vm.Claim.Owner.Node)
	if ok && n.Alive() {
		return nil
	}
	why := "its daemon does not answer"
	if ok && n.Condition != "" {
		why = n.Condition
	}
	return errs.Conflictf("VM %q may be running on %s (%s); it is free when the daemon of %s is back",
		vm.Name, vm.Claim.Owner.Node, why, vm.Claim.Owner.Node)
}
