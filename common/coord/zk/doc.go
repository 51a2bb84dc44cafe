// Package zk implements the seam of package coord with go-zookeeper and is its only
// importer. What it adds to the library: contexts, one session per client (the
// library would open a second one after expiry and go on in it), the negotiated
// timeout, watches set again before anything is answered over a new connection, a server
// that does not answer at first given up in time, a size limit, and errors that tell "not sent" from "outcome unknown".
package zk
