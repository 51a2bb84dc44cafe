package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// Edit is a value that may have been given. The empty value clears what is stored.
type Edit[T any] struct {
	Given bool
	To    T
}

func (e Edit[T]) apply(to *T) {
	if e.Given {
		*to = e.To
	}
}

// ModifyNetwork changes what is given about a network. Its number, type and description
// can be given too, but only as they are.
type ModifyNetwork struct {
	Network                string // VNI or description
	VNI                    Edit[int]
	Description, Type      Edit[string]
	MTU                    Edit[int]
	Domain                 Edit[string]
	NameServers            Edit[[]string]
	IP4Network, IP4Gateway Edit[string]
	DHCP4                  Edit[bool]
	DHCP4Start, DHCP4End   Edit[string]
	IP6Network, IP6Gateway Edit[string]
}

func (r *ModifyNetwork) managedOnly() []given {
	return []given{
		{"domain", r.Domain.Given}, {"name_servers", r.NameServers.Given}, {"ip4_network", r.IP4Network.Given},
		{"ip4_gateway", r.IP4Gateway.Given}, {"dhcp4", r.DHCP4.Given}, {"dhcp4_start", r.DHCP4Start.Given}, {"dhcp4_end", r.DHCP4End.Given},
		{"ip6_network", r.IP6Network.Given}, {"ip6_gateway", r.IP6Gateway.Given},
	}
}

// ModifyNetwork checks what is given together with what is stored and commits the
// difference. Nothing given is errs.Invalid.
func (c *Cluster) ModifyNetwork(ctx context.Context, r ModifyNetwork) (Answer, error) {
	if !r.MTU.Given && ignored(r.managedOnly()...) == nil && !r.VNI.Given && !r.Type.Given && !r.Description.Given {
		return Answer{}, errs.Invalidf("nothing is given that could be changed of network %q", model.Clip(r.Network))
	}
	return c.changeNetworks(ctx, func(ctx context.Context, _ at) (rule, error) {
		n, err := c.findNetwork(r.Network)
		if err != nil {
			return nil, err
		}
		there, err := c.children(ctx, schema.Network(n.VNI)) // an old client's network lacks some
		if errors.Is(err, coord.ErrNoNode) {
			return nil, removedMeanwhile(n.VNI)
		} else if err != nil {
			return nil, err
		}
		return func(s *view.Snapshot) (plan, error) { return modifyNetwork(s, r, n.VNI, there) }, nil
	})
}

func (c *Cluster) findNetwork(ref string) (n *model.Network, err error) {
	c.o.View.Read(func(s *view.Snapshot) { n, err = s.FindNetwork(ref) })
	return n, err
}

func removedMeanwhile(vni int) error {
	return errs.NotFoundf("network %d was removed by somebody else meanwhile", vni)
}

func (c *Cluster) children(ctx context.Context, path string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.CommitTimeout)
	defer cancel()
	return c.o.View.FetchChildren(ctx, path)
}

func modifyNetwork(s *view.Snapshot, r ModifyNetwork, vni int, there []string) (plan, error) {
	n, ok := s.Network(vni)
	if !ok {
		return plan{}, removedMeanwhile(vni)
	}
	if err := r.keepsIdentity(n); err != nil {
		return plan{}, err
	}
	good, err := r.result(n)
	if err != nil {
		return plan{}, err
	}
	if err := checkOverlap(s, good.network); err != nil {
		return plan{}, err
	}
	if err := checkReservations(good.network); err != nil {
		return plan{}, err
	}
	p := plan{about: schema.Network(vni)}
	changed := replaceKeys(&p.txn, n, good.network, there)
	if len(changed) == 0 {
		return plan{message: fmt.Sprintf("network %q (VNI %d) is already so%s", n.Description, vni, remarks(good.remarks))}, nil
	}
	sameNetwork(&p.txn, n)
	p.message = fmt.Sprintf("network %q (VNI %d) has new values: %s%s", n.Description, vni, strings.Join(changed, ", "), remarks(good.remarks))
	return p, nil
}

// keepsIdentity refuses to change what a network is.
func (r *ModifyNetwork) keepsIdentity(n *model.Network) error {
	switch {
	case r.VNI.Given && r.VNI.To != n.VNI:
		return errs.Conflictf("value %q: the number of network %q is %d and cannot become %d", "vni", n.Description, n.VNI, r.VNI.To)
	case r.Type.Given && r.Type.To != string(n.Type):
		return errs.Conflictf("value %q: network %q is %s and cannot become %s", "nettype", n.Description, n.Type, model.Clip(r.Type.To))
	case r.Description.Given && r.Description.To != n.Description:
		return errs.Conflictf("value %q: network %q cannot get another name, as %q", "description", n.Description, model.Clip(r.Description.To))
	case n.Type == model.NetworkBridged && !r.MTU.Given && ignored(r.managedOnly()...) != nil:
		return errs.Conflictf("network %q is bridged: it has only the value %q", n.Description, "mtu")
	}
	return nil
}

// result lays what is given over what is stored.
func (r *ModifyNetwork) result(n *model.Network) (checked, error) {
	v := valuesOf(n)
	r.MTU.apply(&v.MTU)
	r.Domain.apply(&v.Domain)
	r.NameServers.apply(&v.NameServers)
	r.IP4Network.apply(&v.IP4Network)
	r.IP4Gateway.apply(&v.IP4Gateway)
	r.DHCP4.apply(&v.DHCP4)
	r.DHCP4Start.apply(&v.DHCP4Start)
	r.DHCP4End.apply(&v.DHCP4End)
	r.IP6Network.apply(&v.IP6Network)
	r.IP6Gateway.apply(&v.IP6Gateway)
	if r.Domain.Given && r.Domain.To == "" {
		v.Domain = defaultDomain(n.VNI, n.Description)
	}
	if v.IP6Network == "" && !r.IP6Gateway.Given {
		v.IP6Gateway = "" // nobody has to name what is chosen without being named
	}
	good, err := checkValues(n, v)
	if n.Type == model.NetworkBridged {
		good.remarks = ignored(r.managedOnly()...)
	}
	return good, err
}

// valuesOf are the stored values as they are given.
func valuesOf(n *model.Network) NetworkValues {
	v := NetworkValues{
		MTU: n.MTU, Domain: n.Domain, IP4Network: prefixText(n.IP4.Network), IP4Gateway: addrText(n.IP4.Gateway), DHCP4: n.IP4.DHCP,
		DHCP4Start: addrText(n.IP4.Start), DHCP4End: addrText(n.IP4.End), IP6Network: prefixText(n.IP6.Network), IP6Gateway: addrText(n.IP6.Gateway),
	}
	for _, a := range n.NameServers {
		v.NameServers = append(v.NameServers, a.String())
	}
	return v
}

// replaceKeys writes the keys that change and checks that the others are what was looked
// at. It returns the names of those that change.
func replaceKeys(t *coord.Txn, old, now *model.Network, there []string) (changed []string) {
	before := keysOf(old)
	for i, k := range keysOf(now) {
		path, same := schema.Network(old.VNI, k.name), k.text == before[i].text
		switch exists := slices.Contains(there, k.name); {
		case same && exists:
			t.Check(path, k.version)
		case same:
		case exists:
			t.Set(path, []byte(k.text), k.version)
		default:
			t.Create(path, []byte(k.text))
		}
		if !same {
			changed = append(changed, k.name)
		}
	}
	return changed
}
