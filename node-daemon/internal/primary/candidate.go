package primary

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

const (
	// pulse is the time between two looks at the lease, and between two Keeps.
	pulse = time.Second
	// resync is the longest time between two looks at ZooKeeper.
	resync = 15 * time.Second
	// requestTimeout bounds one look or one change.
	requestTimeout = 5 * time.Second
	// takeOverTimeout bounds the acquisition of all roles.
	takeOverTimeout = 60 * time.Second
)

// Options say what a candidate takes part for.
type Options struct {
	Coordinators []string // names of all, this node's included
	Roles        []Role   // acquired in this order, released in reverse
	Logger       *slog.Logger
}

// Candidate is a coordinator's part in the election, for one session.
type Candidate struct {
	session  Session
	roles    []Role
	log      *slog.Logger
	observer *observer

	active  atomic.Bool // the roles are held
	lastErr string      // of the last look, to log it once
}

// NewCandidate returns a candidate for the session. Nothing happens before Run.
func NewCandidate(s Session, o Options) *Candidate {
	return &Candidate{
		session: s, roles: o.Roles, log: o.Logger.With("node", s.Node()),
		observer: &observer{session: s, coordinators: o.Coordinators},
	}
}

// Primary reports whether this node holds the roles.
func (c *Candidate) Primary() bool { return c.active.Load() }

// Run takes part until ctx ends or the session is lost. When ctx ends first, the role
// is handed over at once. It returns nil.
func (c *Candidate) Run(ctx context.Context) error {
	c.observer.set = c.session.Hub().NewSet(c.session.Client())
	defer c.observer.set.Close()
	defer c.leave(ctx)
	next := time.Now() // look at ZooKeeper
	for {
		if !time.Now().Before(next) {
			next = time.Now().Add(resync)
			if again := c.step(ctx); again > 0 {
				next = time.Now().Add(again)
			}
		}
		c.keep(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-c.session.Lost():
			return nil
		case <-c.observer.set.Changed():
			next = time.Now()
		case <-time.After(c.pause(next)):
		}
	}
}

// pause is how long nothing has to be done: never beyond the end of a lease.
func (c *Candidate) pause(next time.Time) time.Duration {
	d := min(pulse, max(time.Until(next), 0))
	if c.Primary() {
		d = min(d, c.session.RoleLeft())
	}
	return d
}

// step looks and acts once; it returns after what time to look again although nothing
// has changed, 0 for the usual time.
func (c *Candidate) step(ctx context.Context) time.Duration {
	p, err := c.look(ctx)
	if err != nil {
		c.complain("the election cannot be observed", err)
		return pulse
	}
	action := Decide(p.Observation)
	switch action {
	case Contend:
		err = c.contend(ctx, p)
	case Hold:
		err = c.hold(ctx, p)
	case Reassert:
		err = c.commit(ctx, "reassert", c.reassertion(p))
	case Relinquish:
		err = c.relinquish(ctx, p)
	case Watch:
		err = c.drop(ctx, "another holds the role")
	}
	if err != nil {
		c.complain("a step of the election failed", err)
		return pulse
	}
	c.lastErr = ""
	if action == Hold && c.Primary() || action == Watch && p.Holder != "" {
		return 0
	}
	return pulse // what was done fires a watch; else a time has to pass
}

