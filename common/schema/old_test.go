package schema_test

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

func old(t *testing.T) compat.Tree {
	t.Helper()
	tree, err := compat.ReadTree("testdata/pvc05.tree")
	if err != nil {
		t.Fatal(err)
	}
	return tree
}

var versions = cmpopts.IgnoreTypes(model.VMVersions{}, model.NodeVersions{})

func TestNodesOfAnOldTreeAreReadExactly(t *testing.T) {
	tree := old(t)
	x86 := func(n model.Node) model.Node {
		n.Kernel, n.OS, n.Arch = "4.19.0-5-amd64", "GNU/Linux", "x86_64"
		return n
	}
	want := []model.Node{
		x86(model.Node{
			Name: "hv1", Mode: model.ModeCoordinator, DaemonState: model.DaemonRun, RouterState: model.RouterPrimary,
			DomainState: model.DomainReady, CPUCount: 16, MemTotal: 64320, MemUsed: 20111, MemFree: 40222, MemAlloc: 12288,
			VCPUAlloc: 10, CPULoad: 0.42, DomainsCount: 2, Keepalive: 1561939200,
			RunningDomains: []string{"7b2f3c1e-8d5a-4a53-9a4e-0c1d2e3f4a5b", "0e9d8c7b-6a59-4837-a615-243342516070"},
		}),
		x86(model.Node{
			Name: "hv2", Mode: model.ModeCoordinator, DaemonState: model.DaemonRun, RouterState: model.RouterSecondary,
			DomainState: model.DomainFlush, CPUCount: 8, MemTotal: 32160, MemUsed: 4000, MemFree: 25000, MemAlloc: 2048,
			VCPUAlloc: 1, CPULoad: 12, DomainsCount: 1, Keepalive: 1561939203,
			RunningDomains: []string{"11111111-2222-4333-8444-555555555555"},
		}),
		x86(model.Node{
			Name: "hv3", Mode: model.ModeCoordinator, DaemonState: model.DaemonDead, RouterState: model.RouterSecondary,
			DomainState: model.DomainFlushed, CPUCount: 8, MemTotal: 32160, MemUsed: 900, MemFree: 31000, Keepalive: 1561930000,
		}),
		x86(model.Node{
			Name: "hv4", Mode: model.ModeHypervisor, DaemonState: model.DaemonStop, RouterState: model.RouterClient,
			DomainState: model.DomainFlushed, CPUCount: 4, Keepalive: 1561900000,
		}),
	}
	var got []model.Node
	for _, name := range tree.Children(schema.Nodes) {
		n, ok, err := schema.DecodeNode(tree, name)
		if !ok || err != nil {
			t.Fatalf("%s: %v, %v", name, ok, err)
		}
		got = append(got, *n)
	}
	if d := cmp.Diff(want, got, versions, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("nodes (-want +got):\n%s", d)
	}
}

const (
	web1    = "7b2f3c1e-8d5a-4a53-9a4e-0c1d2e3f4a5b"
	db1     = "0e9d8c7b-6a59-4837-a615-243342516070"
	nowhere = "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee"
	broken  = "11111111-2222-4333-8444-555555555555"
	future  = "22222222-3333-4444-8555-666666666666"
	half    = "33333333-4444-4555-8666-777777777777"
)

func TestVMsOfAnOldTreeAreReadExactly(t *testing.T) {
	tree := old(t)
	want := map[string]*model.VM{
		web1: {
			UUID: web1, Name: "web1", State: model.VMStart, Node: "hv1", RBDList: []string{"vms/web1_root", "vms/web1_data"},
			XML: "<domain type='kvm'>\n  <name>web1</name>\n  <uuid>" + web1 + "</uuid>\n  <memory unit='MiB'>4096</memory>\n  <vcpu>2</vcpu>\n</domain>",
		},
		db1: {
			UUID: db1, Name: "db1", State: model.VMMigrate, Node: "hv1", LastNode: "hv2", RBDList: []string{"vms/db1_root"},
			XML: "<domain type='kvm'><name>db1</name></domain>",
		},
		nowhere: {UUID: nowhere, Name: "nowhere", State: model.VMStop, XML: "<domain type='kvm'><name>nowhere</name></domain>"},
		broken: {
			UUID: broken, Name: "broken", State: model.VMFailed, LastNode: "hv3",
			FailedReason: "Cannot access storage file '/srv/x': No such file", XML: "<domain type='kvm'><name>broken</name></domain>",
		},
		future: {UUID: future, Name: "future", State: "provision", Node: "hv2", XML: "<domain type='kvm'><name>future</name></domain>"},
	}
	got := map[string]*model.VM{}
	for _, uuid := range tree.Children(schema.Domains) {
		vm, ok, err := schema.DecodeVM(tree, uuid)
		if err != nil {
			t.Fatalf("%s: %v", uuid, err)
		}
		if ok {
			got[uuid] = vm
		} else if uuid != half {
			t.Errorf("%s is not read", uuid)
		}
	}
	if d := cmp.Diff(want, got, versions, cmpopts.EquateEmpty()); d != "" {
		t.Errorf("VMs (-want +got):\n%s", d)
	}
}

