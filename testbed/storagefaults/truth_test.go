package storagefaults

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/testbed/ceph"
)

// truth is what there is, by Ceph's tools or by the znodes.
type truth struct {
	Pools     map[string]string // id
	Images    map[string]string // id and size, by pool/name
	Snapshots map[string]string // id, by pool/name@name
	In        map[string]string // of OSDs
}

func newTruth() truth {
	return truth{map[string]string{}, map[string]string{}, map[string]string{}, map[string]string{}}
}

type osdMap struct {
	Epoch int
	Flags string
	Pools []struct {
		ID   int            `json:"pool"`
		Name string         `json:"pool_name"`
		Apps map[string]any `json:"application_metadata"`
	}
	OSDs []struct{ OSD, In int }
}

// ofCeph asks the tools.
func ofCeph(t testing.TB) truth {
	t.Helper()
	is := newTruth()
	var m osdMap
	toolJSON(t, &m, "ceph", "osd", "dump")
	for _, o := range m.OSDs {
		is.In[fmt.Sprint(o.OSD)] = fmt.Sprint(o.In)
	}
	for _, p := range m.Pools {
		is.Pools[p.Name] = fmt.Sprint(p.ID)
		if _, rbd := p.Apps["rbd"]; rbd {
			imagesOf(t, p.Name, is)
		}
	}
	return is
}

func imagesOf(t testing.TB, pool string, is truth) {
	t.Helper()
	var list []struct {
		Image, Snapshot, ID string
		SnapshotID          int `json:"snapshot_id"`
		Size                uint64
	}
	toolJSON(t, &list, "rbd", "ls", "--long", pool)
	for _, i := range list {
		name := pool + "/" + i.Image
		if i.Snapshot == "" {
			is.Images[name] = fmt.Sprint(i.ID, " ", i.Size)
			continue
		}
		is.Snapshots[name+"@"+i.Snapshot] = fmt.Sprint(i.SnapshotID)
	}
}

// stats are the members of records that tell what a record is of.
type stats struct {
	ID   any
	Size uint64
	In   float64
}

func record(t testing.TB, path string) (s stats) {
	t.Helper()
	if data := znode(t, path+"/stats"); data != "" {
		if err := json.Unmarshal([]byte(data), &s); err != nil {
			t.Fatalf("%s/stats: %v: %s", path, err, data)
		}
	}
	return s
}

// ofZooKeeper reads the znodes as they are.
func ofZooKeeper(t testing.TB) truth {
	t.Helper()
	is := newTruth()
	must(t, zookeep.Sync(bounded(t), "/ceph"))
	for _, id := range children(t, "/ceph/osds") {
		is.In[id] = fmt.Sprint(record(t, "/ceph/osds/"+id).In)
	}
	for _, p := range children(t, "/ceph/pools") {
		is.Pools[p] = fmt.Sprint(record(t, "/ceph/pools/"+p).ID)
	}
	for _, p := range children(t, "/ceph/volumes") {
		for _, v := range children(t, "/ceph/volumes/"+p) {
			s := record(t, "/ceph/volumes/"+p+"/"+v)
			is.Images[p+"/"+v] = fmt.Sprint(s.ID, " ", s.Size)
		}
	}
	for _, p := range children(t, "/ceph/snapshots") {
		for _, v := range children(t, "/ceph/snapshots/"+p) {
			for _, s := range children(t, "/ceph/snapshots/"+p+"/"+v) {
				is.Snapshots[p+"/"+v+"@"+s] = fmt.Sprint(record(t, "/ceph/snapshots/"+p+"/"+v+"/"+s).ID)
			}
		}
	}
	return is
}

// reconciled is the promise for what happens behind our back.
const reconciled = 30 * time.Second

// agree waits until records and Ceph say the same, and returns it.
func agree(t testing.TB, limit time.Duration) (is truth) {
	t.Helper()
	within(t, limit, "the records are those of Ceph", func() string {
		is = ofCeph(t)
		return cmp.Diff(is, ofZooKeeper(t))
	})
	return is
}

// remains are objects in a pool that belong to no image that there is: half an image.
func remains(t testing.TB, pool string) (loose []string) {
	t.Helper()
	is := newTruth()
	imagesOf(t, pool, is)
	var ids []string
	for _, i := range is.Images {
		id, _, _ := strings.Cut(i, " ")
		ids = append(ids, id)
	}
	for object := range strings.Lines(tool(t, "rados", "--pool", pool, "ls")) {
		object = strings.TrimSpace(object)
		for _, prefix := range []string{"rbd_header.", "rbd_object_map.", "rbd_data."} {
			if rest, ok := strings.CutPrefix(object, prefix); ok {
				id, _, _ := strings.Cut(rest, ".")
				if !slices.Contains(ids, id) {
					loose = append(loose, object)
				}
			}
		}
		if name, ok := strings.CutPrefix(object, "rbd_id."); ok && is.Images[pool+"/"+name] == "" {
			loose = append(loose, object)
		}
	}
	return loose
}

// executedOnce checks by the monitor's own audit, which comes with a delay, that it was
// told once to do something.
func executedOnce(t testing.TB, words []string) {
	t.Helper()
	audit := cluster.Host(1).Path(ceph.LogPath + "/cluster.log") // `ceph log last` knows few entries
	var found []string
	within(t, deadline, fmt.Sprint("the monitor's audit tells of ", words), func() string {
		entries, err := os.ReadFile(audit)
		must(t, err)
		found = nil
		for line := range strings.Lines(string(entries)) {
			has := strings.Contains(line, "finished")
			for _, w := range words {
				has = has && strings.Contains(line, w)
			}
			if has {
				found = append(found, line)
			}
		}
		return same("entries", fmt.Sprint(len(found) > 0), "true")
	})
	if len(found) != 1 {
		t.Errorf("the monitor has executed it %d times: %s", len(found), strings.Join(found, ""))
	}
}
