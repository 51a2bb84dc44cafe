package httpapi

import (
	"slices"
	"strconv"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// storageShelves are the prepared objects of storage. They have one generation; objects
// that have not changed are not rendered again.
type storageShelves struct {
	osds      *collection[*model.OSD]
	pools     *collection[poolState]
	volumes   *collection[*model.Volume]
	snapshots *collection[snapshotState]
}

// collection is all objects of one kind.
type collection[V comparable] struct {
	in      *shelves
	what    string
	shelf   *shelf[V]
	collect func(Picture) []item[V] // in their order
	render  func(V) []byte
}

// poolState is what a pool is rendered from.
type poolState struct {
	pool    *model.Pool
	volumes int
}

// snapshotState is what a snapshot is rendered from: it is a part of its volume.
type snapshotState struct {
	volume *model.Volume
	at     int
}

func (s snapshotState) snapshot() *model.Snapshot { return &s.volume.Snapshots[s.at] }

func newStorageShelves(s *shelves) storageShelves {
	return storageShelves{
		osds: &collection[*model.OSD]{s, "osd", newShelf[*model.OSD](), collectOSDs, func(o *model.OSD) []byte { return encode(osdAnswer(o)) }},
		pools: &collection[poolState]{s, "pool", newShelf[poolState](), collectPools, func(p poolState) []byte {
			return encode(poolAnswer(p.pool, p.volumes))
		}},
		volumes: &collection[*model.Volume]{s, "volume", newShelf[*model.Volume](), collectVolumes, func(v *model.Volume) []byte {
			return encode(volumeAnswer(v))
		}},
		snapshots: &collection[snapshotState]{s, "snapshot", newShelf[snapshotState](), collectSnapshots, func(st snapshotState) []byte {
			return encode(snapshotAnswer(st.snapshot()))
		}},
	}
}

// list is the list of all objects; it is made once for all who ask.
func (c *collection[V]) list() *reply {
	var wanted uint64
	c.in.mirror.Read(func(p Picture) { wanted = p.StorageGeneration() })
	list := c.shelf.whole(wanted, c.all, c.render)
	return &reply{media: mediaJSON, body: list.parts, gzip: list.gzip, etag: c.in.etag(c.what, list.generation)}
}

// where is a list of some of the objects.
func (c *collection[V]) where(wanted func(V) bool) *reply {
	generation, items := c.all()
	items = slices.DeleteFunc(items, func(i item[V]) bool { return !wanted(i.of) })
	return &reply{media: mediaJSON, body: c.shelf.some(items, c.render), etag: c.in.etag(c.what, generation)}
}

func (c *collection[V]) all() (generation uint64, items []item[V]) {
	c.in.mirror.Read(func(p Picture) { generation, items = p.StorageGeneration(), c.collect(p) })
	return generation, items
}

func collectOSDs(p Picture) (items []item[*model.OSD]) {
	for _, o := range p.OSDs() {
		items = append(items, item[*model.OSD]{strconv.Itoa(o.ID), o})
	}
	return items
}

func collectPools(p Picture) (items []item[poolState]) {
	for _, pool := range p.Pools() {
		items = append(items, item[poolState]{pool.Name, poolState{pool, len(p.Volumes(pool.Name))}})
	}
	return items
}

func collectVolumes(p Picture) (items []item[*model.Volume]) {
	for _, pool := range p.Pools() {
		for _, v := range p.Volumes(pool.Name) {
			items = append(items, item[*model.Volume]{v.FullName(), v})
		}
	}
	return items
}

func collectSnapshots(p Picture) (items []item[snapshotState]) {
	for _, v := range collectVolumes(p) {
		for i := range v.of.Snapshots {
			items = append(items, item[snapshotState]{v.of.Snapshots[i].FullName(), snapshotState{v.of, i}})
		}
	}
	return items
}
