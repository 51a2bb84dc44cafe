package netctl

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/address"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/dns"
)

var comparing = cmp.Options{cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}), cmpopts.EquateEmpty()}

func ip(s string) netip.Addr { return netip.MustParseAddr(s) }

func office() *model.Network {
	return &model.Network{
		VNI: 100, Description: "office", Type: model.NetworkManaged, Domain: "office.local",
		IP4: model.NetworkIP4{Network: netip.MustParsePrefix("10.100.0.0/24"), Gateway: ip("10.100.0.1"), DHCP: true, Start: ip("10.100.0.100"), End: ip("10.100.0.199")},
		IP6: model.NetworkIP6{Network: netip.MustParsePrefix("2001:db8:1::/64"), Gateway: ip("2001:db8:1::1"), DHCP: true},
	}
}

func TestGatewaysAreOfManagedNetworksWithABlock(t *testing.T) {
	bridged := &model.Network{VNI: 7, Type: model.NetworkBridged, IP4: office().IP4}
	bare := &model.Network{VNI: 8, Type: model.NetworkManaged, IP4: model.NetworkIP4{Gateway: ip("10.8.0.1")}}
	want := []address.Place{
		{Device: "vmbr100", Prefix: netip.MustParsePrefix("10.100.0.1/24")},
		{Device: "vmbr100", Prefix: netip.MustParsePrefix("2001:db8:1::1/64")},
	}
	if diff := cmp.Diff(want, gateways([]*model.Network{bridged, bare, office()}), comparing); diff != "" {
		t.Error(diff)
	}
}

func TestPeersAreTheOthersThatMayRunGuests(t *testing.T) {
	node := func(name, address, condition string, alive bool) *model.Node {
		n := &model.Node{Name: name, Facts: model.NodeFacts{Address: address}, Condition: condition}
		if alive {
			n.Session = &model.NodeSession{}
		}
		return n
	}
	nodes := []*model.Node{
		node("hv1", "10.0.0.1", "", true), node("hv2", "10.0.0.2", "", true), node("hv3", "10.0.0.3", model.ControlPlaneLost, false),
		node("hv4", "10.0.0.4", model.Unreachable, false), node("hv5", "10.0.0.5", model.Unreachable, true), node("hv6", "", "", true),
		node("hv7", "10.0.0.7", "", false), node("hv8", "10.0.0.8", "", true),
	}
	nodes[7].Facts.NoNetworks = "it has none"
	want := []netip.Addr{ip("10.0.0.2"), ip("10.0.0.3"), ip("10.0.0.5"), ip("10.0.0.7")}
	if diff := cmp.Diff(want, peers(nodes, "hv1"), comparing); diff != "" {
		t.Error(diff)
	}
}

func TestAReservationKeepsItsNameAndBothFamiliesMeet(t *testing.T) {
	n := office()
	n.Reservations = []model.Reservation{{MAC: "52:54:00:00:00:02", Address: ip("10.100.0.10"), Hostname: "web"}, {MAC: "52:54:00:00:00:03", Address: ip("10.100.0.11")}}
	n.Leases = []model.Lease{
		{MAC: "52:54:00:00:00:04", Address: ip("10.100.0.100"), Hostname: "web"},
		{MAC: "52:54:00:00:00:05", Address: ip("10.100.0.101"), Hostname: "DB"},
		{MAC: "52:54:00:00:00:06", Address: ip("10.100.0.102"), Hostname: "db"},
		{MAC: "52:54:00:00:00:07", Address: ip("10.100.0.103"), Hostname: "a.b"},
		{MAC: "52:54:00:00:00:08", Address: ip("10.100.0.104")},
	}
	n.Leases6 = []model.Lease6{{Address: ip("2001:db8:1::5"), Hostname: "db"}, {Address: ip("2001:db8:1::6"), Hostname: "db"}}
	want := []dns.Host{
		{Name: "web", Addresses: []netip.Addr{ip("10.100.0.10")}},
		{Name: "db", Addresses: []netip.Addr{ip("10.100.0.101"), ip("2001:db8:1::5")}},
	}
	if diff := cmp.Diff(want, hosts(n), comparing); diff != "" {
		t.Error(diff)
	}
}

func TestOnlyOurBridgesHaveAVNI(t *testing.T) {
	for name, want := range map[string]int{"vmbr100": 100, "vmbr1": 1, "vmbr": -1, "vmbr0100": -1, "brcluster": -1, "vmbr1x": -1, "vmbr-1": -1} {
		vni, ours := vniOf(name)
		if ours != (want > 0) || ours && vni != want {
			t.Errorf("%s: %d, %v", name, vni, ours)
		}
	}
}
