package netctl

import (
	"context"
	"errors"
	"time"
)

// Role is the controller's part as primary.
type Role struct{ c *Controller }

// Role returns it.
func (c *Controller) Role() *Role { return &Role{c} }

// Name is for logs.
func (r *Role) Name() string { return "networks" }

// Acquire takes everything over: the rules first, so that nothing passes without them;
// then the addresses. What else belongs to it follows with the next pass: a name that
// is not answered yet is asked again, a lost ping is lost.
func (r *Role) Acquire(ctx context.Context, until time.Duration) error {
	c := r.c
	// A daemon that was just started must not take the rules of the one before it away.
	if err := c.complete(ctx); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	l := c.look()
	c.report("addresses", c.o.Addresses.Want(c.places(l)))
	c.reportEach("firewall", l.networks, c.o.Firewall.Apply(ctx, true, managed(l.networks)))
	if err := c.o.Addresses.Acquire(ctx, until); err != nil {
		return errors.Join(err, c.o.Addresses.Release(ctx))
	}
	c.held = true
	c.poke()
	return nil
}

// Keep prolongs the addresses.
func (r *Role) Keep(ctx context.Context, until time.Duration) error {
	return r.c.o.Addresses.Keep(ctx, until)
}

// recordLimit is how long leases that are not recorded yet may delay the release.
const recordLimit = 2 * time.Second

// Release gives everything up: first the service that must not be given twice, then the
// addresses, then the rules.
func (r *Role) Release(ctx context.Context) error {
	c := r.c
	c.mu.Lock()
	defer c.mu.Unlock()
	c.held = false
	// The servers end at once; what is not recorded of their leases by then never is.
	stop, cancel := context.WithTimeout(ctx, recordLimit)
	defer cancel()
	if err := c.o.DHCP.Stop(stop); err != nil {
		c.o.Logger.Warn("DHCP is stopped, but not everything is recorded", "err", err)
	}
	err := c.o.Addresses.Release(ctx)
	if lerr := c.o.DNS.Listen(nil); lerr != nil {
		c.o.Logger.Warn("a socket of the name server is not closed", "err", lerr)
	}
	if err != nil {
		return err
	}
	c.reportEach("firewall", nil, c.o.Firewall.Apply(ctx, false, nil))
	return nil
}
