package schema_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

// anyTree turns fuzzed bytes into the keys of one object: lines "key=data".
func anyTree(base, name, text string) compat.Tree {
	t := compat.Tree{base: name}
	for line := range strings.Lines(text) {
		if key, data, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok {
			t[base+"/"+key] = data
		}
	}
	return t
}

func FuzzDecodeVM(f *testing.F) {
	f.Add("web1", "state=start\nnode=hv1\nlastnode=\nfailedreason=None\nrbdlist=a/b,,c\nxml=<domain/>", "")
	f.Add("", "state=provision\nxml=x\ngen-=\ngen-abc=\nmigration={}\ncrashes=[1]", `{"owner":{"node":"hv1"}}`)
	f.Add("None", "state=\xff\nxml=\x00\nmigration={\"phase\":7}\ncrashes={\"times\":[1,2]}", "null")
	f.Fuzz(func(t *testing.T, name, text, claim string) {
		tree := anyTree("/domains/"+uuid, name, text)
		if claim != "" {
			tree["/claims/"+uuid] = claim
		}
		vm, ok, err := schema.DecodeVM(tree, uuid)
		if !ok {
			return
		}
		word := tree["/domains/"+uuid+"/state"]
		if string(vm.State) != word || word == "None" {
			t.Errorf("state %q became %q", word, vm.State)
		}
		if (vm.Claim != nil) != (claim != "") || vm.Claim != nil && vm.Claim.Owner.Node == "" {
			t.Errorf("claim %q became %+v", claim, vm.Claim)
		}
		if claim != "" && !json.Valid([]byte(claim)) && err == nil {
			t.Errorf("claim %q is not reported", claim)
		}
		if m := tree["/domains/"+uuid+"/migration"]; m != "" && !json.Valid([]byte(m)) && (err == nil || vm.Migration != nil) {
			t.Errorf("migration %q: %+v, %v", m, vm.Migration, err)
		}
	})
}

func FuzzDecodeNode(f *testing.F) {
	f.Add("daemonmode=coordinator\ndaemonstate=run\ncpuload=0.42\nstaticdata=4 k o x86_64\nmemtotal=1024\nkeepalive=1\nrunningdomains=a b")
	f.Add("daemonmode=x\ncpuload=NaN\nmemfree=-9223372036854775808\nstaticdata=\nfacts={\"machines\":[null]}\nsession=x\nsession/a=\nvms=\nvms/b=")
	f.Fuzz(func(t *testing.T, text string) {
		tree := anyTree("/nodes/hv1", "coordinator", text)
		n, ok, err := schema.DecodeNode(tree, "hv1")
		if mode := tree["/nodes/hv1/daemonmode"]; ok != (mode != "" && mode != "None") {
			t.Fatalf("mode %q: ok %v", mode, ok)
		}
		if !ok {
			return
		}
		if math.IsNaN(n.CPULoad) || math.IsInf(n.CPULoad, 0) {
			t.Errorf("load %v", n.CPULoad)
		}
		if _, jerr := json.Marshal(n); jerr != nil {
			t.Errorf("it cannot be shown: %v", jerr)
		}
		if load := tree["/nodes/hv1/cpuload"]; strings.ContainsAny(load, " ghz") && err == nil {
			t.Errorf("load %q is not reported", load)
		}
		if n.Alive() != (len(tree.Children("/nodes/hv1/session")) > 0) {
			t.Errorf("alive %v with %v", n.Alive(), tree.Children("/nodes/hv1/session"))
		}
	})
}

func FuzzDecodeNetwork(f *testing.F) {
	f.Add("office", "nettype=managed\ndomain=office.local\nip4_network=10.0.0.0/24\nip4_gateway=10.0.0.1\ndhcp4_flag=True\nmtu=1400\nname_servers=10.0.0.53,,::1\ngen-1=")
	f.Add("", "nettype=bridged\nmtu=-1\nip6_network=::ffff:1.2.3.4/96\nip6_gateway=fe80::1%eth0\ndhcp6_flag=yes")
	f.Add("x", "nettype=x\ndhcp4_leases=\ndhcp4_leases/52:54:00:00:00:01=\ndhcp4_leases/52:54:00:00:00:01/ipaddr=10.0.0.5\ndhcp4_leases/52:54:00:00:00:01/expiry=-5")
	f.Add("x", "nettype=managed\ndhcp4_reservations=\ndhcp4_reservations/AA-bb=static\nfirewall_rules=\nfirewall_rules/in=\nfirewall_rules/in/a=\nfirewall_rules/in/a/order=1e3\nfirewall_rules/in/a/rule=drop")
	f.Fuzz(func(t *testing.T, description, text string) {
		tree := anyTree("/networks/100", description, text)
		n, ok, err := schema.DecodeNetwork(tree, 100)
		if typ := tree["/networks/100/nettype"]; ok != (typ != "" && typ != "None") {
			t.Fatalf("type %q: ok %v", typ, ok)
		}
		if !ok {
			return
		}
		if n.MTU < 0 || n.IP4.Network.IsValid() && n.IP4.Network != n.IP4.Network.Masked() || n.IP6.Gateway.Zone() != "" {
			t.Errorf("%+v", n)
		}
		for _, l := range n.Leases {
			if mac, merr := model.ParseMAC(l.MAC); merr != nil || mac != l.MAC || !l.Address.IsValid() || l.Expiry < 0 {
				t.Errorf("lease %+v", l)
			}
		}
		for _, rules := range [][]model.Rule{n.In, n.Out} {
			for i, r := range rules {
				if r.Text == "" || r.Order < 0 || i > 0 && r.Order < rules[i-1].Order {
					t.Errorf("rules %+v", rules)
				}
			}
		}
		if mtu := tree["/networks/100/mtu"]; strings.ContainsAny(mtu, " abcdefghijklmnopqrstuvwxyz") && err == nil {
			t.Errorf("MTU %q is not reported", mtu)
		}
	})
}

func FuzzDecodeClaimAlwaysNamesAnOwner(f *testing.F) {
	for _, s := range []string{"", "null", "{}", `{"owner":{"node":"hv1"},"disks":["a"]}`, `{"owner":[]}`, "\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data string) {
		c, err := schema.DecodeClaim(data)
		if c == nil || c.Owner.Node == "" {
			t.Errorf("%q: %+v, %v: nobody would keep off", data, c, err)
		}
		if err == nil && !json.Valid([]byte(data)) {
			t.Errorf("%q is not reported", data)
		}
	})
}

func FuzzImageNamesAreOnePathElement(f *testing.F) {
	for _, s := range []string{"rbd:vms/a", "file:/srv/x y.img", "a%2Fb", "..", ".", "", "ü", "\x00"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, disk string) {
		path := schema.ClaimDisk("file:" + disk)
		if schema.Parent(path) != schema.ClaimDisks || schema.UnescapeDisk(schema.Base(path)) != "file:"+disk {
			t.Errorf("%q became %s", disk, path)
		}
	})
}
