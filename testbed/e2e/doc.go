// Package e2e proves what a user gets: the life of VMs and nodes, their consoles,
// and that everything goes on when a part of the cluster is killed. The tests
// speak to a testbed of three hosts through HTTP only; beside that they kill and
// stop processes, and look at what really runs.
//
// One cluster serves all tests of the package. Tests that disturb nobody run in
// parallel; the others run alone and leave the cluster as they found it. With
// PVC_TEST_LONG=1 the times are those of a real cluster and the numbers larger.
package e2e
