// Package address holds the addresses that only the primary has: the floating ones of
// the cluster and the gateways of the networks. The kernel removes each by itself when
// the lease it was given for is over, so that they go with a daemon that was killed,
// stopped or is stuck.
package address
