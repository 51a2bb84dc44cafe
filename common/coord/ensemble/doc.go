// Package ensemble asks the ZooKeeper servers one by one how they are, past any
// session: a daemon without a session has to know whether the ensemble is away, in
// which case nobody else can act either, or whether it is itself cut off.
package ensemble
