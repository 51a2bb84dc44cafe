// Package fleet runs many nodes in one process: the registration, the election and the
// VM controller of pvcd as they are, each node with sessions of its own to a real
// ZooKeeper, over hypervisors in memory. The benchmarks measure with it what a hundred
// hosts would do to a cluster; nothing of a daemon uses it.
package fleet
