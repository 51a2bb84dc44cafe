package cluster

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// plain is a managed network in which only IPv4 is set.
func plain(change func(v *NetworkValues)) NetworkValues {
	v := NetworkValues{IP4Network: "10.1.0.0/24", IP4Gateway: "10.1.0.1", DHCP4: true, DHCP4Start: "10.1.0.10", DHCP4End: "10.1.0.20"}
	change(&v)
	return v
}

func six(block string) NetworkValues { return NetworkValues{IP6Network: block} }

// decision: MTU
// decision: name servers
// decision: network blocks
// decision: gateways and ranges
// decision: IPv6 gateway
func TestValuesOfANetworkFitTogetherOrAreRefused(t *testing.T) {
	four := func(block, gateway string) NetworkValues {
		return NetworkValues{IP4Network: block, IP4Gateway: gateway}
	}
	for name, tt := range map[string]struct {
		v    NetworkValues
		says string // the error; empty if it is fine
	}{
		"nothing":                 {NetworkValues{}, ""},
		"everything of IPv4":      {plain(func(*NetworkValues) {}), ""},
		"a range of one address":  {plain(func(v *NetworkValues) { v.DHCP4End = v.DHCP4Start }), ""},
		"a range kept for later":  {plain(func(v *NetworkValues) { v.DHCP4 = false }), ""},
		"the largest IPv4 block":  {four("10.0.0.0/8", "10.255.255.254"), ""},
		"the smallest IPv4 block": {four("192.0.2.4/30", "192.0.2.6"), ""},
		"the largest IPv6 block":  {six("2001:db8:1::/48"), ""},
		"the smallest IPv6 block": {six("2001:db8::4/126"), ""},
		"the smallest MTU":        {NetworkValues{MTU: 576}, ""},
		"the largest MTU":         {NetworkValues{MTU: 9216, IP6Network: "fd00::/64"}, ""},
		"name servers":            {NetworkValues{NameServers: []string{"10.0.0.53", "2001:db8::53", "10.0.0.53"}}, ""},

		"MTU 575":                       {NetworkValues{MTU: 575}, `value "mtu": 575`},
		"MTU 9217":                      {NetworkValues{MTU: 9217}, `value "mtu": 9217`},
		"MTU -1":                        {NetworkValues{MTU: -1}, `value "mtu": -1`},
		"MTU 1279 with IPv6":            {NetworkValues{MTU: 1279, IP6Network: "fd00::/64"}, `value "mtu": 1279 is too little for IPv6`},
		"a domain with a blank":         {NetworkValues{Domain: "a b"}, `value "domain": domain "a b"`},
		"a domain with an underscore":   {NetworkValues{Domain: "a_b.local"}, `"a_b.local"`},
		"a domain with an empty label":  {NetworkValues{Domain: "a..b"}, `"a..b"`},
		"a domain with a line":          {NetworkValues{Domain: "a\nserver=/x/"}, `value "domain"`},
		"a label of 64 characters":      {NetworkValues{Domain: strings.Repeat("a", 64)}, `value "domain"`},
		"a domain of 255 characters":    {NetworkValues{Domain: strings.Repeat("a.", 127) + "a"}, `value "domain"`},
		"a name for a name server":      {NetworkValues{NameServers: []string{"ns1"}}, `value "name_servers": "ns1"`},
		"a name server of a link":       {NetworkValues{NameServers: []string{"fe80::1%eth0"}}, `"fe80::1%eth0"`},
		"a name server on the host":     {NetworkValues{NameServers: []string{"127.0.0.1"}}, `"127.0.0.1"`},
		"nine name servers":             {NetworkValues{NameServers: strings.Fields("1.0.0.1 1.0.0.2 1.0.0.3 1.0.0.4 1.0.0.5 1.0.0.6 1.0.0.7 1.0.0.8 1.0.0.9")}, "9 addresses"},
		"no length":                     {four("10.1.0.0", "10.1.0.1"), `value "ip4_network": "10.1.0.0" is not an IPv4 network`},
		"a mask":                        {four("10.1.0.0/255.255.255.0", "10.1.0.1"), `"10.1.0.0/255.255.255.0"`},
		"an address above 255":          {four("10.1.256.0/24", "10.1.0.1"), `"10.1.256.0/24"`},
		"a leading zero":                {four("10.01.0.0/24", "10.1.0.1"), `"10.01.0.0/24"`},
		"IPv6 for IPv4":                 {four("fd00::/64", "fd00::1"), `"fd00::/64" is not an IPv4 network`},
		"IPv4 in IPv6":                  {four("::ffff:10.1.0.0/120", "10.1.0.1"), "is not an IPv4 network"},
		"IPv4 for IPv6":                 {six("10.1.0.0/24"), `"10.1.0.0/24" is not an IPv6 network`},
		"an address for a block":        {four("10.1.0.5/24", "10.1.0.1"), `"10.1.0.5/24" is an address in the network 10.1.0.0/24`},
		"an IPv6 address for a block":   {six("2001:db8::1/64"), "is an address in the network 2001:db8::/64"},
		"a /7":                          {four("10.0.0.0/7", "10.1.0.1"), "from /8 to /30"},
		"a /31":                         {four("10.1.0.0/31", "10.1.0.1"), "from /8 to /30"},
		"a /47":                         {six("2001:db8::/47"), "from /48 to /126"},
		"a /127":                        {six("2001:db8::/127"), "from /48 to /126"},
		"the host's own":                {four("127.1.0.0/24", "127.1.0.1"), "local to every host"},
		"multicast":                     {four("224.1.0.0/24", "224.1.0.1"), "for multicast"},
		"addresses of links":            {four("169.254.1.0/24", "169.254.1.1"), "local to a link"},
		"IPv6 addresses of links":       {six("fe80::/64"), "local to a link"},
		"IPv6 multicast":                {six("ff02::/64"), "for multicast"},
		"no gateway":                    {four("10.1.0.0/24", ""), `value "ip4_gateway" is missing`},
		"a gateway that is no address":  {four("10.1.0.0/24", "gw"), `value "ip4_gateway": "gw" is not an IPv4 address`},
		"an IPv6 gateway for IPv4":      {four("10.1.0.0/24", "::ffff:10.1.0.1"), "is not an IPv4 address"},
		"a gateway outside":             {four("10.1.0.0/24", "10.1.1.1"), "10.1.1.1 is not in the network 10.1.0.0/24"},
		"a gateway that is the network": {four("10.1.0.0/24", "10.1.0.0"), "10.1.0.0 is the address of the network"},
		"a gateway to everybody":        {four("10.1.0.0/24", "10.1.0.255"), "10.1.0.255 is the broadcast address"},
		"a gateway of no block":         {NetworkValues{IP4Gateway: "10.1.0.1"}, `value "ip4_gateway": "10.1.0.1" has no network`},
		"an IPv6 gateway of no block":   {NetworkValues{IP6Gateway: "fd00::1"}, `value "ip6_gateway": "fd00::1" has no network`},
		"DHCP of no block":              {NetworkValues{DHCP4: true, DHCP4Start: "10.1.0.10", DHCP4End: "10.1.0.20"}, `value "dhcp4"`},
		"a start of no block":           {NetworkValues{DHCP4Start: "10.1.0.10"}, `value "dhcp4_start"`},
		"an end of no block":            {NetworkValues{DHCP4End: "10.1.0.10"}, `value "dhcp4_end"`},
		"DHCP without start":            {plain(func(v *NetworkValues) { v.DHCP4Start = "" }), `value "dhcp4_start" is missing`},
		"DHCP without end":              {plain(func(v *NetworkValues) { v.DHCP4End = "" }), `value "dhcp4_end" is missing`},
		"half a range for later":        {plain(func(v *NetworkValues) { v.DHCP4, v.DHCP4End = false, "" }), `value "dhcp4_end" is missing`},
		"a start that is no address":    {plain(func(v *NetworkValues) { v.DHCP4Start = "10" }), `value "dhcp4_start": "10"`},
		"a start outside":               {plain(func(v *NetworkValues) { v.DHCP4Start = "10.0.0.10" }), "10.0.0.10 is not in the network"},
		"a range from the network":      {plain(func(v *NetworkValues) { v.DHCP4Start = "10.1.0.0" }), `value "dhcp4_start": 10.1.0.0 is the address`},
		"a range to everybody":          {plain(func(v *NetworkValues) { v.DHCP4End = "10.1.0.255" }), `value "dhcp4_end": 10.1.0.255 is the broadcast`},
		"a range backwards":             {plain(func(v *NetworkValues) { v.DHCP4End = "10.1.0.9" }), "10.1.0.9 is below 10.1.0.10"},
		"a range from the gateway":      {plain(func(v *NetworkValues) { v.DHCP4Start = "10.1.0.1" }), "contains the gateway 10.1.0.1"},
		"a range to the gateway":        {plain(func(v *NetworkValues) { v.IP4Gateway = "10.1.0.20" }), "contains the gateway 10.1.0.20"},
	} {
		got, err := checkValues(&model.Network{VNI: 5, Description: "x", Type: model.NetworkManaged}, tt.v)
		if tt.says == "" && err != nil || tt.says != "" && (!errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), tt.says)) {
			t.Errorf("%s: %+v, err = %v, want %q", name, got.network, err, tt.says)
		}
	}
}

