package schema_test

import (
	"encoding/json"
	"maps"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

// What the old system wrote.
const (
	oldOSD = `{"uuid": "3f7a", "up": 1, "in": 1, "primary_affinity": 1.0, "utilization": 3.21, "var": 1.0, "pgs": 256, "kb": 97676208,
 "weight": 1.0, "reweight": 1.0, "node": "hv1", "used": "3.1G", "avail": "90.0G", "wr_ops": "12", "wr_data": "4095k", "rd_ops": "1.5k", "rd_data": "0", "state": "exists,up"}`
	oldPool = `{"id": 1, "size_bytes": 123456, "num_objects": "10", "num_object_clones": "0", "num_object_copies": "30",
 "num_objects_missing_on_primary": "0", "num_objects_unfound": 0, "num_objects_degraded": 2, "read_ops": 100, "read_bytes": 4096, "write_ops": 50, "write_bytes": "8192"}`
	oldVolume = `{"name":"test1_disk0","id":"1234567890ab","size":21474836480,"objects":5120,"order":22,"object_size":4194304,
"block_name_prefix":"rbd_data.1234567890ab","format":2,"features":["layering","exclusive-lock"],"op_features":[],"flags":[],
"create_timestamp":"Tue Jul  2 10:00:00 2019","parent":{"pool":"vms","pool_namespace":"","image":"golden","snapshot":"v1","overlap":10}}`
)

func storageTree(over map[string]string) compat.Tree {
	t := compat.Tree{
		"/ceph/osds": "", "/ceph/osds/3": "", "/ceph/osds/3/node": "hv1", "/ceph/osds/3/device": "/dev/sdb", "/ceph/osds/3/stats": oldOSD,
		"/ceph/pools": "", "/ceph/pools/vms": "", "/ceph/pools/vms/pgs": "64", "/ceph/pools/vms/stats": oldPool,
		"/ceph/volumes": "", "/ceph/volumes/vms": "", "/ceph/volumes/vms/a": "", "/ceph/volumes/vms/a/stats": oldVolume,
		"/ceph/snapshots": "", "/ceph/snapshots/vms": "", "/ceph/snapshots/vms/a": "", "/ceph/snapshots/vms/a/s2": "", "/ceph/snapshots/vms/a/s2/stats": "{}",
		"/ceph/snapshots/vms/a/s1": "", "/ceph/snapshots/vms/a/s1/stats": `{"id":4,"size":1024,"protected":"true","timestamp":"now"}`,
	}
	for path, data := range over {
		t[path] = data
		if data == "-" {
			delete(t, path)
		}
	}
	return t
}

func TestRecordsOfTheOldSystemAreRead(t *testing.T) {
	tree := storageTree(nil)
	o, ok, err := schema.DecodeOSD(tree, 3)
	wantOSD := &model.OSD{ID: 3, Node: "hv1", Device: "/dev/sdb", Versions: o.Versions, Stats: &model.OSDStats{
		UUID: "3f7a", Up: true, In: true, PrimaryAffinity: 1, Utilization: 3.21, Variance: 1, PGs: 256, Total: 97676208 << 10, Weight: 1, Reweight: 1, Host: "hv1",
		Used: 3328599654, Avail: 90 << 30, WriteOps: 12, WriteRate: 4095 << 10, ReadOps: 1500, State: "exists,up",
	}}
	if d := cmp.Diff(wantOSD, o); !ok || err != nil || d != "" {
		t.Errorf("OSD: %v, %v (-want +got):\n%s", ok, err, d)
	}
	p, ok, err := schema.DecodePool(tree, "vms")
	wantPool := &model.Pool{Name: "vms", PGs: 64, HasVolumes: true, HasSnapshots: true, Versions: p.Versions, Stats: &model.PoolStats{
		ID: 1, Used: 123456, Objects: 10, Copies: 30, Degraded: 2, ReadOps: 100, ReadData: 4096, WriteOps: 50, WriteData: 8192,
	}}
	if d := cmp.Diff(wantPool, p); !ok || err != nil || d != "" {
		t.Errorf("pool: %v, %v (-want +got):\n%s", ok, err, d)
	}
	v, ok, err := schema.DecodeVolume(tree, "vms", "a")
	wantVolume := &model.Volume{Pool: "vms", Name: "a", HasSnapshots: true, Version: v.Version, Stats: &model.VolumeStats{
		ID: "1234567890ab", Size: 20 << 30, Objects: 5120, Order: 22, ObjectSize: 4 << 20, BlockNamePrefix: "rbd_data.1234567890ab", Format: 2,
		Features: []string{"layering", "exclusive-lock"}, Flags: []string{}, Created: "Tue Jul  2 10:00:00 2019", Parent: "vms/golden@v1",
	}, Snapshots: []model.Snapshot{
		{Pool: "vms", Volume: "a", Name: "s1", Version: v.Snapshots[0].Version, Stats: &model.SnapshotStats{ID: 4, Size: 1024, Created: "now", Protected: true}},
		{Pool: "vms", Volume: "a", Name: "s2", Version: v.Snapshots[1].Version},
	}}
	if d := cmp.Diff(wantVolume, v); !ok || err != nil || d != "" {
		t.Errorf("volume: %v, %v (-want +got):\n%s", ok, err, d)
	}
}

func TestMissingAndEmptyStatisticsAreNone(t *testing.T) {
	for _, data := range []string{"-", "", "None", "{}", " {} ", "\n"} {
		tree := storageTree(map[string]string{"/ceph/osds/3/stats": data, "/ceph/pools/vms/stats": data, "/ceph/volumes/vms/a/stats": data, "/ceph/snapshots/vms/a": "-", "/ceph/pools/vms/pgs": "-"})
		o, ok1, err1 := schema.DecodeOSD(tree, 3)
		p, ok2, err2 := schema.DecodePool(tree, "vms")
		v, ok3, err3 := schema.DecodeVolume(tree, "vms", "a")
		if !ok1 || !ok2 || !ok3 || err1 != nil || err2 != nil || err3 != nil || o.Stats != nil || p.Stats != nil || v.Stats != nil || p.PGs != 0 || v.HasSnapshots {
			t.Errorf("%q: %+v %v, %+v %v, %+v %v", data, o, err1, p, err2, v, err3)
		}
	}
	tree := compat.Tree{}
	_, ok1, _ := schema.DecodeOSD(tree, 3)
	_, ok2, _ := schema.DecodePool(tree, "vms")
	_, ok3, _ := schema.DecodeVolume(tree, "vms", "a")
	if ok1 || ok2 || ok3 {
		t.Errorf("there is nothing: %v %v %v", ok1, ok2, ok3)
	}
}

func TestAnUnreadableValueIsReportedAndTheOthersCount(t *testing.T) {
	for what, tt := range map[string]struct{ path, data, names string }{
		"no JSON":        {"/ceph/osds/3/stats", `{"up":`, "/ceph/osds/3/stats"},
		"a word":         {"/ceph/osds/3/stats", `{"in":1,"pgs":"many"}`, "many"},
		"an object":      {"/ceph/osds/3/stats", `{"in":1,"pgs":{}}`, "{}"},
		"a negative":     {"/ceph/osds/3/stats", `{"in":1,"kb":-1}`, "-1"},
		"too many":       {"/ceph/osds/3/stats", `{"in":1,"kb":9223372036854775807}`, "kb"},
		"a unit":         {"/ceph/osds/3/stats", `{"in":1,"used":"3X"}`, "3X"},
		"no list":        {"/ceph/volumes/vms/a/stats", `{"size":5,"features":"layering"}`, "features"},
		"PGs":            {"/ceph/pools/vms/pgs", `lots`, "lots"},
		"a pool's text":  {"/ceph/pools/vms/stats", `"x"`, "/ceph/pools/vms/stats"},
		"of a snapshot":  {"/ceph/snapshots/vms/a/s1/stats", `{"protected":"maybe"}`, "maybe"},
		"not a number":   {"/ceph/osds/3/stats", `{"in":1,"weight":"NaN"}`, "NaN"},
		"a huge number":  {"/ceph/osds/3/stats", `{"in":1,"var":1e999}`, "1e999"},
		"a huge measure": {"/ceph/osds/3/stats", `{"in":1,"used":"9e99P"}`, "9e99P"},
	} {
		tree := storageTree(map[string]string{tt.path: tt.data})
		o, ok1, err1 := schema.DecodeOSD(tree, 3)
		p, ok2, err2 := schema.DecodePool(tree, "vms")
		v, ok3, err3 := schema.DecodeVolume(tree, "vms", "a")
		var failures []string
		for _, err := range []error{err1, err2, err3} {
			if err != nil {
				failures = append(failures, err.Error())
			}
		}
		if !ok1 || !ok2 || !ok3 || len(failures) != 1 || !strings.Contains(failures[0], tt.names) {
			t.Errorf("%s: %v", what, failures)
		}
		if strings.Contains(tt.data, `"in":1`) && (o.Stats == nil || !o.Stats.In) || strings.Contains(tt.data, `"size":5`) && v.Stats.Size != 5 {
			t.Errorf("%s: %+v %+v %+v: the rest was not read", what, o.Stats, p, v.Stats)
		}
	}
}

func TestStatisticsComeBackAsTheyWereWritten(t *testing.T) {
	osd := model.OSDStats{
		UUID: "u", Up: true, In: true, PrimaryAffinity: 1, Weight: 0.5, Reweight: 0.95, Host: "hv1", Class: "ssd", State: "exists,up", PGs: 33,
		Total: 100 << 30, Used: 3<<30 + 1, Avail: 97<<30 - 1, Utilization: 3.0625, Variance: 1.01, WriteOps: 12, ReadOps: 7, WriteRate: 4096, ReadRate: 1,
	}
	gotOSD, err := schema.DecodeOSDStats("x", string(schema.EncodeOSDStats(osd)))
	if d := cmp.Diff(&osd, gotOSD); d != "" || err != nil {
		t.Errorf("OSD: %v\n%s", err, d)
	}
	pool := model.PoolStats{ID: 1, Used: 2, Stored: 3, Free: 4, Objects: 5, Clones: 6, Copies: 7, Missing: 8, Unfound: 9, Degraded: 10, ReadOps: 11, WriteOps: 12, ReadData: math.MaxUint64, WriteData: 14, Replicas: 3, MinReplicas: 2, Application: "rbd"}
	gotPool, err := schema.DecodePoolStats("x", string(schema.EncodePoolStats(pool)))
	if d := cmp.Diff(&pool, gotPool); d != "" || err != nil {
		t.Errorf("pool: %v\n%s", err, d)
	}
	volume := model.VolumeStats{ID: "i", Size: 1<<63 - 1, Objects: 2, Order: 22, ObjectSize: 4, BlockNamePrefix: "p", Format: 2, Features: []string{"layering"}, Flags: []string{}, Created: "c", Parent: "p@q/i@j@s", Watchers: 1, Used: 3}
	gotVolume, err := schema.DecodeVolumeStats("x", string(schema.EncodeVolumeStats("n", volume)))
	if d := cmp.Diff(&volume, gotVolume); d != "" || err != nil {
		t.Errorf("volume: %v\n%s", err, d)
	}
	snapshot := model.SnapshotStats{ID: math.MaxUint64, Size: 2, Created: "c", Protected: true}
	gotSnapshot, err := schema.DecodeSnapshotStats("x", string(schema.EncodeSnapshotStats(snapshot)))
	if d := cmp.Diff(&snapshot, gotSnapshot); d != "" || err != nil {
		t.Errorf("snapshot: %v\n%s", err, d)
	}
}

// TestOldClientsFindTheTypesTheyExpect: numbers, whole ones where they count, and strings.
func TestOldClientsFindTheTypesTheyExpect(t *testing.T) {
	text := string(schema.EncodeOSDStats(model.OSDStats{Up: true, Used: 3 << 30, Avail: 90 << 30, Total: 93 << 30, WriteOps: 1.6, WriteRate: 4096, Utilization: math.NaN(), Variance: math.Inf(1)}))
	for _, want := range []string{`"up":1`, `"in":0`, `"used":"3072M"`, `"avail":"90G"`, `"wr_ops":"2"`, `"wr_data":"4096"`, `"kb":97517568`, `"utilization":0`, `"var":0`, `"used_bytes":3221225472`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s misses %s", text, want)
		}
	}
	text = string(schema.EncodeVolumeStats("a", model.VolumeStats{Size: 20 << 30}))
	for _, want := range []string{`"name":"a"`, `"size":21474836480`, `"features":[]`, `"flags":[]`} {
		if !strings.Contains(text, want) {
			t.Errorf("%s misses %s", text, want)
		}
	}
	if strings.Contains(text, "parent") {
		t.Errorf("%s has a parent", text)
	}
}

