package lease

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord/ensemble"
)

func TestLeaseCountsFromTheSendingAndNeverShrinks(t *testing.T) {
	now := Moment(100 * time.Second)
	l := New(10*time.Second, 2*time.Second)
	l.now = func() Moment { return now }
	check := func(what string, want time.Duration) {
		t.Helper()
		if got := l.Left(); got != want {
			t.Errorf("%s: %v left, want %v", what, got, want)
		}
	}
	check("new", 0)
	sent := now
	now += Moment(3 * time.Second) // the answer took three seconds
	l.Answered(sent)
	check("late answer", 5*time.Second)
	l.Answered(sent - Moment(time.Second))
	check("older answer", 5*time.Second)
	now += Moment(5 * time.Second)
	check("over", 0)
}

func TestLeaseShorterThanItsMarginIsNeverValid(t *testing.T) {
	l := New(time.Second, 2*time.Second)
	l.Answered(Now())
	if l.Left() != 0 {
		t.Errorf("%v left of a lease without length", l.Left())
	}
}

func TestKeeperKeepsAskingAtItsPaceAndTouchesBetween(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second+time.Millisecond)
		defer cancel()
		var requests, touches int
		k := Keeper{
			Proven: New(10*time.Second, 2*time.Second),
			Every:  3 * time.Second, Request: func(context.Context) error { requests++; return nil },
			TouchEvery: time.Second, Touch: func(context.Context) { touches++ },
		}
		if err := k.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if requests != 11 || touches != 20 {
			t.Errorf("%d requests and %d touches in 30 s, want 11 and 20", requests, touches)
		}
	})
}

func TestARequestThatHangsIsGivenUpAndRepeated(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 9*time.Second)
		defer cancel()
		var requests int
		k := Keeper{
			Proven: New(10*time.Second, 2*time.Second), Every: 3 * time.Second,
			Request: func(ctx context.Context) error { requests++; <-ctx.Done(); return ctx.Err() },
		}
		if err := k.Run(ctx); err != nil {
			t.Fatal(err)
		}
		if requests != 5 { // 1.5 s each and 0.5 s until the next
			t.Errorf("%d requests in 9 s, want 5", requests)
		}
	})
}

func TestAnOutageRenewsWhatIsHeldButProvesNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refused := l.Addr().String()
	l.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var verdict atomic.Int32
	k := Keeper{
		Proven: New(10*time.Second, 2*time.Second), Held: New(10*time.Second, 2*time.Second),
		Every:   time.Second,
		Request: func(context.Context) error { return errors.New("no connection") },
		Servers: []string{refused},
		Failed:  func(_ error, v ensemble.Verdict) { verdict.Store(int32(v)); cancel() },
	}
	if err := k.Run(ctx); err != nil {
		t.Fatal(err)
	}
	if v := ensemble.Verdict(verdict.Load()); v != ensemble.Outage {
		t.Errorf("verdict %v, want outage", v)
	}
	if k.Held.Left() == 0 || k.Proven.Left() != 0 {
		t.Errorf("held %v, proven %v: want the first renewed and the second not", k.Held.Left(), k.Proven.Left())
	}
}
