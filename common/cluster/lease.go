package cluster

import (
	"context"
	"fmt"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// AddReservation keeps an IPv4 address of a managed network for a MAC address.
type AddReservation struct {
	Network           string // VNI or description
	MAC, IP, Hostname string // the host name may be empty
}

// staticReservation is what the znode of a reservation holds.
const staticReservation = "static"

// AddReservation checks that nobody else has address, MAC or name and commits the
// reservation; it counts from the next request of a guest.
func (c *Cluster) AddReservation(ctx context.Context, r AddReservation) (Answer, error) {
	res := model.Reservation{}
	var err error
	if res.MAC, err = model.ParseMAC(r.MAC); err != nil {
		return Answer{}, about("macaddress", err)
	}
	if r.Hostname != "" {
		if res.Hostname, err = model.ParseHostname(r.Hostname); err != nil {
			return Answer{}, about("hostname", err)
		}
	}
	return c.changeNetworks(ctx, always(func(s *view.Snapshot) (plan, error) { return addReservation(s, r, res) }))
}

func addReservation(s *view.Snapshot, r AddReservation, res model.Reservation) (plan, error) {
	n, err := s.FindNetwork(r.Network)
	if err != nil {
		return plan{}, err
	}
	if n.Type != model.NetworkManaged {
		return plan{}, errs.Conflictf("network %q is %s: it has no DHCP leases", n.Description, n.Type)
	}
	if !n.IP4.Network.IsValid() {
		return plan{}, errs.Conflictf("network %q has no IPv4 network for %q", n.Description, model.Clip(r.IP))
	}
	if res.Address, err = parseHost("ipaddress", r.IP, n.IP4.Network); err != nil {
		return plan{}, err
	}
	if err := checkReserved(n, res.Address); err != nil {
		return plan{}, about("ipaddress", err)
	}
	if err := reservationFree(n, res); err != nil {
		return plan{}, err
	}
	p := plan{about: schema.Network(n.VNI)}
	write := func(path, value string) { p.txn.Create(path, []byte(value)) }
	path := reservationPath(n.VNI, res.MAC)
	write(path, staticReservation)
	write(path+"/"+schema.LeaseAddress, res.Address.String())
	write(path+"/"+schema.LeaseHostname, schema.NoneIfEmpty(res.Hostname))
	p.txn.Check(schema.Network(n.VNI, schema.NetworkIP4Network), n.Versions.IP4Network)
	p.txn.Check(schema.Network(n.VNI, schema.NetworkIP4Gateway), n.Versions.IP4Gateway)
	sameNetwork(&p.txn, n)
	p.message = fmt.Sprintf("%s is reserved for %s in network %q%s", res.Address, res.MAC, n.Description, remarks(reservationRemarks(n, res)))
	return p, nil
}

func reservationPath(vni int, mac string) string {
	return schema.Network(vni, schema.NetworkReservations, mac)
}

// reservationFree refuses what another reservation has.
func reservationFree(n *model.Network, res model.Reservation) error {
	for _, o := range n.Reservations {
		switch {
		case o.MAC == res.MAC:
			return errs.Conflictf("MAC address %s has %s reserved in network %q already", o.MAC, o.Address, n.Description)
		case o.Address == res.Address:
			return errs.Conflictf("address %s is reserved for %s in network %q already", o.Address, o.MAC, n.Description)
		case o.Hostname != "" && o.Hostname == res.Hostname:
			return errs.Conflictf("host name %q belongs to the reservation for %s in network %q already", o.Hostname, o.MAC, n.Description)
		}
	}
	return nil
}

func reservationRemarks(n *model.Network, res model.Reservation) (list []string) {
	if n.IP4.DHCP && within(&n.IP4, res.Address) {
		list = append(list, fmt.Sprintf("the address is inside the range that DHCP gives away, %s to %s", n.IP4.Start, n.IP4.End))
	}
	for _, l := range n.Leases {
		if l.Address == res.Address && l.MAC != res.MAC {
			list = append(list, fmt.Sprintf("it is on record for %s, which has to give it up first", l.MAC))
		}
	}
	if !n.IP4.DHCP {
		list = append(list, "the network has DHCP switched off")
	}
	return list
}

// RemoveReservation gives up the address that is kept for a MAC address; a guest that
// uses it has it until its lease ends. A lease without reservation is errs.Conflict: it
// ends by itself.
func (c *Cluster) RemoveReservation(ctx context.Context, network, mac string) (Answer, error) {
	mac, err := model.ParseMAC(mac)
	if err != nil {
		return Answer{}, err
	}
	return c.changeNetworks(ctx, func(ctx context.Context, _ at) (rule, error) {
		n, err := c.findNetwork(network)
		if err != nil {
			return nil, err
		}
		paths, err := c.addTree(ctx, nil, reservationPath(n.VNI, mac), 1)
		if err != nil {
			return nil, err
		}
		return func(s *view.Snapshot) (plan, error) { return removeReservation(s, n.VNI, mac, paths) }, nil
	})
}

func removeReservation(s *view.Snapshot, vni int, mac string, paths []string) (plan, error) {
	n, ok := s.Network(vni)
	if !ok {
		return plan{}, removedMeanwhile(vni)
	}
	if len(paths) == 0 {
		for _, l := range n.Leases {
			if l.MAC == mac {
				return plan{}, errs.Conflictf("%s has %s in network %q as a dynamic lease, which ends by itself: only reservations can be removed",
					mac, l.Address, n.Description)
			}
		}
		return plan{}, errs.NotFoundf("no address is reserved for %s in network %q", mac, n.Description)
	}
	p := plan{about: schema.Network(vni), message: fmt.Sprintf("the reservation for %s in network %q is removed", mac, n.Description)}
	sameNetwork(&p.txn, n)
	for _, path := range paths {
		p.txn.Delete(path, coord.AnyVersion)
	}
	return p, nil
}
