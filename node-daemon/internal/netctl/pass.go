package netctl

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/address"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/link"
)

// look is what the records say now.
type look struct {
	networks []*model.Network
	nodes    []*model.Node
	primary  string
}

func (c *Controller) look() (l look) {
	c.o.View.Read(func(s *view.Snapshot) { l = look{s.Networks(), s.Nodes(), s.PrimaryNode()} })
	return l
}

// pass makes the host agree with the records; c.mu is held.
func (c *Controller) pass(ctx context.Context) {
	l := c.look()
	result, err := c.o.Links.Apply(ctx, link.Desired{Networks: links(l.networks), Peers: peers(l.nodes, c.o.Node)})
	c.report("devices", err)
	c.reportEach("devices", l.networks, result)
	c.report("guests without a bridge", c.adopt(ctx))
	if c.o.Addresses != nil {
		c.passRole(ctx, l)
	}
	c.state.Lock()
	defer c.state.Unlock()
	c.broken = result
	close(c.passed)
	c.passed = make(chan struct{})
}

// adopt puts guests back into their bridges, which lose them when somebody deletes one.
func (c *Controller) adopt(ctx context.Context) error {
	orphans, err := c.o.Links.Orphans()
	if err != nil || len(orphans) == 0 || c.o.Taps == nil {
		return err
	}
	bridges, err := c.o.Taps(ctx)
	if err != nil {
		return err
	}
	var all []error
	for _, tap := range orphans {
		if bridge := bridges[tap]; OurBridge(bridge) {
			c.o.Logger.Warn("a guest had lost its bridge", "tap", tap, "bridge", bridge)
			all = append(all, c.o.Links.Attach(tap, bridge))
		}
	}
	return errors.Join(all...)
}

// passRole does what belongs to the role of the primary, or sees to it that nothing of
// it is left; c.mu is held.
func (c *Controller) passRole(ctx context.Context, l look) {
	places := c.places(l)
	if !c.held {
		c.report("addresses", c.o.Addresses.Want(places))
		// A daemon that comes back in time becomes primary again: until it is clear that
		// another is, the rules of its predecessor protect the guests.
		if l.primary != schema.NoPrimary && l.primary != c.o.Node {
			c.reportEach("firewall", nil, c.o.Firewall.Apply(ctx, false, nil))
		}
		return
	}
	// The rules of a network come before its gateway.
	c.reportEach("firewall", l.networks, c.o.Firewall.Apply(ctx, true, managed(l.networks)))
	c.report("addresses", c.o.Addresses.Want(places))
	c.o.DNS.Update(zones(l.networks))
	c.report("DNS", c.o.DNS.Listen(nameServers(l.networks, c.o.Floating, c.o.DNSPort)))
	c.reportEach("DHCP", l.networks, c.o.DHCP.Apply(ctx, dhcpNetworks(l.networks)))
}

// places are the addresses of the primary.
func (c *Controller) places(l look) []address.Place {
	return append(gateways(l.networks), c.o.Floating...)
}

// report logs a trouble once, and its end.
func (c *Controller) report(what string, err error) {
	c.state.Lock()
	defer c.state.Unlock()
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text == c.told[what] {
		return
	}
	if text == "" {
		delete(c.told, what)
		c.o.Logger.Info("a trouble with the networks is over", "what", what)
		return
	}
	c.told[what] = text
	c.o.Logger.Warn("a trouble with the networks", "what", what, "err", err)
}

// reportEach reports by network; one that is not in errs is well.
func (c *Controller) reportEach(what string, networks []*model.Network, errs map[int]error) {
	for _, n := range networks {
		if _, bad := errs[n.VNI]; !bad {
			c.report(fmt.Sprintf("%s of network %d", what, n.VNI), nil)
		}
	}
	for vni, err := range errs {
		c.report(fmt.Sprintf("%s of network %d", what, vni), err)
	}
}

// Ready waits until the bridges are there that a guest needs, and says why they are
// not. Bridges that are not ours are the operator's affair.
func (c *Controller) Ready(ctx context.Context, bridges []string) error {
	for {
		c.state.Lock()
		passed, err := c.passed, c.missing(bridges)
		c.state.Unlock()
		if err == nil {
			return nil
		}
		c.poke()
		select {
		case <-passed:
		case <-ctx.Done():
			return err
		}
	}
}

// missing is why one of the bridges cannot be used; c.state is held.
func (c *Controller) missing(bridges []string) error {
	l := c.look()
	for _, bridge := range bridges {
		vni, ours := vniOf(bridge)
		if !ours {
			continue
		}
		if err := c.broken[vni]; err != nil {
			return fmt.Errorf("bridge %s: %w", bridge, err)
		}
		if err := present(l.networks, vni, bridge); err != nil {
			return err
		}
	}
	return nil
}

// nameServers are where names are asked for: the gateways and the floating addresses.
func nameServers(networks []*model.Network, floating []address.Place, port uint16) (out []netip.AddrPort) {
	for _, p := range append(gateways(networks), floating...) {
		out = append(out, netip.AddrPortFrom(p.Prefix.Addr(), port))
	}
	return out
}
