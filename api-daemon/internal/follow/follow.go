package follow

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/ensemble"
	"github.com/parallelvirtualcluster/pvc/common/coord/lease"
	"github.com/parallelvirtualcluster/pvc/common/coord/watch"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

const (
	// requestTimeout bounds one request to ZooKeeper.
	requestTimeout = 2 * time.Second
	// dialTimeout bounds one attempt to open the session.
	dialTimeout = 10 * time.Second
	// retryPace is the time between two attempts of anything that failed.
	retryPace = time.Second
	// resync is the longest time between two looks at the holder.
	resync = 10 * time.Second
)

// Options say whom to follow and what to open. All but Margin and Logger are needed.
type Options struct {
	Node   string
	Dial   coord.Dialer
	Coord  coord.Options // OnEvent is ours
	Margin time.Duration // of the lease; 0 is half the session timeout, at most 2 s

	// Ready returns when requests can be answered from a picture that is complete and
	// not older than the call.
	Ready func(ctx context.Context) error
	// Open opens the listener.
	Open func() (net.Listener, error)
	// Serve answers requests until ctx ends, then lets those under way finish within a
	// few seconds. The listener may be closed before that.
	Serve  func(ctx context.Context, l net.Listener) error
	Logger *slog.Logger
}

// Run follows the primary until ctx ends and returns nil, or an error that trying
// again cannot mend.
func Run(ctx context.Context, o Options) error {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	for ctx.Err() == nil {
		hub := new(watch.Hub)
		client, err := dial(ctx, o, hub)
		switch {
		case err == nil:
			session(ctx, o, client, hub)
			continue
		case errs.Is(err, errs.Invalid):
			return fmt.Errorf("open the session of the API's listener: %w", err)
		case ctx.Err() == nil:
			o.Logger.Warn("no session for the API's listener yet", "err", err)
		}
		pause(ctx, retryPace)
	}
	return nil
}

func dial(ctx context.Context, o Options, hub *watch.Hub) (coord.Client, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	options := o.Coord
	options.OnEvent = hub.OnEvent
	return o.Dial(ctx, options)
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// session follows for as long as the client's session lives.
func session(ctx context.Context, o Options, client coord.Client, hub *watch.Hub) {
	defer client.Close()
	ctx, cancel := context.WithCancel(ctx)
	margin := o.Margin
	if margin == 0 {
		margin = min(client.Timeout()/2, 2*time.Second)
	}
	f := &follower{o: o, client: client, set: hub.NewSet(client), lease: lease.New(client.Timeout(), margin)}
	defer f.set.Close()
	var keeping sync.WaitGroup
	keeping.Go(func() { _ = f.keeper().Run(ctx) }) // returns nil
	defer keeping.Wait()
	defer cancel()
	f.run(ctx)
}

// follower is the following of one session.
type follower struct {
	o       Options
	client  coord.Client
	set     *watch.Set
	lease   *lease.Lease
	serving *serving // nil while there is no attempt to serve
	retry   time.Time
	lastErr string // of the last attempt, to log it once
}

// keeper renews the lease by a Sync, which goes through the leader and writes nothing;
// see package lease.
func (f *follower) keeper() *lease.Keeper {
	every := f.client.Timeout() / 5
	return &lease.Keeper{
		Held:    f.lease,
		Every:   every,
		Request: func(ctx context.Context) error { return f.client.Sync(ctx, schema.Primary) },
		Servers: f.o.Coord.Servers,
		Failed: func(err error, v ensemble.Verdict) {
			f.o.Logger.Debug("the session of the API's listener is not confirmed", "ensemble", v.String(), "err", err)
		},
	}
}

// run opens and closes until the session is lost or ctx ends; it returns when the
// listener is closed.
func (f *follower) run(ctx context.Context) {
	defer f.stop("the session or the daemon ends")
	named := false
	next := time.Now()
	for {
		if !time.Now().Before(next) {
			next = time.Now().Add(resync)
			now, err := f.look(ctx)
			if err == nil {
				named = now
			} else {
				next = time.Now().Add(retryPace)
			}
		}
		f.follow(ctx, named)
		select {
		case <-ctx.Done():
			return
		case <-f.client.Lost():
			return
		case <-f.set.Changed():
			next = time.Now()
		case <-f.ended():
			f.finish()
		case <-time.After(f.idle(next)):
		}
	}
}

// look reports whether the holder is this node, and leaves watches on what matters.
func (f *follower) look(ctx context.Context) (named bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, min(requestTimeout, max(f.lease.Left(), retryPace/10)))
	defer cancel()
	if _, _, err = f.set.Exists(ctx, schema.PrimaryListener); err != nil {
		return false, err
	}
	holder, _, there, err := f.set.Value(ctx, schema.PrimaryHolder)
	return there && string(holder) == f.o.Node, err
}

