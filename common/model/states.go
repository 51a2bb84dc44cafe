package model

import (
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// VMState is the wish for a VM, as stored in /domains/<uuid>/state.
type VMState string

// The states of a VM. Stop, start and failed are stable; the others are on their
// way to one of those.
const (
	VMStop     VMState = "stop"
	VMStart    VMState = "start"
	VMFailed   VMState = "failed"
	VMShutdown VMState = "shutdown"
	VMRestart  VMState = "restart"
	VMMigrate  VMState = "migrate"
	VMDelete   VMState = "delete"
)

var vmStates = []VMState{VMStart, VMRestart, VMShutdown, VMStop, VMFailed, VMMigrate, VMDelete}

// ParseVMState returns the state of that name.
func ParseVMState(s string) (VMState, error) { return parseWord("VM state", s, vmStates) }

// DaemonState is the life of a node daemon, /nodes/<node>/daemonstate.
type DaemonState string

// The states of a daemon. Dead is written by a coordinator, the others by the daemon.
const (
	DaemonInit     DaemonState = "init"
	DaemonRun      DaemonState = "run"
	DaemonShutdown DaemonState = "shutdown"
	DaemonStop     DaemonState = "stop"
	DaemonDead     DaemonState = "dead"
)

var daemonStates = []DaemonState{DaemonInit, DaemonRun, DaemonShutdown, DaemonStop, DaemonDead}

// ParseDaemonState returns the state of that name.
func ParseDaemonState(s string) (DaemonState, error) {
	return parseWord("daemon state", s, daemonStates)
}

// DaemonMode is whether a node is a coordinator, /nodes/<node>/daemonmode.
type DaemonMode string

// The modes of a daemon.
const (
	ModeCoordinator DaemonMode = "coordinator"
	ModeHypervisor  DaemonMode = "hypervisor"
)

// RouterState is the coordinator state of a node, /nodes/<node>/routerstate.
type RouterState string

// The coordinator states. Takeover and relinquish are passed through on a hand-over.
const (
	RouterPrimary    RouterState = "primary"
	RouterSecondary  RouterState = "secondary"
	RouterClient     RouterState = "client"
	RouterTakeover   RouterState = "takeover"
	RouterRelinquish RouterState = "relinquish"
)

var routerStates = []RouterState{RouterPrimary, RouterSecondary, RouterClient, RouterTakeover, RouterRelinquish}

// ParseRouterState returns the state of that name.
func ParseRouterState(s string) (RouterState, error) {
	return parseWord("coordinator state", s, routerStates)
}

// DomainState says whether a node takes VMs, /nodes/<node>/domainstate.
type DomainState string

// The domain states of a node: flush leads to flushed, unflush to ready.
const (
	DomainReady   DomainState = "ready"
	DomainFlush   DomainState = "flush"
	DomainFlushed DomainState = "flushed"
	DomainUnflush DomainState = "unflush"
)

var domainStates = []DomainState{DomainReady, DomainFlush, DomainFlushed, DomainUnflush}

// ParseDomainState returns the state of that name.
func ParseDomainState(s string) (DomainState, error) {
	return parseWord("domain state", s, domainStates)
}

// Selector is a rule for choosing a node.
type Selector string

// The selectors of the manual: least allocated memory, least allocated vCPUs,
// lowest load, fewest VMs.
const (
	SelectMem   Selector = "mem"
	SelectVCPUs Selector = "vcpus"
	SelectLoad  Selector = "load"
	SelectVMs   Selector = "vms"
)

// ParseSelector returns the selector of that name.
func ParseSelector(s string) (Selector, error) {
	return parseWord("selector", s, []Selector{SelectMem, SelectVCPUs, SelectLoad, SelectVMs})
}

func parseWord[T ~string](what, s string, words []T) (T, error) {
	names := make([]string, len(words))
	for i, w := range words {
		if string(w) == s {
			return w, nil
		}
		names[i] = string(w)
	}
	return "", errs.Invalidf("%s %q is not one of %s", what, Clip(s), strings.Join(names, ", "))
}

// NotStarted is how the failed reason of a VM begins that waits for its storage: it is to be
// started, and will be.
const NotStarted = "not started yet: "
