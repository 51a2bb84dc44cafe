package cluster_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

// network is a managed network without addresses as our creation leaves it; pairs of key
// and value are laid over it, "-" takes a key away.
func network(vni int, description string, pairs ...string) compat.Tree {
	keys := map[string]string{
		"nettype": "managed", "domain": description + ".local", "ip4_network": "None", "ip4_gateway": "None", "dhcp4_flag": "False",
		"dhcp4_start": "None", "dhcp4_end": "None", "ip6_network": "None", "ip6_gateway": "None", "dhcp6_flag": "False",
		"dhcp4_leases": "", "dhcp4_reservations": "", "firewall_rules": "", "firewall_rules/in": "", "firewall_rules/out": "",
		"mtu": "None", "name_servers": "None", "gen-1": "",
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		keys[pairs[i]] = pairs[i+1]
	}
	root := fmt.Sprintf("/networks/%d", vni)
	t := compat.Tree{root: description}
	for name, data := range keys {
		if data != "-" {
			t[root+"/"+name] = data
		}
	}
	return t
}

// office is network 100 with everything.
func office(pairs ...string) compat.Tree {
	return network(100, "office", append([]string{
		"ip4_network", "10.100.0.0/24", "ip4_gateway", "10.100.0.1", "dhcp4_flag", "True", "dhcp4_start", "10.100.0.100", "dhcp4_end", "10.100.0.199",
		"ip6_network", "2001:db8:100::/64", "ip6_gateway", "2001:db8:100::1", "dhcp6_flag", "True", "mtu", "1400", "name_servers", "10.0.0.53",
	}, pairs...)...)
}

// oldOffice is network 100 as an old client makes it.
func oldOffice(pairs ...string) compat.Tree {
	return office(append([]string{"mtu", "-", "name_servers", "-", "gen-1", "-"}, pairs...)...)
}

var officeValues = cluster.NetworkValues{
	MTU: 1400, Domain: "Office.Local.", NameServers: []string{"10.0.0.53", "10.0.0.53"}, IP4Network: "10.100.0.0/24", IP4Gateway: "10.100.0.1",
	DHCP4: true, DHCP4Start: "10.100.0.100", DHCP4End: "10.100.0.199", IP6Network: "2001:db8:100::/64", IP6Gateway: "2001:db8:100::1",
}

func create(r cluster.CreateNetwork) deed {
	return func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) { return c.CreateNetwork(ctx, r) }
}

// managed is a network of that type with some values.
func managed(vni int, description string, v cluster.NetworkValues) cluster.CreateNetwork {
	return cluster.CreateNetwork{VNI: vni, Description: description, Type: "managed", NetworkValues: v}
}

// created is the tree with the identity that nobody can foresee.
func created(t compat.Tree) compat.Tree {
	out := compat.Tree{}
	for path, data := range t {
		out[strings.Replace(path, "/gen-1", "/gen-*", 1)] = data
	}
	return out
}

func refuse(given compat.Tree, do deed, kind errs.Kind, says string) rule {
	return rule{given: given, do: do, no: true, kind: kind, says: says}
}

