// Package firewall puts the rules of managed networks into nftables of the host that is
// primary: one table, "inet pvc", and nothing outside of it.
//
// A network has the chains vxlan<vni>-out and vxlan<vni>-in. Two base chains at the forward
// hook find them by the bridge that a packet comes from and by the one that it goes to, with one
// look-up each, so a packet costs the same with one network and with a thousand.
// The two are evaluated one after the other, and "accept" ends only the one in which it is said:
// a packet from one network to another needs the consent of both. No rule can
// name a chain (see common/firewall), so none can touch another network. What does not leave
// its network is not filtered.
//
// All chains are replaced in one transaction of the kernel, or none: there is no moment
// without rules. Chains that are as they should be are not part of it.
//
// There is no connection tracking unless a rule asks for it: a rule that drops one direction
// drops the answers too, and the rules decide in exactly their order.
//
// # Rules that cannot be loaded
//
// The API refuses them, but an old client may have recorded one, or a host may know less than
// the one that checked it. Then the rules that were in force for the network stay in force and
// are repaired if somebody removes them. If there are none (after a take-over), its rules
// are loaded up to the bad one, in place of which stands one that drops what reaches it:
// nobody knows what the rule would have decided, and a firewall with a hole is worse than a service
// that does not answer and a message that names the rule. The other direction and
// other networks are not affected.
package firewall
