package console_test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/console"
)

const (
	scheduleLines  = 30
	scheduleBytes  = 600
	scheduleRotate = 8 << 10
)

// life is a guest that prints while daemons, hosts and records come and go.
type life struct {
	t       *rapid.T
	store   *memStore
	hosts   []*host
	at, run int
	printed []byte
	unread  int // upper bound of what no daemon has taken
}

func newLife(t *rapid.T, dirs []string) *life {
	l := &life{t: t, store: newMemStore()}
	for i, dir := range dirs {
		// What another run of the guest has left there once.
		if err := os.WriteFile(dir+"/web1.log", []byte(strings.Repeat("old output\n", i*3)), 0o600); err != nil {
			t.Fatal(err)
		}
		l.hosts = append(l.hosts, newHost(dir, fmt.Sprintf("hv%d", i), l.store, func(o *console.Options) {
			o.Lines, o.MaxBytes, o.RotateBytes = scheduleLines, scheduleBytes, scheduleRotate
		}))
	}
	l.host().Follow(l.guest())
	return l
}

func (l *life) host() *host { return l.hosts[l.at] }

func (l *life) guest() console.Guest { return l.host().guest(fmt.Sprintf("run%d", l.run)) }

func (l *life) print(text string) {
	if l.unread+len(text) > scheduleBytes {
		l.heal()
		l.host().Round(l.t.Context())
		l.unread = 0
	}
	l.host().print(l.t, text)
	l.printed = append(l.printed, text...)
	l.unread += len(text)
}

func (l *life) heal() { l.store.fail, l.store.lose = nil, nil }

// restart loses all that the daemon remembers. The claim still tells where the run began.
func (l *life) restart(begin int64) {
	g := l.guest()
	g.Begin = begin
	l.host().restart()
	l.host().Follow(g)
}

func (l *life) migrate() int64 {
	if err := l.host().Finish(l.t.Context(), web1); err != nil {
		return -1 // the records cannot be written: the claim stays where it is
	}
	l.at, l.run, l.unread = (l.at+1)%len(l.hosts), l.run+1, 0
	g := l.guest()
	l.host().Follow(g)
	return g.Begin
}

func TestAnyScheduleOfReadingYieldsWhatTheGuestPrinted(t *testing.T) {
	rotatable := []string{t.TempDir(), t.TempDir()}
	if dir, err := os.MkdirTemp("/dev/shm", "console"); err == nil { // a file system that cannot shorten files
		t.Cleanup(func() { os.RemoveAll(dir) })
		rotatable = append(rotatable, dir)
	}
	rapid.Check(t, func(t *rapid.T) {
		l := newLife(t, rotatable)
		begin := int64(0)
		t.Repeat(map[string]func(*rapid.T){
			"print": func(t *rapid.T) { l.print(output().Draw(t, "output")) },
			"chat": func(t *rapid.T) {
				for i := range 25 {
					l.print(fmt.Sprintf("%s%d\n", strings.Repeat("chat ", 80), i))
				}
			},
			"look": func(t *rapid.T) { l.host().Round(t.Context()) },
			"away": func(t *rapid.T) {
				l.store.fail = func(string, string) error { return errs.Unavailablef("no quorum") }
			},
			"answer lost": func(t *rapid.T) {
				l.store.lose = func(console.Saved) error { return errs.New(errs.Unknown, "connection lost") }
			},
			"heal":    func(t *rapid.T) { l.heal() },
			"restart": func(t *rapid.T) { l.restart(begin) },
			"migrate": func(t *rapid.T) {
				if b := l.migrate(); b >= 0 {
					begin = b
				}
			},
			"stranger": func(t *rapid.T) { // one who changes the log without changing it
				s := l.store.logs[web1]
				s.Rev.Text++
				s.Rev.At++
				l.store.logs[web1] = s
			},
		})
		l.heal()
		l.host().Follow(l.guest())
		if err := l.host().Finish(t.Context(), web1); err != nil {
			t.Fatal(err)
		}
		if got, want := l.store.text(web1), onePass(l.printed, scheduleLines, scheduleBytes); got != want {
			t.Fatalf("the log ends\n%q, want\n%q", clip(got), clip(want))
		}
	})
}