func TestNetworksOfAnOldTreeAreReadExactly(t *testing.T) {
	tree := old(t)
	want := map[int]*model.Network{
		7: {VNI: 7, Description: "uplink", Type: model.NetworkBridged},
		100: {
			VNI: 100, Description: "office", Type: model.NetworkManaged, Domain: "office.local",
			IP4: model.NetworkIP4{Network: netip.MustParsePrefix("10.100.0.0/24"), Gateway: netip.MustParseAddr("10.100.0.1"), DHCP: true,
				Start: netip.MustParseAddr("10.100.0.100"), End: netip.MustParseAddr("10.100.0.199")},
			Leases:       []model.Lease{{MAC: "52:54:00:00:00:01", Address: netip.MustParseAddr("10.100.0.100"), Hostname: "web1", ClientID: "*", Expiry: 1561942800}},
			Reservations: []model.Reservation{{MAC: "52:54:00:00:00:02", Address: netip.MustParseAddr("10.100.0.10")}},
			In:           []model.Rule{{Name: "web", Text: "tcp dport 80 counter accept"}},
		},
	}
	got := map[int]*model.Network{}
	for _, name := range tree.Children(schema.Networks) {
		vni, ok := schema.ParseVNI(name)
		n, there, err := schema.DecodeNetwork(tree, vni)
		if !ok || !there || err != nil {
			t.Fatalf("%s: %v, %v, %v", name, ok, there, err)
		}
		got[vni] = n
	}
	ignored := cmp.Options{cmpopts.IgnoreTypes(model.NetworkVersions{}), cmpopts.IgnoreFields(model.Rule{}, "Version"), cmpopts.EquateEmpty(), addresses}
	if d := cmp.Diff(want, got, ignored); d != "" {
		t.Errorf("networks (-want +got):\n%s", d)
	}
}

// addresses compares values of netip, which hide what they are made of.
var addresses = cmp.Options{
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
}

func TestVersionsAreThoseOfTheirOwnKeys(t *testing.T) {
	tree := old(t)
	at := func(path string) int32 {
		_, version, ok := tree.Data(path)
		if !ok {
			t.Fatalf("%s is not in the tree", path)
		}
		return version
	}
	vm, _, _ := schema.DecodeVM(tree, web1)
	key := func(name string) int32 { return at("/domains/" + web1 + "/" + name) }
	want := model.VMVersions{
		Name: at("/domains/" + web1), State: key("state"), Node: key("node"), LastNode: key("lastnode"),
		FailedReason: key("failedreason"), RBDList: key("rbdlist"), XML: key("xml"),
	}
	if d := cmp.Diff(want, vm.Versions); d != "" {
		t.Errorf("VM (-want +got):\n%s", d)
	}
	n, _, _ := schema.DecodeNode(tree, "hv1")
	wantNode := model.NodeVersions{
		DaemonState: at("/nodes/hv1/daemonstate"), RouterState: at("/nodes/hv1/routerstate"), DomainState: at("/nodes/hv1/domainstate"),
	}
	if d := cmp.Diff(wantNode, n.Versions); d != "" {
		t.Errorf("node (-want +got):\n%s", d)
	}
	office, _, _ := schema.DecodeNetwork(tree, 100)
	key = func(name string) int32 { return at("/networks/100/" + name) }
	wantNetwork := model.NetworkVersions{
		Description: at("/networks/100"), Domain: key("domain"), IP4Network: key("ip4_network"), IP4Gateway: key("ip4_gateway"), DHCP4: key("dhcp4_flag"),
		DHCP4Start: key("dhcp4_start"), DHCP4End: key("dhcp4_end"), IP6Network: key("ip6_network"), IP6Gateway: key("ip6_gateway"), DHCP6: key("dhcp6_flag"),
	}
	if d := cmp.Diff(wantNetwork, office.Versions); d != "" {
		t.Errorf("network (-want +got):\n%s", d)
	}
	if v := key("firewall_rules/in/web/order"); office.In[0].Version != v {
		t.Errorf("rule: %d, want %d", office.In[0].Version, v)
	}
}

