// Package faults breaks clusters on purpose while guests are moved, and judges what
// became of the guests: [Witness] watches every QEMU of one guest on every host through
// a monitor of its own and keeps the history of which of them executed when, whatever
// libvirt and pvcd believe. The tests kill, stop and cut off at each step of the
// migration handshake; docs/migration.md shows the results.
package faults
