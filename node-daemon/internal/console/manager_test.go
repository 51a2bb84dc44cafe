package console_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/console"
)

// run starts the loop and returns a function that ends it. A bubble of synctest fails
// when a goroutine outlives it.
func run(t *testing.T, h *host) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- h.Run(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
}

func TestALogIsWrittenAtMostOncePerIntervalAndNotWithoutOutput(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		h := newHost(t.TempDir(), "hv1", store)
		h.Follow(h.guest("run1"))
		defer run(t, h)()
		h.print(t, "begin\n")
		begin := time.Now()
		for i := range 100 { // ten seconds of chatter
			h.print(t, fmt.Sprintf("%d\n", i))
			time.Sleep(100 * time.Millisecond)
		}
		synctest.Wait()
		if n, most := store.count(), int(time.Since(begin)/time.Second); n > most || n < most-1 {
			t.Errorf("%d writes in %v", n, time.Since(begin))
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if !strings.HasSuffix(store.text(web1), "98\n99\n") {
			t.Errorf("the log ends %q", clip(store.text(web1)))
		}
		before := store.count()
		time.Sleep(time.Hour)
		if n := store.count() - before; n != 0 {
			t.Errorf("%d writes in an hour without output", n)
		}
	})
}

func TestRecordsThatCannotBeWrittenAreWrittenLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		h := newHost(t.TempDir(), "hv1", store)
		h.Follow(h.guest("run1"))
		defer run(t, h)()
		away := func(string, string) error { return errs.Unavailablef("no quorum") }
		h.print(t, "one\n")
		time.Sleep(1500 * time.Millisecond)
		store.setFail(away)
		h.print(t, "two\n")
		time.Sleep(time.Minute)
		h.print(t, "three\n")
		if err := h.Finish(t.Context(), web1); !errs.Is(err, errs.Unavailable) || !h.Following(web1) {
			t.Errorf("finish without records: %v, followed: %v", err, h.Following(web1))
		}
		store.setFail(nil)
		time.Sleep(1500 * time.Millisecond)
		synctest.Wait()
		want(t, "when they are back", store.text(web1), "one\ntwo\nthree\n")
	})
}

func TestAGuestThatIsBeingFinishedHoldsUpNobody(t *testing.T) {
	store := newMemStore()
	h := newHost(t.TempDir(), "hv1", store)
	h.Follow(h.guest("run1"))
	h.print(t, "one\n")
	saving, answer, finished := make(chan struct{}), make(chan struct{}), make(chan error)
	store.before = func() { close(saving); <-answer }
	go func() { finished <- h.Finish(t.Context(), web1) }()
	<-saving
	h.Follow(console.Guest{UUID: "uuid of web2", Name: "web2", Run: "run2"})
	printTo(t, h.Path("web2"), "two\n")
	h.Round(t.Context())
	want(t, "of the neighbour", store.text("uuid of web2"), "two\n")
	close(answer)
	if err := <-finished; err != nil {
		t.Error(err)
	}
	want(t, "of the finished guest", store.text(web1), "one\n")
}

