// Package dhcp gives the guests of managed networks their addresses: on the primary
// one dnsmasq per network that has DHCP, for IPv4, IPv6 and router advertisements.
// Names are served by another package: dnsmasq runs without its DNS side (port=0).
//
// # Leases
//
// dnsmasq keeps no file. It asks for its leases when it starts ("init") and tells each
// change by calling a program, which is pvcd itself under another name (HookName, a
// symbolic link: dnsmasq passes no arguments of ours). Hook hands everything to the
// running daemon over a socket and exits; the daemon checks it, decides about names,
// and records it in Leases, again and again until it is recorded. So an outage of the
// store delays the record but loses none, and dnsmasq never waits for it.
//
// A dnsmasq that does not get its leases ends (exit status 10 + that of the hook) and is
// started again: without knowing what is in use, no address is given away. A change that
// could not be delivered is only logged by dnsmasq; it comes again with the next renewal
// or reload. An address that was given in the last moment of a host that died is found by
// dnsmasq's ping before the offer, which is why a first offer takes three seconds.
//
// Leases are by MAC (dhcp-ignore-clid), as they are on record: a guest with two client
// identifiers would have two leases of which a successor knew one.
//
// # Names
//
// dnsmasq does not use the names that clients send (dhcp-ignore-names), as there the
// last one who claims a name would have it. The daemon decides: a reservation's name is
// only for its MAC; else the first owner keeps a name for as long as its lease lasts.
//
// # Processes
//
// dnsmasq is started as its own user with the capabilities it needs, not as root: a
// change of user within the process would clear the signal that it gets when its parent
// dies (PR_SET_PDEATHSIG, prctl(2)). That signal comes when the starting thread ends,
// so one thread starts all of them and stays. bind-interfaces is on purpose: an interface
// without an address ends dnsmasq, which then is tried again. With bind-dynamic it would go
// on with a socket that is not tied to its bridge, and the servers of a host would
// share their packets at random.
package dhcp
