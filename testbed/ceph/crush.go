package ceph

import (
	"fmt"
	"strings"
)

// level is a type of bucket in the CRUSH map.
type level int

const (
	levelOSD level = iota
	levelHost
)

// levels are those that Ceph gives a new cluster, from the leaves to the root:
// https://docs.ceph.com/en/pacific/rados/operations/crush-map/
var levels = []string{"osd", "host", "chassis", "rack", "row", "pdu", "pod", "room", "datacenter", "zone", "region", "root"}

// failureDomain is what two copies may not have in common: the host, if there are
// enough of them with an OSD.
func (c Config) failureDomain() level {
	if min(len(c.Hosts), c.OSDs) >= c.Copies {
		return levelHost
	}
	return levelOSD
}

// crushMap is the source of the map that crushtool compiles: every host a bucket,
// every OSD of the class ssd and with the weight 1.
func (c Config) crushMap() string {
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	for _, t := range [][2]any{{"choose_local_tries", 0}, {"choose_local_fallback_tries", 0}, {"choose_total_tries", 50},
		{"chooseleaf_descend_once", 1}, {"chooseleaf_vary_r", 1}, {"chooseleaf_stable", 1},
		{"straw_calc_version", 1}, {"allowed_bucket_algs", 54}} {
		line("tunable %s %d", t[0], t[1])
	}
	for i := range c.OSDs {
		line("device %d osd.%d class ssd", i, i)
	}
	for i, name := range levels {
		line("type %d %s", i, name)
	}
	hosts := ""
	for h, name := range c.Hosts {
		items, n := "", 0
		for i := h; i < c.OSDs; i += len(c.Hosts) {
			items, n = items+fmt.Sprintf("\titem osd.%d weight 1.000\n", i), n+1
		}
		line("host %s {\n\talg straw2\n\thash 0\n%s}", name, items)
		hosts += fmt.Sprintf("\titem %s weight %d.000\n", name, n)
	}
	line("root default {\n\talg straw2\n\thash 0\n%s}", hosts)
	line("rule replicated_rule {\n\tid 0\n\ttype replicated\n\tmin_size 1\n\tmax_size 10\n\tstep take default\n"+
		"\tstep chooseleaf firstn 0 type %s\n\tstep emit\n}", levels[c.failureDomain()])
	return b.String()
}
