// Package fake is a hypervisor in memory, for what the real one cannot be made to do
// on demand: fail at a given step, lose an answer, send events twice, hold ten
// thousand guests.
//
// A World holds Hosts; guests migrate between the hosts of one world. Nothing happens
// by itself but the transfer of a migration with a bandwidth limit, which takes its
// time: a test in a synctest bubble runs it in none.
package fake