func TestNamesOfOSDsAreNumbers(t *testing.T) {
	for name, want := range map[string]bool{"0": true, "12": true, "osd.3": false, "03": false, "-1": false, "": false, "x": false} {
		if id, ok := schema.ParseOSD(name); ok != want {
			t.Errorf("%q: %d, %v", name, id, ok)
		}
	}
}

func TestACommandIsReadWithItsState(t *testing.T) {
	c := &model.Command{ID: "r-1", Verb: "volume_add", Args: json.RawMessage(`{"pool":"vms"}`), Node: "hv1", Any: true, Identity: "i", Nonce: "n"}
	tree := compat.Tree{"/commands": "", "/commands/r-1": string(schema.EncodeCommand(c)), "/commands/r-1/gen-n": ""}
	got, ok, err := schema.DecodeCommand(tree, "r-1")
	want := *c
	want.Children = []string{"gen-n"}
	if d := cmp.Diff(&want, got); !ok || err != nil || d != "" {
		t.Errorf("%v, %v (-want +got):\n%s", ok, err, d)
	}
	executor := model.CommandExecutor{Node: "hv1", Instance: "x", Client: "10.0.0.1:0/5", By: "b", Attempt: 2}
	result := model.CommandResult{OK: true, Message: "done", Data: json.RawMessage(`{"a":1}`), By: "b", Below: []string{"/ceph/volumes/vms"}}
	tree["/commands/r-1/executor"], tree["/commands/r-1/by-b"], tree["/commands/r-1/note"] = string(schema.EncodeExecutor(executor)), "", `{"id":"7"}`
	tree["/commands/r-1/progress"], tree["/commands/r-1/result"] = `{"current":1,"total":2}`, string(schema.EncodeResult(result))
	got, ok, err = schema.DecodeCommand(tree, "r-1")
	if !ok || err != nil || got.By != "b" || string(got.Note) != `{"id":"7"}` || got.Progress.Total != 2 || !got.Finished() {
		t.Errorf("%+v, %v, %v", got, ok, err)
	}
	if d := cmp.Diff(executor, *got.Executor) + cmp.Diff(result, *got.Result); d != "" {
		t.Error(d)
	}
	for _, broken := range []string{"executor", "result", "progress"} {
		half := maps.Clone(tree)
		half["/commands/r-1/"+broken] = "{"
		got, ok, err := schema.DecodeCommand(half, "r-1")
		if !ok || err == nil || got.Executor == nil || got.Result == nil || got.Progress == nil {
			t.Errorf("with a broken %s: %+v, %v, %v", broken, got, ok, err)
		}
	}
	delete(tree, "/commands/r-1/gen-n")
	if _, ok, err := schema.DecodeCommand(tree, "r-1"); ok || err != nil {
		t.Errorf("without its identity: %v, %v", ok, err)
	}
	for _, data := range []string{"", "None", "[]", `{"verb":"x"}`, `{"nonce":"x"}`} {
		if _, ok, err := schema.DecodeCommand(compat.Tree{"/commands/r-1": data}, "r-1"); ok || err == nil {
			t.Errorf("%q: %v, %v", data, ok, err)
		}
	}
}

