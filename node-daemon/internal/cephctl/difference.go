package cephctl

import (
	"strconv"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// change is what has to be written about one object, or about two names of one image.
type change struct {
	object string // for logs and for counting conflicts
	news   string // what has happened in Ceph; empty for figures
	txn    coord.Txn
}

// difference is what records lack of a sight. The order is one in which they can be
// written. It is pure.
type difference struct {
	s       *view.Snapshot
	sight   *sight
	busy    busy
	changes []change
}

// compare returns the changes that make the records follow Ceph, leaving alone what
// commands work on.
func compare(s *view.Snapshot, seen *sight, b busy) []change {
	d := &difference{s: s, sight: seen, busy: b}
	d.osds()
	d.pools()
	for _, p := range seen.pools {
		if images, read := seen.images[p.Name]; read && recordable("pool", p.Name) {
			d.volumes(p.Name, images)
		}
	}
	d.lostPools()
	return d.changes
}

// add takes an edit as a change, if it is one.
func (d *difference) add(object, news string, fn func(e *edit)) {
	e := &edit{s: d.s}
	fn(e)
	if len(e.txn.Ops) > 0 {
		d.changes = append(d.changes, change{object, news, e.txn})
	}
}

func (d *difference) osds() {
	there := map[int]bool{}
	for _, o := range d.sight.osds {
		there[o.ID] = true
		key := "osd/" + strconv.Itoa(o.ID)
		_, recorded := d.s.OSD(o.ID)
		switch {
		case d.busy.touches(key), !recorded && d.busy.within("node"): // it is being made, and recorded with its device then
		case !recorded:
			d.add(key, "appeared", func(e *edit) { e.putOSD(o) })
		default:
			d.add(key, "", func(e *edit) { e.putOSD(o) })
		}
	}
	for _, o := range d.s.OSDs() {
		if key := "osd/" + strconv.Itoa(o.ID); !there[o.ID] && !d.busy.touches(key) {
			d.add(key, "disappeared", func(e *edit) { e.dropOSD(o.ID) })
		}
	}
}

func (d *difference) pools() {
	for _, p := range d.sight.pools {
		key := "pool/" + p.Name
		if !recordable("pool", p.Name) || d.busy.touches(key) {
			continue
		}
		news := ""
		if _, recorded := d.s.Pool(p.Name); !recorded {
			news = "appeared"
		}
		d.add(key, news, func(e *edit) { e.putPool(p) })
	}
}

// lostPools drops the records of pools that Ceph does not have, with their volumes.
func (d *difference) lostPools() {
	there := map[string]bool{}
	for _, p := range d.sight.pools {
		there[p.Name] = true
	}
	for _, p := range d.s.Pools() {
		key := "pool/" + p.Name
		if there[p.Name] || d.busy.within(key) {
			continue
		}
		for _, v := range d.s.Volumes(p.Name) {
			d.add(key+"/"+v.Name, "disappeared with its pool", func(e *edit) { e.dropVolume(p.Name, v.Name) })
		}
		// Built apart from its volumes: it is written after them.
		d.add(key, "disappeared", func(e *edit) { e.dropPool(p.Name) })
	}
}

func (d *difference) volumes(pool string, images []ceph.Image) {
	if _, recorded := d.s.Pool(pool); !recorded && d.busy.touches("pool/"+pool) {
		return
	}
	there := map[string]bool{}
	for _, i := range images {
		there[i.Name] = true
	}
	moved := d.renamed(pool, images, there)
	for _, i := range images {
		key := "pool/" + pool + "/" + i.Name
		if moved[i.Name] || !recordable("volume", i.Name) || d.busy.touches(key) {
			continue
		}
		news := ""
		if v, recorded := d.s.Volume(pool, i.Name); !recorded {
			news = "appeared"
		} else if v.Stats != nil && v.Stats.ID != "" && v.Stats.ID != i.ID {
			news = "was replaced by another image"
		} else if v.Stats != nil && uint64(v.Stats.Size) != i.Size {
			news = "was resized"
		}
		d.add(key, news, func(e *edit) { e.putVolume(pool, i) })
	}
	for _, v := range d.s.Volumes(pool) {
		if key := "pool/" + pool + "/" + v.Name; !there[v.Name] && !moved[v.Name] && !d.busy.touches(key) {
			d.add(key, "disappeared", func(e *edit) { e.dropVolume(pool, v.Name) })
		}
	}
}

// renamed moves the records of images that have another name now, old and new one in one
// change. It returns the names on both sides.
func (d *difference) renamed(pool string, images []ceph.Image, there map[string]bool) map[string]bool {
	was := map[string]string{} // id: name, of records whose name has no image
	for _, v := range d.s.Volumes(pool) {
		if !there[v.Name] && v.Stats != nil && v.Stats.ID != "" {
			was[v.Stats.ID] = v.Name
		}
	}
	moved := map[string]bool{}
	for _, i := range images {
		old, yes := was[i.ID]
		if _, recorded := d.s.Volume(pool, i.Name); !yes || recorded || !recordable("volume", i.Name) {
			continue
		}
		moved[old], moved[i.Name] = true, true
		key := "pool/" + pool + "/"
		if d.busy.touches(key+old) || d.busy.touches(key+i.Name) {
			continue
		}
		d.add(key+i.Name, "was renamed from "+old, func(e *edit) {
			e.dropVolume(pool, old)
			e.putVolume(pool, i)
		})
	}
	return moved
}

// label is the object of a change as people write it.
func (c change) label() string {
	if volume, ok := strings.CutPrefix(c.object, "pool/"); ok {
		return volume
	}
	return strings.ReplaceAll(c.object, "osd/", "osd.")
}
