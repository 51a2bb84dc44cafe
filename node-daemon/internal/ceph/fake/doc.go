// Package fake is a Ceph cluster in memory, for what the real one cannot be made to do
// on demand: refuse a given step, lose an answer, hang and go on later.
//
// A World is a cluster; each Client is one daemon's way to it. What is done "behind our
// back" is done by methods of the World or by another Client. Time passes only while a
// call hangs, so tests can run in a synctest bubble.
package fake
