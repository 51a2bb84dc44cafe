package httpapi

import (
	"encoding/json"
	"regexp"
	"strconv"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// caller is who asks for a storage command.
func (r *request) caller() cluster.Caller {
	return cluster.Caller{Key: r.Header.Get("Idempotency-Key"), Request: r.call.id}
}

// cephText is something that Ceph has to say: as text, and as the object of the same.
type cephText struct {
	Type    string          `json:"type"`
	Primary string          `json:"primary_node"`
	Text    string          `json:"ceph_data"`
	Data    json.RawMessage `json:"data"`
}

func (a *API) cephReply(kind string, t cluster.StorageText, err error) (*reply, error) {
	if err != nil {
		return nil, err
	}
	out := cephText{Type: kind, Text: t.Text, Data: t.JSON}
	if out.Data == nil {
		out.Data = json.RawMessage("{}")
	}
	a.o.Mirror.Read(func(p Picture) { out.Primary = p.PrimaryNode() })
	return jsonReply(out), nil
}

func (a *API) getStorageStatus(r *request) (*reply, error) {
	t, err := a.o.Changes.StorageStatus(r.Context())
	return a.cephReply("status", t, err)
}

func (a *API) getStorageUsage(r *request) (*reply, error) {
	t, err := a.o.Changes.StorageUsage(r.Context())
	return a.cephReply("utilization", t, err)
}

func (a *API) setStorageOption(r *request) (*reply, error) {
	return answered(a.o.Changes.SetOption(r.Context(), cluster.SetOption{
		By: r.caller(), Option: r.values.text("option"), Set: r.values.text("action") == "set",
	}))
}

func (a *API) listOSDs(r *request) (*reply, error) {
	limit := r.values.pattern("limit")
	return recorded(a, r, a.shelves.storage.osds, limit == nil, func(o *model.OSD) bool {
		id := strconv.Itoa(o.ID)
		return matches(limit, id, "osd."+id)
	})
}

// recorded is a list of storage objects, all or some of them.
func recorded[V comparable](a *API, r *request, of *collection[V], all bool, wanted func(V) bool) (*reply, error) {
	if err := a.o.Changes.StorageKnown(r.Context()); err != nil {
		return nil, err
	}
	if all {
		return of.list(), nil
	}
	return of.where(wanted), nil
}

func (a *API) getOSD(r *request) (*reply, error) {
	id, err := model.ParseOSDID(r.path["osd"])
	return recorded(a, r, a.shelves.storage.osds, false, func(o *model.OSD) bool { return err == nil && o.ID == id })
}

func (a *API) addOSD(r *request) (*reply, error) {
	return a.begun(r)(a.o.Changes.AddOSD(r.Context(), cluster.AddOSD{
		By: r.caller(), Node: r.values.text("node"), Device: r.values.text("device"), Weight: r.values.text("weight"),
	}))
}

func (a *API) deleteOSD(r *request) (*reply, error) {
	if !r.values.flag(confirm.name) {
		return nil, errs.Invalidf("removing OSD %q needs the value %q", model.Clip(r.path["osd"]), confirm.name)
	}
	return a.begun(r)(a.o.Changes.RemoveOSD(r.Context(), cluster.RemoveOSD{By: r.caller(), OSD: r.path["osd"], Force: r.values.flag("force")}))
}

func (a *API) getOSDState(r *request) (*reply, error) {
	if err := a.o.Changes.StorageKnown(r.Context()); err != nil {
		return nil, err
	}
	id, err := model.ParseOSDID(r.path["osd"])
	if err != nil {
		return nil, err
	}
	var osd *model.OSD
	a.o.Mirror.Read(func(p Picture) { osd, _ = p.OSD(id) })
	if osd == nil {
		return nil, errs.NotFoundf("no OSD has the id %q", model.Clip(r.path["osd"]))
	}
	return jsonReply(osdState(osd)), nil
}

func (a *API) setOSDState(r *request) (*reply, error) {
	return answered(a.o.Changes.SetOSDState(r.Context(), cluster.SetOSDState{By: r.caller(), OSD: r.path["osd"], In: r.values.text("state") == "in"}))
}

func (a *API) listPools(r *request) (*reply, error) {
	limit := r.values.pattern("limit")
	return recorded(a, r, a.shelves.storage.pools, limit == nil, func(p poolState) bool { return matches(limit, p.pool.Name) })
}

func (a *API) getPool(r *request) (*reply, error) {
	return recorded(a, r, a.shelves.storage.pools, false, func(p poolState) bool { return p.pool.Name == r.path["pool"] })
}

func (a *API) addPool(r *request) (*reply, error) {
	return answered(a.o.Changes.AddPool(r.Context(), cluster.AddPool{By: r.caller(), Pool: r.values.text("pool"), PGs: r.values.number("pgs", 0)}))
}

func (a *API) deletePool(r *request) (*reply, error) {
	if !r.values.flag(confirm.name) {
		return nil, errs.Invalidf("removing pool %q and all that is in it needs the value %q", model.Clip(r.path["pool"]), confirm.name)
	}
	return answered(a.o.Changes.RemovePool(r.Context(), cluster.RemovePool{By: r.caller(), Pool: r.path["pool"]}))
}

// is reports whether a text is the wanted one, if one is wanted.
func is(wanted, text string) bool { return wanted == "" || wanted == text }

// matches reports whether one of the texts is what a limit looks for, if there is one.
func matches(limit *regexp.Regexp, texts ...string) bool {
	if limit == nil {
		return true
	}
	for _, t := range texts {
		if limit.MatchString(t) {
			return true
		}
	}
	return false
}
