package link

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const someSwitches = `{"data":[["br1",["set",[["uuid","p1"],["uuid","p2"],["uuid","p3"],["uuid","p4"]]]],["br2",["uuid","p5"]]],"headings":["name","ports"]}
{"data":[
 [["uuid","p1"],"br1",["set",[]],["set",[]],["map",[]],["uuid","i1"]],
 [["uuid","p2"],"vlan10",10,["set",[]],["map",[["pvc","10"],["who","somebody"]]],["uuid","i2"]],
 [["uuid","p3"],"bond0",["set",[]],["set",[]],["map",[]],["set",[["uuid","i3"],["uuid","i4"]]]],
 [["uuid","p4"],"vlan20",20,"native-tagged",["map",[["pvc","20"]]],["uuid","i5"]],
 [["uuid","p5"],"vlan30",30,"access",["map",[["pvc","30"]]],["uuid","i6"]]],
 "headings":["_uuid","name","tag","vlan_mode","external_ids","interfaces"]}
{"data":[
 [["uuid","i1"],"br1","internal",1500,["set",[]],["set",[]]],
 [["uuid","i2"],"vlan10","internal",1500,["set",[]],["set",[]]],
 [["uuid","i3"],"eth1","",2000,["set",[]],["set",[]]],
 [["uuid","i4"],"eth2","",1900,["set",[]],["set",[]]],
 [["uuid","i5"],"vlan20","internal",1500,1800,["set",[]]],
 [["uuid","i6"],"vlan30","internal",["set",[]],["set",[]],"could not open network device vlan30"]],
 "headings":["_uuid","name","type","mtu","mtu_request","error"]}
`

func TestPortsAreReadAsOpenVSwitchListsThem(t *testing.T) {
	got, err := parseSwitches([]byte(someSwitches))
	if err != nil {
		t.Fatal(err)
	}
	want := switches{bridges: map[string]int{"br1": 1800, "br2": math.MaxInt32}, ports: map[string]switchPort{
		"br1":    {bridge: "br1"},
		"vlan10": {bridge: "br1", owner: "10", vlan: 10, plain: true},
		"bond0":  {bridge: "br1"},
		"vlan20": {bridge: "br1", owner: "20", vlan: 20},
		"vlan30": {bridge: "br2", owner: "30", vlan: 30, plain: true, fault: "could not open network device vlan30"},
	}}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(switches{}, switchPort{})); diff != "" {
		t.Error(diff)
	}
}

func TestWhatIsNoAnswerOfOpenVSwitchIsRefused(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":             "",
		"no JSON":             "ovs-vsctl: no bridge\n",
		"a table is missing":  someSwitches[:strings.LastIndex(someSwitches, `{"data"`)],
		"cut":                 someSwitches[:len(someSwitches)-10],
		"a cell too few":      strings.Replace(someSwitches, `"vlan10",10,`, `"vlan10",`, 1),
		"an MTU of letters":   strings.Replace(someSwitches, `"eth1","",2000,`, `"eth1","","many",`, 1),
		"a tag of letters":    strings.Replace(someSwitches, `"vlan10",10,`, `"vlan10","ten",`, 1),
		"a port without name": strings.Replace(someSwitches, `"vlan10",10,`, `["set",[]],10,`, 1),
		"no map":              strings.Replace(someSwitches, `["map",[["pvc","20"]]]`, `"pvc"`, 1),
	} {
		if got, err := parseSwitches([]byte(text)); err == nil {
			t.Errorf("%s: read as %+v", name, got)
		}
	}
}

func FuzzParseSwitches(f *testing.F) {
	f.Add([]byte(someSwitches))
	f.Add([]byte(`{"data":[],"headings":[]}{"data":[],"headings":[]}{"data":[],"headings":[]}`))
	f.Add([]byte(`{"data":[[null]],"headings":["name"]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseSwitches(text)
		for name := range s.ports {
			if err != nil || name == "" {
				t.Errorf("port %q beside the error %v", name, err)
			}
		}
	})
}
