package conformance

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

func absent(t *testing.T, h Harness) {
	uuid, _ := h.Guest(t, false)
	expect(t, state(t, h.Here, uuid), hypervisor.Absent, 0)
	ctx := t.Context()
	for what, err := range map[string]error{
		"resume": h.Here.Resume(ctx, uuid), "shutdown": h.Here.Shutdown(ctx, uuid),
		"migrate": h.Here.MigratePaused(ctx, uuid, hypervisor.MigrateOptions{URI: h.ThereURI}),
	} {
		if !errs.Is(err, errs.NotFound) {
			t.Errorf("%s of an absent domain: %v, want not found", what, err)
		}
	}
	if _, err := h.Here.XML(ctx, uuid); !errs.Is(err, errs.NotFound) {
		t.Errorf("document of an absent domain: %v, want not found", err)
	}
	must(t, h.Here.Destroy(ctx, uuid))
	must(t, h.Here.Undefine(ctx, uuid))
	must(t, h.Here.AbortJob(ctx, uuid))
}

func hostFacts(t *testing.T, h Harness) {
	info, err := h.Here.Host(t.Context())
	must(t, err)
	if info.CPUModel == "" || info.UUID == "" || info.Version == "" {
		t.Errorf("incomplete: %+v", info)
	}
	if !strings.Contains(" "+strings.Join(info.Machines, " ")+" ", " pc ") {
		t.Errorf("machine type pc is not among %v", info.Machines)
	}
	other, err := h.There.Host(t.Context())
	must(t, err)
	if other.UUID == info.UUID {
		t.Errorf("both hosts have the UUID %s", info.UUID)
	}
}

func createdPaused(t *testing.T, h Harness) {
	uuid, _ := h.created(t, false)
	d := state(t, h.Here, uuid)
	expect(t, d, hypervisor.Paused, hypervisor.PausedStart)
	if d.VCPUs != 1 || d.MemoryMiB < 1 || d.Name == "" || d.Persistent || d.Autostart || d.Migrating {
		t.Errorf("facts: %+v", d)
	}
	h.running(t, false) // it was created later, has executed: so could the first have
	if h.Executed(t, uuid) {
		t.Fatal("it has executed")
	}
	must(t, h.Here.Resume(t.Context(), uuid))
	must(t, h.Here.Resume(t.Context(), uuid)) // again: no error
	h.Advances(t, uuid)
	expect(t, state(t, h.Here, uuid), hypervisor.Running, 0)
}

// createdAfterRestart: a guest that was created paused and one that runs are told
// apart after the hypervisor's memory is lost.
func createdAfterRestart(t *testing.T, h Harness) {
	uuid, _ := h.created(t, false)
	other := h.running(t, false)
	h.Restart(t)
	expect(t, state(t, h.Here, uuid), hypervisor.Paused, hypervisor.PausedStart)
	expect(t, state(t, h.Here, other), hypervisor.Running, 0)
}

func eventOrder(t *testing.T, h Harness) {
	r := record(t, h.Here)
	r.next(t, "", hypervisor.EventResync)
	uuid, _ := h.created(t, false)
	r.next(t, uuid, hypervisor.EventStarted)
	must(t, h.Here.Resume(t.Context(), uuid))
	r.next(t, uuid, hypervisor.EventResumed)
	must(t, h.Here.Destroy(t.Context(), uuid))
	if e := r.next(t, uuid, hypervisor.EventStopped); e.Reason != hypervisor.StoppedDestroyed {
		t.Errorf("stopped for reason %d, want destroyed", e.Reason)
	}
}

func duplicate(t *testing.T, h Harness) {
	uuid, xml := h.created(t, false)
	must(t, h.Here.Resume(t.Context(), uuid))
	if err := h.Here.CreatePaused(t.Context(), xml); !errs.Is(err, errs.Conflict) {
		t.Fatalf("second create: %v, want a conflict", err)
	}
	h.Advances(t, uuid)
}

func brokenDocument(t *testing.T, h Harness) {
	if err := h.Here.CreatePaused(t.Context(), "<domain type='qemu'><name>a</name>"); !errs.Is(err, errs.Invalid) {
		t.Errorf("create: %v, want invalid", err)
	}
}

