// Package vlan has bridged networks tested where the kernel has VLANs, whatever the
// kernel of this machine has: the tests of package link run inside two Linux guests,
// whose network cards are connected by a socket.
package vlan
