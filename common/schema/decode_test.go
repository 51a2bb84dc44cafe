package schema_test

import (
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

const uuid = web1

// vmTree is a complete VM with some keys laid over it; an absent value is "-".
func vmTree(over map[string]string) compat.Tree {
	t := compat.Tree{"/domains": "", "/domains/" + uuid: "web1"}
	for _, key := range []string{"lastnode", "failedreason", "rbdlist", "consolelog"} {
		t["/domains/"+uuid+"/"+key] = ""
	}
	t["/domains/"+uuid+"/state"], t["/domains/"+uuid+"/node"], t["/domains/"+uuid+"/xml"] = "start", "hv1", "<domain/>"
	for path, data := range over {
		t[path] = data
		if data == "-" {
			delete(t, path)
		}
	}
	return t
}

func nodeTree(over map[string]string) compat.Tree {
	t := compat.Tree{"/nodes": "", "/nodes/hv1": "coordinator", "/nodes/hv1/daemonmode": "coordinator", "/nodes/hv1/daemonstate": "run"}
	for key, data := range over {
		t["/nodes/hv1/"+key] = data
	}
	return t
}

func TestNoneEmptyAndMissingAreAllNotSet(t *testing.T) {
	for _, data := range []string{"None", "", "-"} {
		over := map[string]string{}
		for _, key := range []string{"node", "lastnode", "failedreason", "rbdlist"} {
			over["/domains/"+uuid+"/"+key] = data
		}
		vm, ok, err := schema.DecodeVM(vmTree(over), uuid)
		if !ok || err != nil || vm.Node != "" || vm.LastNode != "" || vm.FailedReason != "" || len(vm.RBDList) != 0 {
			t.Errorf("%q: %+v, %v, %v", data, vm, ok, err)
		}
	}
}

func TestHalfAVMIsNone(t *testing.T) {
	for _, key := range []string{"", "/state", "/xml"} {
		if _, ok, _ := schema.DecodeVM(vmTree(map[string]string{"/domains/" + uuid + key: "-"}), uuid); ok {
			t.Errorf("without %q it is a VM", key)
		}
	}
}

func TestUnreadableRecordsAreReportedByTheirPath(t *testing.T) {
	claim, migration := "/claims/"+uuid, "/domains/"+uuid+"/migration"
	for name, tc := range map[string]struct {
		over  map[string]string
		paths []string
	}{
		"claim is no JSON":     {map[string]string{claim: "{"}, []string{claim}},
		"claim is empty":       {map[string]string{claim: ""}, []string{claim}},
		"claim is null":        {map[string]string{claim: "null"}, []string{claim}},
		"claim of nobody":      {map[string]string{claim: "{}"}, []string{claim}},
		"migration is no JSON": {map[string]string{migration: "x"}, []string{migration}},
		"both":                 {map[string]string{migration: "x", claim: "x"}, []string{migration, claim}},
	} {
		vm, ok, err := schema.DecodeVM(vmTree(tc.over), uuid)
		if !ok || err == nil {
			t.Errorf("%s: ok %v, err %v", name, ok, err)
			continue
		}
		for _, path := range tc.paths {
			if !strings.Contains(err.Error(), path) {
				t.Errorf("%s: the error %q does not name %s", name, err, path)
			}
		}
		if _, claimed := tc.over[claim]; claimed != (vm.Claim != nil) || claimed && vm.Claim.Owner.Node == "" {
			t.Errorf("%s: claim %+v: an unreadable one must still keep everybody off", name, vm.Claim)
		}
		if vm.Migration != nil {
			t.Errorf("%s: migration %+v", name, vm.Migration)
		}
	}
}

func TestUnreadableFiguresOfANodeAreReportedAndReadAsZero(t *testing.T) {
	for key, data := range map[string]string{
		"memtotal": "much", "memused": "1.5", "memfree": "0x10", "memalloc": "99999999999999999999", "vcpualloc": "-", "domainscount": "1 2",
		"cpuload": "high", "keepalive": "soon", "staticdata": "four 4.19 GNU/Linux x86_64", "facts": "{",
	} {
		n, ok, err := schema.DecodeNode(nodeTree(map[string]string{key: data}), "hv1")
		if !ok || err == nil || !strings.Contains(err.Error(), "/nodes/hv1/"+key) {
			t.Errorf("%s: ok %v, err = %v", key, ok, err)
			continue
		}
		if n.MemTotal != 0 || n.MemUsed != 0 || n.MemFree != 0 || n.MemAlloc != 0 || n.CPULoad != 0 || n.CPUCount != 0 {
			t.Errorf("%s: %+v", key, n)
		}
	}
}

// TestALoadThatIsNoNumberCannotReachAnAnswer: JSON has no word for it.
func TestALoadThatIsNoNumberCannotReachAnAnswer(t *testing.T) {
	for _, data := range []string{"NaN", "Inf", "-Inf", "1e999"} {
		n, _, err := schema.DecodeNode(nodeTree(map[string]string{"cpuload": data}), "hv1")
		if err == nil || math.IsNaN(n.CPULoad) || math.IsInf(n.CPULoad, 0) {
			t.Errorf("%s: load %v, err = %v", data, n.CPULoad, err)
		}
	}
}

func TestUnknownWordsAreKept(t *testing.T) {
	vm, ok, err := schema.DecodeVM(vmTree(map[string]string{"/domains/" + uuid + "/state": "provision"}), uuid)
	if !ok || err != nil || vm.State != "provision" {
		t.Errorf("VM: %+v, %v, %v", vm, ok, err)
	}
	n, ok, err := schema.DecodeNode(nodeTree(map[string]string{"daemonstate": "fenced", "routerstate": "backup", "domainstate": "maintenance"}), "hv1")
	if !ok || err != nil || n.DaemonState != "fenced" || n.RouterState != "backup" || n.DomainState != "maintenance" {
		t.Errorf("node: %+v, %v, %v", n, ok, err)
	}
}

func TestAClaimIsReadAsItWasWritten(t *testing.T) {
	got, err := schema.DecodeClaim(`{"owner":{"node":"hv1","boot_id":"b","instance":"i","clients":["10.0.0.1:0/7"],"run":"r","console_at":5},` +
		`"incoming":{"node":"hv2","boot_id":"","instance":""},"recorded":true,"resumed":true,"disks":["file%3A%2Fsrv%2Fx"],"later":1}`)
	want := &model.Claim{
		Owner:    model.ClaimHost{Node: "hv1", BootID: "b", Instance: "i", Clients: []string{"10.0.0.1:0/7"}, Run: "r", ConsoleAt: 5},
		Incoming: &model.ClaimHost{Node: "hv2"}, Recorded: true, Resumed: true, Disks: []string{"file%3A%2Fsrv%2Fx"},
	}
	if d := cmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("err %v, claim (-want +got):\n%s", err, d)
	}
}