func TestANodeOfAnOldTreeHasNoSessionAndNoIndex(t *testing.T) {
	n, _, _ := schema.DecodeNode(old(t), "hv1")
	if n.Alive() || n.HasVMIndex || n.EffectiveDaemonState() != model.DaemonDead {
		t.Errorf("alive %v, index %v, state %s: no daemon of ours has registered it", n.Alive(), n.HasVMIndex, n.EffectiveDaemonState())
	}
}

// TestEveryKeyOfTheOldLayoutHasItsPathHere: a name that was mistyped on our side would
// be read as "not set" and written beside the real one.
func TestEveryKeyOfTheOldLayoutHasItsPathHere(t *testing.T) {
	ours := map[string]bool{}
	for _, p := range []string{schema.Primary, schema.Nodes, schema.Domains, schema.Networks, schema.Ceph} {
		ours[p] = true
	}
	for _, key := range []string{
		schema.NodeDaemonMode, schema.NodeDaemonState, schema.NodeRouterState, schema.NodeDomainState, schema.NodeStaticData,
		schema.NodeMemTotal, schema.NodeMemUsed, schema.NodeMemFree, schema.NodeMemAlloc, schema.NodeVCPUAlloc, schema.NodeCPULoad,
		schema.NodeNetworksCount, schema.NodeDomainsCount, schema.NodeRunningDomains, schema.NodeKeepalive,
		schema.NodeIPMIHost, schema.NodeIPMIUser, schema.NodeIPMIPassword,
	} {
		ours[schema.Node("hv1", key)] = true
	}
	for _, key := range []string{
		schema.VMState, schema.VMNode, schema.VMLastNode, schema.VMFailedReason, schema.VMConsoleLog, schema.VMRBDList, schema.VMXML,
	} {
		ours[schema.VM(web1, key)] = true
	}
	for _, key := range []string{
		schema.NetworkType, schema.NetworkDomain, schema.NetworkIP4Network, schema.NetworkIP4Gateway, schema.NetworkDHCP4, schema.NetworkDHCP4Start,
		schema.NetworkDHCP4End, schema.NetworkIP6Network, schema.NetworkIP6Gateway, schema.NetworkDHCP6, schema.NetworkLeases,
		schema.NetworkReservations, schema.NetworkRules, schema.NetworkRules + "/in", schema.NetworkRules + "/out",
		schema.NetworkLeases + "/52:54:00:00:00:01", schema.NetworkLeases + "/52:54:00:00:00:01/" + schema.LeaseExpiry,
		schema.NetworkLeases + "/52:54:00:00:00:01/" + schema.LeaseAddress, schema.NetworkLeases + "/52:54:00:00:00:01/" + schema.LeaseHostname,
		schema.NetworkLeases + "/52:54:00:00:00:01/" + schema.LeaseClientID,
		schema.NetworkReservations + "/52:54:00:00:00:02", schema.NetworkReservations + "/52:54:00:00:00:02/" + schema.LeaseAddress,
		schema.NetworkReservations + "/52:54:00:00:00:02/" + schema.LeaseHostname,
		schema.NetworkRules + "/in/web", schema.NetworkRules + "/in/web/" + schema.RuleOrder, schema.NetworkRules + "/in/web/" + schema.RuleText,
	} {
		ours[schema.Network(100, key)] = true
	}
	ours[schema.Node("hv1")], ours[schema.VM(web1)], ours[schema.Network(100)] = true, true, true
	tree := old(t)
	for path := range ours {
		if _, there := tree[path]; !there {
			t.Errorf("%s is not a path of the old layout", path)
		}
	}
	for path := range tree {
		checked := strings.HasPrefix(path, "/nodes/hv1") || strings.HasPrefix(path, "/domains/"+web1) ||
			strings.HasPrefix(path, "/networks/100") || strings.Count(path, "/") == 1
		if checked && !ours[path] && path != "/service" {
			t.Errorf("%s has no name in the schema", path)
		}
	}
}
