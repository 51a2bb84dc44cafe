package console_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/console"
)

func finish(t *testing.T, h *host) {
	t.Helper()
	if err := h.Finish(t.Context(), web1); err != nil {
		t.Fatal(err)
	}
}

func TestARestartedDaemonGoesOnWhereTheTextEnds(t *testing.T) {
	store := newMemStore()
	h := newHost(t.TempDir(), "hv1", store)
	g := h.guest("run1")
	h.Follow(g)
	h.print(t, "one\ntw")
	h.Round(t.Context())
	want(t, "half a line is shown", store.text(web1), "one\ntw")
	h.print(t, "o\n\xc3")
	h.Round(t.Context())
	h.restart()
	h.Follow(g)
	h.print(t, "\xbc three\n")
	h.Round(t.Context())
	want(t, "after the restart", store.text(web1), "one\ntwo\nü three\n")
}

func TestTheLogGoesWithAMigratedGuest(t *testing.T) {
	store := newMemStore()
	source, target := newHost(t.TempDir(), "hv1", store), newHost(t.TempDir(), "hv2", store)
	target.print(t, "from a year ago\n")
	source.Follow(source.guest("run1"))
	begins := target.guest("run2") // recorded before the guest arrives
	source.print(t, "tick 1\ntick 2\nti\xe6\x97")
	finish(t, source)
	target.Follow(begins)
	target.print(t, "\xa5ck 3\n")
	target.Round(t.Context())
	want(t, "at the target", store.text(web1), "tick 1\ntick 2\nti日ck 3\n")
	back := source.guest("run3")
	finish(t, target)
	source.Follow(back)
	source.print(t, "tick 4\n")
	source.Round(t.Context())
	want(t, "back again", store.text(web1), "tick 1\ntick 2\nti日ck 3\ntick 4\n")
}

func TestOutputOfARunThatNobodyFinishedIsNotLost(t *testing.T) {
	store := newMemStore()
	h := newHost(t.TempDir(), "hv1", store)
	h.Follow(h.guest("run1"))
	h.print(t, "one\n")
	h.Round(t.Context())
	h.print(t, "last words\n") // while the daemon is down
	h.restart()
	h.Follow(h.guest("run2"))
	h.print(t, "first words\n")
	h.Round(t.Context())
	want(t, "after the next start", store.text(web1), "one\nlast words\nfirst words\n")
}

func TestATruncatedOrReplacedFileIsReadFromItsBeginning(t *testing.T) {
	for name, change := range map[string]func(path string) error{
		"truncated": func(path string) error { return os.Truncate(path, 0) },
		"replaced":  func(path string) error { return os.Rename(path, path+".1") },
	} {
		for _, restart := range []bool{false, true} {
			store := newMemStore()
			h := newHost(t.TempDir(), "hv1", store)
			g := h.guest("run1")
			h.Follow(g)
			h.print(t, "a long line\n")
			h.Round(t.Context())
			if err := change(h.Path("web1")); err != nil {
				t.Fatal(err)
			}
			h.Round(t.Context())
			if restart {
				h.restart()
				h.Follow(g)
			}
			h.print(t, "new\n")
			h.Round(t.Context())
			want(t, name, store.text(web1), "a long line\nnew\n")
		}
	}
}

func TestAFileReplacedByALongerOneIsReadFromItsBeginning(t *testing.T) {
	store := newMemStore()
	h := newHost(t.TempDir(), "hv1", store)
	h.Follow(h.guest("run1"))
	h.print(t, "old\n")
	h.Round(t.Context())
	if err := os.Rename(h.Path("web1"), h.Path("web1")+".1"); err != nil {
		t.Fatal(err)
	}
	h.print(t, "longer than before\n")
	h.Round(t.Context())
	want(t, "replaced", store.text(web1), "old\nlonger than before\n")
}

func TestAFileTruncatedBetweenTwoLooksAtItMayGrowPastTheOldEnd(t *testing.T) {
	store := newMemStore()
	h := newHost(t.TempDir(), "hv1", store)
	h.Follow(h.guest("run1"))
	h.print(t, "old\n")
	h.Round(t.Context())
	if err := os.Truncate(h.Path("web1"), 0); err != nil {
		t.Fatal(err)
	}
	h.Round(t.Context())
	h.print(t, "longer than before\n")
	h.Round(t.Context())
	want(t, "grown again", store.text(web1), "old\nlonger than before\n")
}

func TestAPowerCutThatTookTheEndOfTheFileDoublesNothing(t *testing.T) {
	store := newMemStore()
	h := newHost(t.TempDir(), "hv1", store)
	g := h.guest("run1")
	h.Follow(g)
	h.print(t, "one\ntwo\nthree\n")
	h.Round(t.Context())
	if err := os.Truncate(h.Path("web1"), int64(len("one\ntwo\n"))); err != nil {
		t.Fatal(err)
	}
	h.o.BootID = "hv1-2"
	h.restart()
	h.Follow(g)
	finish(t, h)
	if err := h.Mark(t.Context(), web1, "--- the power was cut ---"); err != nil {
		t.Fatal(err)
	}
	h.Follow(h.guest("run2"))
	h.print(t, "booting\n")
	h.Round(t.Context())
	want(t, "after the power cut", store.text(web1), "one\ntwo\nthree\n--- the power was cut ---\nbooting\n")
}

