package cluster

import (
	"slices"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/placement"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

func contains(sorted []string, s string) bool {
	_, ok := slices.BinarySearch(sorted, s)
	return ok
}

// selector returns the selector of that name, the cluster's default for none.
func selector(s *view.Snapshot, name string) (model.Selector, error) {
	if name == "" || name == "none" {
		return s.TargetSelector(), nil
	}
	return model.ParseSelector(name)
}

// candidates are the nodes for a VM, all but the node except.
func candidates(s *view.Snapshot, except string, unfit func(*model.Node) string) []placement.Host {
	nodes := s.Nodes()
	out := make([]placement.Host, 0, len(nodes))
	at := make(map[string]int, len(nodes))
	for _, n := range nodes {
		if n.Name == except {
			continue
		}
		at[n.Name] = len(out)
		out = append(out, placement.Host{Name: n.Name, Unfit: unfit(n), Load: n.CPULoad, FreeMiB: n.MemTotal})
	}
	for _, vm := range s.VMs() {
		i, ok := at[vm.Node]
		if !ok {
			continue
		}
		h := &out[i]
		h.VMs++
		if spec, err := s.Spec(vm); err == nil {
			h.AllocatedMiB += spec.MemoryMiB
			h.VCPUs += spec.VCPUs
			if vm.State != model.VMStop && vm.State != model.VMFailed {
				h.FreeMiB -= spec.MemoryMiB
			}
		}
	}
	for _, n := range nodes {
		if i, ok := at[n.Name]; ok {
			out[i].FreeMiB = min(out[i].FreeMiB, n.MemFree)
		}
	}
	return out
}

// unfit says why a node takes no VMs, empty if it does.
func unfit(n *model.Node) string {
	switch {
	case !n.Alive() && n.Condition != "":
		return n.Condition
	case !n.Alive():
		return "its daemon does not answer"
	case n.DaemonState != model.DaemonRun:
		return "its daemon is in state " + string(n.DaemonState)
	case n.DomainState != model.DomainReady:
		return "its domain state is " + string(n.DomainState)
	}
	return n.Facts.NoGuests
}

// takes adds to what makes a node unfit what this VM needs of it.
func takes(spec *domxml.Spec, unfit func(*model.Node) string) func(*model.Node) string {
	networks := slices.ContainsFunc(spec.Networks, func(nic domxml.NIC) bool { return strings.HasPrefix(nic.Source, model.BridgePrefix) })
	volumes := slices.ContainsFunc(spec.Disks, func(d domxml.Disk) bool { return d.Type == "rbd" })
	return func(n *model.Node) string {
		why := unfit(n)
		if why == "" && networks {
			why = n.Facts.NoNetworks
		}
		if why == "" && volumes {
			why = n.Facts.NoStorage
		}
		return why
	}
}

// unfitHome is unfit for a VM that returns home: a node that fetches its VMs takes
// those and no others.
func unfitHome(n *model.Node) string {
	if n.Running() && n.DomainState == model.DomainUnflush {
		return ""
	}
	return unfit(n)
}

// target resolves the node of a request: the wanted one if it is valid, else the
// best by the selector. except is the node that is out of the question.
func target(s *view.Snapshot, wanted, sel, except string, spec *domxml.Spec) (placement.Choice, error) {
	by, err := selector(s, sel)
	if err != nil {
		return placement.Choice{}, err
	}
	all := candidates(s, except, takes(spec, unfit))
	if wanted != "" {
		for _, h := range all {
			if h.Name == wanted && h.Fits(spec.MemoryMiB) == "" {
				return placement.Choice{Node: wanted, Why: "as asked"}, nil
			}
		}
	}
	choice, err := placement.Select(all, by, spec.MemoryMiB)
	if err == nil && wanted != "" {
		choice.Why = "the node " + quote(wanted) + " cannot take it; " + choice.Why
	}
	return choice, err
}

func quote(s string) string { return "\"" + model.Clip(s) + "\"" }
