// Package testbed builds a real cluster on one machine: hosts made of namespaces
// (testbed/host), each with a ZooKeeper server, a libvirtd, pvcd and pvc-api, and
// guests that run in them (testbed/guest). Nothing is simulated but the hardware.
//
//	c, err := testbed.Up(ctx, testbed.Options{Prefix: "ht", Binaries: bin})
//	defer c.Down(ctx)
//	c.Host(1).Kill(ctx, testbed.PVCD)
//	c.Host(2).PowerCut()
//
// The machine has to be Debian 12 or newer, the caller root. Clusters with
// different prefixes and subnets run beside each other. DESIGN.md tells why it is
// built this way.
package testbed
