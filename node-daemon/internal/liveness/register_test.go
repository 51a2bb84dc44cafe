package liveness

import (
	"sort"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

func testIdentity(mode model.DaemonMode) identity {
	return identity{
		node: "hv9", child: "session-b1-x", mode: mode, static: "4 6.1 GNU/Linux x86_64",
		ipmi:    IPMI{"bmc9", "admin", "word"},
		session: model.NodeSession{Instance: "i1", BootID: "b1", MachineID: "m1", Version: "1"},
	}
}

const sessionJSON = `{"instance":"i1","boot_id":"b1","machine_id":"m1","version":"1"}`

// written returns path=data of the operations of a kind, sorted.
func written(txn coord.Txn, kinds ...coord.OpKind) []string {
	var out []string
	for _, op := range txn.Ops {
		for _, k := range kinds {
			if op.Kind == k {
				out = append(out, op.Path+"="+string(op.Data))
			}
		}
	}
	sort.Strings(out)
	return out
}

// decision: a new node
func TestFirstRegistrationWritesEveryKeyOfTheOldSystemAtOnce(t *testing.T) {
	txn := registration(record{}, testIdentity(model.ModeCoordinator), time.Unix(1000, 0))
	want := []string{
		"/nodes/hv9/condition=", "/nodes/hv9/cpuload=0.0", "/nodes/hv9/daemonmode=coordinator", "/nodes/hv9/daemonstate=init",
		"/nodes/hv9/domainscount=0", "/nodes/hv9/domainstate=ready", "/nodes/hv9/doorbell=", "/nodes/hv9/facts=", "/nodes/hv9/flush=",
		"/nodes/hv9/ipmihostname=bmc9", "/nodes/hv9/ipmipassword=word", "/nodes/hv9/ipmiusername=admin", "/nodes/hv9/keepalive=1000",
		"/nodes/hv9/memalloc=0", "/nodes/hv9/memfree=0", "/nodes/hv9/memtotal=0", "/nodes/hv9/memused=0", "/nodes/hv9/networkscount=0",
		"/nodes/hv9/routerstate=secondary", "/nodes/hv9/runningdomains=", "/nodes/hv9/session=" + sessionJSON,
		"/nodes/hv9/staticdata=4 6.1 GNU/Linux x86_64", "/nodes/hv9/vcpualloc=0", "/nodes/hv9/vms=", "/nodes/hv9=coordinator",
	}
	if d := cmp.Diff(want, written(txn, coord.OpCreate)); d != "" {
		t.Errorf("created (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"/nodes/hv9/session/session-b1-x="}, written(txn, coord.OpCreateEphemeral)); d != "" {
		t.Errorf("ephemeral (-want +got):\n%s", d)
	}
	if others := written(txn, coord.OpSet, coord.OpDelete, coord.OpCheck); len(others) != 0 {
		t.Errorf("also %v", others)
	}
}

// oldKeys are what a node of the old system has.
var oldKeys = []string{
	"daemonmode", "daemonstate", "routerstate", "domainstate", "staticdata", "memtotal", "memused", "memfree", "memalloc",
	"vcpualloc", "cpuload", "networkscount", "domainscount", "runningdomains", "keepalive", "ipmihostname", "ipmiusername", "ipmipassword",
}

// decision: a new node
func TestRegistrationAgainKeepsWhatUsersSetAndWhatWasCounted(t *testing.T) {
	rec := record{exists: true, keys: map[string]bool{}}
	for _, k := range oldKeys {
		rec.keys[k] = true
	}
	txn := registration(rec, testIdentity(model.ModeHypervisor), time.Unix(1000, 0))
	wantSet := []string{
		"/nodes/hv9/daemonmode=hypervisor", "/nodes/hv9/daemonstate=init", "/nodes/hv9/ipmihostname=bmc9", "/nodes/hv9/ipmipassword=word",
		"/nodes/hv9/ipmiusername=admin", "/nodes/hv9/keepalive=1000", "/nodes/hv9/routerstate=client", "/nodes/hv9/staticdata=4 6.1 GNU/Linux x86_64",
	}
	if d := cmp.Diff(wantSet, written(txn, coord.OpSet)); d != "" {
		t.Errorf("set (-want +got):\n%s", d)
	}
	wantNew := []string{
		"/nodes/hv9/condition=", "/nodes/hv9/doorbell=", "/nodes/hv9/facts=", "/nodes/hv9/flush=",
		"/nodes/hv9/session=" + sessionJSON, "/nodes/hv9/vms=",
	}
	if d := cmp.Diff(wantNew, written(txn, coord.OpCreate)); d != "" {
		t.Errorf("created (-want +got):\n%s", d)
	}
}

func TestRegistrationAgainExcludesASecondStarterByTheVersion(t *testing.T) {
	rec := record{exists: true, keys: map[string]bool{"session": true}, hasSession: true, version: 7, live: []string{"session-b1-old"}}
	txn := registration(rec, testIdentity(model.ModeHypervisor), time.Unix(1000, 0))
	var guarded, removed bool
	for _, op := range txn.Ops {
		guarded = guarded || op.Kind == coord.OpSet && op.Path == "/nodes/hv9/session" && op.Version == 7
		removed = removed || op.Kind == coord.OpDelete && op.Path == "/nodes/hv9/session/session-b1-old"
	}
	if !guarded || !removed {
		t.Errorf("guarded by the version %v, stale child removed %v, want both", guarded, removed)
	}
}

func TestOnlyAGoneProcessOfThisBootIsReplacedAtOnce(t *testing.T) {
	me := model.NodeSession{Instance: "new", BootID: "b1", MachineID: "m1"}
	of := func(boot, machine string, live ...string) record {
		return record{session: model.NodeSession{Instance: "old", BootID: boot, MachineID: machine}, live: live}
	}
	for name, tc := range map[string]struct {
		rec  record
		want rest
	}{
		"none":                         {of("b1", "m1"), restNone},
		"a process of this boot":       {of("b1", "m1", "session-b1-aa"), restOwn},
		"an earlier boot":              {of("b0", "m1", "session-b0-aa"), restWait},
		"child and container disagree": {of("b1", "m1", "session-b0-aa"), restWait},
		"two children":                 {of("b1", "m1", "session-b1-aa", "session-b1-bb"), restWait},
		"another machine":              {of("b9", "m9", "session-b9-aa"), restAlien},
		"unreadable container":         {record{live: []string{"session-b1-aa"}}, restAlien},
	} {
		t.Run(name, func(t *testing.T) {
			if got := judgeRest(tc.rec, me); got != tc.want {
				t.Errorf("judgeRest = %d, want %d", got, tc.want)
			}
		})
	}
}
