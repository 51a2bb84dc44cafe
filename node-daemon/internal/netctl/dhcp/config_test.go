package dhcp

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

func addr(s string) netip.Addr     { return netip.MustParseAddr(s) }
func prefix(s string) netip.Prefix { return netip.MustParsePrefix(s) }

func four() model.NetworkIP4 {
	return model.NetworkIP4{Network: prefix("10.77.0.0/24"), Gateway: addr("10.77.0.1"), DHCP: true, Start: addr("10.77.0.10"), End: addr("10.77.0.99")}
}

func six(network string) model.NetworkIP6 {
	p := prefix(network)
	return model.NetworkIP6{Network: p, Gateway: p.Addr().Next(), DHCP: true}
}

const (
	mac1 = "52:54:00:00:00:01"
	mac2 = "52:54:00:00:00:02"
	mac3 = "52:54:00:00:00:03"
)

var base = []string{
	"# Made by pvcd; it is written again at each start.",
	"keep-in-foreground", "pid-file=", "log-facility=-", "port=0", "no-resolv", "no-hosts",
	"bind-interfaces", "interface=vmbr100", "except-interface=lo",
	"dhcp-authoritative", "dhcp-ignore-clid", "dhcp-ignore-names", "dhcp-lease-max=4096",
	"leasefile-ro", "dhcp-script=/d/hook", "dhcp-hostsfile=/d/100.hosts",
}

func TestConfigurationSaysWhatTheNetworkSays(t *testing.T) {
	for name, tt := range map[string]struct {
		n    Network
		want []string // after base
	}{
		"IPv4": {Network{IP4: four(), Domain: "lab.local", MTU: 1450}, []string{
			"domain=lab.local",
			"dhcp-range=10.77.0.10,10.77.0.99,255.255.255.0,48h",
			"dhcp-option=option:router,10.77.0.1", "dhcp-option=option:ntp-server,10.77.0.1",
			"dhcp-option=option:dns-server,10.77.0.1", "dhcp-option=option:mtu,1450",
		}},
		"IPv4 with name servers": {Network{IP4: four(), NameServers: []netip.Addr{addr("9.9.9.9"), addr("2620:fe::fe"), addr("1.1.1.1")}}, []string{
			"dhcp-range=10.77.0.10,10.77.0.99,255.255.255.0,48h",
			"dhcp-option=option:router,10.77.0.1", "dhcp-option=option:ntp-server,10.77.0.1",
			"dhcp-option=option:dns-server,9.9.9.9,1.1.1.1",
		}},
		"IPv6 gives addresses": {Network{IP6: six("fd00:77::/64"), Domain: "lab.local", MTU: 1450, NameServers: []netip.Addr{addr("9.9.9.9")}}, []string{
			"domain=lab.local",
			"enable-ra", "ra-param=vmbr100,mtu:1450,30,90",
			"dhcp-range=fd00:77::2,fd00:77::ffff:ffff:ffff:ffff,64,24h",
			"dhcp-option=option6:sntp-server,[fd00:77::1]", "dhcp-option=option6:dns-server,[fd00:77::1]",
			"dhcp-option=option6:domain-search,lab.local",
		}},
		"both: guests make IPv6 addresses": {Network{IP4: four(), IP6: six("fd00:77::/64"), NameServers: []netip.Addr{addr("9.9.9.9")}}, []string{
			"dhcp-range=10.77.0.10,10.77.0.99,255.255.255.0,48h",
			"dhcp-option=option:router,10.77.0.1", "dhcp-option=option:ntp-server,10.77.0.1",
			"dhcp-option=option:dns-server,9.9.9.9",
			"enable-ra", "ra-param=vmbr100,30,90",
			"dhcp-range=fd00:77::,ra-stateless,64,24h", "dhcp-option=option6:sntp-server,[fd00:77::1]",
		}},
		"a large IPv6 block: the part around the gateway": {Network{IP6: six("fd00:77::/48"), MTU: 1000}, []string{
			"enable-ra", "ra-param=vmbr100,30,90",
			"dhcp-range=fd00:77::2,fd00:77::ffff:ffff:ffff:ffff,64,24h",
			"dhcp-option=option6:sntp-server,[fd00:77::1]", "dhcp-option=option6:dns-server,[fd00:77::1]",
		}},
		"the smallest IPv6 block": {Network{IP6: six("fd00:77::/126")}, []string{
			"enable-ra", "ra-param=vmbr100,30,90", "dhcp-range=fd00:77::2,fd00:77::3,126,24h",
			"dhcp-option=option6:sntp-server,[fd00:77::1]", "dhcp-option=option6:dns-server,[fd00:77::1]",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			tt.n.VNI, tt.n.Bridge = 100, "vmbr100"
			if err := tt.n.check(); err != nil {
				t.Fatal(err)
			}
			got := tt.n.config(paths{"/d/hook", "/d/100.hosts"})
			want := strings.Join(append(append([]string{}, base...), tt.want...), "\n") + "\n"
			if d := cmp.Diff(want, got); d != "" {
				t.Errorf("want (-), got (+):\n%s", d)
			}
		})
	}
}

