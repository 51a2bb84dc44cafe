package fake_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor/conformance"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var guests atomic.Int64

func document(n int64, memory int) (uuid, xml string) {
	uuid = fmt.Sprintf("6f1c1b5e-3c0e-4d0a-9a55-%012x", n)
	return uuid, fmt.Sprintf("<domain type='qemu'><name>g%d</name><uuid>%s</uuid><memory unit='MiB'>%d</memory><vcpu>1</vcpu>"+
		"<os><type arch='x86_64' machine='pc'>hvm</type></os></domain>", n, uuid, memory)
}

func TestFakeIsAHypervisor(t *testing.T) {
	conformance.Run(t, func(t *testing.T) conformance.Harness {
		w := fake.NewWorld()
		here, there := w.Host("hv1"), w.Host("hv2")
		executing := func(t *testing.T, uuid string) {
			if len(w.Executing(uuid)) != 1 {
				t.Fatalf("%s executes on %v", uuid, w.Executing(uuid))
			}
		}
		t.Cleanup(func() {
			if twice := w.Twice(); twice != nil {
				t.Error(twice)
			}
		})
		return conformance.Harness{
			Here: here, There: there, ThereURI: fake.URI("hv2"), PeerURI: fake.URI("hv2"), Peer: w.Peer(),
			Guest: func(_ *testing.T, heavy bool) (string, string) {
				if heavy {
					return document(guests.Add(1), 96)
				}
				return document(guests.Add(1), 8)
			},
			AddDisk:  func(_ *testing.T, xml string) string { return xml },
			DiskMade: func(_ *testing.T, uuid string) { here.SetDiskSize(uuid, "vda", 1<<20) },
			Secret:   func(_ *testing.T, uuid string) bool { return here.Secrets()[uuid].Key != nil },
			Executed: func(_ *testing.T, uuid string) bool { return here.Executed(uuid) },
			Advances: executing,
			PowerOff: func(t *testing.T, uuid string) { here.PowerOff(uuid) },
			Kill:     func(t *testing.T, uuid string) { here.Crash(uuid) },
			Define: func(t *testing.T, xml string) {
				if err := here.Define(xml); err != nil {
					t.Fatal(err)
				}
			},
			Restart: func(*testing.T) { here.Disconnect(); here.Reconnect() },
			Gone: func(t *testing.T, uuid string) bool {
				d, err := here.Lookup(t.Context(), uuid)
				return err == nil && d.State == hypervisor.Absent
			},
		}
	})
}

// pair is a world with a guest that runs on the first of two hosts.
func pair(t *testing.T) (w *fake.World, here, there *fake.Host, uuid string) {
	w = fake.NewWorld()
	here, there = w.Host("hv1"), w.Host("hv2")
	uuid, xml := document(guests.Add(1), 96)
	if err := errors.Join(here.CreatePaused(t.Context(), xml), here.Resume(t.Context(), uuid)); err != nil {
		t.Fatal(err)
	}
	return w, here, there, uuid
}

// fate is the state of a guest on one host, in words.
func fate(t *testing.T, h *fake.Host, uuid string) string {
	d, err := h.Lookup(t.Context(), uuid)
	if err != nil {
		t.Fatal(err)
	}
	return map[hypervisor.State]string{hypervisor.Absent: "absent", hypervisor.Running: "running", hypervisor.Stopping: "stopping",
		hypervisor.Paused: fmt.Sprintf("paused %d", d.Pause)}[d.State] + map[bool]string{true: " migrating"}[d.Migrating]
}

func TestFailedMigrationsLeaveWhatRealOnesLeave(t *testing.T) {
	arrived, outgoing := fmt.Sprintf("paused %d", hypervisor.PausedByRequest), fmt.Sprintf("paused %d", hypervisor.PausedOutgoing)
	for _, c := range []struct {
		name   string
		step   fake.Step
		source string
		target string
	}{
		{"prepare", fake.StepPrepare, "running", "absent"},
		{"transfer", fake.StepTransfer, "running", "absent"},
		{"finish", fake.StepFinish, "running", arrived},
		{"confirm", fake.StepConfirm, outgoing, arrived},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, here, there, uuid := pair(t)
			here.At(c.step, func(string) error { return errors.New("injected") })
			if err := here.MigratePaused(t.Context(), uuid, hypervisor.MigrateOptions{URI: fake.URI("hv2")}); err == nil || !strings.Contains(err.Error(), "injected") {
				t.Errorf("err = %v", err)
			}
			if diff := cmp.Diff([]string{c.source, c.target}, []string{fate(t, here, uuid), fate(t, there, uuid)}); diff != "" {
				t.Errorf("source, target (-want +got):\n%s", diff)
			}
			if w.Twice() != nil {
				t.Error(w.Twice())
			}
		})
	}
}

