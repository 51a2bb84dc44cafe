package httpapi

import "github.com/parallelvirtualcluster/pvc/common/cluster"

// testRequest is the id of the requests of the table test.
const testRequest = "r1"

// The rows of storage.
func init() {
	by := cluster.Caller{Request: testRequest}
	setOption := row{
		good: given("action", "set", "option", "noout"), wrong: given("action", "reset"),
		call: called(cluster.SetOption{By: by, Option: "noout", Set: true}),
	}
	snapshots := row{good: given("limit", "s", "pool", "vms", "volume", "disk0"), wrong: given("limit", "(")}
	addSnapshot := row{
		good: given("snapshot", "s2", "volume", "disk0", "pool", "vms"),
		call: called(cluster.AddSnapshot{By: by, Pool: "vms", Volume: "disk0", Snapshot: "s2"}),
	}
	removeSnapshot := row{call: called(cluster.RemoveSnapshot{By: by, Pool: "vms", Volume: "disk0", Snapshot: "s1"})}
	removeOSD := cluster.RemoveOSD{By: by, OSD: "osd.3", Force: true}
	addVolume, modifyVolume := cluster.AddVolume{By: by, Pool: "vms", Volume: "disk1", Size: "20g"}, cluster.ModifyVolume{By: by, Pool: "vms", Volume: "disk0"}
	for name, r := range map[string]row{
		"GET /api/v1/tasks/{task}":                  {},
		"GET /api/v1/storage/ceph":                  {},
		"GET /api/v1/storage/ceph/status":           {},
		"GET /api/v1/storage/ceph/df":               {},
		"GET /api/v1/storage/ceph/utilization":      {},
		"POST /api/v1/storage/ceph/cluster-option":  setOption,
		"POST /api/v1/storage/ceph/option":          setOption,
		"GET /api/v1/storage/ceph/osd":              {good: given("limit", "^osd"), wrong: given("limit", "(")},
		"GET /api/v1/storage/ceph/osd/{osd}":        {},
		"GET /api/v1/storage/ceph/osd/{osd}/state":  {},
		"POST /api/v1/storage/ceph/osd/{osd}/state": {good: given("state", "in"), wrong: given("state", "inside"), call: called(cluster.SetOSDState{By: by, OSD: "osd.3", In: true})},
		"POST /api/v1/storage/ceph/osd": {
			good:  given("node", "hv1", "device", "/dev/sdc", "weight", "1.0", "ext_db_ratio", "", "ext_db_size", "", "osd_count", "1"),
			wrong: given("ext_db_ratio", "0.05", "ext_db_size", "40G", "osd_count", "2"),
			call:  called(cluster.AddOSD{By: by, Node: "hv1", Device: "/dev/sdc", Weight: "1.0"}) + "\nwait for k-1",
		},
		"DELETE /api/v1/storage/ceph/osd/{osd}": {
			good: given("yes_i_really_mean_it", "yes", "force", "True"), wrong: given("yes_i_really_mean_it", "perhaps", "force", "much"),
			call: called(removeOSD) + "\nwait for k-1", status: 200, bare: "refused",
			alone: given("yes_i_really_mean_it", called(cluster.RemoveOSD{By: by, OSD: "osd.3"})+"\nwait for k-1"),
		},
		"GET /api/v1/storage/ceph/pool": {good: given("limit", "vms"), wrong: given("limit", "[")},
		"POST /api/v1/storage/ceph/pool": {
			good:  given("pool", "fast", "pgs", "256", "replcfg", "copies=3,mincopies=2", "tier", "default"),
			wrong: given("pgs", "0", "replcfg", "copies=2,mincopies=1", "tier", "nvme"),
			call:  called(cluster.AddPool{By: by, Pool: "fast", PGs: 256}),
		},
		"GET /api/v1/storage/ceph/pool/{pool}": {},
		"DELETE /api/v1/storage/ceph/pool/{pool}": {
			good: given("yes_i_really_mean_it", ""), wrong: given("yes_i_really_mean_it", "perhaps"),
			call: called(cluster.RemovePool{By: by, Pool: "vms"}), status: 200, bare: "refused",
		},
		"GET /api/v1/storage/ceph/volume": {good: given("limit", "disk", "pool", "vms"), wrong: given("limit", "*")},
		"POST /api/v1/storage/ceph/volume": {
			good: given("volume", "disk1", "pool", "vms", "size", "20g", "force", "True"), wrong: given("force", "much"),
			call: called(forced(addVolume)), bare: called(addVolume),
		},
		"GET /api/v1/storage/ceph/volume/{pool}/{volume}":                        {},
		"PUT /api/v1/storage/ceph/volume/{pool}/{volume}":                        volumeRow(modifyVolume),
		"DELETE /api/v1/storage/ceph/volume/{pool}/{volume}":                     {call: called(cluster.RemoveVolume{By: by, Pool: "vms", Volume: "disk0"})},
		"GET /api/v1/storage/ceph/volume/snapshot":                               snapshots,
		"GET /api/v1/storage/ceph/snapshot":                                      snapshots,
		"POST /api/v1/storage/ceph/volume/snapshot":                              addSnapshot,
		"POST /api/v1/storage/ceph/snapshot":                                     addSnapshot,
		"GET /api/v1/storage/ceph/volume/snapshot/{pool}/{volume}/{snapshot}":    {},
		"GET /api/v1/storage/ceph/snapshot/{pool}/{volume}/{snapshot}":           {},
		"DELETE /api/v1/storage/ceph/volume/snapshot/{pool}/{volume}/{snapshot}": removeSnapshot,
		"DELETE /api/v1/storage/ceph/snapshot/{pool}/{volume}/{snapshot}":        removeSnapshot,
	} {
		rows[name] = r
	}
}

func forced(in cluster.AddVolume) cluster.AddVolume { in.Force = true; return in }

func volumeRow(bare cluster.ModifyVolume) row {
	with := func(size, name string, force bool) string {
		in := bare
		in.Size, in.Name, in.Force = size, name, force
		return called(in)
	}
	return row{
		good: given("name", "disk2", "size", "4096M", "force", "yes"), wrong: given("force", "much"),
		call: with("4096M", "disk2", true), bare: called(bare),
		alone: map[string]string{"size": with("4096M", "", false), "name": with("", "disk2", false)},
	}
}
