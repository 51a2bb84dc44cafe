package conformance

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

func createdImage(t *testing.T, h Harness) {
	pool, made := h.image(t, "disk0")
	if made.ID == "" || made.Name != "disk0" || made.Size != 16*mib || made.Objects != 4 || made.Order != 22 ||
		!slices.Contains(made.Features, "exclusive-lock") || made.Parent != "" || made.OldFormat || made.Prefix != "rbd_data."+made.ID || made.Created.IsZero() {
		t.Errorf("made: %+v", made)
	}
	byName, err := h.There.Image(t.Context(), pool, "disk0")
	must(t, err)
	byID, err := h.There.ImageByID(t.Context(), pool, made.ID)
	must(t, err)
	all, err := h.There.Images(t.Context(), pool)
	must(t, err)
	if diff := cmp.Diff([]ceph.Image{made, made, made}, append(all, byName, byID)); diff != "" {
		t.Error("read otherwise than made:", diff)
	}
}

func lookedAt(t *testing.T, h Harness) {
	ctx := t.Context()
	pool, made := h.image(t, "disk0")
	_, closed := h.Open(t, pool, "disk0")
	defer closed()
	made.Unwatched = true
	seen, err := h.There.Look(ctx, pool, "disk0")
	must(t, err)
	if diff := cmp.Diff(made, seen); diff != "" {
		t.Error("seen otherwise than made:", diff)
	}
	must(t, h.Here.ResizeImage(ctx, pool, made.ID, 34*mib, false))
	seen, err = h.There.Look(ctx, pool, "disk0")
	if must(t, err); seen.Size != 34*mib || seen.Objects != 9 {
		t.Errorf("after it was resized: %+v", seen)
	}
	_, err = h.Here.CreateSnapshot(ctx, pool, made.ID, "s")
	must(t, err)
	read, err := h.There.Image(ctx, pool, "disk0")
	must(t, err)
	seen, err = h.There.Look(ctx, pool, "disk0")
	must(t, err)
	if diff := cmp.Diff(read, seen); diff != "" || len(seen.Snapshots) != 1 || len(seen.Watchers) != 1 {
		t.Error("with a snapshot, seen otherwise than read:", diff)
	}
	for _, name := range []string{"disk1", made.ID} {
		_, err := h.There.Look(ctx, pool, name)
		refused(t, err, errs.NotFound, syscall.ENOENT)
	}
	_, err = h.There.Look(ctx, "no-pool", "disk0")
	refused(t, err, errs.NotFound, syscall.ENOENT)
}

func strangeNames(t *testing.T, h Harness) {
	ctx, pool := t.Context(), h.pool(t).Name
	for _, name := range []string{"with blanks", "Größe-Ω-画像", "a+b=c%20", "-dash", `quo"te'`, strings.Repeat("x", 90)} {
		made, err := h.Here.CreateImage(ctx, pool, name, mib)
		must(t, err)
		s, err := h.Here.CreateSnapshot(ctx, pool, made.ID, name)
		must(t, err)
		read, err := h.There.ImageByID(ctx, pool, made.ID)
		must(t, err)
		if read.Name != name || len(read.Snapshots) != 1 || read.Snapshots[0].Name != name {
			t.Errorf("%q reads %+v", name, read)
		}
		must(t, h.Here.RemoveSnapshot(ctx, pool, made.ID, s.ID))
		must(t, h.Here.RenameImage(ctx, pool, made.ID, name+"2"))
		must(t, h.Here.RemoveImage(ctx, pool, made.ID, nil))
	}
}

func secondImage(t *testing.T, h Harness) {
	pool, first := h.image(t, "disk0")
	_, err := h.There.CreateImage(t.Context(), pool, "disk0", 32*mib)
	refused(t, err, errs.Conflict, syscall.EEXIST)
	now, err := h.Here.Image(t.Context(), pool, "disk0")
	must(t, err)
	if diff := cmp.Diff(first, now); diff != "" {
		t.Error("the first one has changed:", diff)
	}
}

func oneName(t *testing.T, h Harness) {
	const tries = 6
	ctx, pool := t.Context(), h.pool(t).Name
	var made atomic.Int64
	var all sync.WaitGroup
	for n := range tries {
		all.Go(func() {
			c := []ceph.Cluster{h.Here, h.There}[n%2]
			_, err := c.CreateImage(ctx, pool, "contested", mib)
			if err == nil {
				made.Add(1)
			} else if !errs.Is(err, errs.Conflict) {
				t.Errorf("%v, want conflict", err)
			}
		})
	}
	all.Wait()
	if made.Load() != 1 {
		t.Errorf("made %d times", made.Load())
	}
}

