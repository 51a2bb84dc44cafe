package httpapi

import (
	"slices"
	"strconv"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

func (a *API) listNetworks(r *request) (*reply, error) {
	limit := r.values.pattern("limit")
	if limit == nil {
		return a.shelves.networkList(), nil
	}
	generation, networks := a.shelves.snapshotNetworks()
	networks = slices.DeleteFunc(networks, func(n *model.Network) bool {
		return !limit.MatchString(n.Description) && !limit.MatchString(strconv.Itoa(n.VNI))
	})
	return a.shelves.someNetworks(generation, networks), nil
}

// findNetwork returns the network that the path names.
func (a *API) findNetwork(r *request) (n *model.Network, generation uint64, err error) {
	a.o.Mirror.Read(func(p Picture) {
		generation = p.NetworkGeneration()
		n, err = p.FindNetwork(r.path["network"])
	})
	return n, generation, err
}

func (a *API) getNetwork(r *request) (*reply, error) {
	n, generation, err := a.findNetwork(r)
	if errs.Is(err, errs.NotFound) {
		return a.shelves.someNetworks(generation, nil), nil
	}
	if err != nil {
		return nil, err
	}
	return a.shelves.someNetworks(generation, []*model.Network{n}), nil
}

func (a *API) createNetwork(r *request) (*reply, error) {
	v := r.values
	return answered(a.o.Changes.CreateNetwork(r.Context(), cluster.CreateNetwork{
		VNI: v.number("vni", 0), Description: v.text("description"), Type: v.text("nettype"),
		NetworkValues: cluster.NetworkValues{
			MTU: v.number("mtu", 0), Domain: v.text("domain"), NameServers: v.list("name_servers"),
			IP4Network: v.text("ip4_network"), IP4Gateway: v.text("ip4_gateway"),
			DHCP4: v.flag("dhcp4"), DHCP4Start: v.text("dhcp4_start"), DHCP4End: v.text("dhcp4_end"),
			IP6Network: v.text("ip6_network"), IP6Gateway: v.text("ip6_gateway"),
		},
	}))
}

func (a *API) modifyNetwork(r *request) (*reply, error) {
	v := r.values
	word := func(name string) cluster.Edit[string] { return edit(v, name, theText) }
	return answered(a.o.Changes.ModifyNetwork(r.Context(), cluster.ModifyNetwork{
		Network: r.path["network"], VNI: edit(v, "vni", theNumber), Description: word("description"), Type: word("nettype"),
		MTU: edit(v, "mtu", theNumber), Domain: word("domain"), NameServers: edit(v, "name_servers", theTexts),
		IP4Network: word("ip4_network"), IP4Gateway: word("ip4_gateway"),
		DHCP4: edit(v, "dhcp4", theFlag), DHCP4Start: word("dhcp4_start"), DHCP4End: word("dhcp4_end"),
		IP6Network: word("ip6_network"), IP6Gateway: word("ip6_gateway"),
	}))
}

func (a *API) deleteNetwork(r *request) (*reply, error) {
	return answered(a.o.Changes.RemoveNetwork(r.Context(), r.path["network"]))
}
