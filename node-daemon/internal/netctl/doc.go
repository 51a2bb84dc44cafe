// Package netctl makes the virtual networks of one host agree with the records in
// ZooKeeper: devices on every host; gateways, firewall, DHCP and DNS on the primary.
//
// [Controller] runs as long as the daemon, not as long as a session: guests keep their
// networks while ZooKeeper is away. Its part as primary is a role of the election. All
// of it is level-triggered: a pass compares what should be with what is and repairs the
// difference, after each change of a record or of the host's devices and every ten
// seconds.
package netctl
