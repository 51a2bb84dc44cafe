// Package compat stands in for the parties of PVC 0.5 that share an ensemble with us:
// trees written down by hand from the layout of that release, its client played by the
// library it is built on (Debian's python3-kazoo), and a proxy that counts what goes
// to ZooKeeper. Nothing here uses our own writers or readers.
package compat