func manyNames(t *testing.T, h Harness) {
	const count = 20
	ctx, pool := t.Context(), h.pool(t).Name
	var all sync.WaitGroup
	var want []string
	for n := range count {
		name := fmt.Sprintf("disk%02d", n)
		want = append(want, name)
		all.Go(func() {
			if _, err := h.Here.CreateImage(ctx, pool, name, mib); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if diff := cmp.Diff(want, imageNames(t, h.There, pool)); diff != "" {
		t.Error(diff)
	}
}

func imageNames(t *testing.T, c ceph.Cluster, pool string) (names []string) {
	t.Helper()
	images, err := c.Images(t.Context(), pool)
	must(t, err)
	for _, i := range images {
		names = append(names, i.Name)
	}
	return names
}

func vanishing(t *testing.T, h Harness) {
	const count = 6
	ctx, pool := t.Context(), h.pool(t).Name
	var ids []string
	for n := range count {
		i, err := h.Here.CreateImage(ctx, pool, fmt.Sprintf("disk%02d", n), mib)
		must(t, err)
		ids = append(ids, i.ID)
	}
	removed := make(chan error, 1)
	go func() {
		for _, id := range ids[1:] {
			if err := h.There.RemoveImage(ctx, pool, id, nil); err != nil {
				removed <- err
				return
			}
		}
		removed <- nil
	}()
	for done := false; !done; {
		select {
		case err := <-removed:
			must(t, err)
			done = true
		default:
		}
		if names := imageNames(t, h.Here, pool); len(names) == 0 || names[0] != "disk00" {
			t.Fatalf("listed %q", names)
		}
	}
	if names := imageNames(t, h.Here, pool); len(names) != 1 {
		t.Errorf("in the end %q", names)
	}
}

// survey compares after each change; there is one that knows nothing yet.
func survey(t *testing.T, h Harness) {
	ctx := t.Context()
	pool, i := h.image(t, "disk0")
	var s ceph.Snapshot
	for _, step := range []struct {
		what string
		do   func() error
	}{
		{"nothing", func() error { return nil }},
		{"another image", func() error { return second(h.There.CreateImage(ctx, pool, "disk1", mib)) }},
		{"growth", func() error { return h.There.ResizeImage(ctx, pool, i.ID, 32*mib, false) }},
		{"a snapshot", func() (err error) { s, err = h.There.CreateSnapshot(ctx, pool, i.ID, "s"); return err }},
		{"its protection", func() error { h.Protect(t, pool, "disk0", "s", true); return nil }},
		{"its end", func() error { h.Protect(t, pool, "disk0", "s", false); return nil }},
		{"no snapshot", func() error { return h.There.RemoveSnapshot(ctx, pool, i.ID, s.ID) }},
		{"another name", func() error { return h.There.RenameImage(ctx, pool, i.ID, "disk2") }},
		{"no image", func() error { return h.There.RemoveImage(ctx, pool, i.ID, nil) }},
		{"an image under its name", func() error { return second(h.There.CreateImage(ctx, pool, "disk2", mib)) }},
		{"an image in the trash", func() error { h.Discard(t, pool, "disk2"); return nil }},
	} {
		must(t, step.do())
		want, err := h.Here.Images(ctx, pool)
		must(t, err)
		for range 2 {
			got, err := h.Here.Survey(ctx, pool)
			must(t, err)
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("after %s: %s", step.what, diff)
			}
		}
	}
	_, err := h.Here.Survey(ctx, "nosuchpool")
	refused(t, err, errs.NotFound, syscall.ENOENT)
}

func absentImage(t *testing.T, h Harness) {
	ctx, pool := t.Context(), h.pool(t).Name
	for what, err := range map[string]error{
		"by name": second(h.Here.Image(ctx, pool, "nothing")), "by id": second(h.Here.ImageByID(ctx, pool, "1234abcd")),
		"watchers": second(h.Here.Watchers(ctx, pool, "1234abcd")), "snapshots": second(h.Here.Snapshots(ctx, pool, "1234abcd")),
		"resize": h.Here.ResizeImage(ctx, pool, "1234abcd", mib, true), "rename": h.Here.RenameImage(ctx, pool, "1234abcd", "other"),
		"remove": h.Here.RemoveImage(ctx, pool, "1234abcd", nil), "remove snapshot": h.Here.RemoveSnapshot(ctx, pool, "1234abcd", 1),
		"create snapshot": second(h.Here.CreateSnapshot(ctx, pool, "1234abcd", "s")),
	} {
		t.Run(what, func(t *testing.T) { refused(t, err, errs.NotFound, syscall.ENOENT) })
	}
	images, err := h.Here.Images(ctx, pool)
	if err != nil || len(images) != 0 {
		t.Errorf("images of an empty pool: %+v, %v", images, err)
	}
}

func resize(t *testing.T, h Harness) {
	ctx := t.Context()
	pool, i := h.image(t, "disk0")
	size := func(want uint64) {
		t.Helper()
		now, err := h.There.ImageByID(ctx, pool, i.ID)
		must(t, err)
		if now.Size != want {
			t.Errorf("%d bytes, want %d", now.Size, want)
		}
	}
	must(t, h.Here.ResizeImage(ctx, pool, i.ID, 40*mib, false))
	size(40 * mib)
	must(t, h.Here.ResizeImage(ctx, pool, i.ID, 40*mib, false))
	refused(t, h.Here.ResizeImage(ctx, pool, i.ID, 8*mib, false), errs.Invalid, syscall.EINVAL)
	size(40 * mib)
	must(t, h.Here.ResizeImage(ctx, pool, i.ID, 8*mib, true))
	size(8 * mib)
}

func rename(t *testing.T, h Harness) {
	ctx := t.Context()
	pool, i := h.image(t, "old")
	for range 2 {
		must(t, h.Here.RenameImage(ctx, pool, i.ID, "new"))
	}
	want := i
	want.Name = "new"
	now, err := h.There.Image(ctx, pool, "new")
	must(t, err)
	if diff := cmp.Diff(want, now); diff != "" {
		t.Error(diff)
	}
	_, err = h.There.Image(ctx, pool, "old")
	refused(t, err, errs.NotFound, syscall.ENOENT)
}

func renameTaken(t *testing.T, h Harness) {
	ctx := t.Context()
	pool, i := h.image(t, "disk0")
	_, err := h.Here.CreateImage(ctx, pool, "disk1", mib)
	must(t, err)
	refused(t, h.Here.RenameImage(ctx, pool, i.ID, "disk1"), errs.Conflict, syscall.EEXIST)
	if diff := cmp.Diff([]string{"disk0", "disk1"}, imageNames(t, h.There, pool)); diff != "" {
		t.Error(diff)
	}
}

func remove(t *testing.T, h Harness) {
	ctx := t.Context()
	pool, i := h.image(t, "disk0")
	var done, total atomic.Uint64
	must(t, h.Here.RemoveImage(ctx, pool, i.ID, func(d, of uint64) {
		done.Store(d)
		total.Store(of)
	}))
	if total.Load() == 0 || done.Load() == 0 || done.Load() > total.Load() {
		t.Errorf("progress %d of %d", done.Load(), total.Load())
	}
	refused(t, h.Here.RemoveImage(ctx, pool, i.ID, nil), errs.NotFound, syscall.ENOENT)
}

// removeReplaced is what happens when somebody has removed the image and made another.
func removeReplaced(t *testing.T, h Harness) {
	ctx := t.Context()
	pool, i := h.image(t, "disk0")
	must(t, h.There.RemoveImage(ctx, pool, i.ID, nil))
	_, err := h.There.CreateImage(ctx, pool, "disk0", mib)
	must(t, err)
	refused(t, h.Here.RemoveImage(ctx, pool, i.ID, nil), errs.NotFound, syscall.ENOENT)
	refused(t, h.Here.RenameImage(ctx, pool, i.ID, "disk1"), errs.NotFound, syscall.ENOENT)
	refused(t, h.Here.ResizeImage(ctx, pool, i.ID, 2*mib, true), errs.NotFound, syscall.ENOENT)
	if diff := cmp.Diff([]string{"disk0"}, imageNames(t, h.There, pool)); diff != "" {
		t.Error(diff)
	}
}

func removeWithSnapshots(t *testing.T, h Harness) {
	ctx := t.Context()
	pool, i := h.image(t, "disk0")
	s, err := h.Here.CreateSnapshot(ctx, pool, i.ID, "s")
	must(t, err)
	err = h.Here.RemoveImage(ctx, pool, i.ID, nil)
	refused(t, err, errs.Conflict, syscall.ENOTEMPTY)
	if err == nil || !strings.Contains(err.Error(), "image has snapshots") {
		t.Errorf("%v does not say why", err)
	}
	must(t, h.Here.RemoveSnapshot(ctx, pool, i.ID, s.ID))
	must(t, h.Here.RemoveImage(ctx, pool, i.ID, nil))
}

func removeOpen(t *testing.T, h Harness) {
	ctx := t.Context()
	pool, i := h.image(t, "disk0")
	address, closed := h.Open(t, pool, "disk0")
	err := h.Here.RemoveImage(ctx, pool, i.ID, nil)
	refused(t, err, errs.Conflict, syscall.EBUSY)
	if err == nil || !strings.Contains(err.Error(), address) {
		t.Errorf("%v does not name %s", err, address)
	}
	must(t, h.Here.RenameImage(ctx, pool, i.ID, "disk1"))
	must(t, h.Here.ResizeImage(ctx, pool, i.ID, 32*mib, false))
	s, err := h.Here.CreateSnapshot(ctx, pool, i.ID, "while-open")
	must(t, err)
	must(t, h.Here.RemoveSnapshot(ctx, pool, i.ID, s.ID))
	closed()
	must(t, h.Here.RemoveImage(ctx, pool, i.ID, nil))
}

func watchers(t *testing.T, h Harness) {
	ctx := t.Context()
	pool, i := h.image(t, "disk0")
	all, err := h.Here.Watchers(ctx, pool, i.ID)
	if err != nil || len(all) > 0 {
		t.Errorf("watchers of a closed image: %q, %v", all, err)
	}
	address, closed := h.Open(t, pool, "disk0")
	all, err = h.Here.Watchers(ctx, pool, i.ID)
	if err != nil || !slices.Equal(all, []string{address}) {
		t.Errorf("watchers: %q, %v; want %q", all, err, address)
	}
	closed()
	until(t, "without watchers", func(ctx context.Context) ([]string, error) { return h.Here.Watchers(ctx, pool, i.ID) },
		func(all []string) bool { return len(all) == 0 })
}

func snapshots(t *testing.T, h Harness) {
	ctx := t.Context()
	pool, i := h.image(t, "disk0")
	first, err := h.Here.CreateSnapshot(ctx, pool, i.ID, "first")
	must(t, err)
	must(t, h.Here.ResizeImage(ctx, pool, i.ID, 32*mib, false))
	last, err := h.Here.CreateSnapshot(ctx, pool, i.ID, "a-last")
	must(t, err)
	if first.Size != 16*mib || last.Size != 32*mib || first.ID >= last.ID || first.Created.IsZero() || last.Created.Before(first.Created) {
		t.Errorf("made %+v and %+v", first, last)
	}
	all, err := h.There.Snapshots(ctx, pool, i.ID)
	must(t, err)
	if diff := cmp.Diff([]ceph.Snapshot{first, last}, all); diff != "" {
		t.Error(diff)
	}
	_, err = h.Here.CreateSnapshot(ctx, pool, i.ID, "first")
	refused(t, err, errs.Conflict, syscall.EEXIST)
	must(t, h.There.RemoveSnapshot(ctx, pool, i.ID, first.ID))
	refused(t, h.There.RemoveSnapshot(ctx, pool, i.ID, first.ID), errs.NotFound, syscall.ENOENT)
	now, err := h.Here.ImageByID(ctx, pool, i.ID)
	must(t, err)
	if diff := cmp.Diff([]ceph.Snapshot{last}, now.Snapshots); diff != "" {
		t.Error(diff)
	}
}

func protectedSnapshot(t *testing.T, h Harness) {
	ctx := t.Context()
	pool, i := h.image(t, "disk0")
	s, err := h.Here.CreateSnapshot(ctx, pool, i.ID, "s")
	must(t, err)
	h.Protect(t, pool, "disk0", "s", true)
	all, err := h.Here.Snapshots(ctx, pool, i.ID)
	must(t, err)
	if len(all) != 1 || !all[0].Protected {
		t.Errorf("%+v, want a protected one", all)
	}
	refused(t, h.Here.RemoveSnapshot(ctx, pool, i.ID, s.ID), errs.Conflict, syscall.EBUSY)
	h.Protect(t, pool, "disk0", "s", false)
	must(t, h.Here.RemoveSnapshot(ctx, pool, i.ID, s.ID))
}

func trash(t *testing.T, h Harness) {
	ctx := t.Context()
	pool, i := h.image(t, "disk0")
	h.Discard(t, pool, "disk0")
	list, err := h.Here.Trash(ctx, pool)
	must(t, err)
	if len(list) != 1 || list[0].ID != i.ID || list[0].Name != "disk0" || time.Since(list[0].Deleted) < 0 {
		t.Errorf("trash: %+v", list)
	}
	if names := imageNames(t, h.Here, pool); len(names) != 0 {
		t.Errorf("images: %q", names)
	}
	_, err = h.Here.ImageByID(ctx, pool, i.ID)
	refused(t, err, errs.NotFound, syscall.ENOENT)
	refused(t, h.Here.RemoveImage(ctx, pool, i.ID, nil), errs.NotFound, syscall.ENOENT)
}
