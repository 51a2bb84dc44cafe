// Package storage tries guests whose disks are RBD images on a real Ceph cluster, with
// real daemons, libvirt and QEMU: what stands in their claims, where they move, what a
// snapshot of them holds, and that a Ceph that hangs holds up nobody else.
package storage
