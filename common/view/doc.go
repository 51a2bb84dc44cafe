// Package view is the watched in-memory mirror of the cluster. Reads never touch
// ZooKeeper: a change is read once, when its watch fires, and decoded into an
// immutable object. After a commit the writer hands the result to the view, so that
// it sees its own change at once. Without a connection the old picture is served
// and marked stale; after one a fresh picture is loaded beside it and swapped in.
package view