func TestValueThatCouldBeMoreThanAValueIsRefused(t *testing.T) {
	for name, change := range map[string]func(*Network){
		"VNI 0":                        func(n *Network) { n.VNI = 0 },
		"VNI 16777216":                 func(n *Network) { n.VNI = 1 << 24 },
		"no bridge":                    func(n *Network) { n.Bridge = "" },
		"bridge with wildcard":         func(n *Network) { n.Bridge = "vmbr*" },
		"bridge with line":             func(n *Network) { n.Bridge = "a\nuser=root" },
		"bridge with comma":            func(n *Network) { n.Bridge = "a,b" },
		"bridge too long":              func(n *Network) { n.Bridge = "a123456789012345" },
		"domain with line":             func(n *Network) { n.Domain = "a\ndhcp-script=/bin/sh" },
		"domain with comma":            func(n *Network) { n.Domain = "a,10.0.0.0/8" },
		"domain of resolv.conf":        func(n *Network) { n.Domain = "#" },
		"domain not in its form":       func(n *Network) { n.Domain = "LAB.local." },
		"MTU 67":                       func(n *Network) { n.MTU = 67 },
		"MTU 65536":                    func(n *Network) { n.MTU = 65536 },
		"name server not set":          func(n *Network) { n.NameServers = []netip.Addr{{}} },
		"name server 0.0.0.0":          func(n *Network) { n.NameServers = []netip.Addr{netip.IPv4Unspecified()} },
		"name server with zone":        func(n *Network) { n.NameServers = []netip.Addr{addr("fe80::1%a],[::")} },
		"no block":                     func(n *Network) { n.IP4.Network = netip.Prefix{} },
		"gateway outside":              func(n *Network) { n.IP4.Gateway = addr("10.78.0.1") },
		"start outside":                func(n *Network) { n.IP4.Start = addr("10.76.0.1") },
		"no end":                       func(n *Network) { n.IP4.End = netip.Addr{} },
		"end before start":             func(n *Network) { n.IP4.End = addr("10.77.0.9") },
		"IPv6 gateway with zone":       func(n *Network) { n.IP6 = six("fd00::/64"); n.IP6.Gateway = addr("fd00::1%a\nb") },
		"IPv6 gateway outside":         func(n *Network) { n.IP6 = six("fd00::/64"); n.IP6.Gateway = addr("fd01::1") },
		"IPv6 block too small":         func(n *Network) { n.IP6 = six("fd00::/127") },
		"IPv4 gateway of IPv6 network": func(n *Network) { n.IP6 = six("fd00::/64"); n.IP6.Gateway = addr("10.77.0.1") },
	} {
		t.Run(name, func(t *testing.T) {
			n := Network{VNI: 100, Bridge: "vmbr100", Domain: "lab.local", MTU: 1450, IP4: four()}
			if err := n.check(); err != nil {
				t.Fatal(err)
			}
			change(&n)
			if err := n.check(); err == nil {
				t.Errorf("accepted; the file would be:\n%s", n.config(paths{"/h", "/d"}))
			}
		})
	}
}

func TestReservationsThatCannotBeServedCostTheOthersNothing(t *testing.T) {
	n := Network{VNI: 100, Bridge: "vmbr100", IP4: four(), Reservations: []model.Reservation{
		{MAC: mac2, Address: addr("10.77.0.200"), Hostname: "db"},
		{MAC: mac1, Address: addr("10.77.0.9")},
		{MAC: mac1, Address: addr("10.77.0.8")},                                          // a second for this MAC
		{MAC: mac3, Address: addr("10.77.0.9")},                                          // somebody's address
		{MAC: "52-54-00-00-00-03", Address: addr("10.77.0.12")},                          // another notation
		{MAC: mac3 + "\n", Address: addr("10.77.0.12")},                                  //
		{MAC: "*", Address: addr("10.77.0.13")},                                          //
		{MAC: mac3, Address: addr("10.77.0.1")},                                          // the gateway
		{MAC: mac3, Address: addr("10.78.0.1")},                                          // not of the network
		{MAC: mac3, Address: addr("10.77.0.14"), Hostname: "a,set:b"},                    //
		{MAC: mac3, Address: addr("10.77.0.15"), Hostname: "a\n" + mac1 + ",10.77.0.99"}, //
		{MAC: "52:54:00:00:00:04", Address: addr("10.77.0.4"), Hostname: "ignore"},
		{MAC: "52:54:00:00:00:05", Address: addr("10.77.0.5"), Hostname: "infinite"},
		{MAC: "52:54:00:00:00:06", Address: addr("10.77.0.6"), Hostname: "30m"},
		{MAC: "52:54:00:00:00:07", Address: addr("10.77.0.7"), Hostname: "12"},
		{MAC: "52:54:00:00:00:0a", Address: addr("10.77.0.11"), Hostname: "db"}, // somebody's name
	}}
	got, err := n.hosts()
	want := "52:54:00:00:00:04,10.77.0.4\n52:54:00:00:00:05,10.77.0.5\n52:54:00:00:00:06,10.77.0.6\n52:54:00:00:00:07,10.77.0.7\n" +
		mac1 + ",10.77.0.9\n52:54:00:00:00:0a,10.77.0.11,db\n" + mac2 + ",10.77.0.200\n"
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	if err == nil || strings.Count(err.Error(), "\n") != 8 {
		t.Errorf("9 entries are left out: %v", err)
	}
	if !errs.Is(err, errs.Conflict) && !errs.Is(err, errs.Invalid) {
		t.Errorf("kind of %v", err)
	}
}

