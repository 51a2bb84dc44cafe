// Package storagefaults breaks what carries out storage commands while they are under way:
// the executing pvcd at each step of a command, the API that somebody waits for, the
// leader of ZooKeeper, and Ceph's monitor. What has become of the commands is judged with
// Ceph's own tools and the raw znodes.
package storagefaults
