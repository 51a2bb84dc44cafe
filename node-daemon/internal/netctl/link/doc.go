// Package link makes the network devices of a host agree with the networks of the
// cluster: per network a bridge vmbr<vni> for the guests and, as its port, the way to
// the other hosts: vxlan<vni> over the cluster network for a managed network,
// vlan<vni> on the device of the operator's switches for a bridged one. Where that device
// is a bridge of Open vSwitch, vlan<vni> is an access port of it.
//
// Apply reads the kernel (one dump of links, one of forwarding entries), plans in a
// pure function what differs, and executes that. When nothing differs nothing is
// touched, so that it can be called at every doubt.
//
// # Forwarding
//
// A VXLAN device sends what goes to everybody, or to somebody it does not know, to
// each peer (head-end replication): one forwarding entry for the zero MAC per peer.
// Where a guest is it learns from the frames that arrive. A guest that has migrated is
// reachable at once, because QEMU announces it when it resumes; entries of a control
// plane would come later than that. When a peer goes, what was learned from it goes
// too; nothing else that was learned is touched.
//
// # What is ours
//
// A device of ours carries the alias "pvc:<vni>" (IFLA_IFALIAS). One with the right
// name and kind and no alias was made by an earlier daemon and is adopted. Any other
// device is never touched: if it has a name that a network needs, that network has an
// error. A device with our alias that no network needs is removed, except a bridge
// that guests still use: that one stays with its way to the other hosts, and the
// result says so. A port of Open vSwitch is labelled by its external_ids:pvc instead;
// one without is never adopted.
//
// # Open vSwitch
//
// It is asked with ovs-vsctl(8), once in an Apply, and only if a bridged network is wanted
// or a port may be left over. Facts of version 3.1.0: the datapath in user space leaves
// its devices behind without carrier when ovs-vswitchd ends, so a port is not removed
// meanwhile: its device would stay for good. mtu_request of a port lowers the MTU of all
// internal ports without one, the bridge's own among them, while an MTU below the
// bridge's that is set in the kernel stays.
package link