// decision: new networks
// decision: VNI
// decision: network names
// decision: domains of networks
// decision: bridged networks
// decision: overlapping networks
// decision: IPv6 gateway
func TestNetworksAreCreatedByTheTable(t *testing.T) {
	w := newWorld(t)
	bridged := func(vni int, v cluster.NetworkValues) deed {
		return create(cluster.CreateNetwork{VNI: vni, Description: "uplink", Type: "bridged", NetworkValues: v})
	}
	six := func(gateway string) deed {
		return create(managed(5, "six", cluster.NetworkValues{IP6Network: "2001:db8:5::/64", IP6Gateway: gateway}))
	}
	sixTree := created(network(5, "six", "ip6_network", "2001:db8:5::/64", "ip6_gateway", "2001:db8:5::1", "dhcp6_flag", "True"))
	four := func(block string) deed {
		return create(managed(5, "four", cluster.NetworkValues{IP4Network: block, IP4Gateway: "10.100.0.129"}))
	}
	for name, r := range map[string]rule{
		"with everything":   {do: create(managed(100, "office", officeValues)), says: `network "office" (VNI 100, managed) is created`, writes: created(office())},
		"without addresses": {do: create(managed(16777215, "x", cluster.NetworkValues{})), writes: created(network(16777215, "x"))},
		"bridged":           {do: bridged(4094, cluster.NetworkValues{MTU: 9000}), writes: created(network(4094, "uplink", "nettype", "bridged", "domain", "None", "mtu", "9000"))},
		"bridged with what it ignores": {do: bridged(1, cluster.NetworkValues{Domain: "_", IP4Network: "x"}), says: "ignored, as it is bridged: domain, ip4_network",
			writes: created(network(1, "uplink", "nettype", "bridged", "domain", "None"))},
		"a name that is no domain": {do: create(managed(5, "Büro_2.Süd", cluster.NetworkValues{})), writes: created(network(5, "Büro_2.Süd", "domain", "b-ro-2.s-d.local"))},
		"a name without letters":   {do: create(managed(5, "___", cluster.NetworkValues{})), writes: created(network(5, "___", "domain", "net5.local"))},
		"without an IPv6 gateway":  {do: six(""), says: "its IPv6 gateway is the first address, 2001:db8:5::1", writes: sixTree},
		"with a foreign one":       {do: six("2001:db8:6::1"), says: "2001:db8:6::1 is not in the network 2001:db8:5::/64", writes: sixTree},
		"with nonsense for one":    {do: six("fritz"), says: `"fritz" is not an IPv6 address`, writes: sixTree},
		"with one of the family":   {do: six("10.0.0.1"), says: `"10.0.0.1" is not an IPv6 address`, writes: sixTree},
		"beside another":           {given: office(), do: four("10.100.1.0/24"), no: true, kind: errs.Invalid, says: "10.100.0.129 is not in the network 10.100.1.0/24"},

		"a VLAN where a host has none": refuse(node("hv7", "facts", `{"no_bridged":"the kernel has no VLAN devices"}`), bridged(5, cluster.NetworkValues{}),
			errs.Conflict, "host hv7 cannot have bridged networks: the kernel has no VLAN devices"),
		"a VNI that is taken":           refuse(office(), create(managed(100, "x", cluster.NetworkValues{})), errs.Conflict, `the VNI 100 belongs to network "office"`),
		"a VLAN with a VXLAN's VNI":     refuse(office(), bridged(100, cluster.NetworkValues{}), errs.Conflict, `the VNI 100 belongs to network "office"`),
		"a name that is taken":          refuse(office(), create(managed(5, "office", cluster.NetworkValues{})), errs.Conflict, `"office" exists already: VNI 100`),
		"inside another":                refuse(oldOffice(), four("10.100.0.128/25"), errs.Conflict, `10.100.0.128/25 overlaps 10.100.0.0/24 of network "office" (VNI 100)`),
		"around another":                refuse(office(), four("10.0.0.0/8"), errs.Conflict, `overlaps 10.100.0.0/24 of network "office"`),
		"inside another's IPv6":         refuse(office(), create(managed(5, "x", cluster.NetworkValues{IP6Network: "2001:db8:100::/80"})), errs.Conflict, `overlaps 2001:db8:100::/64 of network "office"`),
		"where remains are":             refuse(compat.Tree{"/networks/5": "half", "/networks/5/domain": "x"}, create(managed(5, "x", cluster.NetworkValues{})), errs.Conflict, "remains of a network have the VNI 5"),
		"a type of the future":          refuse(nil, create(cluster.CreateNetwork{VNI: 5, Description: "x", Type: "routed"}), errs.Invalid, `"routed"`),
		"VNI 0":                         refuse(nil, create(managed(0, "x", cluster.NetworkValues{})), errs.Invalid, `value "vni": 0 is not a number from 1 to 16777215`),
		"VNI above 24 bits":             refuse(nil, create(managed(1<<24, "x", cluster.NetworkValues{})), errs.Invalid, "16777216"),
		"VLAN 4095":                     refuse(nil, bridged(4095, cluster.NetworkValues{}), errs.Invalid, `value "vni": 4095 is not a number from 1 to 4094`),
		"a name with a blank":           refuse(nil, create(managed(5, "my net", cluster.NetworkValues{})), errs.Invalid, `"my net"`),
		"a name that is a number":       refuse(nil, create(managed(5, "100", cluster.NetworkValues{})), errs.Invalid, `"100"`),
		"a name of 65 characters":       refuse(nil, create(managed(5, strings.Repeat("a", 65), cluster.NetworkValues{})), errs.Invalid, `value "description"`),
		"a bridged one's MTU":           refuse(nil, bridged(5, cluster.NetworkValues{MTU: 9217}), errs.Invalid, `value "mtu": 9217`),
		"wrong values of a managed one": refuse(nil, create(managed(5, "x", cluster.NetworkValues{IP4Network: "10.0.0.0/24"})), errs.Invalid, `value "ip4_gateway" is missing`),
	} {
		t.Run(name, func(t *testing.T) { w.check(t, r) })
	}
}

