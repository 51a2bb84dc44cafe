package compat_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

// encodings of a node's keys, by the description of the old layout: text without unit,
// nothing padded, nothing quoted.
const (
	count0  = `0|[1-9][0-9]*`
	decimal = `[0-9]+\.[0-9]+`
	uuids   = `(?:` + uuid + `(?: ` + uuid + `)*)?`
	uuid    = `[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}`
)

var nodeKeys = map[string]string{
	"":                `coordinator`,
	"/daemonmode":     `coordinator`,
	"/daemonstate":    `run`,
	"/routerstate":    `primary|secondary`,
	"/domainstate":    `ready`,
	"/staticdata":     `[1-9][0-9]* [^ ]+ GNU/Linux x86_64`,
	"/memtotal":       `[1-9][0-9]*`,
	"/memused":        `[1-9][0-9]*`,
	"/memfree":        `[1-9][0-9]*`,
	"/memalloc":       count0,
	"/vcpualloc":      count0,
	"/cpuload":        decimal,
	"/networkscount":  `0`,
	"/domainscount":   count0,
	"/runningdomains": uuids,
	"/keepalive":      `1[0-9]{9}|2[0-9]{9}`,
	"/ipmihostname":   ``,
	"/ipmiusername":   ``,
	"/ipmipassword":   ``,
}

// additive are the keys below a node that an old client need not know.
var additive = regexp.MustCompile(`^/(session(/session-[^/]+)?|vms(/` + uuid + `)?|doorbell|facts|condition|flush)$`)

func TestARegisteredNodeHasEveryOldKeyInItsEncoding(t *testing.T) {
	l := theCluster(t)
	c := compat.StartOldClient(t, l.ZooKeeperAddrs())
	primaries := 0
	for _, h := range l.Hosts() {
		within(t, h.Name+" is as it should be", func() string {
			tree := c.Tree("/nodes/" + h.Name)
			for key, pattern := range nodeKeys {
				data, there := tree["/nodes/"+h.Name+key]
				if !there || !regexp.MustCompile(`^(?:`+pattern+`)$`).MatchString(data) {
					return key + " is " + data + ", want " + pattern
				}
			}
			return ""
		})
		tree := c.Tree("/nodes/" + h.Name)
		for path := range tree {
			key := strings.TrimPrefix(path, "/nodes/"+h.Name)
			if _, old := nodeKeys[key]; !old && !additive.MatchString(key) {
				t.Errorf("%s is neither an old key nor one of ours", path)
			}
		}
		if tree["/nodes/"+h.Name+"/routerstate"] == "primary" {
			primaries++
		}
	}
	if primaries != 1 {
		t.Errorf("%d nodes are primary", primaries)
	}
}

func TestTheLayoutHasEveryRootOfTheOldInitialisation(t *testing.T) {
	l := theCluster(t)
	c := compat.StartOldClient(t, l.ZooKeeperAddrs())
	tree := c.Tree("/")
	for _, path := range []string{"/nodes", "/domains", "/networks", "/ceph", "/ceph/osds", "/ceph/pools", "/ceph/volumes", "/ceph/snapshots"} {
		if data, there := tree[path]; !there || path != "/domains" && data != "" {
			t.Errorf("%s: %v, %q", path, there, data)
		}
	}
	if !regexp.MustCompile(`^(none|cc[123])$`).MatchString(tree["/primary_node"]) {
		t.Errorf("/primary_node is %q", tree["/primary_node"])
	}
}