// grammar is every line that may be in a configuration file.
var grammar = regexp.MustCompile(`^(` + strings.Join([]string{
	`# Made by pvcd; it is written again at each start\.`,
	`keep-in-foreground|pid-file=|log-facility=-|port=0|no-resolv|no-hosts|bind-interfaces|except-interface=lo`,
	`dhcp-authoritative|dhcp-ignore-clid|dhcp-ignore-names|dhcp-lease-max=4096|leasefile-ro|enable-ra`,
	`dhcp-script=/d/hook|dhcp-hostsfile=/d/hosts`,
	`interface=[A-Za-z0-9][A-Za-z0-9_.-]*|domain=[a-z0-9.-]+|dhcp-option=option6:domain-search,[a-z0-9.-]+`,
	`ra-param=[A-Za-z0-9][A-Za-z0-9_.-]*,(mtu:[0-9]+,)?30,90`,
	`dhcp-range=[0-9.]+,[0-9.]+,[0-9.]+,48h`,
	`dhcp-range=[0-9a-f:]+,([0-9a-f:]+|ra-stateless),[0-9]+,24h`,
	`dhcp-option=option:(router|ntp-server),[0-9.]+|dhcp-option=option:dns-server,[0-9.,]+|dhcp-option=option:mtu,[0-9]+`,
	`dhcp-option=option6:(sntp-server|dns-server),\[[0-9a-f:]+\](,\[[0-9a-f:]+\])*`,
}, "|") + `)$`)

var hostLine = regexp.MustCompile(`^[0-9a-f]{2}(:[0-9a-f]{2}){5},[0-9]+(\.[0-9]+){3}(,[a-z0-9]([a-z0-9-]*[a-z0-9])?)?$`)

// FuzzConfigurationHasNoLineButOurs feeds every text of a network from the outside.
func FuzzConfigurationHasNoLineButOurs(f *testing.F) {
	f.Add(100, "vmbr100", "lab.local", 1450, "9.9.9.9", "10.77.0.0/24", "10.77.0.1", "10.77.0.2", "10.77.0.9", "fd00::/64", "fd00::1", mac1, "10.77.0.5", "web1")
	f.Add(1, "vmbr1\nuser=root", "a\nport=53", 0, "fe80::1%x", "0.0.0.0/1", "1.1.1.1", "::ffff:1.1.1.1", "9", "fd00::/48", "fd00::1%\n", "*", "10.77.0.5", "ignore")
	f.Fuzz(func(t *testing.T, vni int, bridge, domain string, mtu int, ns, net4, gw4, start, end, net6, gw6, mac, reserved, name string) {
		a := func(s string) netip.Addr { a, _ := netip.ParseAddr(s); return a }
		p := func(s string) netip.Prefix { p, _ := netip.ParsePrefix(s); return p }
		n := Network{
			VNI: vni, Bridge: bridge, Domain: domain, MTU: mtu, NameServers: []netip.Addr{a(ns)},
			IP4:          model.NetworkIP4{Network: p(net4), Gateway: a(gw4), DHCP: true, Start: a(start), End: a(end)},
			IP6:          model.NetworkIP6{Network: p(net6), Gateway: a(gw6), DHCP: true},
			Reservations: []model.Reservation{{MAC: mac, Address: a(reserved), Hostname: name}},
		}
		if ns == "" {
			n.NameServers = nil
		}
		hosts, _ := n.hosts()
		for line := range strings.Lines(hosts) {
			if !hostLine.MatchString(strings.TrimSuffix(line, "\n")) {
				t.Errorf("reservation %q", line)
			}
		}
		if n.check() != nil {
			return
		}
		seen := map[string]int{}
		for line := range strings.Lines(n.config(paths{"/d/hook", "/d/hosts"})) {
			line = strings.TrimSuffix(line, "\n")
			if !grammar.MatchString(line) {
				t.Errorf("line %q", line)
			}
			key, _, _ := strings.Cut(line, "=")
			seen[key]++
		}
		want := map[string]int{"interface": 1, "dhcp-script": 1, "dhcp-hostsfile": 1, "leasefile-ro": 1, "port": 1}
		for key, count := range want {
			if seen[key] != count {
				t.Errorf("%s: %d times", key, seen[key])
			}
		}
		families := fmt.Sprint(n.serves4(), n.serves6())
		if got := seen["dhcp-range"]; got != strings.Count(families, "true") {
			t.Errorf("%d ranges for %s", got, families)
		}
	})
}
