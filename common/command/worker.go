package command

import (
	"context"
	"encoding/json"
	"log/slog"
	"maps"
	"sync"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// Session is a daemon's registration: claims hang on it, and what it commits is bound
// to it. That of package liveness is one.
type Session interface {
	Client() coord.Client
	// Check makes a transaction fail unless this very registration is in force.
	Check(t *coord.Txn)
	Node() string
	Instance() string
	// Lost is closed when the registration has ended.
	Lost() <-chan struct{}
}

// The steps at which [Worker.Step] is called, for each command.
const (
	StepBeforeClaim  = "command-before-claim"
	StepClaimed      = "command-claimed"       // nothing was done to Ceph yet
	StepExecuted     = "command-executed"      // Execute has returned
	StepBeforeResult = "command-before-result" // the transaction is about to be sent
	StepFinished     = "command-finished"      // it is committed
)

// Worker executes the commands that are this host's to execute. Set the fields before
// Run; those after Execute may be left out.
type Worker struct {
	Session Session
	// View holds the commands and nodes: view.StorageHost or more. One of a single
	// connection saves requests.
	View *view.View
	// Client returns the address of the Ceph connection that Execute will use, as a
	// blocklist takes it. What fails here is the answer to a command that nobody has begun.
	Client func(ctx context.Context) (string, error)
	// Fence returns when the client can change nothing in Ceph any more. It may be a
	// client of this very host, of an earlier registration or of an attempt whose outcome
	// is unknown: then the connection has to be replaced, and Client gives the new one.
	Fence func(ctx context.Context, client string) error
	// Quiet, if set, returns nil when nothing that this process has begun as that client is
	// under way any more, nor can begin. What lost executors of this process have reserved is
	// free then; otherwise it is when the process has ended.
	Quiet func(ctx context.Context, client string) error
	// Execute does what a command says. It acts only through the connection of
	// Attempt.Client, and does not replace that by itself: an attempt that was fenced has
	// to fail. It looks first, and changes something only after Attempt.Begin or Remember:
	// until then nobody has the command, and two hosts may look at the same time. Attempts after the
	// first look at what the earlier ones may have done. errs.Unknown says that something may still be under way: nothing is
	// recorded then, and a further attempt follows once the client is fenced. Every other error is
	// the command's result. When ctx ends it returns soon; the command is then taken over.
	Execute func(ctx context.Context, c *Command, a Attempt) (Outcome, error)

	// Parallel bounds the commands under way; 0 is 8.
	Parallel int
	// Long tells commands that take long; ParallelLong (0 is 2) of them may be under way,
	// beside the others.
	Long         func(*Command) bool
	ParallelLong int
	// KeysOf says what a command works on, see [Args]; nil asks its arguments.
	KeysOf func(*Command) []string
	// Grace is how long commands may go on when Run is asked to end; 0 is 5 s.
	Grace time.Duration
	// Step, for fault tests, is called at each step.
	Step   func(step string)
	Logger *slog.Logger

	short, long chan struct{} // slots
	wake        chan struct{}
	running     sync.WaitGroup

	mu     sync.Mutex
	active map[string]bool     // nonces of commands under way here, or put off; By of executors to be released
	keys   map[string][]string // by nonce
	failed map[string]int      // attempts in a row that came to nothing, by nonce
}

// Attempt is one execution of a command. Its functions may be called concurrently until
// Execute returns.
type Attempt struct {
	// Number is 1 for the first. A larger one says that an earlier executor, which can
	// change nothing any more, may have done all, a part, or nothing.
	Number int
	// Client is the Ceph client that the claim names.
	Client string
	// Note is what an earlier attempt has remembered, nil if nothing.
	Note json.RawMessage
	// Begin claims the command for this host, if that has not happened yet. When it fails
	// nothing may be changed, and what Execute returns does not count.
	Begin func(ctx context.Context) error
	// Remember is Begin, and keeps a value, as JSON, for later attempts: if the command is
	// claimed the value is there. It fails when the claim is gone.
	Remember func(ctx context.Context, v any) error
	// Progress tells how far it is; total 0 is unknown. It does not block.
	Progress func(current, total int64, status string)
	// Commit executes a transaction that fails if there is no claim, for records too many
	// for [Outcome.Records]. errs.Unknown may have happened.
	Commit func(ctx context.Context, txn coord.Txn) error
}

// Outcome is what an attempt has to say and to record. It counts beside an error, too.
type Outcome struct {
	Message string
	Data    any // a JSON object for the client; nil if there is none
	// Records builds the changes of records; nil if there are none. They are committed
	// together with the result, or neither is. It is asked again with a newer snapshot if
	// somebody else has changed them meanwhile.
	Records func(s *view.Snapshot) (coord.Txn, error)
}

// The defaults of a worker.
const (
	defaultParallel     = 8
	defaultParallelLong = 2
	defaultGrace        = 5 * time.Second
)

func (w *Worker) prepare() {
	set := func(n *int, to int) {
		if *n == 0 {
			*n = to
		}
	}
	set(&w.Parallel, defaultParallel)
	set(&w.ParallelLong, defaultParallelLong)
	if w.Long == nil {
		w.Long = func(*Command) bool { return false }
	}
	if w.KeysOf == nil {
		w.KeysOf = keysOf
	}
	if w.Grace == 0 {
		w.Grace = defaultGrace
	}
	if w.Step == nil {
		w.Step = func(string) {}
	}
	if w.Logger == nil {
		w.Logger = slog.New(slog.DiscardHandler)
	}
	w.short, w.long = make(chan struct{}, w.Parallel), make(chan struct{}, w.ParallelLong)
	w.wake = make(chan struct{}, 1)
	w.active, w.keys, w.failed = map[string]bool{}, map[string][]string{}, map[string]int{}
}

// keysOf asks the arguments. What cannot be read may work on anything.
func keysOf(c *Command) []string {
	args, err := ParseArgs(c)
	if err != nil {
		return []string{everything}
	}
	return args.Keys()
}

// Run works until ctx ends or the registration is lost, and returns when everything it
// has begun has returned. A worker runs once.
func (w *Worker) Run(ctx context.Context) error {
	w.prepare()
	work, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer w.drain(ctx, stop)
	for {
		changed := w.View.Changed()
		next := time.NewTimer(w.look(ctx, work))
		select {
		case <-changed:
		case <-w.wake:
		case <-next.C:
		case <-w.Session.Lost():
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// drain waits for the commands under way. When the daemon ends they have a little time to
// come to their end; without a registration they cannot.
func (w *Worker) drain(ctx context.Context, stop func()) {
	idle := make(chan struct{})
	go func() {
		defer close(idle)
		w.running.Wait()
	}()
	grace := time.NewTimer(w.Grace)
	defer grace.Stop()
	select {
	case <-idle:
	case <-grace.C:
	case <-w.Session.Lost():
	}
	stop()
	<-idle
}

// syncTimeout bounds the wait for a picture that is up to date.
const syncTimeout = 10 * time.Second

// relook is the time between looks without being told.
const relook = 10 * time.Second

// look begins what there is to begin. What the view shows of one command may be older than
// what it shows of another, so it is brought into line before: then nothing is unknown
// that is earlier than a command it shows. Claims exclude each other by themselves. It
// returns when to look again at the latest.
func (w *Worker) look(ctx, work context.Context) time.Duration {
	w.releaseOwn(work)
	if len(w.ready()) == 0 {
		return relook
	}
	settle, cancel := context.WithTimeout(ctx, syncTimeout)
	defer cancel()
	if err := w.View.Settle(settle, schema.Commands); err != nil {
		return firstPause // the next picture may be there before
	}
	for _, c := range w.ready() {
		w.begin(work, c)
	}
	return relook
}

// ready are the commands to begin now, as the view shows it.
func (w *Worker) ready() (out []*Command) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.View.Read(func(s *view.Snapshot) {
		all := s.Commands()
		w.forget(all)
		out = plan(w.Session.Node(), all, func(node string) bool { return alive(s, node) }, w.cachedKeys)
	})
	n := 0
	for _, c := range out {
		if !w.active[c.Nonce] && len(w.slots(c)) < cap(w.slots(c)) {
			out[n] = c
			n++
		}
	}
	return out[:n]
}

func (w *Worker) slots(c *Command) chan struct{} {
	if w.Long(c) {
		return w.long
	}
	return w.short
}

// cachedKeys: w.mu is held.
func (w *Worker) cachedKeys(c *Command) []string {
	keys, ok := w.keys[c.Nonce]
	if !ok {
		keys = w.KeysOf(c)
		w.keys[c.Nonce] = keys
	}
	return keys
}

// forget drops what is remembered of commands that are gone; w.mu is held.
func (w *Worker) forget(all []*Command) {
	const slack = 100
	if len(w.keys) <= 2*len(all)+slack {
		return
	}
	there := map[string]bool{}
	for _, c := range all {
		there[c.Nonce] = true
	}
	maps.DeleteFunc(w.keys, func(nonce string, _ []string) bool { return !there[nonce] })
	maps.DeleteFunc(w.failed, func(nonce string, _ int) bool { return !there[nonce] })
}

// begin starts an attempt if there is a slot for it.
func (w *Worker) begin(ctx context.Context, c *Command) {
	slots := w.slots(c)
	select {
	case slots <- struct{}{}:
	default:
		return
	}
	w.mu.Lock()
	w.active[c.Nonce] = true
	w.mu.Unlock()
	w.running.Go(func() {
		err := w.attempt(ctx, c)
		<-slots
		w.again() // whoever waits for the slot
		if err != nil && ctx.Err() == nil {
			w.putOff(ctx, c, err)
		}
		w.mu.Lock()
		delete(w.active, c.Nonce)
		w.mu.Unlock()
		w.again()
	})
}

func (w *Worker) again() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// The pauses between attempts that come to nothing grow.
const (
	firstPause = 250 * time.Millisecond
	lastPause  = 16 * time.Second
)

// putOff waits before the next attempt at a command.
func (w *Worker) putOff(ctx context.Context, c *Command, err error) {
	w.mu.Lock()
	n := w.failed[c.Nonce]
	w.failed[c.Nonce]++
	w.mu.Unlock()
	w.Logger.Warn("a command has to wait", "command", c.ID, "verb", c.Verb, "request", c.Request, "err", err)
	pause(ctx, min(firstPause<<min(n, 10), lastPause))
}

// pause waits for d or the end of ctx.
func pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
