package faults_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// move is a migration with a fault to come.
type move struct {
	*vm
	source, target *host.Host
}

// begin asks for the migration.
func (m *move) begin(t *testing.T) {
	t.Helper()
	m.call(t, http.MethodPost, m.path("/node"), "action", "move", "node", m.target.Name)
}

// side picks a host of a move.
type side func(*move) *host.Host

func source(m *move) *host.Host { return m.source }
func target(m *move) *host.Host { return m.target }

// step is a point of the handshake: reach begins the migration and returns when it
// stands there; release lets it go on.
type step struct {
	name  string
	reach func(t *testing.T, m *move) (release func())
}

// steps are all of them in their order; the names of gated ones are those of the log.
var steps = []step{
	gated("add-target-to-claim", source),
	gated("accept-migration", target),
	gated("send", source),
	{"transfer", reachTransfer},
	{"finish", reachFinish},
	{"arrived", reachArrived},
	gated("hand-over", source),
	gated("adopt", target),
	gated("resume", target),
}

func gated(name string, who side) step {
	return step{name, func(t *testing.T, m *move) func() {
		t.Helper()
		reached, release := hold(t, who(m), name)
		m.begin(t)
		reached()
		return release
	}}
}

// reachArrived holds the source too: it would hand over by itself.
func reachArrived(t *testing.T, m *move) func() {
	t.Helper()
	_, releaseSource := hold(t, m.source, "hand-over")
	reached, release := hold(t, m.target, "arrived")
	m.begin(t)
	reached()
	return func() { release(); releaseSource() }
}

// reachTransfer returns while the guest's memory is on its way.
func reachTransfer(t *testing.T, m *move) func() {
	t.Helper()
	m.begin(t)
	within(t, "memory is sent", func() error {
		if n, under := m.witness.Sent(t.Context(), m.source.Name); !under || n < 2<<20 {
			return fmt.Errorf("%d bytes until now", n)
		}
		return nil
	})
	return func() {}
}

// reachFinish returns when all memory is at the target, the source is switched off
// and waits for the target's word: the target's libvirtd is stopped.
func reachFinish(t *testing.T, m *move) func() {
	t.Helper()
	reachTransfer(t, m)
	must(t, m.target.Pause(t.Context(), testbed.Libvirtd))
	release := func() { _ = m.target.Cont(context.WithoutCancel(t.Context()), testbed.Libvirtd) } // killed or without power now, perhaps
	t.Cleanup(release)
	within(t, "the source is switched off", func() error {
		if s := m.witness.State(m.source.Name); s != "postmigrate" {
			return errors.New(s)
		}
		return nil
	})
	return release
}

// fault is something that breaks.
type fault struct {
	name  string
	begin func(t *testing.T, m *move)
	// end repairs it when it has lasted as long as it should; nil: over at once.
	end func(t *testing.T, m *move)
	// within is the time after the end in which everything has to be in order.
	within time.Duration
}

const (
	soon        = 10 * time.Second
	afterCut    = 30 * time.Second
	cutDuration = 22 * time.Second // longer than a session and than libvirt's patience
)

var allFaults = []fault{
	kill("kill source pvcd", source, testbed.PVCD),
	kill("kill target pvcd", target, testbed.PVCD),
	pause("stop source pvcd", source),
	pause("stop target pvcd", target),
	kill("kill source libvirtd", source, testbed.Libvirtd),
	kill("kill target libvirtd", target, testbed.Libvirtd),
	{"power cut of target", cutPower, restorePower, soon},
	cutLink("link cut of source", source),
	cutLink("link cut of target", target),
	{"link cut between them", cutBetween, healBetween, afterCut},
	{"kill ZooKeeper leader", killLeader, nil, soon},
}

func kill(name string, who side, service string) fault {
	return fault{name: name, within: soon, begin: func(t *testing.T, m *move) {
		t.Helper()
		must(t, who(m).Kill(t.Context(), service))
	}}
}

// pause stops a pvcd until its session is over.
func pause(name string, who side) fault {
	return fault{name: name, within: soon,
		begin: func(t *testing.T, m *move) {
			t.Helper()
			must(t, who(m).Pause(t.Context(), testbed.PVCD))
		},
		end: func(t *testing.T, m *move) {
			t.Helper()
			sessionOver(t, m, who(m))
			must(t, who(m).Cont(t.Context(), testbed.PVCD))
		}}
}

func sessionOver(t *testing.T, m *move, h *host.Host) {
	t.Helper()
	within(t, "the session of "+h.Name+" ends", func() error {
		n, err := m.children(t.Context(), schema.Node(h.Name, schema.NodeSession))
		if err == nil && n > 0 {
			err = errors.New("it is there")
		}
		return err
	})
}

func cutPower(t *testing.T, m *move) {
	t.Helper()
	must(t, m.target.PowerCut())
}

// restorePower switches the target on when its session has been over for a while in
// which somebody could have made a mistake. The cut is over when libvirtd is up.
func restorePower(t *testing.T, m *move) {
	t.Helper()
	sessionOver(t, m, m.target)
	must(t, m.target.PowerOn(t.Context()))
	must(t, m.cluster.WaitLibvirt(t.Context(), m.target.Index))
}

func cutLink(name string, who side) fault {
	return fault{name: name, within: afterCut,
		begin: func(t *testing.T, m *move) {
			t.Helper()
			h := who(m)
			must(t, h.CutLink(t.Context()))
			t.Cleanup(func() { _ = h.HealLink(context.WithoutCancel(t.Context())) })
		},
		end: func(t *testing.T, m *move) {
			t.Helper()
			last(cutDuration)
			must(t, who(m).HealLink(t.Context()))
		}}
}

func cutBetween(t *testing.T, m *move) {
	t.Helper()
	must(t, m.cluster.Switch().CutBetween(t.Context(), m.source, m.target))
}

func healBetween(t *testing.T, m *move) {
	t.Helper()
	last(cutDuration)
	must(t, m.cluster.Switch().HealBetween(t.Context(), m.source, m.target))
}

// last lets a fault last: its length is the input of the test, nothing is waited for.
func last(d time.Duration) { <-time.After(d) }

func killLeader(t *testing.T, m *move) {
	t.Helper()
	for i, addr := range m.cluster.ZooKeeperAddrs() {
		if ensemble.ModeOf(t.Context(), addr) == ensemble.Leader {
			must(t, m.cluster.Host(i+1).Kill(t.Context(), testbed.ZooKeeper))
			return
		}
	}
	t.Fatal("there is no ZooKeeper leader")
}
