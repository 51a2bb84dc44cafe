// Package command is the durable queue by which the API has a host do something with
// Ceph and waits for the answer.
//
// A command is a znode below /commands. A [Queue] puts it there and waits for its result
// on the view; a client that goes away only ends the waiting. A [Worker] on a host looks what
// there is, claims the command with an ephemeral child and a note of that, executes it and
// writes the result together with the records that change, in one transaction that fails if
// the claim is gone. When a claim vanishes
// without a result, the next worker first fences the Ceph client that the claim names:
// after that the earlier executor can change nothing any more, in Ceph as in ZooKeeper.
// A [Purger] removes what has ended.
//
// The same request while one is unfinished is that one. With an idempotency key it is
// that one for an hour after its end, too.
package command
