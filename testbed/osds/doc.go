// Package osds makes OSDs of the spare disks of testbed hosts and removes them, with real
// daemons on a real Ceph cluster, and kills the daemon at every step.
package osds
