package schema_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

// netTree is a managed network with some keys laid over it; an absent value is "-".
func netTree(over map[string]string) compat.Tree {
	t := compat.Tree{"/networks": "", "/networks/100": "office", "/networks/100/nettype": "managed"}
	for key, data := range over {
		t["/networks/100/"+key] = data
		if data == "-" {
			delete(t, "/networks/100/"+key)
		}
	}
	return t
}

func TestUnsetValuesOfANetworkAreAllNotSet(t *testing.T) {
	keys := []string{"domain", "ip4_network", "ip4_gateway", "dhcp4_flag", "dhcp4_start", "dhcp4_end", "ip6_network", "ip6_gateway", "dhcp6_flag", "mtu", "name_servers"}
	for _, data := range []string{"None", "", "-"} {
		over := map[string]string{}
		for _, key := range keys {
			over[key] = data
		}
		n, ok, err := schema.DecodeNetwork(netTree(over), 100)
		want := &model.Network{VNI: 100, Description: "office", Type: model.NetworkManaged, Versions: n.Versions}
		if d := cmp.Diff(want, n, addresses); !ok || err != nil || d != "" {
			t.Errorf("%q: %v, %v (-want +got):\n%s", data, ok, err, d)
		}
	}
}

func TestHalfANetworkIsNone(t *testing.T) {
	for _, tree := range []compat.Tree{netTree(map[string]string{"nettype": "-"}), netTree(map[string]string{"nettype": ""}), {"/networks": ""}} {
		if n, ok, _ := schema.DecodeNetwork(tree, 100); ok || n != nil {
			t.Errorf("%v is a network: %+v", tree, n)
		}
	}
}

func TestUnreadableValuesOfANetworkAreReportedAndReadAsNotSet(t *testing.T) {
	for key, data := range map[string]string{
		"ip4_network": "10.0.0.0", "ip6_network": "fd00::/129", "ip4_gateway": "10.0.0.256", "ip6_gateway": "fe80::1%eth0", "dhcp4_start": "10",
		"mtu": "big", "name_servers": "ns1,10.0.0.53",
		"dhcp4_leases/52:54:00:00:00:0G": "", "dhcp4_leases/52:54:00:00:00:01/ipaddr": "x", "dhcp4_leases/52:54:00:00:00:01/expiry": "-1",
		"dhcp4_reservations/52-54-00-00-00-01": "static", "firewall_rules/in/a/order": "first",
	} {
		over := map[string]string{
			"dhcp4_leases": "", "dhcp4_leases/52:54:00:00:00:01": "", "dhcp4_leases/52:54:00:00:00:01/ipaddr": "10.0.0.5",
			"dhcp4_reservations": "", "firewall_rules": "", "firewall_rules/in": "", "firewall_rules/in/a": "", "firewall_rules/in/a/rule": "drop",
		}
		over[key] = data
		n, ok, err := schema.DecodeNetwork(netTree(over), 100)
		if !ok || err == nil || !strings.Contains(err.Error(), "/networks/100/"+strings.SplitN(key, "/", 2)[0]) {
			t.Errorf("%s: ok %v, err = %v", key, ok, err)
			continue
		}
		if n.MTU != 0 || n.IP4.Network.IsValid() || n.IP6.Network.IsValid() || n.IP4.Gateway.IsValid() || n.IP6.Gateway.IsValid() || n.IP4.Start.IsValid() ||
			len(n.Reservations) > 0 {
			t.Errorf("%s: %+v", key, n)
		}
	}
}

func TestRulesStandInTheOrderOfTheirNumbers(t *testing.T) {
	over := map[string]string{"firewall_rules": "", "firewall_rules/out": ""}
	for name, order := range map[string]string{"ten": "10", "two": "2", "also-two": "2", "none": "None", "zero": "00"} {
		root := "firewall_rules/out/" + name
		over[root], over[root+"/order"], over[root+"/rule"] = "", order, "accept"
	}
	over["firewall_rules/out/half"], over["firewall_rules/out/half/order"] = "", "1"
	n, _, err := schema.DecodeNetwork(netTree(over), 100)
	var names []string
	for _, r := range n.Out {
		names = append(names, r.Name)
	}
	if d := cmp.Diff([]string{"none", "zero", "also-two", "two", "ten"}, names); d != "" || err != nil || len(n.In) > 0 {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
}

func TestTheNumberOfANetworkIsWrittenInOneWay(t *testing.T) {
	for text, want := range map[string]int{
		"1": 1, "16777215": 16777215, "0": 0, "16777216": 0, "-1": 0, "+1": 0, "01": 0, "1 ": 0, "": 0, "office": 0, "99999999999999999999": 0,
	} {
		vni, ok := schema.ParseVNI(text)
		if ok != (want != 0) || ok && vni != want {
			t.Errorf("%q: %d, %v", text, vni, ok)
		}
	}
}

func TestLeasesOfDHCPv6AreReadByAddress(t *testing.T) {
	tree := netTree(map[string]string{
		"dhcp6_leases": "", "dhcp6_leases/fd00::5": `{"duid":"00:01","iaid":"7","hostname":"web1","expiry":9}`,
		"dhcp6_leases/x": "{}", "dhcp6_leases/fd00::6": "{",
	})
	n, ok, err := schema.DecodeNetwork(tree, 100)
	want := []model.Lease6{{Address: netip.MustParseAddr("fd00::5"), DUID: "00:01", IAID: "7", Hostname: "web1", Expiry: 9}}
	if d := cmp.Diff(want, n.Leases6, addresses); !ok || d != "" {
		t.Errorf("leases (-want +got):\n%s", d)
	}
	if err == nil || !strings.Contains(err.Error(), `"x"`) || !strings.Contains(err.Error(), "/dhcp6_leases/fd00::6") {
		t.Errorf("err = %v", err)
	}
}
