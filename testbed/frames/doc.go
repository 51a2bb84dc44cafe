// Package frames looks at the Ethernet frames that a device receives: who sends them, and
// with which VLAN tags.
package frames
