// Package ensemble runs real ZooKeeper servers.
//
// Start gives a test an ensemble of one or three servers on loopback addresses
// of its own and offers the faults that a test needs: kill, stop, continue,
// start again. Config and Command describe one server and are shared with the
// testbed, which runs a server inside each of its hosts.
//
// Debian's package zookeeper has to be installed; the servers are plain java
// processes, without its service scripts.
package ensemble