func listed(t *testing.T, h Harness) {
	one, _ := h.created(t, false)
	two := h.running(t, false)
	list, err := h.Here.List(t.Context())
	must(t, err)
	got := map[string]hypervisor.State{}
	for _, d := range list {
		got[d.UUID] = d.State
	}
	want := map[string]hypervisor.State{one: hypervisor.Paused, two: hypervisor.Running}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("listed (-want +got):\n%s", diff)
	}
}

func document(t *testing.T, h Harness) {
	uuid, _ := h.created(t, false)
	xml, err := h.Here.XML(t.Context(), uuid)
	must(t, err)
	if !strings.Contains(xml, "<uuid>"+uuid+"</uuid>") {
		t.Errorf("the document names another guest:\n%s", xml)
	}
}

func destroy(t *testing.T, h Harness) {
	uuid := h.running(t, false)
	for range 2 {
		must(t, h.Here.Destroy(t.Context(), uuid))
		if !h.Gone(t, uuid) {
			t.Fatal("the process is still there")
		}
		expect(t, state(t, h.Here, uuid), hypervisor.Absent, 0)
	}
}

// ended waits for the end of a guest and returns the reason.
func ended(t *testing.T, h Harness, uuid string, end func()) hypervisor.StopReason {
	t.Helper()
	r := record(t, h.Here)
	end()
	e := r.next(t, uuid, hypervisor.EventStopped)
	until(t, h.Here, uuid, "absent", func(d hypervisor.Domain) bool { return d.State == hypervisor.Absent })
	if !h.Gone(t, uuid) {
		t.Error("the process is still there")
	}
	return e.Reason
}

func shutdown(t *testing.T, h Harness) {
	uuid := h.running(t, false)
	if got := ended(t, h, uuid, func() { must(t, h.Here.Shutdown(t.Context(), uuid)) }); got != hypervisor.StoppedShutdown {
		t.Errorf("reason %d", got)
	}
}

func powerOff(t *testing.T, h Harness) {
	uuid := h.running(t, false)
	if got := ended(t, h, uuid, func() { h.PowerOff(t, uuid) }); got != hypervisor.StoppedShutdown {
		t.Errorf("reason %d", got)
	}
}

func crash(t *testing.T, h Harness) {
	uuid := h.running(t, false)
	if got := ended(t, h, uuid, func() { h.Kill(t, uuid) }); got != hypervisor.StoppedCrashed {
		t.Errorf("reason %d", got)
	}
}

func failed(t *testing.T, h Harness) {
	uuid, _ := h.created(t, false)
	if got := ended(t, h, uuid, func() { h.Kill(t, uuid) }); got != hypervisor.StoppedFailed {
		t.Errorf("reason %d", got)
	}
}

func undefine(t *testing.T, h Harness) {
	uuid, xml := h.created(t, false)
	must(t, h.Here.Resume(t.Context(), uuid))
	h.Define(t, xml)
	if d := state(t, h.Here, uuid); !d.Persistent || !d.Autostart || d.State != hypervisor.Running {
		t.Fatalf("defined: %+v", d)
	}
	must(t, h.Here.Undefine(t.Context(), uuid))
	if d := state(t, h.Here, uuid); d.Persistent || d.Autostart || d.State != hypervisor.Running {
		t.Errorf("undefined: %+v", d)
	}
	h.Advances(t, uuid)
	// A definition alone is no guest.
	must(t, h.Here.Destroy(t.Context(), uuid))
	h.Define(t, xml)
	if d := state(t, h.Here, uuid); !d.Persistent || d.State != hypervisor.Absent {
		t.Errorf("only defined: %+v", d)
	}
	must(t, h.Here.Undefine(t.Context(), uuid))
}

func restart(t *testing.T, h Harness) {
	uuid := h.running(t, false)
	r := record(t, h.Here)
	r.next(t, "", hypervisor.EventResync) // the greeting
	h.Restart(t)
	r.next(t, "", hypervisor.EventResync)
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	d, err := h.Here.Lookup(ctx, uuid)
	must(t, err)
	expect(t, d, hypervisor.Running, 0)
	h.Advances(t, uuid)
	must(t, h.Here.Destroy(t.Context(), uuid))
	r.next(t, uuid, hypervisor.EventStopped) // events come again
}
