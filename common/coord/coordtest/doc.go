// Package coordtest is what tests of several packages need around ZooKeeper: a proxy
// that can stall or cut a session's connection, and waiting for a condition.
package coordtest
