// Package vmctl makes the guests of one host agree with the records: it starts, stops,
// sends and receives them, and keeps the claims that say who may have a VM's disks
// open. What to do is decided by [Plan], a pure function of what is wanted and what is
// there; everything else carries out its answers, one step at a time, and looks again.
//
// DESIGN.md tells the path of a start and of a migration and why each step is where it is.
package vmctl
