package httpapi

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

const (
	osd3JSON = `{"id":"3","node":"hv1","device":"/dev/sdb","db_device":"","stats":{"uuid":"u-3","up":1,"in":1,"primary_affinity":1,"utilization":10,"var":0.5,"pgs":64,` +
		`"kb":104857600,"weight":1.5,"reweight":1,"node":"hv1","used":"10G","avail":"90G","used_bytes":10737418240,"avail_bytes":96636764160,` +
		`"wr_ops":2,"wr_data":4096,"rd_ops":3,"rd_data":8192,"state":"exists,up","class":"ssd"}}`
	osd30JSON = `{"id":"30","node":"hv2","device":"/dev/sdb","db_device":"","stats":{"uuid":"","up":0,"in":0,"primary_affinity":0,"utilization":0,"var":0,"pgs":0,` +
		`"kb":0,"weight":0,"reweight":0,"node":"","used":"0B","avail":"0B","used_bytes":0,"avail_bytes":0,"wr_ops":0,"wr_data":0,"rd_ops":0,"rd_data":0,"state":"","class":""}}`
	vmsJSON = `{"name":"vms","tier":"default","pgs":64,"volume_count":2,"stats":{"id":2,"size_bytes":30,"used_bytes":30,"stored_bytes":10,"free_bytes":90,"used_percent":10,` +
		`"num_objects":5,"num_object_clones":1,"num_object_copies":15,"num_objects_missing_on_primary":2,"num_objects_unfound":3,"num_objects_degraded":4,` +
		`"read_ops":6,"read_bytes":8,"write_ops":7,"write_bytes":9,"replicas":3,"min_replicas":2,"application":"rbd"}}`
	slowJSON = `{"name":"slow","tier":"default","pgs":8,"volume_count":1,"stats":{"id":0,"size_bytes":0,"used_bytes":0,"stored_bytes":0,"free_bytes":0,"used_percent":0,` +
		`"num_objects":0,"num_object_clones":0,"num_object_copies":0,"num_objects_missing_on_primary":0,"num_objects_unfound":0,"num_objects_degraded":0,` +
		`"read_ops":0,"read_bytes":0,"write_ops":0,"write_bytes":0,"replicas":0,"min_replicas":0,"application":""}}`
	disk0JSON = `{"name":"disk0","pool":"vms","stats":{"name":"disk0","id":"10a","size":"20G","size_bytes":21474836480,"objects":5120,"order":22,"object_size":4194304,` +
		`"block_name_prefix":"rbd_data.10a","format":2,"features":["layering","exclusive-lock"],"flags":[],"create_timestamp":"Tue Jul  2 10:00:00 2019","parent":"",` +
		`"watchers":1,"used_bytes":4194304}}`
	unknownStats = `"id":"","size":"0B","size_bytes":0,"objects":0,"order":0,"object_size":0,"block_name_prefix":"","format":0,"features":[],"flags":[],` +
		`"create_timestamp":"","parent":"","watchers":0,"used_bytes":0}}`
	slow0JSON = `{"name":"disk0","pool":"slow","stats":{"name":"disk0",` + unknownStats
	web1JSON  = `{"name":"web1_disk0","pool":"vms","stats":{"name":"web1_disk0",` + unknownStats
	s1JSON    = `{"pool":"vms","volume":"disk0","snapshot":"s1","stats":{"id":4,"size":"20G","size_bytes":21474836480,"timestamp":"Wed","protected":true}}`
	s10JSON   = `{"pool":"vms","volume":"disk0","snapshot":"s10","stats":{"id":0,"size":"0B","size_bytes":0,"timestamp":"","protected":false}}`
)

