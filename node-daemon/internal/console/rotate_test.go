package console_test

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/console"
)

const rotateAt = 64 << 10

// filesystems are directories on a file system that can shorten a file at its
// beginning and on one that can only make holes, as far as this machine has them.
func filesystems(t *testing.T) map[string]string {
	dirs := map[string]string{"temporary directory": t.TempDir()}
	if dir, err := os.MkdirTemp("/dev/shm", "console"); err == nil {
		t.Cleanup(func() { os.RemoveAll(dir) })
		dirs["tmpfs"] = dir
	} else {
		t.Logf("no tmpfs to test with: %v", err)
	}
	return dirs
}

func rotating(o *console.Options) { o.RotateBytes = rotateAt }

func onDisk(t *testing.T, path string) int64 {
	t.Helper()
	var s syscall.Stat_t
	if err := syscall.Stat(path, &s); err != nil {
		t.Fatal(err)
	}
	return s.Blocks * 512
}

func TestALargeFileIsCutWhileTheGuestPrints(t *testing.T) {
	for name, dir := range filesystems(t) {
		store := newMemStore()
		h := newHost(dir, "hv1", store, rotating)
		h.Follow(h.guest("run1"))
		qemu, err := os.OpenFile(h.Path("web1"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer qemu.Close()
		var all strings.Builder
		peak := int64(0)
		for i := range 600 {
			line := fmt.Sprintf("%06d %s\n", i, strings.Repeat("x", 1000))
			all.WriteString(line)
			if _, err := qemu.WriteString(line); err != nil {
				t.Fatal(err)
			}
			if i%5 == 0 {
				h.Round(t.Context())
			}
			peak = max(peak, onDisk(t, h.Path("web1")))
		}
		finish(t, h)
		want(t, name, store.text(web1), onePass([]byte(all.String()), 1000, 256<<10))
		if peak > rotateAt+32<<10 {
			t.Errorf("%s: the file took %d bytes on disk, %d are allowed", name, peak, rotateAt)
		}
		if at := store.logs[web1].At; at.Cut != 0 || at.Offset != h.Size("web1") {
			t.Errorf("%s: the position is %+v, the file %d bytes long", name, at, h.Size("web1"))
		}
	}
}

// A daemon that dies around a cut finds in the position whether the cut was done.
func TestADaemonKilledAroundACutReadsNothingTwice(t *testing.T) {
	for name, dir := range filesystems(t) {
		for _, done := range []bool{false, true} {
			store := newMemStore()
			h := newHost(dir, "hv1", store, rotating)
			if err := os.WriteFile(h.Path("web1"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			g := h.guest("run1")
			h.Follow(g)
			text := strings.Repeat("0123456789abcdef0123456789abcde\n", 3000)
			h.print(t, text)
			if !done {
				store.lose = func(console.Saved) error { return errs.New(errs.Unknown, "killed") }
			}
			h.Round(t.Context())
			store.lose = nil
			if store.logs[web1].At.Cut == 0 {
				t.Fatalf("%s: no cut was announced", name)
			}
			h.restart()
			h.Follow(g)
			h.Round(t.Context()) // settles what was done, or does it
			h.Round(t.Context())
			if at := store.logs[web1].At; at.Cut != 0 {
				t.Errorf("%s: the position still announces a cut: %+v", name, at)
			}
			h.print(t, "after\n")
			h.Round(t.Context())
			finish(t, h)
			want(t, fmt.Sprintf("%s, cut done: %v", name, done), store.text(web1), onePass([]byte(text+"after\n"), 1000, 256<<10))
		}
	}
}

func TestAFinishedLogAnnouncesNoCut(t *testing.T) {
	for name, dir := range filesystems(t) {
		store := newMemStore()
		h := newHost(dir, "hv1", store, rotating)
		h.Follow(h.guest("run1"))
		h.print(t, strings.Repeat("0123456789abcde\n", 10_000))
		finish(t, h)
		if at := store.logs[web1].At; at.Cut != 0 || at.Offset != h.Size("web1") {
			t.Errorf("%s: the position is %+v, the file %d bytes long", name, at, h.Size("web1"))
		}
		if n := onDisk(t, h.Path("web1")); n > 8<<10 {
			t.Errorf("%s: the file still takes %d bytes", name, n)
		}
	}
}

func TestWholeBlocksAreCutButNeverTheWholeFile(t *testing.T) {
	for offset, want := range map[int64]int64{0: 0, 1: 0, 4096: 0, 4097: 4096, 8192: 4096, 8193: 8192} {
		if got := console.Cuttable(offset); got != want {
			t.Errorf("of %d bytes %d can be cut, want %d", offset, got, want)
		}
	}
}
