// Package ovs tests bridged networks over Open vSwitch on a cluster of two hosts, with Linux
// guests: what they reach, and which frames are on the wire between the hosts.
package ovs