// decision: storage lists
// decision: storage filters
// decision: storage figures
// decision: newer paths of storage
func TestStorageIsShownAsWritten(t *testing.T) {
	b := newBench(t)
	list := func(elements ...string) string { return "[" + strings.Join(elements, ",") + "]" }
	status := `{"type":"status","primary_node":"hv1","ceph_data":"  cluster:\n    health: HEALTH_OK","data":{"health":{"status":"HEALTH_OK"}}}`
	usage := `{"type":"utilization","primary_node":"hv1","ceph_data":"POOL_NAME","data":{}}`
	for _, tt := range []struct {
		target string
		status int
		want   string // the body, or a part of the message of a failure
	}{
		{"", 200, status}, {"/status", 200, status}, {"/df", 200, usage}, {"/utilization", 200, usage},
		{"/osd", 200, list(osd3JSON, osd30JSON)},
		{"/osd?limit=^3$", 200, list(osd3JSON)},
		{"/osd?limit=osd.30", 200, list(osd30JSON)},
		{"/osd/3", 200, list(osd3JSON)},
		{"/osd/osd.3", 200, list(osd3JSON)},
		{"/osd/4", 200, list()},
		{"/osd/x", 200, list()},
		{"/osd/3/state", 200, `{"id":"3","in":1,"up":1}`},
		{"/osd/30/state", 200, `{"id":"30","in":0,"up":0}`},
		{"/osd/4/state", 510, `"4"`},
		{"/pool", 200, list(slowJSON, vmsJSON)},
		{"/pool?limit=m", 200, list(vmsJSON)},
		{"/pool/vms", 200, list(vmsJSON)},
		{"/pool/vm", 200, list()},
		{"/volume", 200, list(slow0JSON, disk0JSON, web1JSON)},
		{"/volume?pool=vms", 200, list(disk0JSON, web1JSON)},
		{"/volume?pool=vm", 200, list()},
		{"/volume?limit=^disk", 200, list(slow0JSON, disk0JSON)},
		{"/volume?limit=^vms/disk", 200, list(disk0JSON)},
		{"/volume?pool=slow&limit=web", 200, list()},
		{"/volume/vms/disk0", 200, list(disk0JSON)},
		{"/volume/vms/disk", 200, list()},
		{"/volume/vm/disk0", 510, `"vm"`},
		{"/volume/snapshot", 200, list(s1JSON, s10JSON)},
		{"/snapshot?volume=disk0", 200, list(s1JSON, s10JSON)},
		{"/snapshot?pool=slow&volume=disk0", 200, list()},
		{"/snapshot?volume=nothing", 200, list()},
		{"/snapshot?limit=s1$", 200, list(s1JSON)},
		{"/snapshot?limit=disk0@s10", 200, list(s10JSON)},
		{"/snapshot/vms/disk0/s1", 200, list(s1JSON)},
		{"/volume/snapshot/vms/disk0/s", 200, list()},
		{"/volume/snapshot/vms/disk1/s1", 510, `"disk1"`},
		{"/snapshot/vm/disk0/s1", 510, `"vm"`},
	} {
		w := b.serve(asked("GET", ceph+tt.target))
		if w.Code != tt.status || w.Code == StatusFailed && !strings.Contains(messageOf(t, w), tt.want) {
			t.Errorf("%s: %d %s", tt.target, w.Code, w.Body)
		}
		if d := cmp.Diff(tt.want+"\n", w.Body.String()); tt.status == 200 && d != "" {
			t.Errorf("%s (-want +got):\n%s", tt.target, d)
		}
	}
}

// decision: storage reads
func TestWithoutRecordsOfStorageReadsSayWhy(t *testing.T) {
	b := newBench(t)
	b.changes.unknown = errs.Conflictf("storage is not enabled")
	for _, r := range storageTable {
		if r.method != get || r.path == "/api/v1/tasks/{task}" {
			continue
		}
		if w := b.serve(newRequest(&r, nil, "", "")); w.Code != StatusFailed || messageOf(t, w) != "storage is not enabled" {
			t.Errorf("%s: %d %s", r.path, w.Code, w.Body)
		}
	}
}

// decision: storage lists
func TestListsOfStorageAreMadeAnewWhenSomethingChanges(t *testing.T) {
	b := newBench(t)
	for _, path := range []string{"/osd", "/pool", "/volume", "/snapshot", "/volume?pool=vms"} {
		again := asked("GET", ceph+path)
		again.Header.Set("If-None-Match", b.serve(asked("GET", ceph+path)).Header().Get("ETag"))
		if w := b.serve(again); w.Code != http.StatusNotModified {
			t.Errorf("%s unchanged: %d %s", path, w.Code, w.Body)
		}
		b.picture.mu.Lock()
		b.picture.generation++
		b.picture.mu.Unlock()
		if w := b.serve(again); w.Code != 200 {
			t.Errorf("%s changed: %d %s", path, w.Code, w.Body)
		}
	}
	b.picture.mu.Lock()
	b.picture.storage.volumes = append(b.picture.storage.volumes, &model.Volume{Pool: "vms", Name: "x"})
	b.picture.generation++
	b.picture.mu.Unlock()
	if w := b.serve(asked("GET", ceph+"/pool/vms")); !strings.Contains(w.Body.String(), `"volume_count":3`) {
		t.Errorf("the pool of a new volume: %s", w.Body)
	}
}

