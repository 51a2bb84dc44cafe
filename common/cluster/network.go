package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// at are versions of roots with which the view has all that was made up to them.
type at struct{ networks, domains int32 }

// changeNetworks applies a rule about networks. All of them exclude each other by the
// root of the networks, so that a rule may look at everything there: numbers, blocks,
// reservations, the order of rules. prepare is asked for the rule before each attempt; it
// may read what the view does not hold.
func (c *Cluster) changeNetworks(ctx context.Context, prepare func(context.Context, at) (rule, error)) (Answer, error) {
	select {
	case c.networking <- struct{}{}:
		defer func() { <-c.networking }()
	case <-ctx.Done():
		return Answer{}, errs.Unavailablef("nothing was changed: %w", ctx.Err())
	}
	var collided *coord.TxnError
	for range attempts {
		since, err := c.allNetworks(ctx)
		if err != nil {
			return Answer{}, err
		}
		r, err := prepare(ctx, since)
		if err != nil {
			return Answer{}, err
		}
		answer, err := c.change(ctx, false, func(s *view.Snapshot) (plan, error) {
			p, err := r(s)
			if err == nil && len(p.txn.Ops) > 0 {
				p.once = true
				p.txn = *new(coord.Txn).Set(schema.Networks, nil, since.networks).Append(p.txn)
			}
			return p, err
		})
		if !errors.As(err, &collided) {
			return answer, err
		}
	}
	return Answer{}, errs.Conflictf("networks are changed faster than this call, nothing was changed: %w", collided)
}

// always is a rule that needs nothing but the view.
func always(r rule) func(context.Context, at) (rule, error) {
	return func(context.Context, at) (rule, error) { return r, nil }
}

func (c *Cluster) allNetworks(ctx context.Context) (since at, err error) {
	c.o.View.Read(func(s *view.Snapshot) { since.networks = s.NetworksVersion() })
	since.domains, err = c.allDefined(ctx) // after the version above was read
	return since, err
}

// sameNetwork makes a transaction fail if the network was removed and made anew meanwhile.
func sameNetwork(t *coord.Txn, n *model.Network) {
	if n.Gen != "" { // an old client gives a network none
		t.Check(schema.Network(n.VNI, schema.NetworkGenPrefix+n.Gen), coord.AnyVersion)
	}
}

// CreateNetwork makes a new network.
type CreateNetwork struct {
	VNI         int
	Description string
	Type        string // bridged, managed
	NetworkValues
}

// CreateNetwork checks the values, alone and against all other networks, and commits the
// network. Wrong values are errs.Invalid, what others have already errs.Conflict.
func (c *Cluster) CreateNetwork(ctx context.Context, r CreateNetwork) (Answer, error) {
	typ, err := model.ParseNetworkType(r.Type)
	if err != nil {
		return Answer{}, about("nettype", err)
	}
	if err := checkVNI(r.VNI, typ); err != nil {
		return Answer{}, err
	}
	if err := model.CheckDescription(r.Description); err != nil {
		return Answer{}, about("description", err)
	}
	if typ == model.NetworkManaged && r.Domain == "" {
		r.Domain = defaultDomain(r.VNI, r.Description)
	}
	good, err := checkValues(&model.Network{VNI: r.VNI, Description: r.Description, Type: typ}, r.NetworkValues)
	if err != nil {
		return Answer{}, err
	}
	if typ == model.NetworkBridged {
		good.remarks = ignored(r.managedOnly()...)
	}
	answer, err := c.changeNetworks(ctx, always(func(s *view.Snapshot) (plan, error) { return createNetwork(s, good) }))
	var collided *coord.TxnError
	if errors.As(err, &collided) && errors.Is(err, coord.ErrNodeExists) && collided.Op.Path == schema.Network(r.VNI) {
		return Answer{}, errs.Conflictf("remains of a network have the VNI %d: remove network %d first", r.VNI, r.VNI)
	}
	return answer, err
}