func change(r cluster.ModifyNetwork) deed {
	if r.Network == "" {
		r.Network = "office"
	}
	return func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) { return c.ModifyNetwork(ctx, r) }
}

func to[T any](v T) cluster.Edit[T] { return cluster.Edit[T]{Given: true, To: v} }

// decision: PUT of a network
// decision: unset network values
// decision: domains of networks
// decision: IPv6 gateway
// decision: overlapping networks
func TestNetworksAreChangedByTheTable(t *testing.T) {
	w := newWorld(t)
	key := func(pairs ...string) compat.Tree {
		out := compat.Tree{}
		for i := 0; i+1 < len(pairs); i += 2 {
			out["/networks/100/"+pairs[i]] = pairs[i+1]
		}
		return out
	}
	no4 := cluster.ModifyNetwork{IP4Network: to(""), IP4Gateway: to(""), DHCP4: to(false), DHCP4Start: to(""), DHCP4End: to("")}
	reserved := office("dhcp4_reservations/52:54:00:00:00:01", "static", "dhcp4_reservations/52:54:00:00:00:01/ipaddr", "10.100.0.10",
		"dhcp4_reservations/52:54:00:00:00:01/hostname", "None")
	uplink := network(7, "uplink", "nettype", "bridged", "domain", "kept.as.it.is", "mtu", "9000")
	for name, r := range map[string]rule{
		"only what is given": {given: office(), do: change(cluster.ModifyNetwork{DHCP4End: to("10.100.0.150")}), says: "has new values: dhcp4_end", writes: key("dhcp4_end", "10.100.0.150")},
		"by its VNI":         {given: office(), do: change(cluster.ModifyNetwork{Network: "100", MTU: to(1300)}), writes: key("mtu", "1300")},
		"DHCP switched off":  {given: office(), do: change(cluster.ModifyNetwork{DHCP4: to(false)}), writes: key("dhcp4_flag", "False")},
		"DHCP switched on":   {given: office("dhcp4_flag", "False"), do: change(cluster.ModifyNetwork{DHCP4: to(true)}), writes: key("dhcp4_flag", "True")},
		"cleared": {given: office(), do: change(cluster.ModifyNetwork{MTU: to(0), NameServers: to([]string(nil))}),
			writes: key("mtu", "None", "name_servers", "None")},
		"a cleared domain becomes the default": {given: office("domain", "x.example"), do: change(cluster.ModifyNetwork{Domain: to("")}), writes: key("domain", "office.local")},
		"IPv4 taken away":                      {given: office(), do: change(no4), writes: key("ip4_network", "None", "ip4_gateway", "None", "dhcp4_flag", "False", "dhcp4_start", "None", "dhcp4_end", "None")},
		"IPv6 taken away":                      {given: office(), do: change(cluster.ModifyNetwork{IP6Network: to("")}), writes: key("ip6_network", "None", "ip6_gateway", "None", "dhcp6_flag", "False")},
		"another IPv6 network takes its gateway with it": {given: office(), do: change(cluster.ModifyNetwork{IP6Network: to("2001:db8:101::/64")}),
			says: "is the first address, 2001:db8:101::1", writes: key("ip6_network", "2001:db8:101::/64", "ip6_gateway", "2001:db8:101::1")},
		"an IPv6 gateway taken away":  {given: office("ip6_gateway", "2001:db8:100::9"), do: change(cluster.ModifyNetwork{IP6Gateway: to("")}), writes: key("ip6_gateway", "2001:db8:100::1")},
		"inside its own old network":  {given: office(), do: change(cluster.ModifyNetwork{IP4Network: to("10.100.0.0/16")}), writes: key("ip4_network", "10.100.0.0/16")},
		"with its reservations":       {given: reserved, do: change(cluster.ModifyNetwork{IP4Network: to("10.100.0.0/16")}), writes: key("ip4_network", "10.100.0.0/16")},
		"an old client's":             {given: oldOffice(), do: change(cluster.ModifyNetwork{DHCP4: to(false)}), writes: key("dhcp4_flag", "False")},
		"keys an old client lacks":    {given: oldOffice(), do: change(cluster.ModifyNetwork{MTU: to(1300), NameServers: to([]string{"::2"})}), writes: key("mtu", "1300", "name_servers", "::2")},
		"what is so":                  {given: office(), do: change(cluster.ModifyNetwork{MTU: to(1400), Domain: to("office.local")}), says: "already"},
		"its own identity":            {given: office(), do: change(cluster.ModifyNetwork{VNI: to(100), Description: to("office"), Type: to("managed")}), says: "already"},
		"a bridged one's MTU":         {given: uplink, do: change(cluster.ModifyNetwork{Network: "uplink", MTU: to(0)}), writes: compat.Tree{"/networks/7/mtu": "None"}},
		"a bridged one's other value": {given: uplink, do: change(cluster.ModifyNetwork{Network: "uplink", MTU: to(1500), Domain: to("x")}), says: "ignored, as it is bridged: domain", writes: compat.Tree{"/networks/7/mtu": "1500"}},

		"nothing":                           refuse(office(), change(cluster.ModifyNetwork{}), errs.Invalid, "nothing is given"),
		"one that is not there":             refuse(office(), change(cluster.ModifyNetwork{Network: "x", MTU: to(1300)}), errs.NotFound, `"x"`),
		"another VNI":                       refuse(office(), change(cluster.ModifyNetwork{VNI: to(101)}), errs.Conflict, `value "vni"`),
		"another type":                      refuse(office(), change(cluster.ModifyNetwork{Type: to("bridged")}), errs.Conflict, `value "nettype"`),
		"another description":               refuse(office(), change(cluster.ModifyNetwork{Description: to("bureau")}), errs.Conflict, `value "description"`),
		"a bridged one has nothing else":    refuse(uplink, change(cluster.ModifyNetwork{Network: "7", Domain: to("")}), errs.Conflict, `only the value "mtu"`),
		"a gateway without its network":     refuse(office(), change(cluster.ModifyNetwork{IP4Network: to("")}), errs.Invalid, `value "ip4_gateway"`),
		"a network without its gateway":     refuse(office(), change(cluster.ModifyNetwork{IP4Gateway: to("")}), errs.Invalid, `value "ip4_gateway" is missing`),
		"DHCP without its range":            refuse(office(), change(cluster.ModifyNetwork{DHCP4Start: to(""), DHCP4End: to("")}), errs.Invalid, `value "dhcp4_start" is missing`),
		"a gateway in the stored range":     refuse(office(), change(cluster.ModifyNetwork{IP4Gateway: to("10.100.0.150")}), errs.Invalid, "contains the gateway 10.100.0.150"),
		"a network that misses the range":   refuse(office(), change(cluster.ModifyNetwork{IP4Network: to("10.100.0.0/25")}), errs.Invalid, "10.100.0.199 is not in the network 10.100.0.0/25"),
		"the network of another":            refuse(join(office(), network(5, "lab", "ip4_network", "10.5.0.0/16")), change(cluster.ModifyNetwork{IP4Network: to("10.0.0.0/8")}), errs.Conflict, `overlaps 10.5.0.0/16 of network "lab"`),
		"a gateway that is reserved":        refuse(reserved, change(cluster.ModifyNetwork{IP4Gateway: to("10.100.0.10")}), errs.Conflict, "reserved for 52:54:00:00:00:01"),
		"no room for reservations":          refuse(reserved, change(no4), errs.Conflict, "reserved for 52:54:00:00:00:01"),
		"too little for the stored IPv6":    refuse(office(), change(cluster.ModifyNetwork{MTU: to(1279)}), errs.Invalid, `value "mtu": 1279`),
		"what an old client left in pieces": refuse(oldOffice("ip4_gateway", "10.1.1.1"), change(cluster.ModifyNetwork{MTU: to(1300)}), errs.Invalid, "10.1.1.1 is not in the network"),
	} {
		t.Run(name, func(t *testing.T) { w.check(t, r) })
	}
}

