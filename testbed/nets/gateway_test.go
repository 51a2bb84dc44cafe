package nets

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// lab is a network with a guest on a host that is not the primary.
func lab(t *testing.T, vni, name, octet string) *machine {
	t.Helper()
	network(t, vni, name, "domain", name+".test", "ip4_network", "10."+octet+".0.0/24", "ip4_gateway", "10."+octet+".0.1",
		"dhcp4", "True", "dhcp4_start", "10."+octet+".0.100", "dhcp4_end", "10."+octet+".0.199")
	m := start(t, "nn"+name, "vmbr"+vni, secondary(t), "", "")
	m.address(t)
	m.reaches(t, "10."+octet+".0.1")
	return m
}

// decision: where gateways are
func TestTheGatewaySurvivesWhatHappensToThePrimary(t *testing.T) {
	m := lab(t, "110", "gate", "110")
	holders := watchHolders(t, "10.110.0.1", "192.0.2.10", "10.97.0.250")
	// The guest must not lose its own host with the primary.
	other := func() *host.Host {
		p, at := primary(t), m.host(t)
		for _, h := range cluster.Hosts() {
			if h != p && h != at {
				return h
			}
		}
		t.Fatal("no third host")
		return nil
	}
	away := func() { // the guest's host must not be the primary
		if p := primary(t); p == m.host(t) {
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
			for _, h := range cluster.Hosts() {
				must(t, h.KeepDown(t.Context(), testbed.ZooKeeper))
			}
			<-time.After(2 * sessionTimeout) // the outage itself
			for _, h := range cluster.Hosts() {
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
			pings := m.pings(t, "10.110.0.1")
			c.do(p)
			m.reaches(t, "10.110.0.1")
			sent, gap := pings.end(t)
			t.Logf("%d pings, at most %v without an answer; %s", sent, gap, holders.now())
			if gap > c.limit {
				t.Errorf("%v without an answer, at most %v are promised", gap, c.limit)
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