func FuzzDecodeStorageStats(f *testing.F) {
	for _, s := range []string{oldOSD, oldPool, oldVolume, "{}", "None", `{"up":"1","kb":1e30,"used":"B","avail":"1e5K"}`, `{"size":-1,"parent":{}}`, `{"id":"x"}`, "[1]", `{"protected":null}`} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, data string) {
		if o, err := schema.DecodeOSDStats("x", data); o != nil {
			for _, n := range []float64{o.Weight, o.Reweight, o.Utilization, o.Variance, o.PrimaryAffinity, o.WriteOps, o.ReadOps} {
				if math.IsNaN(n) || math.IsInf(n, 0) || n < 0 {
					t.Errorf("%q: %+v, %v", data, o, err)
				}
			}
			again, err := schema.DecodeOSDStats("x", string(schema.EncodeOSDStats(*o)))
			if err != nil || again.Used != o.Used || again.Weight != o.Weight || again.Up != o.Up || again.PGs != o.PGs {
				t.Errorf("%q: %+v came back as %+v, %v", data, o, again, err)
			}
		}
		if p, _ := schema.DecodePoolStats("x", data); p != nil {
			if again, err := schema.DecodePoolStats("x", string(schema.EncodePoolStats(*p))); err != nil || *again != *p {
				t.Errorf("%q: %+v came back as %+v, %v", data, p, again, err)
			}
		}
		if v, _ := schema.DecodeVolumeStats("x", data); v != nil {
			if again, err := schema.DecodeVolumeStats("x", string(schema.EncodeVolumeStats("n", *v))); err != nil || again.Size != v.Size || again.ID != v.ID {
				t.Errorf("%q: %+v came back as %+v, %v", data, v, again, err)
			}
		}
		if s, _ := schema.DecodeSnapshotStats("x", data); s != nil {
			if again, err := schema.DecodeSnapshotStats("x", string(schema.EncodeSnapshotStats(*s))); err != nil || *again != *s {
				t.Errorf("%q: %+v came back as %+v, %v", data, s, again, err)
			}
		}
	})
}

func FuzzDecodeCommand(f *testing.F) {
	f.Add(`{"verb":"volume_add","nonce":"n","args":{}}`, "gen-n=\nexecutor={}\nresult={\"ok\":true}\nby-x=")
	f.Add(`{"verb":"x","nonce":"","args":1}`, "gen-=\nnote=\ncancel=why\nprogress=[]")
	f.Fuzz(func(t *testing.T, data, text string) {
		tree := anyTree("/commands/r-1", data, text)
		c, ok, _ := schema.DecodeCommand(tree, "r-1")
		if !ok {
			return
		}
		if _, there := tree["/commands/r-1/gen-"+c.Nonce]; !there || c.Verb == "" || c.Nonce == "" {
			t.Errorf("%q is the command %+v", data, c)
		}
		if _, there := tree["/commands/r-1/result"]; c.Finished() != there {
			t.Errorf("finished %v", c.Finished())
		}
		if len(c.Note) > 0 && !json.Valid(c.Note) {
			t.Errorf("note %q", c.Note)
		}
		if len(schema.EncodeCommand(c)) == 0 {
			t.Error("it is written as nothing")
		}
	})
}
