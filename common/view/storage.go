package view

import (
	"cmp"
	"log/slog"
	"maps"
	"slices"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// storage are the decoded records of Ceph.
type storage struct {
	osds       map[int]*model.OSD
	pools      map[string]*model.Pool
	volumes    map[string]map[string]*model.Volume // by pool and name
	generation uint64
}

func newStorage() storage {
	return storage{osds: map[int]*model.OSD{}, pools: map[string]*model.Pool{}, volumes: map[string]map[string]*model.Volume{}}
}

// cephGroup names the object that a path below /ceph belongs to, given its elements: an
// OSD, a pool with the roots of its volumes and snapshots, or a volume with its snapshots.
func cephGroup(parts []string) string {
	if len(parts) < 3 {
		return strings.Join(append([]string{""}, parts...), "/")
	}
	switch parts[1] {
	case "osds":
		return schema.CephOSDs + "/" + parts[2]
	case "pools":
		return schema.Pool(parts[2])
	case "volumes", "snapshots":
		if len(parts) == 3 {
			return schema.Pool(parts[2])
		}
		return schema.Volume(parts[2], parts[3])
	}
	return schema.Ceph
}

// wantStorage is the scope of the records of Ceph, given the path's elements below /ceph.
// What OSDs hold is known by name, as are the statistics; the texts are bulky.
func wantStorage(below []string) Interest {
	depth := len(below)
	if depth == 0 {
		return Interest{}
	}
	switch below[0] {
	case "osds", "pools": // …/<name>/<key>
		return Interest{Data: depth == 3, Children: depth < 3}
	case "volumes": // …/<pool>/<volume>/stats
		return Interest{Data: depth == 4, Children: depth < 4}
	case "snapshots": // …/<pool>/<volume>/<snapshot>/stats
		return Interest{Data: depth == 5, Children: depth < 5}
	}
	return Interest{}
}

// cephRoots are mirrored one by one: their parent has children that are not.
var cephRoots = []string{schema.CephOSDs, schema.CephPools, schema.CephVolumes, schema.CephSnapshots}

func (st *storage) load(tr schema.Tree, log *slog.Logger) {
	for _, name := range tr.Children(schema.CephOSDs) {
		st.update(tr, schema.CephOSDs+"/"+name, log)
	}
	for _, pool := range tr.Children(schema.CephPools) {
		st.update(tr, schema.Pool(pool), log)
	}
	for _, pool := range tr.Children(schema.CephVolumes) {
		for _, volume := range tr.Children(schema.PoolVolumes(pool)) {
			st.update(tr, schema.Volume(pool, volume), log)
		}
	}
}

// update decodes one group again.
func (st *storage) update(tr schema.Tree, group string, log *slog.Logger) {
	st.generation++
	var err error
	switch parts := schema.Split(group); {
	case len(parts) == 3 && parts[1] == "osds":
		if id, ok := schema.ParseOSD(parts[2]); ok {
			var o *model.OSD
			o, ok, err = schema.DecodeOSD(tr, id)
			put(st.osds, id, o, ok)
		}
	case len(parts) == 3 && parts[1] == "pools":
		var p *model.Pool
		var ok bool
		p, ok, err = schema.DecodePool(tr, parts[2])
		put(st.pools, parts[2], p, ok)
	case len(parts) == 4 && parts[1] == "volumes":
		var v *model.Volume
		var ok bool
		v, ok, err = schema.DecodeVolume(tr, parts[2], parts[3])
		st.putVolume(parts[2], parts[3], v, ok)
	}
	if err != nil {
		log.Warn("a storage record has an unreadable value", "path", group, "err", err)
	}
}

// put sets an entry, or deletes it if there is nothing to set.
func put[K comparable, V any](m map[K]V, k K, v V, ok bool) {
	if ok {
		m[k] = v
	} else {
		delete(m, k)
	}
}

func (st *storage) putVolume(pool, name string, v *model.Volume, ok bool) {
	in := st.volumes[pool]
	if in == nil {
		in = map[string]*model.Volume{}
		st.volumes[pool] = in
	}
	if put(in, name, v, ok); len(in) == 0 {
		delete(st.volumes, pool)
	}
}

// StorageGeneration changes with every change of an OSD, a pool, a volume or a snapshot.
func (s *Snapshot) StorageGeneration() uint64 { return s.t.storage.generation }

// OSDs returns all OSDs by id.
func (s *Snapshot) OSDs() []*model.OSD {
	out := slices.AppendSeq(make([]*model.OSD, 0, len(s.t.storage.osds)), maps.Values(s.t.storage.osds))
	slices.SortFunc(out, func(a, b *model.OSD) int { return cmp.Compare(a.ID, b.ID) })
	return out
}

// OSD returns the OSD of that id.
func (s *Snapshot) OSD(id int) (*model.OSD, bool) {
	o, ok := s.t.storage.osds[id]
	return o, ok
}

// Pools returns all pools by name.
func (s *Snapshot) Pools() []*model.Pool {
	out := slices.AppendSeq(make([]*model.Pool, 0, len(s.t.storage.pools)), maps.Values(s.t.storage.pools))
	slices.SortFunc(out, func(a, b *model.Pool) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Pool returns the pool of that name.
func (s *Snapshot) Pool(name string) (*model.Pool, bool) {
	p, ok := s.t.storage.pools[name]
	return p, ok
}

// Volumes returns the volumes of a pool by name. An old client may have left volumes of
// a pool that has no record itself.
func (s *Snapshot) Volumes(pool string) []*model.Volume {
	in := s.t.storage.volumes[pool]
	out := slices.AppendSeq(make([]*model.Volume, 0, len(in)), maps.Values(in))
	slices.SortFunc(out, func(a, b *model.Volume) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// Volume returns a volume.
func (s *Snapshot) Volume(pool, name string) (*model.Volume, bool) {
	v, ok := s.t.storage.volumes[pool][name]
	return v, ok
}

// Snapshots returns the snapshots of a volume by name. The slice belongs to the view.
func (s *Snapshot) Snapshots(pool, volume string) []model.Snapshot {
	if v, ok := s.Volume(pool, volume); ok {
		return v.Snapshots
	}
	return nil
}

// Snapshot returns a snapshot of a volume.
func (s *Snapshot) Snapshot(pool, volume, name string) (model.Snapshot, bool) {
	for _, snap := range s.Snapshots(pool, volume) {
		if snap.Name == name {
			return snap, true
		}
	}
	return model.Snapshot{}, false
}
