package nets

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
	"github.com/parallelvirtualcluster/pvc/testbed/lab"
)

// connected makes a network with a guest on a host that is not the primary.
func connected(t *testing.T, vni, name, octet string) *lab.Machine {
	t.Helper()
	network(t, vni, name, "domain", name+".test", "ip4_network", "10."+octet+".0.0/24", "ip4_gateway", "10."+octet+".0.1",
		"dhcp4", "True", "dhcp4_start", "10."+octet+".0.100", "dhcp4_end", "10."+octet+".0.199",
		"ip6_network", "fd00:"+octet+"::/64", "ip6_gateway", "fd00:"+octet+"::1")
	m := start(t, "nn"+name, "vmbr"+vni, secondary(t), "", "")
	m.Address(t)
	m.Reaches(t, "10."+octet+".0.1")
	return m
}

// decision: where gateways are
func TestTheGatewaySurvivesWhatHappensToThePrimary(t *testing.T) {
	m := connected(t, "110", "gate", "110")
	m.Reaches(t, "fd00:110::1") // it has an address of its own by then
	holders := watchHolders(t, "10.110.0.1", "fd00:110::1", "192.0.2.10", "10.97.0.250")
	// The guest must not lose its own host with the primary.
	other := func() *host.Host {
		p, at := primary(t), m.Host(t)
		for _, h := range cluster.Coordinators() {
			if h != p && h != at {
				return h
			}
		}
		t.Fatal("no third host")
		return nil
	}
	away := func() { // the guest's host must not be the primary
		if p := primary(t); p == m.Host(t) {
			do(t, http.MethodPost, "/node/"+other().Name+"/coordinator-state", "coordinator-state", "primary", "wait", "True")
		}
	}
	for _, c := range []struct {
		name  string
		limit time.Duration // without an answer
		do    func(p *host.Host)
	}{
		{"hand-over by command", time.Second, func(*host.Host) {
			do(t, http.MethodPost, "/node/"+other().Name+"/coordinator-state", "coordinator-state", "primary", "wait", "True")
		}},
		{"kill of pvcd, which restarts within its lease", 0, func(p *host.Host) {
			must(t, p.Kill(t.Context(), testbed.PVCD))
			<-time.After(2 * sessionTimeout) // longer than the addresses live
		}},
		{"SIGSTOP of pvcd", sessionTimeout + 3*time.Second, func(p *host.Host) {
			until := time.After(stopped)
			must(t, p.Pause(t.Context(), testbed.PVCD))
			newPrimary(t, p)
			<-until
			must(t, p.Cont(t.Context(), testbed.PVCD))
		}},
		// ZooKeeper's leader may be cut off as well: the next one counts sessions from its
		// own election, which takes some seconds.
		{"network cut", sessionTimeout + 8*time.Second, func(p *host.Host) {
			must(t, p.CutLink(t.Context()))
			newPrimary(t, p)
			must(t, p.HealLink(t.Context()))
		}},
		{"outage of the ensemble", 0, func(*host.Host) {
			for _, h := range cluster.Coordinators() {
				must(t, h.KeepDown(t.Context(), testbed.ZooKeeper))
			}
			<-time.After(2 * sessionTimeout) // the outage itself
			for _, h := range cluster.Coordinators() {
				must(t, h.Up(t.Context(), testbed.ZooKeeper))
			}
		}},
		{"power cut", sessionTimeout + 3*time.Second, func(p *host.Host) {
			must(t, p.PowerCut())
			newPrimary(t, p)
			must(t, p.PowerOn(t.Context()))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			allRun(t)
			away()
			p := primary(t)
			pings := []*lab.Pinging{m.Pings(t, "10.110.0.1"), m.Pings(t, "fd00:110::1")}
			c.do(p)
			for _, p := range pings {
				m.Reaches(t, p.Address)
				sent, gap := p.End(t)
				t.Logf("%s: %d pings, at most %v without an answer; %s", p.Address, sent, gap, holders.now())
				if gap > c.limit {
					t.Errorf("%v without an answer of %s, at most %v are promised", gap, p.Address, c.limit)
				}
			}
		})
	}
}

// newPrimary waits until another host is primary.
func newPrimary(t *testing.T, old *host.Host) {
	t.Helper()
	within(t, deadline, "another primary", func() error {
		if p := holder(t); p == nil || p == old {
			return errors.New("none, or still " + old.Name)
		}
		return nil
	})
}
