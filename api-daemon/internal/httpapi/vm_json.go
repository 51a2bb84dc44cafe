package httpapi

import (
	"cmp"

	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// vmJSON is a VM as clients see it: the keys of the manual's answer and those newer
// clients need. Keys of features that do not exist are there with their empty value.
type vmJSON struct {
	Name         string `json:"name"`
	UUID         string `json:"uuid"`
	State        string `json:"state"`
	Node         string `json:"node"`
	LastNode     string `json:"last_node"`
	Migrated     string `json:"migrated"` // "no" or "from <node>"
	FailedReason string `json:"failed_reason"`
	Error        string `json:"error"` // why the XML cannot be read; empty if it can
	Description  string `json:"description"`
	Profile      string `json:"profile"`
	Memory       int    `json:"memory"` // MiB
	VCPU         int    `json:"vcpu"`
	Topology     string `json:"vcpu_topology"` // "sockets/cores/threads" or "N/A"

	Tags        []none         `json:"tags"`
	Snapshots   []none         `json:"snapshots"`
	VNC         vncJSON        `json:"vnc"`
	MemoryStats map[string]int `json:"memory_stats"`
	VCPUStats   map[string]int `json:"vcpu_stats"`

	Networks    []nicJSON        `json:"networks"`
	Type        string           `json:"type"`
	Arch        string           `json:"arch"`
	Machine     string           `json:"machine"`
	Console     string           `json:"console"`
	Emulator    string           `json:"emulator"`
	Features    []string         `json:"features"`
	Disks       []diskJSON       `json:"disks"`
	Controllers []controllerJSON `json:"controllers"`
	XML         string           `json:"xml"` // as stored
}

// none is the element of lists that are always empty.
type none struct{}

type vncJSON struct {
	Listen string `json:"listen"`
	Port   string `json:"port"`
}

type nicJSON struct {
	Type   string `json:"type"`
	MAC    string `json:"mac"`
	Source string `json:"source"`
	Model  string `json:"model"`
	VNI    string `json:"vni"` // text on purpose: "100", "cluster", "macvtap:eth0"
}

type diskJSON struct {
	Type string `json:"type"`
	Name string `json:"name"`
	Dev  string `json:"dev"`
	Bus  string `json:"bus"`
}

type controllerJSON struct {
	Type  string `json:"type"`
	Model string `json:"model"` // "none" if not given
}

const notGiven = "N/A"

// vmAnswer renders a VM. One whose XML cannot be read is there too, with the error.
func vmAnswer(vm *model.VM, spec *domxml.Spec, err error) vmJSON {
	out := vmJSON{
		Name: vm.Name, UUID: vm.UUID, State: string(vm.State), Node: vm.Node, LastNode: vm.LastNode,
		Migrated: vm.Migrated(), FailedReason: vm.FailedReason, XML: vm.XML,
		Description: notGiven, Topology: notGiven,
		Tags: []none{}, Snapshots: []none{}, MemoryStats: map[string]int{}, VCPUStats: map[string]int{},
		Networks: []nicJSON{}, Features: []string{}, Disks: []diskJSON{}, Controllers: []controllerJSON{},
	}
	if err != nil {
		out.Error = err.Error()
		return out
	}
	out.Description = cmp.Or(spec.Description, notGiven)
	out.Memory, out.VCPU, out.Topology = spec.MemoryMiB, spec.VCPUs, cmp.Or(spec.Topology, notGiven)
	out.Type, out.Arch, out.Machine = spec.OSType, spec.Arch, spec.Machine
	out.Console, out.Emulator = spec.Console, spec.Emulator
	out.VNC = vncJSON{spec.VNC.Listen, spec.VNC.Port}
	out.Features = append(out.Features, spec.Features...)
	addDevices(&out, spec)
	return out
}

func addDevices(out *vmJSON, spec *domxml.Spec) {
	for _, n := range spec.Networks {
		out.Networks = append(out.Networks, nicJSON{n.Type, n.MAC, n.Source, n.Model, n.VNI})
	}
	for _, d := range spec.Disks {
		out.Disks = append(out.Disks, diskJSON{d.Type, d.Name, d.Dev, d.Bus})
	}
	for _, c := range spec.Controllers {
		out.Controllers = append(out.Controllers, controllerJSON{c.Type, cmp.Or(c.Model, "none")})
	}
}
