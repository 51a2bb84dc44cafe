// Package ceph runs real Ceph clusters: one monitor (a), one manager (x) and a few
// OSDs whose devices are sparse files.
//
// Start gives a test a cluster of its own on a loopback address, healthy and
// without a pool, and offers the faults that a test needs: kill, stop, continue,
// start again. Config describes a cluster, makes all of its files and names the
// commands that run it; it is shared with the testbed, whose hosts run the daemons.
//
// Everything a cluster is born with (keys, maps, data of the daemons) is made
// before the first daemon runs, so that no slow command of a client is on the way:
// a cluster of three OSDs is healthy a few seconds after Start. Its times (ticks,
// heartbeats) are shorter than those of a real one.
//
// Needed are Debian's packages ceph-mon, ceph-mgr, ceph-osd and ceph-common.
package ceph
