package nets

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed"
)

// repair is how soon damage by others must be gone; the rest is for a machine that is
// busy with other tests.
const repair = 10*time.Second + 20*time.Second

// decision: repairs
func TestWhatOthersBreakIsRepaired(t *testing.T) {
	m := connected(t, "130", "heal", "130")
	do(t, http.MethodPost, "/network/heal/acl", "description", "mail", "direction", "in", "rule", "tcp dport 25 drop")
	p := primary(t)
	here := start(t, "nnhere", "vmbr130", p, "", "") // its card is in the bridge that is deleted
	here.Address(t)
	run := func(argv ...string) string {
		out, err := p.Exec(t.Context(), argv...)
		if err != nil {
			return fmt.Sprint(out, err)
		}
		return out
	}
	within(t, deadline, "the rule is loaded", func() error {
		return wrongIf(!strings.Contains(run("nft", "list", "ruleset"), "dport 25 drop"), "it is not")
	})
	dnsmasq := func() string { return strings.TrimSpace(run("pgrep", "-x", "dnsmasq")) }
	before := dnsmasq()
	for _, c := range []struct {
		name   string
		damage []string
		whole  func() bool
	}{
		{"a deleted bridge", []string{"ip", "link", "del", "vmbr130"}, func() bool {
			return strings.Contains(run("ip", "-o", "addr", "show", "vmbr130"), "10.130.0.1/24")
		}},
		{"flushed rules", []string{"nft", "flush", "ruleset"}, func() bool {
			return strings.Contains(run("nft", "list", "ruleset"), "dport 25 drop")
		}},
		{"a killed dnsmasq", []string{"pkill", "-9", "-x", "dnsmasq"}, func() bool {
			now := dnsmasq()
			return now != before && now != "" && !strings.Contains(now, "exit")
		}},
		{"a stray address", []string{"ip", "addr", "add", "203.0.113.9/24", "dev", "vmbr130"}, func() bool {
			return !strings.Contains(run("ip", "-o", "addr", "show", "vmbr130"), "203.0.113.9")
		}},
		{"a removed gateway", []string{"ip", "addr", "del", "10.130.0.1/24", "dev", "vmbr130"}, func() bool {
			return strings.Contains(run("ip", "-o", "addr", "show", "vmbr130"), "10.130.0.1/24")
		}},
		{"a lost flood entry", []string{"bridge", "fdb", "del", "00:00:00:00:00:00", "dev", "vxlan130", "dst", m.Host(t).Addr()}, func() bool {
			return strings.Contains(run("bridge", "fdb", "show", "dev", "vxlan130"), "00:00:00:00:00:00 dst "+m.Host(t).Addr())
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if out, err := p.Exec(t.Context(), c.damage...); err != nil {
				t.Fatal(out, err)
			}
			began := time.Now()
			within(t, repair, "repair", func() error { return wrongIf(!c.whole(), "not yet") })
			t.Logf("repaired after %v", time.Since(began).Round(time.Millisecond))
			m.Reaches(t, "10.130.0.1")
			here.Reaches(t, m.Address(t))
		})
	}
	if primary(t) != p {
		t.Error("the primary has changed meanwhile")
	}
}

func TestARestartOfTheDaemonDisturbsNoTraffic(t *testing.T) {
	a := connected(t, "131", "calm", "131")
	b := start(t, "nncalm2", "vmbr131", primary(t), "", "")
	pings := a.Pings(t, b.Address(t))
	for _, h := range cluster.Hosts() {
		must(t, h.Kill(t.Context(), testbed.PVCD))
	}
	allRun(t)
	primary(t)
	if sent, gap := pings.End(t); gap > 0 {
		t.Errorf("%v of %d pings were not answered", gap, sent)
	}
}
