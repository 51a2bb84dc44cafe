// Package rados speaks to Ceph through librados and librbd. It is the only importer of
// go-ceph and, with the libvirt package, the only place with cgo.
//
// A Cluster keeps three connections: one for monitor commands and short work on images,
// one for long work on images, and one that only reads from the manager. librados cannot
// cancel: every call runs in a goroutine of its own and is left alone when its caller waits
// no longer; too many of those, and further calls fail at once. DESIGN.md says what
// librados does when daemons hang, as measured.
package rados
