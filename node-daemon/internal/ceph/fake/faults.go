package fake

import (
	"sync"
)

// Method names a call of ceph.Calls.
type Method string

// The methods that can be made to fail.
const (
	Clients        Method = "clients"
	Status         Method = "status"
	DF             Method = "df"
	Flags          Method = "flags"
	SetFlag        Method = "set flag"
	Fence          Method = "fence"
	RemoveFence    Method = "remove fence"
	OSDs           Method = "list OSDs"
	SetOSDIn       Method = "mark OSD"
	NewOSD         Method = "new OSD"
	CrushAdd       Method = "place OSD"
	SafeToDestroy  Method = "ask whether safe to destroy OSD"
	PurgeOSD       Method = "purge OSD"
	Pools          Method = "list pools"
	CreatePool     Method = "create pool"
	InitPool       Method = "initialise pool"
	RemovePool     Method = "remove pool"
	Images         Method = "list images of pool"
	Survey         Method = "survey pool"
	Image          Method = "image"
	ImageByID      Method = "image with id"
	Trash          Method = "list trash of pool"
	Watchers       Method = "watchers of image"
	CreateImage    Method = "create image"
	ResizeImage    Method = "resize image"
	RenameImage    Method = "rename image"
	RemoveImage    Method = "remove image"
	Snapshots      Method = "list snapshots of image"
	CreateSnapshot Method = "create snapshot"
	RemoveSnapshot Method = "remove snapshot"
)

// faults is what a test wants to go wrong for one client. The zero value is a client
// without any.
type faults struct {
	mu    sync.Mutex
	count map[Method]int
	fail  map[Method]error
	lose  map[Method]error
	hooks map[Method]func(object string)
	hung  map[Method]*hang
	sent  map[Method]func(object string)
}

// hang is a method that does not answer.
type hang struct {
	released chan struct{}
	pending  []func() // what was sent by callers that wait no longer
}

// Fail makes every call of m fail with err before it does anything, until Fail(m, nil).
// Use ceph.Refused for what Ceph says.
func (f *faults) Fail(m Method, err error) { set(f, &f.fail, m, err) }

// LoseAnswer makes every call of m do its work and then fail with err, until
// LoseAnswer(m, nil).
func (f *faults) LoseAnswer(m Method, err error) { set(f, &f.lose, m, err) }

// Before has fn called at the beginning of every call of m with the name or id of what it
// is about, without locks held.
func (f *faults) Before(m Method, fn func(object string)) { set(f, &f.hooks, m, fn) }

// BeforeSending has fn called between the looks of a command for a monitor (CreatePool,
// RemovePool, SetFlag, SetOSDIn, PurgeOSD) and the command itself, without locks held. Monitors carry that out whoever
// has sent it, and whatever has the name by then.
func (f *faults) BeforeSending(m Method, fn func(object string)) { set(f, &f.sent, m, fn) }

// sends returns what is to happen before a command is sent.
func (f *faults) sends(m Method) func(object string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.sent[m]
}

// Hang makes every call of m wait until Release. A change whose caller waits no longer
// is made at Release, as by a daemon that was stopped and goes on.
func (f *faults) Hang(m Method) { set(f, &f.hung, m, &hang{released: make(chan struct{})}) }

// Release ends Hang and makes the changes that were sent meanwhile.
func (f *faults) Release(m Method) {
	f.mu.Lock()
	h := f.hung[m]
	delete(f.hung, m)
	f.mu.Unlock()
	if h == nil {
		return
	}
	for _, fn := range h.pending {
		fn()
	}
	close(h.released)
}

// Calls returns how often m was called.
func (f *faults) Calls(m Method) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.count[m]
}

func set[K comparable, V any](f *faults, m *map[K]V, k K, v V) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[k] = v
}

// begin counts a call and returns what is to happen to it.
func (f *faults) begin(m Method, object string) (*hang, error) {
	f.mu.Lock()
	if f.count == nil {
		f.count = map[Method]int{}
	}
	f.count[m]++
	hook, h, err := f.hooks[m], f.hung[m], f.fail[m]
	f.mu.Unlock()
	if hook != nil {
		hook(object)
	}
	return h, err
}

func (f *faults) after(m Method) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lose[m]
}

// postpone keeps what a caller has sent who waits no longer. It reports false if the method
// goes on already.
func (f *faults) postpone(m Method, h *hang, fn func()) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hung[m] != h {
		return false
	}
	h.pending = append(h.pending, fn)
	return true
}
