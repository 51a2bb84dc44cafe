package lease

import (
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// Moment is a point of the boot-time clock (CLOCK_BOOTTIME): it never jumps and,
// unlike the monotonic clock of package time, goes on while the machine is suspended.
type Moment time.Duration

// Now reads the clock.
func Now() Moment {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic("CLOCK_BOOTTIME: " + err.Error()) // every kernel since 2.6.39 has it
	}
	return Moment(ts.Nano())
}

// Lease is a time until which the session lives for certain. Safe for concurrent use.
type Lease struct {
	valid time.Duration
	now   func() Moment

	mu    sync.Mutex
	until Moment
}

// New returns a lease that has run out. It is valid for timeout − margin from the
// sending of an answered request.
func New(timeout, margin time.Duration) *Lease {
	return &Lease{valid: max(timeout-margin, 0), now: Now}
}

// Answered renews the lease for a request that was answered. sent was read from
// [Now] before the request was made.
func (l *Lease) Answered(sent Moment) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = max(l.until, sent+Moment(l.valid))
}

// Left is what remains of the lease, 0 if it has run out.
func (l *Lease) Left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(time.Duration(l.until-l.now()), 0)
}

// Valid is how long a renewed lease is.
func (l *Lease) Valid() time.Duration { return l.valid }