// decision: tasks
// decision: OSDs
func TestWhoAsksForATaskGetsOneAndOthersWait(t *testing.T) {
	for name, tc := range map[string]struct {
		header, value string
		task          bool
	}{
		"nothing said":         {"X", "", false},
		"the public client":    {"User-Agent", "pvc-client-cli/1.0.3", true},
		"another one":          {"User-Agent", "curl/7 pvc-client-cli/1.0.3", false},
		"a preference":         {"Prefer", "respond-async", true},
		"one of several":       {"Prefer", "return=minimal, Respond-Async;x=1", true},
		"another preference":   {"Prefer", "wait=10", false},
		"a word that holds it": {"Prefer", "no-respond-async", false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			for method, target := range map[string]string{"POST": "/osd?node=hv2&device=/dev/sdc&weight=1", "DELETE": "/osd/3?yes_i_really_mean_it"} {
				r := asked(method, ceph+target)
				r.Header.Set(tc.header, tc.value)
				w := b.serve(r)
				waited := strings.Contains(b.changes.take(), "wait for k-1")
				if !tc.task && (w.Code != 200 || !waited) {
					t.Errorf("%s: %d %s", method, w.Code, w.Body)
				}
				if want := `{"task_id":"k-1","task_name":"osd.add","run_on":"hv2"}` + "\n"; tc.task && (w.Code != 202 || waited || w.Body.String() != want ||
					w.Header().Get("Location") != "/api/v1/tasks/k-1") {
					t.Errorf("%s: %d %s %v", method, w.Code, w.Body, w.Header())
				}
			}
		})
	}
}

// decision: tasks
func TestTasksAreShownInTheWordsOfTheirClients(t *testing.T) {
	b := newBench(t)
	for _, tc := range []struct {
		task command.Task
		want string
	}{
		{command.Task{Verb: "osd_add", State: command.TaskPending, RunsOn: "hv1", Status: "it waits for host hv1"},
			`{"task_id":"t","task_name":"osd.add","run_on":"hv1","state":"PENDING","current":0,"total":1,"status":"it waits for host hv1"}`},
		{command.Task{Verb: "osd_remove", State: command.TaskRunning, Current: 3, Total: 64, Status: "draining"},
			`{"task_id":"t","task_name":"osd.remove","run_on":"","state":"RUNNING","current":3,"total":64,"status":"draining"}`},
		{command.Task{Verb: "osd_remove", State: command.TaskSuccess, Current: 3, Total: 64, Status: "OSD 3 is removed"},
			`{"task_id":"t","task_name":"osd.remove","run_on":"","state":"SUCCESS","current":64,"total":64,"status":"OSD 3 is removed"}`},
		{command.Task{Verb: "osd_add", State: command.TaskFailure, Status: "EBUSY", Err: errs.Conflictf("EBUSY")},
			`{"task_id":"t","task_name":"osd.add","run_on":"","state":"FAILURE","current":0,"total":1,"status":"EBUSY"}`},
	} {
		tc.task.ID = "t"
		b.changes.tasks["t"] = tc.task
		if w := b.serve(asked("GET", "/api/v1/tasks/t")); w.Code != 200 || w.Body.String() != tc.want+"\n" {
			t.Errorf("%d %s, want %s", w.Code, w.Body, tc.want)
		}
	}
	if w := b.serve(asked("GET", "/api/v1/tasks/none")); w.Code != StatusFailed || !strings.Contains(messageOf(t, w), `"none"`) {
		t.Errorf("an unknown task: %d %s", w.Code, w.Body)
	}
}

// decision: idempotency key
func TestTheIdempotencyKeyIsPassedOn(t *testing.T) {
	b := newBench(t)
	r := asked("DELETE", ceph+"/volume/vms/disk0")
	r.Header.Set("Idempotency-Key", "retry-7")
	r.Header.Set("X-Request-Id", "r9")
	want := called(cluster.RemoveVolume{By: cluster.Caller{Key: "retry-7", Request: "r9"}, Pool: "vms", Volume: "disk0"})
	if w := b.serve(r); w.Code != 200 {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if got := b.changes.take(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// decision: abandoned calls
func TestAStorageCallHearsThatItsClientHungUp(t *testing.T) {
	b := newBench(t)
	for i := range table {
		r := &table[i]
		if r.method == get || !strings.HasPrefix(r.path, ceph) {
			continue
		}
		ctx, hangUp := context.WithCancel(t.Context())
		ended := false
		b.changes.do = func(ctx context.Context) {
			hangUp()
			select {
			case <-ctx.Done():
				ended = true
			default:
			}
		}
		w := httptest.NewRecorder()
		b.ServeHTTP(w, newRequest(r, allPairs(r, rows[name(r)].good), "", "").WithContext(ctx))
		if !ended {
			t.Errorf("%s waits on: %d %s", name(r), w.Code, w.Body)
		}
		hangUp()
	}
}
