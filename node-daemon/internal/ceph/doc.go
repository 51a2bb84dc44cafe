// Package ceph says what the node daemon needs of a Ceph cluster. Package ceph/rados
// speaks to the real one and is the only importer of go-ceph; ceph/fake is the one that
// can be made to fail on demand. Both pass the suite in ceph/conformance.
//
// Sizes are bytes. Verbs that change an image, a pool or an OSD act on its id: a name
// can be given to another object at any moment, an id cannot.
package ceph
