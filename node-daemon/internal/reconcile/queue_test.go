package reconcile

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func run(t *testing.T, q *Queue) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = q.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func TestOneKeyIsWorkedOnByOneAtATimeAndNeverForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var running, most, turns atomic.Int32
		q := New(func(context.Context, string) (time.Duration, error) {
			most.Store(max(most.Load(), running.Add(1)))
			turns.Add(1)
			time.Sleep(time.Second)
			running.Add(-1)
			return 0, nil
		}, Options{})
		run(t, q)
		q.Add("a")
		synctest.Wait()
		for range 10 {
			q.Add("a") // while the first turn runs: one more turn, not ten
		}
		time.Sleep(5 * time.Second)
		if most.Load() != 1 || turns.Load() != 2 {
			t.Errorf("%d at a time, %d turns; want 1 and 2", most.Load(), turns.Load())
		}
	})
}

func TestASlowKeyDelaysNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := make(chan time.Time, 1)
		q := New(func(ctx context.Context, key string) (time.Duration, error) {
			if key == "slow" {
				<-ctx.Done()
				return 0, nil
			}
			begun <- time.Now()
			return 0, nil
		}, Options{})
		run(t, q)
		now := time.Now()
		q.Add("slow", "quick")
		if at := <-begun; at != now {
			t.Errorf("the other key began after %v", at.Sub(now))
		}
	})
}

func TestFailuresBackOffAndAnAddGoesAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Duration
		begin := time.Now()
		q := New(func(context.Context, string) (time.Duration, error) {
			at = append(at, time.Since(begin))
			return 0, errors.New("no")
		}, Options{MinBackoff: time.Second, MaxBackoff: 4 * time.Second})
		run(t, q)
		q.Add("a")
		time.Sleep(12500 * time.Millisecond)
		q.Add("a")
		synctest.Wait()
		want := []time.Duration{0, 1 * time.Second, 3 * time.Second, 7 * time.Second, 11 * time.Second, 12500 * time.Millisecond}
		if len(at) != len(want) {
			t.Fatalf("turns at %v, want %v", at, want)
		}
		for i := range want {
			if at[i] != want[i] {
				t.Fatalf("turns at %v, want %v", at, want)
			}
		}
	})
}

func TestAgainLooksAgainWithoutBeingTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var turns atomic.Int32
		q := New(func(context.Context, string) (time.Duration, error) {
			if turns.Add(1) < 3 {
				return time.Minute, nil
			}
			return 0, nil
		}, Options{})
		q.Add("a") // before Run
		run(t, q)
		time.Sleep(time.Hour)
		if turns.Load() != 3 {
			t.Errorf("%d turns, want 3", turns.Load())
		}
	})
}
