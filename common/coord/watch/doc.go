// Package watch turns the one-shot watches of a session into "look again": a [Hub]
// takes all events of a client, a [Set] belongs to one loop, reads znodes, leaves a
// watch on each where there is none, and signals when any of them may have changed.
// Nothing is concluded from an event except that it is time to read.
package watch
