package schema_test

import (
	"encoding/json"
	"math"
	"strings"
	"testing"

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
