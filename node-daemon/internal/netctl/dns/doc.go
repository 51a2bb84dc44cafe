// Package dns is the name server of the managed networks. It runs on the primary and
// answers on the gateways and the floating addresses.
//
// # What it knows
//
// The caller gives it the zones of all networks at once, as often as something
// changes (Server.Update): one forward zone per domain with the hosts of every network
// of that domain, and the reverse zones of the networks' blocks. It answers for them
// with authority to whoever asks, guests of other networks included. What the caller
// no longer names is gone with the Update; there is nothing to expire.
//
// A reverse zone begins at an octet (IPv4) or nibble (IPv6) boundary. A block between
// two boundaries becomes the zones of the next longer one, all of them wholly ours:
// 10.0.16.0/20 is sixteen zones. Only IPv4 blocks longer than /24 share the zone of
// their /24: it answers for the addresses of the block (and for its own apex, so that
// it can be transferred), and for nothing else in it.
//
// # What it forwards
//
// Names that are not ours go to the upstream servers, for guests only: the source must
// be in a block of a managed network. Everybody else is refused, so that this is no
// open resolver. Private addresses (RFC 6303) and host names without a dot never leave
// the cluster. There is no cache; the upstream servers have one.
//
// # Secondaries
//
// Every zone can be transferred by the configured addresses (AXFR; IXFR is answered
// with the whole zone), which are told of changes by NOTIFY until they have answered.
// The serial of a zone rises when its records change and only then, to the time in
// seconds or by one, whichever is more; Options.Serial and Server.Serial carry the
// highest one over to the next primary.
package dns
