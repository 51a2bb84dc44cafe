// Package conformance is what every ceph.Cluster promises, as tests. The real one and the
// fake pass the same suite, so what is proven against the fake holds on a cluster.
package conformance
