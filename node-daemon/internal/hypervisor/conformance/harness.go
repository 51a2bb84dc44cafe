package conformance

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

// Patience bounds every wait of the suite.
const Patience = 30 * time.Second

// Harness is two hosts and what the suite does to guests behind the hypervisor's
// back. The suite makes guests of its own in each test and ends them.
type Harness struct {
	Here, There hypervisor.Hypervisor
	ThereURI    string // of There, reached from Here
	PeerURI     string // of There, reached by Peer
	Peer        hypervisor.Peer

	// Guest returns the document of a guest that executes at once and for ever,
	// follows the power button and has no disk. A heavy one takes at least ten seconds
	// to be sent with 1 MiB/s.
	Guest func(t *testing.T, heavy bool) (uuid, xml string)
	// AddDisk gives a document of Guest a disk vda of 1 MiB.
	AddDisk func(t *testing.T, xml string) string
	// DiskMade is called after a guest with that disk was created on Here; may be nil.
	DiskMade func(t *testing.T, uuid string)
	// Secret reports whether Here has this secret now, and cannot be asked for its key.
	Secret func(t *testing.T, uuid string) bool
	// Executed reports whether the guest has ever executed.
	Executed func(t *testing.T, uuid string) bool
	// Advances waits until a guest that executes now has done some more work.
	Advances func(t *testing.T, uuid string)
	// PowerOff has a guest on Here power itself off.
	PowerOff func(t *testing.T, uuid string)
	// Kill ends the process of a guest on Here.
	Kill func(t *testing.T, uuid string)
	// Define stores the document on Here as a persistent, autostarted definition.
	Define func(t *testing.T, xml string)
	// Restart kills Here's hypervisor service, has it start again, and returns once
	// it has been killed.
	Restart func(t *testing.T)
	// Gone reports whether no process of the guest is left on Here.
	Gone func(t *testing.T, uuid string) bool
}

// recorder keeps the events of one host.
type recorder struct{ events chan hypervisor.Event }

func record(t *testing.T, h hypervisor.Hypervisor) *recorder {
	r := &recorder{events: make(chan hypervisor.Event, 1000)}
	t.Cleanup(h.Subscribe(func(e hypervisor.Event) { r.events <- e }))
	return r
}

// next returns the next event of a kind that is about the guest, leaving out all others.
func (r *recorder) next(t *testing.T, uuid string, kind hypervisor.EventKind) hypervisor.Event {
	t.Helper()
	deadline := time.After(Patience)
	for {
		select {
		case e := <-r.events:
			if e.UUID == uuid && e.Kind == kind {
				return e
			}
		case <-deadline:
			t.Fatalf("no event %d for %q within %v", kind, uuid, Patience)
		}
	}
}

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func state(t *testing.T, h hypervisor.Hypervisor, uuid string) hypervisor.Domain {
	t.Helper()
	d, err := h.Lookup(t.Context(), uuid)
	must(t, err)
	return d
}

// until waits for a domain to be as wanted: after each event of its host and, for what
// has none, every tenth of a second.
func until(t *testing.T, h hypervisor.Hypervisor, uuid, what string, ok func(hypervisor.Domain) bool) hypervisor.Domain {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		d, err := h.Lookup(ctx, uuid)
		if err == nil && ok(d) {
			return d
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s is not %s within %v: %+v, %v", uuid, what, Patience, d, errors.Join(err, ctx.Err()))
		}
	}
}

func expect(t *testing.T, d hypervisor.Domain, s hypervisor.State, p hypervisor.PauseReason) {
	t.Helper()
	if d.State != s || d.Pause != p {
		t.Fatalf("state %d, pause reason %d; want %d, %d (%+v)", d.State, d.Pause, s, p, d)
	}
}

// created makes a paused guest on Here and has it gone from both hosts in the end.
func (h Harness) created(t *testing.T, heavy bool) (uuid, xml string) {
	t.Helper()
	uuid, xml = h.Guest(t, heavy)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		for _, host := range []hypervisor.Hypervisor{h.Here, h.There} {
			if err := errors.Join(host.Destroy(ctx, uuid), host.Undefine(ctx, uuid)); err != nil {
				t.Errorf("clean up: %v", err)
			}
		}
	})
	must(t, h.Here.CreatePaused(t.Context(), xml))
	return uuid, xml
}

// running makes a guest on Here that executes.
func (h Harness) running(t *testing.T, heavy bool) string {
	t.Helper()
	uuid, _ := h.created(t, heavy)
	must(t, h.Here.Resume(t.Context(), uuid))
	h.Advances(t, uuid)
	return uuid
}