func TestTwiceNoticesAGuestThatExecutesOnTwoHosts(t *testing.T) {
	w, here, there, uuid := pair(t)
	here.At(fake.StepFinish, func(string) error { return errors.New("injected") })
	_ = here.MigratePaused(t.Context(), uuid, hypervisor.MigrateOptions{URI: fake.URI("hv2")})
	if err := there.Resume(t.Context(), uuid); err != nil {
		t.Fatal(err)
	}
	if len(w.Twice()) != 1 {
		t.Errorf("noticed: %v", w.Twice())
	}
}

func TestALimitedTransferTakesItsTimeAndCutLinksEndIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, here, there, uuid := pair(t)
		start := time.Now()
		o := hypervisor.MigrateOptions{URI: fake.URI("hv2"), BandwidthMiB: 6}
		outcome := make(chan error, 1)
		go func() { outcome <- here.MigratePaused(t.Context(), uuid, o) }()
		synctest.Wait()
		there.CutLink(true)
		if err := <-outcome; err == nil || fate(t, here, uuid) != "running" {
			t.Fatalf("cut link: %v, source %s", err, fate(t, here, uuid))
		}
		there.CutLink(false)
		if err := here.MigratePaused(t.Context(), uuid, o); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took != 16*time.Second {
			t.Errorf("96 MiB at 6 MiB/s took %v", took)
		}
	})
}

func TestCallsWaitForTheConnectionUntilTheirContextEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, here, _, uuid := pair(t)
		here.Disconnect()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := here.Lookup(ctx, uuid); !errs.Is(err, errs.Unavailable) {
			t.Errorf("while away: %v, want unavailable", err)
		}
		answered := make(chan error, 1)
		go func() { _, err := here.Lookup(t.Context(), uuid); answered <- err }()
		synctest.Wait()
		here.Reconnect()
		if err := <-answered; err != nil {
			t.Errorf("after the reconnection: %v", err)
		}
	})
}

func TestFaultsDoWhatTheySay(t *testing.T) {
	w := fake.NewWorld()
	h := w.Host("hv1")
	uuid, xml := document(guests.Add(1), 8)
	h.Fail(fake.CreatePaused, errs.Conflictf("no room"))
	if err := h.CreatePaused(t.Context(), xml); !errs.Is(err, errs.Conflict) || fate(t, h, uuid) != "absent" {
		t.Errorf("failed create: %v, %s", err, fate(t, h, uuid))
	}
	h.Fail(fake.CreatePaused, nil)
	h.LoseAnswer(fake.CreatePaused, errs.New(errs.Unknown, "lost"))
	if err := h.CreatePaused(t.Context(), xml); !errs.Is(err, errs.Unknown) || fate(t, h, uuid) == "absent" {
		t.Errorf("lost answer: %v, %s", err, fate(t, h, uuid))
	}
	if n := h.Calls(fake.CreatePaused); n != 2 {
		t.Errorf("%d calls counted", n)
	}
	var got []hypervisor.EventKind
	defer h.Subscribe(func(e hypervisor.Event) { got = append(got, e.Kind) })()
	h.DoubleEvents(true)
	if err := h.Resume(t.Context(), uuid); err != nil {
		t.Fatal(err)
	}
	h.LoseEvents(true)
	h.Crash(uuid)
	if diff := cmp.Diff([]hypervisor.EventKind{hypervisor.EventResync, hypervisor.EventResumed, hypervisor.EventResumed}, got); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
}

func TestDeafGuestsIgnoreThePowerButtonAndPowerCutsEndEverything(t *testing.T) {
	_, here, _, uuid := pair(t)
	here.IgnoreShutdown(uuid, true)
	if err := here.Shutdown(t.Context(), uuid); err != nil || fate(t, here, uuid) != "running" {
		t.Errorf("shutdown of a deaf guest: %v, %s", err, fate(t, here, uuid))
	}
	here.PowerCut()
	here.PowerOn()
	if fate(t, here, uuid) != "absent" {
		t.Errorf("after a power cut: %s", fate(t, here, uuid))
	}
}

// BenchmarkFiveThousandGuestsOnAHundredHosts makes and moves them all.
func BenchmarkFiveThousandGuestsOnAHundredHosts(b *testing.B) {
	for b.Loop() {
		w := fake.NewWorld()
		for n := range int64(5000) {
			h := w.Host(fmt.Sprint("hv", n%100))
			uuid, xml := document(n, 8)
			to := fmt.Sprint("hv", (n+1)%100)
			w.Host(to)
			if err := errors.Join(h.CreatePaused(b.Context(), xml), h.Resume(b.Context(), uuid),
				h.MigratePaused(b.Context(), uuid, hypervisor.MigrateOptions{URI: fake.URI(to)})); err != nil {
				b.Fatal(err)
			}
		}
	}
}
