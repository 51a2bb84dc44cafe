package cluster_test

import (
	"context"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

const (
	mac1 = "52:54:00:00:00:01"
	mac2 = "52:54:00:00:00:02"
)

// reservation are the keys of one in network 100.
func reservation(mac, ip, hostname string) compat.Tree {
	root := "/networks/100/dhcp4_reservations/" + mac
	return compat.Tree{root: "static", root + "/ipaddr": ip, root + "/hostname": hostname}
}

// lease are the keys of one in network 100.
func lease(mac, ip string) compat.Tree {
	root := "/networks/100/dhcp4_leases/" + mac
	return compat.Tree{root: "", root + "/expiry": "1795263004", root + "/ipaddr": ip, root + "/hostname": "web1", root + "/clientid": "*"}
}

func reserve(mac, ip, hostname string) deed {
	return reserveIn("office", mac, ip, hostname)
}

func reserveIn(network, mac, ip, hostname string) deed {
	return func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) {
		return c.AddReservation(ctx, cluster.AddReservation{Network: network, MAC: mac, IP: ip, Hostname: hostname})
	}
}

func unreserve(mac string) deed {
	return func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) {
		return c.RemoveReservation(ctx, "100", mac)
	}
}

// decision: reservations
// decision: MAC addresses
func TestReservationsFollowTheTable(t *testing.T) {
	w := newWorld(t)
	taken := join(office(), reservation(mac1, "10.100.0.10", "db1"))
	for name, r := range map[string]rule{
		"with a name":              {given: office(), do: reserve(mac1, "10.100.0.10", "DB1"), says: "10.100.0.10 is reserved for " + mac1 + ` in network "office"`, writes: reservation(mac1, "10.100.0.10", "db1")},
		"without one":              {given: office(), do: reserve("5254.0000.0001", "10.100.0.10", ""), writes: reservation(mac1, "10.100.0.10", "None")},
		"in an old network":        {given: oldOffice(), do: reserve("52-54-00-00-00-01", "10.100.0.10", ""), writes: reservation(mac1, "10.100.0.10", "None")},
		"inside the range":         {given: office(), do: reserve(mac1, "10.100.0.100", ""), says: "inside the range that DHCP gives away", writes: reservation(mac1, "10.100.0.100", "None")},
		"where DHCP is off":        {given: office("dhcp4_flag", "False"), do: reserve(mac1, "10.100.0.100", ""), says: "DHCP switched off", writes: reservation(mac1, "10.100.0.100", "None")},
		"leased to another":        {given: join(office(), lease(mac2, "10.100.0.100")), do: reserve(mac1, "10.100.0.100", ""), says: "on record for " + mac2, writes: reservation(mac1, "10.100.0.100", "None")},
		"leased to the same":       {given: join(office(), lease(mac1, "10.100.0.10")), do: reserve(mac1, "10.100.0.10", ""), says: `in network "office"`, writes: reservation(mac1, "10.100.0.10", "None")},
		"beside another":           {given: taken, do: reserve(mac2, "10.100.0.11", ""), writes: reservation(mac2, "10.100.0.11", "None")},
		"removed":                  {given: taken, do: unreserve("525400000001"), says: "is removed", writes: allGone(reservation(mac1, "", ""))},
		"removed, the lease stays": {given: join(taken, lease(mac1, "10.100.0.10")), do: unreserve(mac1), writes: allGone(reservation(mac1, "", ""))},
		"removed, whatever keys": {given: join(taken, compat.Tree{"/networks/100/dhcp4_reservations/" + mac1 + "/later": "x"}), do: unreserve(mac1),
			writes: join(allGone(reservation(mac1, "", "")), compat.Tree{"/networks/100/dhcp4_reservations/" + mac1 + "/later": gone})},

		"of a MAC twice":           refuse(taken, reserve(mac1, "10.100.0.11", ""), errs.Conflict, mac1+" has 10.100.0.10 reserved"),
		"of an address twice":      refuse(taken, reserve(mac2, "10.100.0.10", ""), errs.Conflict, "10.100.0.10 is reserved for "+mac1),
		"of a name twice":          refuse(taken, reserve(mac2, "10.100.0.11", "Db1"), errs.Conflict, `host name "db1" belongs to the reservation for `+mac1),
		"of the gateway":           refuse(office(), reserve(mac1, "10.100.0.1", ""), errs.Invalid, "10.100.0.1 is the gateway"),
		"of the network itself":    refuse(office(), reserve(mac1, "10.100.0.0", ""), errs.Invalid, "10.100.0.0 is the address of the network"),
		"of the broadcast address": refuse(office(), reserve(mac1, "10.100.0.255", ""), errs.Invalid, "10.100.0.255 is the broadcast address"),
		"outside":                  refuse(office(), reserve(mac1, "10.100.1.5", ""), errs.Invalid, "10.100.1.5 is not in the network 10.100.0.0/24"),
		"of an IPv6 address":       refuse(office(), reserve(mac1, "2001:db8:100::5", ""), errs.Invalid, `value "ipaddress": "2001:db8:100::5" is not an IPv4 address`),
		"of no address":            refuse(office(), reserve(mac1, "999.1.1.1", ""), errs.Invalid, `"999.1.1.1"`),
		"for no MAC":               refuse(office(), reserve("52:54:00:00:00", "10.100.0.10", ""), errs.Invalid, `value "macaddress": "52:54:00:00:00"`),
		"for everybody":            refuse(office(), reserve("ff:ff:ff:ff:ff:ff", "10.100.0.10", ""), errs.Invalid, "multicast"),
		"with a name with dots":    refuse(office(), reserve(mac1, "10.100.0.10", "db1.local"), errs.Invalid, `value "hostname": host name "db1.local"`),
		"in a bridged network":     refuse(network(100, "office", "nettype", "bridged"), reserve(mac1, "10.100.0.10", ""), errs.Conflict, "bridged"),
		"without IPv4":             refuse(network(100, "office"), reserve(mac1, "10.100.0.10", ""), errs.Conflict, "no IPv4 network"),
		"in no network":            refuse(office(), reserveIn("lab", mac1, "10.100.0.10", ""), errs.NotFound, `"lab"`),
		"removed, but dynamic":     refuse(join(office(), lease(mac1, "10.100.0.100")), unreserve(mac1), errs.Conflict, "10.100.0.100 in network \"office\" as a dynamic lease"),
		"removed, but not there":   refuse(taken, unreserve(mac2), errs.NotFound, mac2),
		"removed, but nobody's":    refuse(taken, unreserve("web1"), errs.Invalid, `"web1"`),
		"removed from no network":  refuse(nil, unreserve(mac1), errs.NotFound, `"100"`),
	} {
		t.Run(name, func(t *testing.T) { w.check(t, r) })
	}
}
