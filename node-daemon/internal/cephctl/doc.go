// Package cephctl is the part of the daemon that works with Ceph: [Executor] does what
// the commands of storage say, [Reconciler] keeps the records in ZooKeeper in agreement
// with Ceph and publishes statistics, and [Slot] serves the single command slot of old
// clients.
//
// Ceph is the truth, the records follow it: nothing that a record says, or does not say,
// makes anything in Ceph disappear.
package cephctl