// follow starts or stops serving.
func (f *follower) follow(ctx context.Context, named bool) {
	leased := f.lease.Left() > 0
	switch {
	case f.serving == nil && named && leased && !time.Now().Before(f.retry):
		f.serving = f.start(ctx)
	case f.serving != nil && !named:
		f.serving.stop("the primary is elsewhere")
	case f.serving != nil && !leased:
		f.serving.stop("this host is cut off from ZooKeeper")
	}
}

// idle is how long nothing has to be done.
func (f *follower) idle(next time.Time) time.Duration {
	d := max(time.Until(next), 0)
	if f.serving != nil {
		return min(d, max(f.lease.Left(), retryPace/10))
	}
	return min(d, retryPace)
}

func (f *follower) ended() <-chan struct{} {
	if f.serving == nil {
		return nil
	}
	return f.serving.done
}

// finish takes note of an attempt that has ended.
func (f *follower) finish() {
	if err := f.serving.err; err == nil {
		f.lastErr = ""
	} else if err.Error() != f.lastErr {
		f.o.Logger.Warn("the API's listener is not open", "err", err)
		f.lastErr = err.Error()
	}
	f.serving, f.retry = nil, time.Now().Add(retryPace)
}

// stop ends serving and waits for it.
func (f *follower) stop(why string) {
	if f.serving == nil {
		return
	}
	f.serving.stop(why)
	<-f.serving.done
	f.finish()
}

// errHeld says that another API has not closed its listener yet.
var errHeld = errs.Unavailablef("another API still has its listener open")

// claim takes the listener's znode, provided that the holder is this node at that
// very moment: every election sets schema.Primary, so its version tells a holder
// from the next one of the same name.
func (f *follower) claim(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, wish, err := f.client.Get(ctx, schema.Primary)
	if err != nil {
		return err
	}
	holder, _, err := f.client.Get(ctx, schema.PrimaryHolder)
	if err != nil {
		return err
	}
	if string(holder) != f.o.Node {
		return errs.Unavailablef("the primary is %s", holder)
	}
	txn := new(coord.Txn).Check(schema.Primary, wish.Version).Check(schema.PrimaryHolder, coord.AnyVersion)
	st, there, err := f.client.Exists(ctx, schema.PrimaryListener)
	if err != nil {
		return err
	}
	if there && st.Owner != f.client.SessionID() {
		return errHeld
	}
	if there {
		txn.Delete(schema.PrimaryListener, coord.AnyVersion) // left by an attempt whose end was not heard of
	}
	txn.CreateEphemeral(schema.PrimaryListener, []byte(f.o.Node))
	_, err = f.client.Commit(ctx, *txn)
	return err
}

// unclaim gives the listener's znode back if this session has it.
func (f *follower) unclaim(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), requestTimeout)
	defer cancel()
	st, there, err := f.client.Exists(ctx, schema.PrimaryListener)
	if err != nil || !there || st.Owner != f.client.SessionID() {
		return err
	}
	_, err = f.client.Commit(ctx, *new(coord.Txn).Delete(schema.PrimaryListener, coord.AnyVersion))
	if errors.Is(err, coord.ErrNoNode) {
		return nil
	}
	return err
}
