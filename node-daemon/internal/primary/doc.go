// Package primary elects the coordinator that holds the cluster's floating
// addresses and duties.
//
// The winner is whoever owns the ephemeral znode schema.PrimaryHolder, which it
// creates together with its name in schema.Primary. That name is at the same time
// the wish: an old client asks for another primary by writing another name or
// "none" there. [Decide] is the rule, [Candidate] the loop that follows it. What
// hangs on being primary is a list of [Role]s, which are given up when the session's
// lease runs out, whatever ZooKeeper would say.
package primary
