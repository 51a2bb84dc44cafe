package httpapi

import (
	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

func (a *API) listVolumes(r *request) (*reply, error) {
	limit, pool := r.values.pattern("limit"), r.values.text("pool")
	return recorded(a, r, a.shelves.storage.volumes, limit == nil && pool == "", func(v *model.Volume) bool {
		return is(pool, v.Pool) && matches(limit, v.Name, v.FullName())
	})
}

func (a *API) getVolume(r *request) (*reply, error) {
	if err := a.knownPool(r); err != nil {
		return nil, err
	}
	return a.shelves.storage.volumes.where(func(v *model.Volume) bool { return v.Pool == r.path["pool"] && v.Name == r.path["volume"] }), nil
}

// knownPool refuses a path below a pool that does not exist.
func (a *API) knownPool(r *request) error {
	if err := a.o.Changes.StorageKnown(r.Context()); err != nil {
		return err
	}
	known := false
	a.o.Mirror.Read(func(p Picture) { _, known = p.Pool(r.path["pool"]) })
	if !known {
		return errs.NotFoundf("no pool is named %q", model.Clip(r.path["pool"]))
	}
	return nil
}

func (a *API) addVolume(r *request) (*reply, error) {
	return answered(a.o.Changes.AddVolume(r.Context(), cluster.AddVolume{
		By: r.caller(), Pool: r.values.text("pool"), Volume: r.values.text("volume"), Size: r.values.text("size"), Force: r.values.flag("force"),
	}))
}

func (a *API) modifyVolume(r *request) (*reply, error) {
	return answered(a.o.Changes.ModifyVolume(r.Context(), cluster.ModifyVolume{
		By: r.caller(), Pool: r.path["pool"], Volume: r.path["volume"], Size: r.values.text("size"), Name: r.values.text("name"), Force: r.values.flag("force"),
	}))
}

func (a *API) deleteVolume(r *request) (*reply, error) {
	return answered(a.o.Changes.RemoveVolume(r.Context(), cluster.RemoveVolume{By: r.caller(), Pool: r.path["pool"], Volume: r.path["volume"]}))
}

func (a *API) listSnapshots(r *request) (*reply, error) {
	limit, pool, volume := r.values.pattern("limit"), r.values.text("pool"), r.values.text("volume")
	return recorded(a, r, a.shelves.storage.snapshots, limit == nil && pool == "" && volume == "", func(st snapshotState) bool {
		s := st.snapshot()
		return is(pool, s.Pool) && is(volume, s.Volume) && matches(limit, s.Name, s.FullName())
	})
}

func (a *API) getSnapshot(r *request) (*reply, error) {
	if err := a.knownPool(r); err != nil {
		return nil, err
	}
	pool, volume := r.path["pool"], r.path["volume"]
	known := false
	a.o.Mirror.Read(func(p Picture) { _, known = p.Volume(pool, volume) })
	if !known {
		return nil, errs.NotFoundf("pool %q has no volume %q", pool, model.Clip(volume))
	}
	return a.shelves.storage.snapshots.where(func(st snapshotState) bool {
		return st.volume.Pool == pool && st.volume.Name == volume && st.snapshot().Name == r.path["snapshot"]
	}), nil
}

func (a *API) addSnapshot(r *request) (*reply, error) {
	return answered(a.o.Changes.AddSnapshot(r.Context(), cluster.AddSnapshot{
		By: r.caller(), Pool: r.values.text("pool"), Volume: r.values.text("volume"), Snapshot: r.values.text("snapshot"),
	}))
}

func (a *API) deleteSnapshot(r *request) (*reply, error) {
	return answered(a.o.Changes.RemoveSnapshot(r.Context(), cluster.RemoveSnapshot{
		By: r.caller(), Pool: r.path["pool"], Volume: r.path["volume"], Snapshot: r.path["snapshot"],
	}))
}