func createNetwork(s *view.Snapshot, good checked) (plan, error) {
	n := good.network
	if o, ok := s.Network(n.VNI); ok {
		return plan{}, errs.Conflictf("the VNI %d belongs to network %q", n.VNI, o.Description)
	}
	for _, o := range s.Networks() {
		if o.Description == n.Description {
			return plan{}, errs.Conflictf("a network with the description %q exists already: VNI %d", n.Description, o.VNI)
		}
	}
	if err := checkOverlap(s, n); err != nil {
		return plan{}, err
	}
	if err := bridgedEverywhere(s, n); err != nil {
		return plan{}, err
	}
	p := plan{about: schema.Network(n.VNI)}
	p.txn.Create(schema.Network(n.VNI), []byte(n.Description))
	p.txn.Create(schema.Network(n.VNI, schema.NetworkGenPrefix+model.NewID()), nil)
	p.txn.Create(schema.Network(n.VNI, schema.NetworkType), []byte(n.Type))
	for _, k := range keysOf(n) {
		p.txn.Create(schema.Network(n.VNI, k.name), []byte(k.text))
	}
	for _, parent := range []string{schema.NetworkLeases, schema.NetworkReservations, schema.NetworkRules,
		schema.NetworkRules + "/" + string(model.DirectionIn), schema.NetworkRules + "/" + string(model.DirectionOut)} {
		p.txn.Create(schema.Network(n.VNI, parent), nil)
	}
	p.message = fmt.Sprintf("network %q (VNI %d, %s) is created%s", n.Description, n.VNI, n.Type, remarks(good.remarks))
	return p, nil
}

// bridgedEverywhere refuses a bridged network while a host says that it cannot have any:
// a guest would fail there.
func bridgedEverywhere(s *view.Snapshot, n *model.Network) error {
	if n.Type != model.NetworkBridged {
		return nil
	}
	for _, host := range s.Nodes() {
		if host.Alive() && host.Facts.NoBridged != "" {
			return errs.Conflictf("host %s cannot have bridged networks: %s", host.Name, host.Facts.NoBridged)
		}
	}
	return nil
}

func remarks(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return "; " + strings.Join(list, "; ")
}

// key is one value of a network as it stands in its znode.
type key struct {
	name, text string
	version    int32
}

// keysOf are the values of a network that can change, in a fixed order.
func keysOf(n *model.Network) []key {
	v := &n.Versions
	servers := make([]string, len(n.NameServers))
	for i, a := range n.NameServers {
		servers[i] = a.String()
	}
	mtu := ""
	if n.MTU != 0 {
		mtu = strconv.Itoa(n.MTU)
	}
	keys := []key{
		{schema.NetworkDomain, n.Domain, v.Domain},
		{schema.NetworkIP4Network, prefixText(n.IP4.Network), v.IP4Network},
		{schema.NetworkIP4Gateway, addrText(n.IP4.Gateway), v.IP4Gateway},
		{schema.NetworkDHCP4, schema.Flag(n.IP4.DHCP), v.DHCP4},
		{schema.NetworkDHCP4Start, addrText(n.IP4.Start), v.DHCP4Start},
		{schema.NetworkDHCP4End, addrText(n.IP4.End), v.DHCP4End},
		{schema.NetworkIP6Network, prefixText(n.IP6.Network), v.IP6Network},
		{schema.NetworkIP6Gateway, addrText(n.IP6.Gateway), v.IP6Gateway},
		{schema.NetworkDHCP6, schema.Flag(n.IP6.DHCP), v.DHCP6},
		{schema.NetworkMTU, mtu, v.MTU},
		{schema.NetworkNameServers, strings.Join(servers, ","), v.NameServers},
	}
	for i := range keys {
		keys[i].text = schema.NoneIfEmpty(keys[i].text)
	}
	return keys
}

func addrText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}

func prefixText(p netip.Prefix) string {
	if !p.IsValid() {
		return ""
	}
	return p.String()
}
