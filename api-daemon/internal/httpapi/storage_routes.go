package httpapi

import "github.com/parallelvirtualcluster/pvc/common/model"

// Values of storage.
var (
	optionAction = value{name: "action", kind: word, need: true, words: []string{"set", "unset"}}
	optionName   = value{name: "option", kind: text, need: true}
	osdDevice    = value{name: "device", kind: text, need: true}
	osdWeight    = value{name: "weight", kind: text, need: true}
	newOSDState  = value{name: "state", kind: word, need: true, words: []string{"in", "out"}}
	poolName     = value{name: "pool", kind: text}
	poolPGs      = value{name: "pgs", kind: number, need: true, min: 1, max: model.MaxPGs}
	volumeName   = value{name: "volume", kind: text}
	volumeSize   = value{name: "size", kind: text, need: true}
	snapshotName = value{name: "snapshot", kind: text, need: true}

	newVolumeSize = value{name: "size", also: []string{"new_size"}, kind: text}
	newVolumeName = value{name: "name", also: []string{"new_name"}, kind: text}
)

// storageTable are the routes of storage and of the tasks that it has.
var storageTable = []route{
	{method: get, path: "/api/v1/tasks/{task}", cluster: true, handle: (*API).getTask},

	{method: get, path: "/api/v1/storage/ceph", cluster: true, handle: (*API).getStorageStatus},
	{method: get, path: "/api/v1/storage/ceph/status", cluster: true, handle: (*API).getStorageStatus},
	{method: get, path: "/api/v1/storage/ceph/df", cluster: true, handle: (*API).getStorageUsage},
	{method: get, path: "/api/v1/storage/ceph/utilization", cluster: true, handle: (*API).getStorageUsage},
	{method: post, path: "/api/v1/storage/ceph/cluster-option", cluster: true, waits: true, values: []value{optionAction, optionName}, handle: (*API).setStorageOption},
	{method: post, path: "/api/v1/storage/ceph/option", cluster: true, waits: true, values: []value{optionAction, optionName}, handle: (*API).setStorageOption},

	{method: get, path: "/api/v1/storage/ceph/osd", cluster: true, values: []value{limit}, handle: (*API).listOSDs},
	{method: post, path: "/api/v1/storage/ceph/osd", cluster: true, waits: true, values: []value{needs(node), osdDevice, osdWeight,
		inert("ext_db_ratio"), inert("ext_db_size"), inert("osd_count", "1")}, handle: (*API).addOSD},
	{method: get, path: "/api/v1/storage/ceph/osd/{osd}", cluster: true, handle: (*API).getOSD},
	{method: del, path: "/api/v1/storage/ceph/osd/{osd}", cluster: true, waits: true, values: []value{confirm, force}, handle: (*API).deleteOSD},
	{method: get, path: "/api/v1/storage/ceph/osd/{osd}/state", cluster: true, handle: (*API).getOSDState},
	{method: post, path: "/api/v1/storage/ceph/osd/{osd}/state", cluster: true, waits: true, values: []value{newOSDState}, handle: (*API).setOSDState},

	{method: get, path: "/api/v1/storage/ceph/pool", cluster: true, values: []value{limit}, handle: (*API).listPools},
	{method: post, path: "/api/v1/storage/ceph/pool", cluster: true, waits: true, values: []value{needs(poolName), poolPGs,
		inert("replcfg", "copies=3,mincopies=2"), inert("tier", "default")}, handle: (*API).addPool},
	{method: get, path: "/api/v1/storage/ceph/pool/{pool}", cluster: true, handle: (*API).getPool},
	{method: del, path: "/api/v1/storage/ceph/pool/{pool}", cluster: true, waits: true, values: []value{confirm}, handle: (*API).deletePool},

	{method: get, path: "/api/v1/storage/ceph/volume", cluster: true, values: []value{limit, poolName}, handle: (*API).listVolumes},
	{method: post, path: "/api/v1/storage/ceph/volume", cluster: true, waits: true, values: []value{needs(volumeName), needs(poolName), volumeSize, force},
		handle: (*API).addVolume},
	{method: get, path: "/api/v1/storage/ceph/volume/{pool}/{volume}", cluster: true, handle: (*API).getVolume},
	{method: put, path: "/api/v1/storage/ceph/volume/{pool}/{volume}", cluster: true, waits: true, values: []value{newVolumeName, newVolumeSize, force},
		handle: (*API).modifyVolume},
	{method: del, path: "/api/v1/storage/ceph/volume/{pool}/{volume}", cluster: true, waits: true, handle: (*API).deleteVolume},

	{method: get, path: "/api/v1/storage/ceph/volume/snapshot", cluster: true, values: []value{limit, poolName, volumeName}, handle: (*API).listSnapshots},
	{method: get, path: "/api/v1/storage/ceph/snapshot", cluster: true, values: []value{limit, poolName, volumeName}, handle: (*API).listSnapshots},
	{method: post, path: "/api/v1/storage/ceph/volume/snapshot", cluster: true, waits: true, values: []value{snapshotName, needs(volumeName), needs(poolName)},
		handle: (*API).addSnapshot},
	{method: post, path: "/api/v1/storage/ceph/snapshot", cluster: true, waits: true, values: []value{snapshotName, needs(volumeName), needs(poolName)},
		handle: (*API).addSnapshot},
	{method: get, path: "/api/v1/storage/ceph/volume/snapshot/{pool}/{volume}/{snapshot}", cluster: true, handle: (*API).getSnapshot},
	{method: get, path: "/api/v1/storage/ceph/snapshot/{pool}/{volume}/{snapshot}", cluster: true, handle: (*API).getSnapshot},
	{method: del, path: "/api/v1/storage/ceph/volume/snapshot/{pool}/{volume}/{snapshot}", cluster: true, waits: true, handle: (*API).deleteSnapshot},
	{method: del, path: "/api/v1/storage/ceph/snapshot/{pool}/{volume}/{snapshot}", cluster: true, waits: true, handle: (*API).deleteSnapshot},
}
