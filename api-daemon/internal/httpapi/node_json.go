package httpapi

import (
	"math"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// nodeJSON is a node as clients see it.
type nodeJSON struct {
	Name             string       `json:"name"`
	DaemonState      string       `json:"daemon_state"`
	CoordinatorState string       `json:"coordinator_state"`
	DomainState      string       `json:"domain_state"`
	Condition        string       `json:"condition"`    // what a coordinator found, such as "control plane lost"
	FlushReport      string       `json:"flush_report"` // guests that a flush could not move
	Version          string       `json:"pvc_version"`
	CPUCount         int          `json:"cpu_count"`
	Kernel           string       `json:"kernel"`
	OS               string       `json:"os"`
	Arch             string       `json:"arch"`
	Health           int          `json:"health"` // percent
	HealthDetails    []healthJSON `json:"health_details"`
	Load             float64      `json:"load"` // 1-minute average
	DomainsCount     int          `json:"domains_count"`
	RunningDomains   []string     `json:"running_domains"` // UUIDs
	VCPU             nodeVCPU     `json:"vcpu"`
	Memory           nodeMemory   `json:"memory"`
}

type healthJSON struct {
	Name    string `json:"name"`
	Message string `json:"message"`
	Delta   int    `json:"health_delta"`
}

type nodeVCPU struct {
	Total     int `json:"total"`
	Allocated int `json:"allocated"`
}

// nodeMemory is in MiB. Allocated belongs to running guests, provisioned to all that
// are assigned to the node.
type nodeMemory struct {
	Total       int `json:"total"`
	Allocated   int `json:"allocated"`
	Provisioned int `json:"provisioned"`
	Used        int `json:"used"`
	Free        int `json:"free"`
}

// healthDelta is what one health fact takes off a node's health.
const healthDelta = 10

func nodeAnswer(n *model.Node, provisioned int) nodeJSON {
	out := nodeJSON{
		Name: n.Name, DaemonState: string(n.EffectiveDaemonState()), CoordinatorState: coordinatorStateOf(n),
		DomainState: string(n.DomainState), Condition: n.Condition, FlushReport: n.FlushReport, Version: version(n),
		CPUCount: n.CPUCount, Kernel: n.Kernel, OS: n.OS, Arch: n.Arch,
		HealthDetails: []healthJSON{}, Load: finite(n.CPULoad),
		DomainsCount: n.DomainsCount, RunningDomains: append([]string{}, n.RunningDomains...),
		VCPU: nodeVCPU{Total: n.CPUCount, Allocated: n.VCPUAlloc},
		Memory: nodeMemory{Total: n.MemTotal, Allocated: n.MemAlloc, Provisioned: provisioned,
			Used: n.MemUsed, Free: n.MemFree},
	}
	for _, fact := range n.Facts.Health {
		out.HealthDetails = append(out.HealthDetails, healthJSON{"host", fact, healthDelta})
	}
	out.Health = max(0, 100-healthDelta*len(n.Facts.Health))
	return out
}

// coordinatorStateOf is the stored state; a hypervisor has no other than client.
func coordinatorStateOf(n *model.Node) string {
	if n.RouterState == "" && n.Mode != model.ModeCoordinator {
		return string(model.RouterClient)
	}
	return string(n.RouterState)
}

func version(n *model.Node) string {
	if n.Session != nil && n.Session.Version != "" {
		return n.Session.Version
	}
	return n.Facts.Version
}

// finite keeps a number that JSON cannot write out of an answer.
func finite(f float64) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return 0
	}
	return f
}
