// Package coord is the seam to ZooKeeper: transactions, sessions, watches, locks
// and the kinds of error they end in. Package coord/zk implements it and is the
// only importer of the ZooKeeper library; everything else speaks in the terms of
// this package.
//
// One [Client] is one session. When the session has expired the client is dead and
// its owner dials a new one: nothing goes on silently under another identity.
package coord
