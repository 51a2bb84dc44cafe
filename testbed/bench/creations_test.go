package bench

import (
	"sync"
	"testing"
	"time"
)

// creations notes when hypervisors were asked to create guests.
type creations struct {
	mu sync.Mutex
	at map[string][]time.Time // by UUID, in order
}

func newCreations() *creations { return &creations{at: map[string][]time.Time{}} }

func (c *creations) note(_, uuid string, at time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.at[uuid] = append(c.at[uuid], at)
}

// since returns the first creation that is not before t.
func (c *creations) since(uuid string, t time.Time) (time.Time, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, at := range c.at[uuid] {
		if !at.Before(t) {
			return at, true
		}
	}
	return time.Time{}, false
}

// started is one request to start a VM.
type started struct {
	uuid           string
	sent, accepted time.Time // before the request, after its answer
}

// startLatency is what passes until the hypervisor is asked to create the guest.
type startLatency struct {
	request  []time.Duration // the answer to the request
	accepted []time.Duration // from the answer until the creation; 0 if that came first
	whole    []time.Duration // from the request until the creation
}

func (l *startLatency) add(s started, created time.Time) {
	l.request = append(l.request, s.accepted.Sub(s.sent))
	l.accepted = append(l.accepted, max(created.Sub(s.accepted), 0))
	l.whole = append(l.whole, created.Sub(s.sent))
}

func (l *startLatency) figures(prefix string) map[string]float64 {
	return map[string]float64{
		prefix + "accept-p50-ms": millis(median(l.request)), prefix + "create-p50-ms": millis(median(l.accepted)),
		prefix + "create-p95-ms": millis(percentile(l.accepted, 0.95)), prefix + "sent-create-p95-ms": millis(percentile(l.whole, 0.95)),
	}
}

// latency waits for the creation of all that was started.
func (c *creations) latency(b *testing.B, starts []started) *startLatency {
	b.Helper()
	l := new(startLatency)
	for _, s := range starts {
		waitFor(b, "the creation of "+s.uuid, func() (string, bool) {
			_, ok := c.since(s.uuid, s.sent)
			return "none", ok
		})
		at, _ := c.since(s.uuid, s.sent)
		l.add(s, at)
	}
	return l
}

func TestACreationBelongsToTheRequestBeforeIt(t *testing.T) {
	c, t0 := newCreations(), time.Now()
	at := func(s int) time.Time { return t0.Add(time.Duration(s) * time.Second) }
	for _, s := range []int{1, 5} {
		c.note("n001", "u", at(s))
	}
	if got, ok := c.since("u", at(2)); !ok || !got.Equal(at(5)) {
		t.Errorf("after 2 s: %v %v, want 5 s", got.Sub(t0), ok)
	}
	if _, ok := c.since("u", at(6)); ok {
		t.Error("a request after the last creation has one")
	}
	var l startLatency
	l.add(started{"u", at(0), at(3)}, at(1))
	l.add(started{"u", at(0), at(3)}, at(5))
	if l.accepted[0] != 0 || l.accepted[1] != 2*time.Second || l.whole[0] != time.Second || l.request[0] != 3*time.Second {
		t.Errorf("latencies %+v", l)
	}
}