func removeNetwork(ref string) deed {
	return func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) {
		return c.RemoveNetwork(ctx, ref)
	}
}

// decision: removing networks
func TestNetworksAreRemovedByTheTable(t *testing.T) {
	w := newWorld(t)
	full := office(
		"dhcp4_leases/52:54:00:00:00:01", "", "dhcp4_leases/52:54:00:00:00:01/expiry", "1", "dhcp4_leases/52:54:00:00:00:01/ipaddr", "10.100.0.100",
		"dhcp4_leases/52:54:00:00:00:01/hostname", "", "dhcp4_leases/52:54:00:00:00:01/clientid", "*",
		"dhcp4_reservations/52:54:00:00:00:02", "static", "dhcp4_reservations/52:54:00:00:00:02/ipaddr", "10.100.0.10",
		"dhcp6_leases", "", "dhcp6_leases/2001:db8:100::5", "{}", "dhcp6_serverid", "00:01",
		"firewall_rules/in/web", "", "firewall_rules/in/web/order", "0", "firewall_rules/in/web/rule", "accept", "of-a-later-release", "x",
	)
	on := func(bridgeName string) compat.Tree {
		return join(hosts(), vm("stop", "hv1", "xml", document("web1", web1, device(bridge, bridgeName))), office())
	}
	garbled := join(hosts(), vm("stop", "hv1", "xml", "<domain type='qemu'><source bridge='vmbr100'"), office())
	half := compat.Tree{"/networks/5": "half", "/networks/5/firewall_rules": "", "/networks/5/firewall_rules/in": ""}
	for name, r := range map[string]rule{
		"by its description":         {given: full, do: removeNetwork("office"), says: `network "office" (VNI 100) is removed`, writes: allGone(full)},
		"by its VNI":                 {given: office(), do: removeNetwork("100"), writes: allGone(office())},
		"an old client's":            {given: oldOffice(), do: removeNetwork("100"), writes: allGone(oldOffice())},
		"what is left of one":        {given: half, do: removeNetwork("5"), says: "network 5 is removed", writes: allGone(half)},
		"beside a similar one's VMs": {given: on("vmbr1000"), do: removeNetwork("100"), writes: allGone(office())},

		"one of a VM":             refuse(on("vmbr100"), removeNetwork("office"), errs.Conflict, `network "office" (VNI 100) is used by VM "web1"`),
		"one named by references": refuse(on("vmb&#114;100"), removeNetwork("office"), errs.Conflict, `VM "web1"`),
		"one of several VMs": refuse(join(on("vmbr100"), vmAs("web2", web2, "stop", "hv1", "xml", document("web2", web2, device(bridge, "vmbr100")))),
			removeNetwork("office"), errs.Conflict, `VM "web1", VM "web2"`),
		"one of an unreadable VM":        refuse(garbled, removeNetwork("office"), errs.Conflict, `VM "web1" (its document cannot be read)`),
		"one that is not there":          refuse(office(), removeNetwork("5"), errs.NotFound, `"5"`),
		"one of a name that nobody has":  refuse(office(), removeNetwork("bureau"), errs.NotFound, `"bureau"`),
		"one of a name that two have":    refuse(join(office(), network(5, "office")), removeNetwork("office"), errs.Conflict, "2 networks"),
		"a number that is not the VNI's": refuse(office(), removeNetwork("16777216"), errs.NotFound, `"16777216"`),
	} {
		t.Run(name, func(t *testing.T) { w.check(t, r) })
	}
}

// TestANetworkWithThousandsOfLeasesIsRemoved: one transaction would be too large.
func TestANetworkWithThousandsOfLeasesIsRemoved(t *testing.T) {
	w := newWorld(t)
	w.now = nil
	w.reset(t, office())
	for from := 0; from < 1200; from += 400 {
		leases := compat.Tree{}
		for i := from; i < from+400; i++ {
			root := fmt.Sprintf("/networks/100/dhcp4_leases/52:54:00:00:%02x:%02x", i>>8, i&255)
			leases[root] = ""
			for key, data := range map[string]string{"expiry": "1", "ipaddr": fmt.Sprintf("10.100.%d.%d", i>>8, i&255), "hostname": "", "clientid": "*"} {
				leases[root+"/"+key] = data
			}
		}
		w.write(t, leases)
	}
	sync(t, w.v)
	if answer, err := w.rules.RemoveNetwork(t.Context(), "office"); err != nil || !strings.Contains(answer.Message, "is removed") {
		t.Errorf("%q, %v", answer.Message, err)
	}
	if left := w.tree(t).Below("/networks/100"); len(left) > 0 {
		t.Errorf("%d keys are left", len(left))
	}
	w.now = nil
}
