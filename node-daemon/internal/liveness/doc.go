// Package liveness keeps the daemon's place in the cluster: it creates the layout,
// registers the node, and holds the session whose ephemeral znode says that the
// daemon is there. Everything the daemon writes goes through that session's client
// and carries a check of its identity, so that a worker of a lost session cannot
// write under the next one.
//
// The beat that proves the session runs in a loop of its own; what may be slow (the
// figures of the host, the hypervisor, the probing of silent hosts) runs beside it.
package liveness
