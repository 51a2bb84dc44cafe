// Package reconcile is the keyed work queue of the node daemon: a notification says
// which key to look at, never what to do. A key is worked on by one goroutine at a
// time, different keys never wait for each other, and a key that fails is tried
// again with growing delays.
package reconcile

import (
	"context"
	"sync"
	"time"
)

// Func makes the world agree with what is wanted of a key. It returns when to look
// again without being told; 0 is never. An error means: again, after a back-off.
type Func func(ctx context.Context, key string) (again time.Duration, err error)

// Options of a queue.
type Options struct {
	MinBackoff, MaxBackoff time.Duration       // 0 is 100 ms and 30 s
	OnError                func(string, error) // told of each failure; may be nil
}

// Queue is the queue. Add may be called from anywhere, also before Run.
type Queue struct {
	fn Func
	o  Options

	mu    sync.Mutex
	keys  map[string]*item
	ctx   context.Context // set while Run runs
	group sync.WaitGroup
}

type item struct {
	running  bool
	again    bool // added while running
	failures int
	timer    *time.Timer
}

// New returns a queue that works with fn.
func New(fn Func, o Options) *Queue {
	if o.MinBackoff == 0 {
		o.MinBackoff = 100 * time.Millisecond
	}
	if o.MaxBackoff == 0 {
		o.MaxBackoff = 30 * time.Second
	}
	if o.OnError == nil {
		o.OnError = func(string, error) {}
	}
	return &Queue{fn: fn, o: o, keys: map[string]*item{}}
}

// Run works until ctx ends and everything under way has returned.
func (q *Queue) Run(ctx context.Context) error {
	q.mu.Lock()
	q.ctx = ctx
	for key, it := range q.keys {
		q.start(key, it)
	}
	q.mu.Unlock()
	<-ctx.Done()
	q.mu.Lock()
	q.ctx = nil
	for _, it := range q.keys {
		it.stopTimer()
	}
	q.mu.Unlock()
	q.group.Wait()
	return nil
}

// Add has a key looked at, at once.
func (q *Queue) Add(keys ...string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for _, key := range keys {
		it := q.keys[key]
		if it == nil {
			it = new(item)
			q.keys[key] = it
		}
		it.stopTimer()
		q.start(key, it)
	}
}

// start begins work on a key, or notes that it has to be done again; q.mu is held.
func (q *Queue) start(key string, it *item) {
	if it.running {
		it.again = true
		return
	}
	if q.ctx == nil {
		return // Run begins with it
	}
	it.running = true
	ctx := q.ctx
	q.group.Go(func() { q.work(ctx, key, it) })
}

func (q *Queue) work(ctx context.Context, key string, it *item) {
	for {
		again, err := q.fn(ctx, key)
		if err != nil && ctx.Err() == nil {
			q.o.OnError(key, err)
		}
		if !q.finish(ctx, key, it, again, err) {
			return
		}
	}
}

// finish ends a turn; true begins the next at once.
func (q *Queue) finish(ctx context.Context, key string, it *item, again time.Duration, err error) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if err != nil {
		again = q.backoff(it.failures)
		it.failures++
	} else {
		it.failures = 0
	}
	if it.again && ctx.Err() == nil {
		it.again = false
		return true
	}
	it.running, it.again = false, false
	switch {
	case ctx.Err() != nil:
	case again > 0:
		it.timer = time.AfterFunc(again, func() { q.due(key, it) })
	default:
		delete(q.keys, key)
	}
	return false
}

func (q *Queue) due(key string, it *item) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.keys[key] == it && it.timer != nil {
		it.timer = nil
		q.start(key, it)
	}
}

func (q *Queue) backoff(failures int) time.Duration {
	d := q.o.MinBackoff << min(failures, 20)
	return min(d, q.o.MaxBackoff)
}

func (it *item) stopTimer() {
	if it.timer != nil {
		it.timer.Stop()
		it.timer = nil
	}
}
