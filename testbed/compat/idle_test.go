package compat_test

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed/compat"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

const longIdleTime = 2 * time.Minute

// idleTime is for how long an idle cluster is watched.
func idleTime() time.Duration {
	if os.Getenv("PVC_TEST_LONG") != "" {
		return longIdleTime
	}
	return 20 * time.Second
}

var zxidLine = regexp.MustCompile(`(?m)^Zxid: 0x([0-9a-f]+)$`)

// zxid is the last transaction that a server has seen, and the leader's term it is of.
func zxid(t *testing.T, addr string) (epoch, counter uint64) {
	t.Helper()
	answer, err := ensemble.Ask(t.Context(), addr, "srvr")
	must(t, err)
	m := zxidLine.FindStringSubmatch(answer)
	if m == nil {
		t.Fatalf("server %s says no zxid: %s", addr, answer)
	}
	n, err := strconv.ParseUint(m[1], 16, 64)
	must(t, err)
	return n >> 32, n & (1<<32 - 1)
}

// TestAnIdleNodeCostsLittle: three nodes with a guest each that says nothing, at the
// shipped times. Every transaction counts, whoever made it.
func TestAnIdleNodeCostsLittle(t *testing.T) {
	l := theCluster(t)
	c := compat.StartOldClient(t, l.ZooKeeperAddrs())
	const most = 0.5 // transactions per second and node
	for i := range l.Hosts() {
		v := l.defineSilent(t, c, fmt.Sprintf("quiet%d", i+1), l.Host(i+1).Name)
		v.set("state", "start")
		v.awaits(t, "start", i+1, "state", "start")
	}
	within(t, "the figures show the guests", func() string {
		for _, h := range l.Hosts() {
			if got := c.Tree("/nodes/" + h.Name + "/domainscount")["/nodes/"+h.Name+"/domainscount"]; got != "1" {
				return h.Name + " counts " + got
			}
		}
		return ""
	})
	server := l.ZooKeeperAddrs()[0]
	epoch, from := zxid(t, server)
	begin := time.Now()
	<-time.After(idleTime()) // the time is what is measured, nothing is waited for
	now, to := zxid(t, server)
	took := time.Since(begin)
	if now != epoch {
		t.Fatal("another leader was elected meanwhile")
	}
	rate := float64(to-from) / took.Seconds() / float64(len(l.Hosts()))
	t.Logf("%d transactions of %d nodes in %v: %.2f per second and node", to-from, len(l.Hosts()), took.Round(time.Millisecond), rate)
	if to == from {
		t.Error("nothing was counted, not even signs of life")
	}
	if rate > most {
		t.Errorf("%.2f transactions per second and node, at most %.1f are wanted", rate, most)
	}
}
