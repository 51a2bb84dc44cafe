package service

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// journal records what happens, in order.
type journal struct {
	mu    sync.Mutex
	lines []string
}

func (j *journal) add(line string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.lines = append(j.lines, line)
}

func (j *journal) check(t *testing.T, want ...string) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if d := cmp.Diff(want, j.lines); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
}

// fake runs until its context ends or fail is closed, and takes its time to stop.
type fake struct {
	j     *journal
	name  string
	ready chan struct{}
	fail  chan error
	slow  time.Duration // from the end of the context to the return
	late  error         // returned when stopped
}

func newFake(j *journal, name string) *fake {
	return &fake{j: j, name: name, ready: make(chan struct{}), fail: make(chan error, 1)}
}

func (f *fake) Ready() <-chan struct{} { return f.ready }

func (f *fake) Run(ctx context.Context) error {
	select {
	case err := <-f.fail:
		return err
	case <-ctx.Done():
	}
	<-time.After(f.slow)
	f.j.add(f.name + " stopped")
	return f.late
}

func group(j *journal, fakes ...*fake) *Group {
	g := &Group{
		Log:     slog.New(slog.DiscardHandler),
		OnReady: func() { j.add("ready") },
		OnStop:  func() { j.add("stopping") },
	}
	for _, f := range fakes {
		g.Add(f.name, f)
	}
	return g
}

// start runs the group; the channel gives its error.
func start(ctx context.Context, g *Group) <-chan error {
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	return done
}

func TestServicesStopInReverseOrderOneAfterTheOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		a, b, c := newFake(j, "a"), newFake(j, "b"), newFake(j, "c")
		a.slow, b.slow, c.slow = time.Second, 2*time.Second, 3*time.Second
		b.late = context.Canceled
		ctx, cancel := context.WithCancel(t.Context())
		done := start(ctx, group(j, a, b, c))
		close(b.ready)
		close(a.ready)
		synctest.Wait()
		j.check(t)
		close(c.ready)
		synctest.Wait()
		j.check(t, "ready")
		began := time.Now()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		j.check(t, "ready", "stopping", "c stopped", "b stopped", "a stopped")
		if took := time.Since(began); took != 6*time.Second {
			t.Errorf("stopped within %v; 6 s were expected, one after the other", took)
		}
	})
}

func TestFirstFailureStopsAllAndIsReported(t *testing.T) {
	broken := errors.New("broken")
	for name, tt := range map[string]struct {
		fail error
		want string
	}{
		"error":       {broken, "service b: broken"},
		"early end":   {nil, "service b ended by itself"},
		"own context": {context.Canceled, "service b: context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &journal{}
				a, b, c := newFake(j, "a"), newFake(j, "b"), newFake(j, "c")
				a.late = errors.New("late")
				close(a.ready)
				done := start(t.Context(), group(j, a, b, c))
				synctest.Wait()
				b.fail <- tt.fail
				err := <-done
				if want := tt.want + "\nstop service a: late"; err == nil || err.Error() != want {
					t.Errorf("error %v, want %s", err, want)
				}
				if tt.fail != nil && !errors.Is(err, tt.fail) {
					t.Error("the cause is lost")
				}
				j.check(t, "stopping", "c stopped", "a stopped")
			})
		})
	}
}

func TestFailureAfterReadinessStopsAllToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		a := newFake(j, "a")
		close(a.ready)
		done := start(t.Context(), group(j, a))
		synctest.Wait()
		a.fail <- errors.New("broken")
		if err := <-done; err == nil || err.Error() != "service a: broken" {
			t.Error(err)
		}
		j.check(t, "ready", "stopping")
	})
}

func TestPanicBecomesAnErrorWithItsStack(t *testing.T) {
	j := &journal{}
	a := newFake(j, "a")
	g := group(j, a)
	g.Add("p", RunFunc(func(context.Context) error { panic("oops") }))
	err := g.Run(t.Context())
	var p *PanicError
	if !errors.As(err, &p) || p.Value != "oops" || !strings.Contains(err.Error(), "service p: panic: oops") ||
		!strings.Contains(err.Error(), "group_test.go") {
		t.Error(err)
	}
	j.check(t, "stopping", "a stopped")
}

func TestServiceThatDoesNotStopIsNamedAndLeftBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		a, b, c := newFake(j, "a"), newFake(j, "b"), newFake(j, "c")
		b.slow = time.Hour
		g := group(j, a, b, c)
		g.StopTimeout = 5 * time.Second
		ctx, cancel := context.WithCancel(t.Context())
		done := start(ctx, g)
		synctest.Wait()
		began := time.Now()
		cancel()
		err := <-done
		if took := time.Since(began); took != g.StopTimeout {
			t.Errorf("gave up after %v", took)
		}
		if want := "not stopped within 5s: b, a"; err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
		<-time.After(2 * time.Hour) // of the bubble's clock: b ends at last
		j.check(t, "stopping", "c stopped", "a stopped", "b stopped")
	})
}

func TestGroupWithoutServicesIsReadyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := &journal{}
		ctx, cancel := context.WithCancel(t.Context())
		done := start(ctx, group(j))
		synctest.Wait()
		j.check(t, "ready")
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
