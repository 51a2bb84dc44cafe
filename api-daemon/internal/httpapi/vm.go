package httpapi

import (
	"slices"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// answered turns the outcome of a change into a reply.
func answered(answer cluster.Answer, err error) (*reply, error) {
	if err != nil {
		return nil, err
	}
	return message(answer.Message), nil
}

func (a *API) listVMs(r *request) (*reply, error) {
	limit, node, state := r.values.pattern("limit"), r.values.text("node"), r.values.text("state")
	if limit == nil && node == "" && state == "" {
		return a.shelves.vmList(), nil
	}
	generation, vms, err := a.allVMs(node)
	if err != nil {
		return nil, err
	}
	vms = slices.DeleteFunc(vms, func(vm *model.VM) bool {
		return node != "" && vm.Node != node || state != "" && string(vm.State) != state ||
			limit != nil && !limit.MatchString(vm.Name) && !limit.MatchString(vm.UUID)
	})
	return a.shelves.someVMs(generation, vms), nil
}

// allVMs returns a copy of the list; the node, if given, must exist.
func (a *API) allVMs(node string) (generation uint64, vms []*model.VM, err error) {
	a.o.Mirror.Read(func(p Picture) {
		generation, vms = p.VMGeneration(), slices.Clone(p.VMs())
		if _, ok := p.Node(node); node != "" && !ok {
			err = errs.NotFoundf("value %q: no node is named %q", "node", model.Clip(node))
		}
	})
	return generation, vms, err
}

// findVM returns the VM that the path names.
func (a *API) findVM(r *request) (vm *model.VM, generation uint64, err error) {
	a.o.Mirror.Read(func(p Picture) {
		generation = p.VMGeneration()
		vm, err = p.FindVM(r.path["vm"])
	})
	return vm, generation, err
}

func (a *API) getVM(r *request) (*reply, error) {
	vm, generation, err := a.findVM(r)
	if errs.Is(err, errs.NotFound) {
		return a.shelves.someVMs(generation, nil), nil
	}
	if err != nil {
		return nil, err
	}
	return a.shelves.oneVM(generation, vm), nil
}

func (a *API) defineVM(r *request) (*reply, error) {
	return answered(a.o.Changes.DefineVM(r.Context(), cluster.DefineVM{
		XML: r.values.text("xml"), Node: r.values.text("node"), Selector: r.values.text("selector"),
	}))
}

func (a *API) createFromTemplate(*request) (*reply, error) {
	return nil, errs.Invalidf("VM templates are not available: define a VM with POST /api/v1/vm and its value %q", "xml")
}

func (a *API) modifyVM(r *request) (*reply, error) {
	return answered(a.o.Changes.ModifyVM(r.Context(), cluster.ModifyVM{
		VM: r.path["vm"], XML: r.values.text("xml"), Restart: r.values.flag("restart"),
	}))
}

func (a *API) deleteVM(r *request) (*reply, error) {
	return answered(a.o.Changes.DeleteVM(r.Context(), cluster.DeleteVM{
		VM: r.path["vm"], DeleteDisks: r.values.flag("delete_disks"),
	}))
}

func (a *API) getVMState(r *request) (*reply, error) {
	vm, _, err := a.findVM(r)
	if err != nil {
		return nil, err
	}
	return jsonReply(map[string]string{"name": vm.Name, "uuid": vm.UUID, "state": string(vm.State)}), nil
}

func (a *API) setVMState(r *request) (*reply, error) {
	return answered(a.o.Changes.SetVMState(r.Context(), cluster.SetVMState{
		VM: r.path["vm"], State: r.values.text("state"), Force: r.values.flag("force"), Wait: r.values.flag("wait"),
	}))
}

func (a *API) getVMNode(r *request) (*reply, error) {
	vm, _, err := a.findVM(r)
	if err != nil {
		return nil, err
	}
	return jsonReply(map[string]string{"name": vm.Name, "uuid": vm.UUID, "node": vm.Node, "last_node": vm.LastNode}), nil
}

func (a *API) setVMNode(r *request) (*reply, error) {
	return answered(a.o.Changes.SetVMNode(r.Context(), cluster.SetVMNode{
		VM: r.path["vm"], Action: r.values.text("action"), Node: r.values.text("node"), Selector: r.values.text("selector"),
		Permanent: r.values.flag("permanent"), Force: r.values.flag("force"), ForceLive: r.values.flag("force_live"),
		Wait: r.values.flag("wait"),
	}))
}

func (a *API) dumpVM(r *request) (*reply, error) {
	vm, _, err := a.findVM(r)
	if err != nil {
		return nil, err
	}
	return &reply{media: mediaXML, body: [][]byte{[]byte(vm.XML)}}, nil
}

// consoleLines is how much of a console is shown when no number is given.
const consoleLines = 1000

func (a *API) getConsole(r *request) (*reply, error) {
	vm, _, err := a.findVM(r)
	if err != nil {
		return nil, err
	}
	data, err := a.o.Changes.ConsoleLog(r.Context(), vm.UUID, r.values.number("lines", consoleLines))
	if err != nil {
		return nil, err
	}
	return jsonReply(map[string]string{"name": vm.Name, "data": data}), nil
}
