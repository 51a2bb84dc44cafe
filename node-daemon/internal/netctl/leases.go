package netctl

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"slices"
	"strconv"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/dhcp"
)

// Leases records DHCP leases in ZooKeeper. Only the primary may: what another host has
// still to record would overwrite what its successor has given away since.
type Leases struct {
	node string
	view *view.View
}

// NewLeases returns the leases of a cluster as the host sees and records them.
func NewLeases(node string, v *view.View) *Leases { return &Leases{node: node, view: v} }

// attempts a change gets when the records change meanwhile.
const attempts = 4

// Known returns the leases on record.
func (l *Leases) Known(ctx context.Context, vni int) ([]dhcp.Lease, error) {
	if err := l.view.Refresh(ctx, schema.Network(vni)); err != nil {
		return nil, err
	}
	n, err := l.network(vni)
	if err != nil {
		return nil, err
	}
	server, err := l.view.Fetch(ctx, schema.Network(vni, schema.NetworkServerID))
	if err != nil && !errors.Is(err, coord.ErrNoNode) {
		return nil, err
	}
	var out []dhcp.Lease
	for _, r := range n.Leases {
		out = append(out, dhcp.Lease{Address: r.Address, Hostname: r.Hostname, Expiry: r.Expiry, MAC: r.MAC, ClientID: r.ClientID})
	}
	for _, r := range n.Leases6 {
		out = append(out, dhcp.Lease{Address: r.Address, Hostname: r.Hostname, Expiry: r.Expiry, DUID: r.DUID, IAID: r.IAID, ServerDUID: string(server)})
	}
	return out, nil
}

func (l *Leases) network(vni int) (n *model.Network, err error) {
	l.view.Read(func(s *view.Snapshot) {
		var ok bool
		if n, ok = s.Network(vni); !ok {
			err = errs.NotFoundf("network %d does not exist", vni)
		} else if s.PrimaryNode() != l.node {
			err = errs.New(errs.Denied, "the leases of network %d are another primary's", vni)
		}
	})
	return n, err
}

// Put records a lease in the place of an earlier one.
func (l *Leases) Put(ctx context.Context, vni int, lease dhcp.Lease) error {
	return l.change(ctx, vni, func(n *model.Network) (coord.Txn, error) {
		if lease.Address.Is4() {
			return put4(n, lease), nil
		}
		return l.put6(ctx, n, lease)
	})
}

// Drop removes a lease; one that is not on record is no error.
func (l *Leases) Drop(ctx context.Context, vni int, lease dhcp.Lease) error {
	return l.change(ctx, vni, func(n *model.Network) (txn coord.Txn, _ error) {
		if lease.Address.Is4() {
			if r, there := find4(n, lease.MAC); there && r.Address == lease.Address {
				path := leasePath(n, lease.MAC)
				for _, key := range leaseKeys {
					txn.Delete(path+"/"+key, coord.AnyVersion)
				}
				txn.Delete(path, coord.AnyVersion)
			}
		} else if has6(n, lease.Address) {
			txn.Delete(lease6Path(n, lease.Address), coord.AnyVersion)
		}
		return txn, nil
	})
}

// change commits what build wants, and asks again when the network has changed.
func (l *Leases) change(ctx context.Context, vni int, build func(*model.Network) (coord.Txn, error)) error {
	var err error
	for range attempts {
		n, nerr := l.network(vni)
		if nerr != nil {
			return nerr
		}
		txn, berr := build(n)
		if berr != nil || len(txn.Ops) == 0 {
			return berr
		}
		if n.Gen != "" {
			txn.Check(schema.Network(n.VNI, schema.NetworkGenPrefix+n.Gen), coord.AnyVersion)
		}
		if err = l.view.Commit(ctx, schema.Network(vni), txn); err == nil || !errs.Is(err, errs.Conflict) {
			return err
		}
		if rerr := l.view.Refresh(ctx, schema.Network(vni)); rerr != nil {
			return rerr
		}
	}
	return errs.Unavailablef("the lease could not be recorded: %w", err)
}

var leaseKeys = []string{schema.LeaseExpiry, schema.LeaseAddress, schema.LeaseHostname, schema.LeaseClientID}

func leasePath(n *model.Network, mac string) string {
	return schema.Network(n.VNI, schema.NetworkLeases, mac)
}

func lease6Path(n *model.Network, a netip.Addr) string {
	return schema.Network(n.VNI, schema.NetworkLeases6, a.String())
}

func find4(n *model.Network, mac string) (model.Lease, bool) {
	i := slices.IndexFunc(n.Leases, func(r model.Lease) bool { return r.MAC == mac })
	if i < 0 {
		return model.Lease{}, false
	}
	return n.Leases[i], true
}

func has6(n *model.Network, a netip.Addr) bool {
	return slices.ContainsFunc(n.Leases6, func(r model.Lease6) bool { return r.Address == a })
}

// put4 writes the keys of the old layout.
func put4(n *model.Network, lease dhcp.Lease) (txn coord.Txn) {
	_, there := find4(n, lease.MAC)
	path := leasePath(n, lease.MAC)
	if !there {
		txn.Create(path, nil)
	}
	for _, kv := range [][2]string{
		{schema.LeaseExpiry, strconv.FormatInt(lease.Expiry, 10)}, {schema.LeaseAddress, lease.Address.String()},
		{schema.LeaseHostname, lease.Hostname}, {schema.LeaseClientID, lease.ClientID},
	} {
		if there {
			txn.Set(path+"/"+kv[0], []byte(kv[1]), coord.AnyVersion)
		} else {
			txn.Create(path+"/"+kv[0], []byte(kv[1]))
		}
	}
	return txn
}

// put6 writes the additive keys; what they stand below comes with the first of them.
func (l *Leases) put6(ctx context.Context, n *model.Network, lease dhcp.Lease) (txn coord.Txn, err error) {
	record := model.Lease6{DUID: lease.DUID, IAID: lease.IAID, Hostname: lease.Hostname, Expiry: lease.Expiry}
	data, err := json.Marshal(record)
	if err != nil {
		return txn, err
	}
	if err := l.upsert(ctx, &txn, schema.Network(n.VNI, schema.NetworkLeases6), nil, len(n.Leases6) > 0); err != nil {
		return txn, err
	}
	if lease.ServerDUID != "" {
		if err := l.upsert(ctx, &txn, schema.Network(n.VNI, schema.NetworkServerID), []byte(lease.ServerDUID), false); err != nil {
			return txn, err
		}
	}
	if has6(n, lease.Address) {
		txn.Set(lease6Path(n, lease.Address), data, coord.AnyVersion)
	} else {
		txn.Create(lease6Path(n, lease.Address), data)
	}
	return txn, nil
}

// upsert gives a znode a value, whether it exists or not; known says that it does and
// has that value.
func (l *Leases) upsert(ctx context.Context, txn *coord.Txn, path string, data []byte, known bool) error {
	if known {
		return nil
	}
	now, err := l.view.Fetch(ctx, path)
	switch {
	case errors.Is(err, coord.ErrNoNode):
		txn.Create(path, data)
	case err != nil:
		return err
	case string(now) != string(data):
		txn.Set(path, data, coord.AnyVersion)
	}
	return nil
}
