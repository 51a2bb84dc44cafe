package view

import (
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// GroupOf names the object a path belongs to: a VM with its claim, a node, a network, an
// object of storage, a command, or a root.
func GroupOf(path string) string {
	parts := schema.Split(path)
	switch {
	case len(parts) >= 2 && parts[0] == "domains", len(parts) == 2 && parts[0] == "claims":
		return schema.VM(parts[1])
	case len(parts) >= 2 && parts[0] == "nodes":
		return schema.Node(parts[1])
	case len(parts) >= 2 && parts[0] == "networks":
		return schema.Networks + "/" + parts[1]
	case parts[0] == "ceph":
		return cephGroup(parts)
	case len(parts) >= 2 && parts[0] == "commands":
		return schema.Command(parts[1])
	default:
		return "/" + parts[0]
	}
}

// groupUUID returns the UUID if a group is a VM.
func groupUUID(group string) (string, bool) { return strings.CutPrefix(group, schema.Domains+"/") }

// groupNode returns the name if a group is a node.
func groupNode(group string) (string, bool) { return strings.CutPrefix(group, schema.Nodes+"/") }

// groupVNI returns the VNI if a group is a network.
func groupVNI(group string) (int, bool) {
	text, ok := strings.CutPrefix(group, schema.Networks+"/")
	if !ok {
		return 0, false
	}
	return schema.ParseVNI(text)
}

// Scope is a part of the tree.
type Scope struct {
	Roots []string
	Want  func(path string) Interest
}

// WholeCluster is the scope of the API: all nodes, VMs, networks, claims, storage, commands
// and settings, without bulky values.
var WholeCluster = Scope{
	Roots: append([]string{schema.Primary, schema.Config, schema.Nodes, schema.Domains, schema.Networks, schema.Claims, schema.Commands}, cephRoots...),
	Want:  wantWholeCluster,
}

// StorageHost is the scope of a host with storage: its records, all commands, which of the
// other hosts live, and who is primary.
var StorageHost = Scope{
	Roots: append([]string{schema.Primary, schema.Nodes, schema.Commands}, cephRoots...),
	Want: func(path string) Interest {
		if parts := schema.Split(path); parts[0] == "nodes" {
			return wantNodeAddress(parts[1:])
		}
		return wantWholeCluster(path)
	},
}

// HostNetworks is the scope of a host that may not become primary: which networks there
// are, and where the other hosts are.
var HostNetworks = Scope{Roots: []string{schema.Nodes, schema.Networks}, Want: func(path string) Interest {
	parts := schema.Split(path)
	if parts[0] == "nodes" {
		return wantNodeAddress(parts[1:])
	}
	if len(parts) == 3 && parts[2] != schema.NetworkType && parts[2] != schema.NetworkMTU || len(parts) > 3 {
		return Interest{}
	}
	return WantNetwork(parts[1:])
}}

// CoordinatorNetworks is the scope of a host that may become primary: everything of the
// networks.
var CoordinatorNetworks = Scope{Roots: []string{schema.Primary, schema.Nodes, schema.Networks}, Want: func(path string) Interest {
	if parts := schema.Split(path); parts[0] == "nodes" {
		return wantNodeAddress(parts[1:])
	}
	return wantWholeCluster(path)
}}

// wantNodeAddress is the scope of a node whose address and life count.
func wantNodeAddress(below []string) Interest {
	if len(below) < 2 {
		return wantNode(below)
	}
	switch below[1] {
	case schema.NodeSession, schema.NodeFacts, schema.NodeDaemonState, schema.NodeDaemonMode, schema.NodeCondition:
		return wantNode(below)
	}
	return Interest{}
}

func wantWholeCluster(path string) Interest {
	parts := schema.Split(path)
	switch parts[0] {
	case "primary_node":
		return Interest{Data: true, Children: len(parts) == 1}
	case "config":
		return Interest{Data: len(parts) == 2, Children: len(parts) == 1}
	case "nodes":
		return wantNode(parts[1:])
	case "domains":
		return WantVM(parts[1:])
	case "networks":
		return WantNetwork(parts[1:])
	case "ceph":
		return wantStorage(parts[1:])
	case "commands":
		return wantCommand(parts[1:])
	case "claims":
		if len(parts) == 2 && parts[1] == "disks" {
			return Interest{}
		}
		return Interest{Data: len(parts) == 2, Children: len(parts) == 1}
	}
	return Interest{}
}

func wantNode(below []string) Interest {
	switch len(below) {
	case 0:
		return Interest{Children: true}
	case 1:
		return Interest{Data: true, Children: true}
	case 2:
		switch below[1] {
		case schema.NodeVMs:
			return Interest{Children: true}
		case schema.NodeSession:
			return Interest{Data: true, Children: true}
		case schema.NodeDoorbell, schema.NodeIPMIHost, schema.NodeIPMIUser, schema.NodeIPMIPassword:
			return Interest{}
		}
		return Interest{Data: true}
	}
	return Interest{}
}

// WantVM is the scope of a VM, given the path's elements below /domains.
func WantVM(below []string) Interest {
	switch len(below) {
	case 0, 1: // the data of /domains itself orders definitions
		return Interest{Data: true, Children: true}
	case 2:
		if below[1] == schema.VMConsoleLog || below[1] == schema.VMConsolePos || strings.HasPrefix(below[1], schema.VMGenPrefix) {
			return Interest{}
		}
		return Interest{Data: true}
	}
	return Interest{}
}

// WantNetwork is the scope of a network, given the path's elements below /networks.
func WantNetwork(below []string) Interest {
	if len(below) < 2 { // the data of /networks itself orders definitions
		return Interest{Data: true, Children: true}
	}
	depth := len(below)
	switch below[1] {
	case schema.NetworkLeases, schema.NetworkReservations: // …/<mac>/<key>
		return Interest{Data: depth == 4, Children: depth < 4}
	case schema.NetworkRules: // …/<direction>/<rule>/<key>
		return Interest{Data: depth == 5, Children: depth < 5}
	case schema.NetworkLeases6: // …/<address>
		return Interest{Data: depth == 3, Children: depth == 2}
	case schema.NetworkServerID:
		return Interest{}
	}
	return Interest{Data: depth == 2 && !strings.HasPrefix(below[1], schema.NetworkGenPrefix)}
}
