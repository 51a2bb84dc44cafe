// Package libvirt drives QEMU guests through libvirtd. It is the only importer of
// the libvirt binding and, with the Ceph package, the only place with cgo.
//
// A Driver keeps one connection to the local libvirtd and makes a new one when it is
// lost; every blocking call runs in a goroutine of its own, because libvirt cannot
// cancel. A Peer asks the libvirtd of another host. DESIGN.md tells what libvirt
// does at each point of a paused migration, as measured.
package libvirt
