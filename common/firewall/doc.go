// Package firewall says which rules a user may give a virtual network. A rule is what
// nftables calls a rule: matches, statements and a verdict on one line, without the
// command around it (nft(8), "rules").
//
// Two gates stand one behind the other. [Grammar] reads the rule with a grammar of our own
// that knows only what looks at the packet, counts, limits, logs or decides about it; what
// names another object (a chain, set, map, variable or file), changes more than the packet
// or would be looked up on the host (host names, interface indexes) has no place in it. Its
// tokens are a strict subset of those of nft, so that both see the same words. [Check] then
// has nft and the kernel try the rule, alone, in a table that is never made.
//
// A rule goes to nft as it was given and follows "counter" on a line of its own.
package firewall
