package netctl

import (
	"context"
	"log/slog"
	"net/netip"
	"sync"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/address"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/dhcp"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/dns"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/link"
)

// repairEvery is the longest time between two passes: what somebody else has changed on
// the host without an event is put right by then.
const repairEvery = 5 * time.Second

// Options wire a controller. What only a primary needs may be nil on other hosts.
type Options struct {
	Node string
	View *view.View // of the networks and nodes; see view.HostNetworks and view.CoordinatorNetworks

	Links Links
	// Taps says which bridge the TAP device of each running guest belongs into; asked when
	// one is in none. May be nil.
	Taps      func(ctx context.Context) (map[string]string, error)
	Addresses *address.Set // gateways and floating addresses
	Floating  []address.Place
	Firewall  Firewall
	DHCP      DHCP
	DNS       DNS
	DNSPort   uint16
	Logger    *slog.Logger
}

// Links are the devices of the host; *link.Links does it.
type Links interface {
	Apply(ctx context.Context, d link.Desired) (link.Result, error)
	Subscribe(ctx context.Context) (<-chan struct{}, error)
	Orphans() ([]string, error)
	Attach(tap, bridge string) error
}

// Firewall holds the rules; *firewall.Firewall does it.
type Firewall interface {
	Apply(ctx context.Context, primary bool, networks []*model.Network) map[int]error
}

// DHCP gives out addresses; *dhcp.Servers does it.
type DHCP interface {
	Apply(ctx context.Context, networks []dhcp.Network) map[int]error
	Stop(ctx context.Context) error
}

// DNS answers names; *dns.Server does it.
type DNS interface {
	Update(zones []dns.Zone)
	Listen(addrs []netip.AddrPort) error
}

// Controller looks after the networks of a host.
type Controller struct {
	o    Options
	wake chan struct{}

	mu   sync.Mutex // held through a pass: the role changes between two
	held bool       // this host is the primary

	state  sync.Mutex
	told   map[string]string // what is wrong, by what; each is logged once
	passed chan struct{}     // closed at the end of the next pass
	broken map[int]error     // by VNI: why the bridge is not as it should be
}

// New returns a controller; Run works.
func New(o Options) *Controller {
	return &Controller{o: o, wake: make(chan struct{}, 1), told: map[string]string{}, passed: make(chan struct{})}
}

// Run makes passes until ctx ends; what it has made stays.
func (c *Controller) Run(ctx context.Context) error {
	if c.complete(ctx) != nil {
		return nil // ctx has ended before anything was known
	}
	var following sync.WaitGroup
	defer following.Wait()
	following.Go(func() { c.follow(ctx) })
	ticker := time.NewTicker(repairEvery)
	defer ticker.Stop()
	changes := c.subscribe(ctx)
	for {
		c.mu.Lock()
		c.pass(ctx)
		c.mu.Unlock()
		select {
		case <-ctx.Done():
			return nil
		case _, open := <-changes:
			if !open {
				changes = c.subscribe(ctx)
			}
		case <-c.wake:
		case <-ticker.C:
		}
	}
}

// complete waits until the records have been read once: without them everything would
// count as removed.
func (c *Controller) complete(ctx context.Context) error {
	return c.o.View.Until(ctx, func(s *view.Snapshot) (bool, error) { return s.Generation() > 0, nil })
}

// follow asks for a pass after each change of a network or a node.
func (c *Controller) follow(ctx context.Context) {
	var seen [2]uint64
	for ctx.Err() == nil {
		_ = c.o.View.Until(ctx, func(s *view.Snapshot) (bool, error) { // it fails only when ctx ends
			now := [2]uint64{s.NetworkGeneration(), s.NodeGeneration()}
			changed := now != seen
			seen = now
			return changed, nil
		})
		c.poke()
	}
}

// poke asks for a pass.
func (c *Controller) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// subscribe to the host's devices; without it the ticker has to do.
func (c *Controller) subscribe(ctx context.Context) <-chan struct{} {
	changes, err := c.o.Links.Subscribe(ctx)
	if err != nil {
		c.o.Logger.Warn("changes of network devices are found by looking every few seconds only", "err", err)
		return nil
	}
	return changes
}
