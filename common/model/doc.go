// Package model holds the values the system is about: virtual machines, nodes,
// claims, and the words their states are written with. It does no I/O; names are
// validated here before they become paths, rules or configuration lines.
package model
