// Package firewall puts the rules of managed networks into nftables of the host that is
// primary.
//
// Every network has a table of its own, "inet pvc-<vni>", with the chains vxlan<vni>-in and
// vxlan<vni>-out for its rules and with base chains of its own. So it is replaced as a whole in
// one transaction and none of its rules can touch another network: a packet from one to
// another passes the "out" rules of the first and the "in" rules of the second, and only gets
// there if both let it. The kernel allows 1024 base chains at one hook, which bounds the
// networks of a cluster.
//
// There is no connection tracking unless a rule asks for it: a rule that drops one direction
// drops the answers too, and the rules decide in exactly their order.
//
// # Rules that cannot be loaded
//
// The API refuses them, but an old client may have recorded one, or a host may know less than
// the one that checked it. Then the rules that were in force for the network stay in force and
// are repaired if somebody removes them. If there are none (after a take-over), or if
// the network has other addresses since, its rules are loaded up to the bad one, which drops what reaches it:
// nobody knows what the rule would have decided, and a firewall with a hole is worse
// than a service that does not answer and a message that names the rule. The other direction and other
// networks are not affected.
package firewall