func TestAFileThatCannotBeReadIsLoggedOncePerChangeAndHurtsNobody(t *testing.T) {
	store := newMemStore()
	dir := t.TempDir()
	var log bytes.Buffer
	h := newHost(dir, "hv1", store, func(o *console.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	secret := filepath.Join(dir, "secret")
	printTo(t, secret, "secret\n")
	if err := os.Symlink(secret, h.Path("link")); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(h.Path("pipe"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"link", "pipe", "../secret", "a/b", ""} {
		h.Follow(console.Guest{UUID: "uuid of " + name, Name: name, Run: "run of " + name})
	}
	h.Follow(h.guest("run1"))
	h.print(t, "fine\n")
	for range 5 {
		h.Round(t.Context())
	}
	want(t, "of the neighbour", store.text(web1), "fine\n")
	if n := store.count(); n != 1 {
		t.Errorf("%d logs were written", n)
	}
	if n := strings.Count(log.String(), "cannot keep the console log"); n != 5 {
		t.Errorf("%d complaints about five files:\n%s", n, &log)
	}
	if err := os.Remove(h.Path("link")); err != nil {
		t.Fatal(err)
	}
	printTo(t, h.Path("link"), "a file again\n")
	for range 2 {
		h.Round(t.Context())
	}
	want(t, "when the link is a file", store.text("uuid of link"), "a file again\n")
	if n := strings.Count(log.String(), "is kept again"); n != 1 {
		t.Errorf("%d times kept again:\n%s", n, &log)
	}
	if err := h.Finish(t.Context(), "uuid of pipe"); err != nil || h.Following("uuid of pipe") {
		t.Errorf("a file that cannot be read keeps the guest from being finished: %v", err)
	}
}

func TestWhatTakesTheFilesPlaceIsNeitherReadNorWaitedFor(t *testing.T) {
	dir := t.TempDir()
	link, pipe, other := filepath.Join(dir, "link"), filepath.Join(dir, "pipe"), filepath.Join(dir, "other")
	printTo(t, other, "secret\n")
	if err := os.Symlink(other, link); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := console.Read(link); !errors.Is(err, syscall.ELOOP) {
		t.Errorf("a link: %v", err)
	}
	if _, err := console.Read(pipe); !errs.Is(err, errs.Invalid) {
		t.Errorf("a pipe: %v", err)
	}
	if _, err := console.Read(other); !errs.Is(err, errs.Unavailable) {
		t.Errorf("another file: %v", err)
	}
}

func TestAGuestWithoutAFileIsNoError(t *testing.T) {
	store := newMemStore()
	var log bytes.Buffer
	h := newHost(t.TempDir(), "hv1", store, func(o *console.Options) { o.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	h.Follow(h.guest("run1"))
	h.Round(t.Context())
	finish(t, h)
	finish(t, h) // not followed any more
	if log.Len() > 0 || store.count() > 0 || h.Following(web1) {
		t.Errorf("%d writes, followed: %v, log:\n%s", store.count(), h.Following(web1), &log)
	}
}

func TestFollowingTwiceIsFollowingOnce(t *testing.T) {
	store := newMemStore()
	h := newHost(t.TempDir(), "hv1", store)
	g := h.guest("run1")
	h.Follow(g)
	h.print(t, "one\n")
	h.Round(t.Context())
	g.Begin = 0
	h.Follow(g)
	h.Round(t.Context())
	want(t, "followed twice", store.text(web1), "one\n")
	if store.count() != 1 {
		t.Errorf("%d writes for one line", store.count())
	}
}

func TestALookAtAnIdleGuestIsCheapAndAsksNobody(t *testing.T) {
	store := newMemStore()
	h := newHost(t.TempDir(), "hv1", store)
	h.Follow(h.guest("run1"))
	h.print(t, "one\n")
	h.Round(t.Context())
	store.setFail(func(op, _ string) error { t.Errorf("%s without output", op); return nil })
	allocs := testing.AllocsPerRun(10, func() { h.Round(t.Context()) })
	if allocs > 30 {
		t.Errorf("a look costs %v allocations", allocs)
	}
}

func TestOnlyNamesOfVMsBecomePaths(t *testing.T) {
	h := newHost("/var/log/libvirt", "hv1", newMemStore())
	for name, path := range map[string]string{
		"web1": "/var/log/libvirt/web1.log", "a.b-c_d": "/var/log/libvirt/a.b-c_d.log",
		"": "", "..": "", "../x": "", "a/b": "", "a\x00b": "", strings.Repeat("x", 64): "",
	} {
		if got := h.Path(name); got != path {
			t.Errorf("path of %q is %q, want %q", name, got, path)
		}
	}
	if n := h.Size("../../../etc/passwd"); n != 0 {
		t.Errorf("a file outside has %d bytes", n)
	}
}