// look observes; a holder does not look for longer than its lease lasts.
func (c *Candidate) look(ctx context.Context) (picture, error) {
	limit := requestTimeout
	if c.Primary() {
		limit = min(limit, max(c.session.RoleLeft(), pulse/10))
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return c.observer.observe(ctx)
}

func (c *Candidate) contend(ctx context.Context, p picture) error {
	if err := c.drop(ctx, "the holder's znode was removed"); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	txn, err := c.contention(ctx, p)
	if err != nil {
		return err
	}
	_, err = c.session.Client().Commit(ctx, txn)
	if errs.Is(err, errs.Conflict) {
		return nil // somebody was faster, or the wish has changed: look again
	}
	if err == nil {
		c.log.Info("elected")
	}
	return err
}

// hold makes the roles follow the election.
func (c *Candidate) hold(ctx context.Context, p picture) error {
	if c.Primary() || c.session.RoleLeft() == 0 {
		return nil
	}
	ctx, cancel := c.whileLeased(ctx)
	defer cancel()
	if err := c.setRouterState(ctx, model.RouterTakeover); err != nil {
		return err
	}
	if err := acquireAll(ctx, c.roles, c.session.RoleLeft); err != nil {
		if len(p.Others) > 0 {
			c.log.Error("the role cannot be taken, another coordinator has to", "err", err)
			return c.depart(ctx, p)
		}
		return err
	}
	c.active.Store(true)
	c.log.Info("primary")
	return c.setRouterState(ctx, model.RouterPrimary)
}

// whileLeased returns a context that ends when the lease cannot be relied on any
// more or the time for a take-over is up.
func (c *Candidate) whileLeased(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, takeOverTimeout)
	var check *time.Timer
	check = time.AfterFunc(time.Hour, func() {
		if left := c.session.RoleLeft(); left > 0 {
			check.Reset(left)
			return
		}
		cancel()
	})
	check.Reset(c.session.RoleLeft())
	return ctx, func() { check.Stop(); cancel() }
}

// keep prolongs the roles, or gives them up when the lease has run out.
func (c *Candidate) keep(ctx context.Context) {
	if !c.Primary() {
		return
	}
	left := c.session.RoleLeft()
	if left == 0 {
		if err := c.drop(ctx, "the lease has run out"); err != nil {
			c.complain("a role is not given up", err)
		}
		return
	}
	ctx, cancel := context.WithTimeout(ctx, left)
	defer cancel()
	for _, r := range c.roles {
		if err := r.Keep(ctx, c.session.RoleLeft()); err != nil && ctx.Err() == nil {
			c.log.Warn("a role could not be prolonged", "role", r.Name(), "err", err)
		}
	}
}

// drop gives the roles up at once, without a word to ZooKeeper. After an error the
// candidate still counts as primary and tries again.
func (c *Candidate) drop(ctx context.Context, why string) error {
	if !c.Primary() {
		return nil
	}
	if err := releaseAll(ctx, c.roles); err != nil {
		return err
	}
	c.active.Store(false)
	c.log.Warn("no longer primary", "reason", why)
	return nil
}

// relinquish hands over: first the roles, then the election.
func (c *Candidate) relinquish(ctx context.Context, p picture) error {
	c.log.Info("handing the primary role over", "wish", p.Wish)
	rctx, cancel := context.WithTimeout(ctx, requestTimeout)
	err := c.setRouterState(rctx, model.RouterRelinquish)
	cancel()
	if err != nil {
		return err
	}
	if err := c.drop(ctx, "handed over"); err != nil {
		return err
	}
	return c.depart(ctx, p)
}

// depart removes the holder after the roles were given up.
func (c *Candidate) depart(ctx context.Context, p picture) error {
	c.observer.stoodDown = time.Now()
	return c.commit(ctx, "depart", c.departure(p))
}

// leave ends the part in the election: at once and cleanly while there is a session.
func (c *Candidate) leave(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	defer func() {
		if err := c.drop(ctx, "the daemon or its session ends"); err != nil {
			c.log.Error("a role is not given up", "err", err)
		}
	}()
	select {
	case <-c.session.Lost():
		return
	default:
	}
	p, err := c.look(ctx)
	for attempt := 0; err == nil && p.Mine && attempt < 3; attempt++ {
		if err = c.relinquish(ctx, p); err == nil {
			return
		}
		p, err = c.look(ctx) // the wish may have changed meanwhile
	}
	if err != nil {
		c.log.Warn("the role could not be handed over, it ends with the session", "err", err)
	}
}

func (c *Candidate) commit(ctx context.Context, what string, txn coord.Txn) error {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	_, err := c.session.Client().Commit(ctx, txn)
	if err != nil {
		return errs.New(errs.KindOf(err), "%s: %w", what, err)
	}
	return nil
}

func (c *Candidate) complain(what string, err error) {
	if text := err.Error(); text != c.lastErr {
		c.log.Warn(what, "err", err)
		c.lastErr = text
	}
}
