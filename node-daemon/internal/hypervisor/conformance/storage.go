package conformance

import (
	"context"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

func secret(t *testing.T, h Harness) {
	r := record(t, h.Here)
	r.next(t, "", hypervisor.EventResync)
	s := hypervisor.Secret{UUID: "0f1c1b5e-3c0e-4d0a-9a55-0d8a4f6f00aa", User: "libvirt", Key: []byte("a key of a user")}
	if h.Secret(t, s.UUID) {
		t.Fatal("it is there before it was set")
	}
	for _, key := range []string{"a key of a user", "its next key"} {
		s.Key = []byte(key)
		must(t, h.Here.SetSecret(t.Context(), s))
	}
	if !h.Secret(t, s.UUID) {
		t.Fatal("it is not there after it was set")
	}
	h.Restart(t)
	r.next(t, "", hypervisor.EventResync)
	if h.Secret(t, s.UUID) {
		t.Error("it was kept somewhere while the service was away")
	}
	must(t, h.Here.SetSecret(t.Context(), s))
}

func grow(t *testing.T, h Harness) {
	ctx := t.Context()
	uuid, xml := h.Guest(t, false)
	t.Cleanup(func() { must(t, h.Here.Destroy(context.WithoutCancel(ctx), uuid)) })
	must(t, h.Here.CreatePaused(ctx, h.AddDisk(t, xml)))
	if h.DiskMade != nil {
		h.DiskMade(t, uuid)
	}
	must(t, h.Here.Resume(ctx, uuid))
	h.Advances(t, uuid)
	expectSize(t, h, uuid, 1<<20)
	must(t, h.Here.ResizeDisk(ctx, uuid, "vda", 3<<20))
	expectSize(t, h, uuid, 3<<20)
	must(t, h.Here.ResizeDisk(ctx, uuid, "vda", 3<<20)) // again: no error
	for what, err := range map[string]error{
		"another disk": h.Here.ResizeDisk(ctx, uuid, "vdb", 4<<20), "half a sector": h.Here.ResizeDisk(ctx, uuid, "vda", 4<<20+256),
	} {
		if !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: %v, want invalid", what, err)
		}
	}
	if _, err := h.Here.DiskSize(ctx, uuid, "vdb"); !errs.Is(err, errs.Invalid) {
		t.Errorf("size of another disk: %v, want invalid", err)
	}
	other, _ := h.Guest(t, false)
	if err := h.Here.ResizeDisk(ctx, other, "vda", 4<<20); !errs.Is(err, errs.NotFound) || !strings.Contains(err.Error(), other) {
		t.Errorf("disk of an absent domain: %v, want not found", err)
	}
	expectSize(t, h, uuid, 3<<20)
}

func expectSize(t *testing.T, h Harness, uuid string, want uint64) {
	t.Helper()
	got, err := h.Here.DiskSize(t.Context(), uuid, "vda")
	must(t, err)
	if got != want {
		t.Fatalf("the disk has %d bytes, want %d", got, want)
	}
}
