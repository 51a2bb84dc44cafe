package conformance

import (
	"context"
	"errors"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

func migrate(t *testing.T, h Harness) {
	uuid := h.running(t, false)
	here, there := record(t, h.Here), record(t, h.There)
	must(t, h.Here.MigratePaused(t.Context(), uuid, hypervisor.MigrateOptions{URI: h.ThereURI}))
	expect(t, state(t, h.Here, uuid), hypervisor.Absent, 0)
	if !h.Gone(t, uuid) {
		t.Error("the source's process is still there")
	}
	expect(t, state(t, h.There, uuid), hypervisor.Paused, hypervisor.PausedByRequest)
	there.next(t, uuid, hypervisor.EventStarted)
	there.next(t, uuid, hypervisor.EventSuspended)
	if e := here.next(t, uuid, hypervisor.EventStopped); e.Reason != hypervisor.StoppedMigrated {
		t.Errorf("the source stopped for reason %d, want migrated", e.Reason)
	}
	must(t, h.There.Resume(t.Context(), uuid))
	h.Advances(t, uuid)
}

func migrateNowhere(t *testing.T, h Harness) {
	uuid := h.running(t, false)
	err := h.Here.MigratePaused(t.Context(), uuid, hypervisor.MigrateOptions{URI: "qemu+tcp://127.0.0.1:1/system"})
	if err == nil {
		t.Fatal("it has arrived somewhere")
	}
	if d := state(t, h.Here, uuid); d.State != hypervisor.Running || d.Migrating {
		t.Errorf("after %v: %+v", err, d)
	}
	h.Advances(t, uuid)
}

func migrateTwin(t *testing.T, h Harness) {
	uuid, xml := h.created(t, false)
	must(t, h.Here.Resume(t.Context(), uuid))
	must(t, h.There.CreatePaused(t.Context(), xml))
	if err := h.Here.MigratePaused(t.Context(), uuid, hypervisor.MigrateOptions{URI: h.ThereURI}); !errs.Is(err, errs.Conflict) {
		t.Errorf("migrate onto a domain of the same UUID: %v, want a conflict", err)
	}
	expect(t, state(t, h.Here, uuid), hypervisor.Running, 0)
	expect(t, state(t, h.There, uuid), hypervisor.Paused, hypervisor.PausedStart)
}

// slow begins a migration that takes long and returns when it is under way.
func (h Harness) slow(t *testing.T, ctx context.Context) (uuid string, outcome <-chan error) {
	t.Helper()
	uuid = h.running(t, true)
	result := make(chan error, 1)
	go func() {
		result <- h.Here.MigratePaused(ctx, uuid, hypervisor.MigrateOptions{URI: h.ThereURI, BandwidthMiB: 1})
	}()
	until(t, h.Here, uuid, "migrating", func(d hypervisor.Domain) bool { return d.Migrating && d.State == hypervisor.Running })
	until(t, h.There, uuid, "arriving", func(d hypervisor.Domain) bool {
		return d.State == hypervisor.Paused && d.Pause == hypervisor.PausedIncoming
	})
	return uuid, result
}

// stayed checks that an unfinished migration has left the guest where it was.
func (h Harness) stayed(t *testing.T, uuid string, err error) {
	t.Helper()
	if err == nil {
		t.Fatal("it has arrived")
	}
	if d := state(t, h.Here, uuid); d.State != hypervisor.Running || d.Migrating {
		t.Errorf("after %v: %+v", err, d)
	}
	until(t, h.There, uuid, "absent", func(d hypervisor.Domain) bool { return d.State == hypervisor.Absent })
	h.Advances(t, uuid)
}

func abort(t *testing.T, h Harness) {
	uuid, outcome := h.slow(t, t.Context())
	must(t, h.Here.AbortJob(t.Context(), uuid))
	h.stayed(t, uuid, <-outcome)
	must(t, h.Here.AbortJob(t.Context(), uuid)) // none is no error
}

func migrateCancelled(t *testing.T, h Harness) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	uuid, outcome := h.slow(t, ctx)
	cancel(errors.New("enough"))
	h.stayed(t, uuid, <-outcome)
}

func resumeIncoming(t *testing.T, h Harness) {
	uuid, outcome := h.slow(t, t.Context())
	if err := h.There.Resume(t.Context(), uuid); !errs.Is(err, errs.Conflict) {
		t.Errorf("resume of an arriving guest: %v, want a conflict", err)
	}
	must(t, h.Here.AbortJob(t.Context(), uuid))
	h.stayed(t, uuid, <-outcome)
}

func peer(t *testing.T, h Harness) {
	uuid, xml := h.Guest(t, false)
	d, err := h.Peer.Lookup(t.Context(), h.PeerURI, uuid)
	must(t, err)
	expect(t, d, hypervisor.Absent, 0)
	t.Cleanup(func() { must(t, h.There.Destroy(context.WithoutCancel(t.Context()), uuid)) })
	must(t, h.There.CreatePaused(t.Context(), xml))
	d, err = h.Peer.Lookup(t.Context(), h.PeerURI, uuid)
	must(t, err)
	expect(t, d, hypervisor.Paused, hypervisor.PausedStart)
	if _, err := h.Peer.Lookup(t.Context(), "qemu+tcp://127.0.0.1:1/system", uuid); !errs.Is(err, errs.Unavailable) {
		t.Errorf("lookup at a host that is not there: %v, want unavailable", err)
	}
}