func TestAMarkStandsBetweenWhatCameBeforeAndAfter(t *testing.T) {
	store := newMemStore()
	h := newHost(t.TempDir(), "hv1", store)
	h.Follow(h.guest("run1"))
	h.print(t, "login: ")
	h.Round(t.Context())
	if err := h.Mark(t.Context(), web1, "--- mark ---"); err != nil {
		t.Fatal(err)
	}
	h.print(t, "root\n")
	h.Round(t.Context())
	want(t, "of a followed VM", store.text(web1), "login: \n--- mark ---\nroot\n")
	if err := h.Mark(t.Context(), "another", "alone"); err != nil {
		t.Fatal(err)
	}
	want(t, "of another VM", store.text("another"), "alone\n")
}

func TestABurstIsSkippedUpToItsEndAndSaysSo(t *testing.T) {
	store := newMemStore()
	h := newHost(t.TempDir(), "hv1", store, func(o *console.Options) { o.MaxBytes = 1024 })
	h.Follow(h.guest("run1"))
	h.print(t, "before\n")
	h.Round(t.Context())
	if err := os.Truncate(h.Path("web1"), 1<<30); err != nil { // a hole: as long and costs nothing
		t.Fatal(err)
	}
	h.print(t, strings.Repeat("0123456789abcde\n", 100))
	h.Round(t.Context())
	got := store.text(web1)
	// 7 + 1073741817 + 1600 bytes in all, the first 7 read and the last 1024 kept.
	notice := fmt.Sprintf("--- %d bytes of console output were skipped ---\n", 1<<30+1600-7-1024)
	if !strings.Contains(got, notice) || !strings.HasSuffix(got, "abcde\n0123456789abcde\n") || len(got) > 1024 {
		t.Errorf("%d bytes: %q, want %q in it", len(got), clip(got), notice)
	}
	h.print(t, "after\n")
	h.Round(t.Context())
	if got := store.text(web1); !strings.HasSuffix(got, "0123456789abcde\nafter\n") {
		t.Errorf("the log ends %q", clip(got))
	}
}

func TestASkippedPartDoesNotTearACharacter(t *testing.T) {
	store := newMemStore()
	h := newHost(t.TempDir(), "hv1", store, func(o *console.Options) { o.MaxBytes = 1024 })
	h.Follow(h.guest("run1"))
	h.print(t, strings.Repeat("日", 1000)+"\xe6\x97") // 1024 is not a multiple of 3
	h.Round(t.Context())
	h.print(t, "\xa5")
	h.Round(t.Context())
	_, tail, _ := strings.Cut(store.text(web1), "---\n")
	if strings.Trim(tail, "日") != "" || len(tail) < 900 {
		t.Errorf("the log is %q", clip(store.text(web1)))
	}
}

func TestALostAnswerDoublesNothing(t *testing.T) {
	store := newMemStore()
	h := newHost(t.TempDir(), "hv1", store)
	h.Follow(h.guest("run1"))
	store.lose = func(console.Saved) error { return errs.New(errs.Unknown, "connection lost") }
	h.print(t, "one\n")
	h.Round(t.Context())
	store.lose = nil
	h.print(t, "two\n")
	h.Round(t.Context())
	want(t, "after the lost answer", store.text(web1), "one\ntwo\n")
}

func TestAnOldOwnerDoesNotTouchANewerOwnersLog(t *testing.T) {
	for name, wrote := range map[string]bool{"one that has written": true, "one that has only looked": false} {
		store := newMemStore()
		old, owner := newHost(t.TempDir(), "hv1", store), newHost(t.TempDir(), "hv2", store)
		old.Follow(old.guest("run1"))
		text := ""
		if old.print(t, ""); wrote {
			old.print(t, "old\n")
			text = "old\n"
		}
		old.Round(t.Context()) // and hangs here, while its guest is moved
		owner.Follow(owner.guest("run2"))
		owner.print(t, "new\n")
		owner.Round(t.Context())
		old.print(t, "stray\n")
		old.Round(t.Context())
		want(t, name, store.text(web1), text+"new\n")
		if old.Following(web1) {
			t.Errorf("%s: still followed", name)
		}
		if err := old.Finish(t.Context(), web1); err != nil {
			t.Errorf("%s: finish: %v", name, err)
		}
	}
}

func TestTheLastWordsOfTheRunBeforeAreKeptByTheNext(t *testing.T) {
	store := newMemStore()
	source, target := newHost(t.TempDir(), "hv1", store), newHost(t.TempDir(), "hv2", store)
	source.Follow(source.guest("run1"))
	source.print(t, "one\n")
	source.Round(t.Context())
	target.Follow(target.guest("run2"))
	target.print(t, "three\n")
	source.print(t, "two\n")
	store.before = func() { finish(t, source) } // between the target's load and its save
	target.Round(t.Context())
	want(t, "of both", store.text(web1), "one\ntwo\nthree\n")
}
