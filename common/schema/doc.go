// Package schema is the contract with ZooKeeper: every path and every encoding in
// one place. The layout is that of PVC 0.5, so that its clients can share the
// ensemble; keys that are ours alone are additive and marked so here. "None", the
// empty value and a missing znode all read as "not set".
package schema
