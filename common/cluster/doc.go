// Package cluster holds the rules, one file per noun. A rule looks at a snapshot of
// the cluster, checks what was asked, and builds one transaction whose checks are
// the versions it has looked at; if the cluster changed meanwhile the rule is asked
// again. Nothing here talks to a hypervisor: the node daemons make their hosts agree
// with what was committed.
package cluster