// FuzzValues: what is accepted fits together, and is written in a way that reads the same.
func FuzzValues(f *testing.F) {
	f.Add("office.local", "10.0.0.53", "10.1.0.0/24", "10.1.0.1", "10.1.0.10", "10.1.0.20", "fd00::/64", "fd00::1", 1400, true)
	f.Add("A.B.", "::1", "10.1.0.5/24", "10.1.0.0", "", "10.1.0.255", "::/48", "fe80::1%x", 0, false)
	f.Add("a\nb", "1.1.1.1,2", "255.255.255.252/30", "255.255.255.253", "10.1.0.10", "", "2001:db8::/126", "2001:db8::3", 576, true)
	f.Add("", "", "::ffff:10.0.0.0/120", "", "", "", "::ffff:10.0.0.0/120", "", 9216, false)
	f.Fuzz(func(t *testing.T, domain, server, net4, gw4, start, end, net6, gw6 string, mtu int, dhcp bool) {
		v := NetworkValues{MTU: mtu, Domain: domain, NameServers: []string{server}, IP4Network: net4, IP4Gateway: gw4, DHCP4: dhcp,
			DHCP4Start: start, DHCP4End: end, IP6Network: net6, IP6Gateway: gw6}
		if server == "" {
			v.NameServers = nil
		}
		of := &model.Network{VNI: 5, Description: "x", Type: model.NetworkManaged}
		got, err := checkValues(of, v)
		if err != nil {
			if !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "value ") {
				t.Errorf("error %v", err)
			}
			return
		}
		n := got.network
		for _, host := range []struct {
			of netip.Prefix
			a  netip.Addr
		}{{n.IP4.Network, n.IP4.Gateway}, {n.IP4.Network, n.IP4.Start}, {n.IP4.Network, n.IP4.End}, {n.IP6.Network, n.IP6.Gateway}} {
			if host.a.IsValid() && (!host.of.Contains(host.a) || host.a == host.of.Addr()) {
				t.Errorf("%s in %s", host.a, host.of)
			}
		}
		if n.IP4.DHCP && (!n.IP4.Start.IsValid() || n.IP4.End.Less(n.IP4.Start) || within(&n.IP4, n.IP4.Gateway)) {
			t.Errorf("%+v", n.IP4)
		}
		for _, k := range keysOf(n) {
			if strings.ContainsAny(k.text, " \t\n\r;#'\"\\={}$%") {
				t.Errorf("%s is %q", k.name, k.text)
			}
		}
		again, err := checkValues(of, valuesOf(n))
		if d := cmp.Diff(keysOf(n), keysOf(again.network), cmp.AllowUnexported(key{})); err != nil || d != "" {
			t.Errorf("read again: %v\n%s", err, d)
		}
	})
}

// decision: domains of networks
func FuzzDefaultDomainIsAlwaysOne(f *testing.F) {
	for _, s := range []string{"office", "a.b", "..", "-", "Büro", "x_y", strings.Repeat("a-", 32), "\xff"} {
		f.Add(5, s)
	}
	f.Fuzz(func(t *testing.T, vni int, description string) {
		if model.CheckDescription(description) != nil || checkVNI(vni, model.NetworkManaged) != nil {
			return
		}
		d := defaultDomain(vni, description)
		if same, err := model.ParseDomain(d); err != nil || same != d {
			t.Errorf("%q became %q: %v", description, d, err)
		}
	})
}
