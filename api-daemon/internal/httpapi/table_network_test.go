package httpapi

import (
	"fmt"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
)

// The rows of networks.
func init() {
	lease := row{good: given("limit", "^52", "static", "True"), wrong: given("limit", "[", "static", "dynamic")}
	add := row{
		good: given("macaddress", "52:54:00:00:00:09", "ipaddress", "10.100.0.9", "hostname", "db9"),
		call: called(cluster.AddReservation{Network: "office", MAC: "52:54:00:00:00:09", IP: "10.100.0.9", Hostname: "db9"}),
		bare: called(cluster.AddReservation{Network: "office", MAC: "52:54:00:00:00:09", IP: "10.100.0.9"}),
	}
	remove := row{call: "remove reservation office 52:54:00:00:00:02"}
	for name, r := range map[string]row{
		"GET /api/v1/network":              {good: given("limit", "x"), wrong: given("limit", "(")},
		"POST /api/v1/network":             createRow(),
		"GET /api/v1/network/{network}":    {},
		"PUT /api/v1/network/{network}":    modifyRow(),
		"DELETE /api/v1/network/{network}": {call: "remove network office"},

		"GET /api/v1/network/{network}/lease": lease, "GET /api/v1/network/{network}/dhcp": lease,
		"POST /api/v1/network/{network}/lease": add, "POST /api/v1/network/{network}/dhcp": add,
		"GET /api/v1/network/{network}/lease/{lease}": {}, "GET /api/v1/network/{network}/dhcp/{lease}": {},
		"DELETE /api/v1/network/{network}/lease/{lease}": remove, "DELETE /api/v1/network/{network}/dhcp/{lease}": remove,

		"GET /api/v1/network/{network}/acl": {good: given("limit", "ssh", "direction", "in"), wrong: given("limit", "*", "direction", "inout")},
		"POST /api/v1/network/{network}/acl": {
			good:  given("description", "web", "direction", "out", "rule", "tcp dport 80 accept", "order", "0"),
			wrong: given("direction", "through", "order", "-1"),
			call:  called(cluster.AddRule{Network: "office", Name: "web", Direction: "out", Rule: "tcp dport 80 accept"}),
			bare:  called(cluster.AddRule{Network: "office", Name: "web", Direction: "out", Rule: "tcp dport 80 accept", Order: -1}),
		},
		"GET /api/v1/network/{network}/acl/{acl}": {},
		"DELETE /api/v1/network/{network}/acl/{acl}": {
			good: given("direction", "in"), wrong: given("direction", "IN"),
			call: called(cluster.RemoveRule{Network: "office", Name: "ssh", Direction: "in"}), bare: called(cluster.RemoveRule{Network: "office", Name: "ssh"}),
		},
	} {
		rows[name] = r
	}
}

// called is how a call is noted.
func called(in any) string { return fmt.Sprintf("%+v", in) }

func createRow() row {
	bare := cluster.CreateNetwork{VNI: 200, Description: "lab", Type: "managed"}
	all := bare
	all.NetworkValues = cluster.NetworkValues{
		MTU: 1400, Domain: "lab.example", NameServers: []string{"10.0.0.53", "2001:db8::53"}, IP4Network: "10.9.0.0/24", IP4Gateway: "10.9.0.1",
		DHCP4: true, DHCP4Start: "10.9.0.10", DHCP4End: "10.9.0.20", IP6Network: "2001:db8:9::/64", IP6Gateway: "2001:db8:9::1",
	}
	return row{
		good: given("vni", "200", "description", "lab", "nettype", "managed", "mtu", "1400", "domain", "lab.example", "name_servers", "10.0.0.53, 2001:db8::53",
			"ip4_network", "10.9.0.0/24", "ip4_gateway", "10.9.0.1", "dhcp4", "True", "dhcp4_start", "10.9.0.10", "dhcp4_end", "10.9.0.20",
			"ip6_network", "2001:db8:9::/64", "ip6_gateway", "2001:db8:9::1"),
		wrong: given("vni", "16777216", "nettype", "vxlan", "mtu", "575", "dhcp4", "perhaps"),
		call:  called(all), bare: called(bare),
	}
}

func modifyRow() row {
	office := func(change func(*cluster.ModifyNetwork)) string {
		in := cluster.ModifyNetwork{Network: "office"}
		change(&in)
		return called(in)
	}
	cleared := cluster.Edit[string]{Given: true}
	to := func(s string) cluster.Edit[string] { return cluster.Edit[string]{Given: true, To: s} }
	return row{
		good: given("vni", "100", "description", "office", "nettype", "managed", "mtu", "1500", "domain", "x.example", "name_servers", "10.0.0.53",
			"ip4_network", "10.9.0.0/24", "ip4_gateway", "10.9.0.1", "dhcp4", "False", "dhcp4_start", "10.9.0.10", "dhcp4_end", "10.9.0.20",
			"ip6_network", "2001:db8:9::/64", "ip6_gateway", "2001:db8:9::1"),
		wrong: given("vni", "many", "nettype", "vlan", "mtu", "9217", "dhcp4", "perhaps"),
		call: called(cluster.ModifyNetwork{
			Network: "office", VNI: cluster.Edit[int]{Given: true, To: 100}, Description: to("office"), Type: to("managed"),
			MTU: cluster.Edit[int]{Given: true, To: 1500}, Domain: to("x.example"), NameServers: cluster.Edit[[]string]{Given: true, To: []string{"10.0.0.53"}},
			IP4Network: to("10.9.0.0/24"), IP4Gateway: to("10.9.0.1"), DHCP4: cluster.Edit[bool]{Given: true},
			DHCP4Start: to("10.9.0.10"), DHCP4End: to("10.9.0.20"), IP6Network: to("2001:db8:9::/64"), IP6Gateway: to("2001:db8:9::1"),
		}),
		bare: office(func(*cluster.ModifyNetwork) {}),
		cleared: map[string]string{
			"mtu":          office(func(in *cluster.ModifyNetwork) { in.MTU.Given = true }),
			"domain":       office(func(in *cluster.ModifyNetwork) { in.Domain = cleared }),
			"name_servers": office(func(in *cluster.ModifyNetwork) { in.NameServers.Given = true }),
			"ip4_network":  office(func(in *cluster.ModifyNetwork) { in.IP4Network = cleared }),
			"ip4_gateway":  office(func(in *cluster.ModifyNetwork) { in.IP4Gateway = cleared }),
			"dhcp4":        office(func(in *cluster.ModifyNetwork) { in.DHCP4 = cluster.Edit[bool]{Given: true, To: true} }),
			"dhcp4_start":  office(func(in *cluster.ModifyNetwork) { in.DHCP4Start = cleared }),
			"dhcp4_end":    office(func(in *cluster.ModifyNetwork) { in.DHCP4End = cleared }),
			"ip6_network":  office(func(in *cluster.ModifyNetwork) { in.IP6Network = cleared }),
			"ip6_gateway":  office(func(in *cluster.ModifyNetwork) { in.IP6Gateway = cleared }),
		},
	}
}
