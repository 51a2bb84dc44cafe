// Package osd makes OSDs of the disks of this host and takes them out of the cluster.
//
// Every step finds what an earlier attempt has done: the OSD in Ceph by its uuid, which
// was drawn when the command was made; its disk by the uuid in BlueStore's label or in the
// tags of its logical volume; its folder by the uuid in it; its unit by its name. So an
// interrupted command is simply carried out again. What fails is undone from the same
// look at things, and only what bears that uuid is ever wiped.
//
// An OSD is made without ceph-volume, which would register it with Ceph under a key of its
// own, and laid out as ceph-volume does, which can list, activate and zap it.
package osd
