package rados

import (
	"cmp"
	"context"
	"math"
	"slices"
	"strconv"
	"strings"

	gorados "github.com/ceph/go-ceph/rados"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// OSDs implements ceph.Calls.
func (c calls) OSDs(ctx context.Context) ([]ceph.OSD, error) {
	stats := c.osdStats(ctx)
	osds, err := call(ctx, c, "list the OSDs", short, reads, func(_ *link, conn *gorados.Conn) ([]ceph.OSD, error) {
		m, err := readOSDMap(conn)
		if err != nil {
			return nil, err
		}
		var tree crushTree
		if err := (command{"prefix": "osd tree"}).ask(conn, &tree); err != nil {
			return nil, err
		}
		return listOSDs(m, tree), nil
	})
	all := <-stats
	for i := range osds {
		osds[i].Stats = all[osds[i].ID]
	}
	return osds, err
}

// crushTree is what is read of the CRUSH map.
type crushTree struct {
	Nodes []struct {
		ID       int
		Name     string
		Type     string
		Class    string  `json:"device_class"`
		Weight   float64 `json:"crush_weight"`
		Children []int
	}
}

func listOSDs(m osdMap, tree crushTree) []ceph.OSD {
	osds := map[int]*ceph.OSD{}
	for _, o := range m.OSDs {
		osds[o.OSD] = &ceph.OSD{ID: o.OSD, UUID: o.UUID, Up: o.Up != 0, In: o.In != 0, Booted: o.UpFrom > 0, Reweight: o.Weight, PrimaryAffinity: o.Affinity}
	}
	for _, n := range tree.Nodes {
		if o := osds[n.ID]; o != nil && n.Type == "osd" {
			o.Class, o.Weight = n.Class, n.Weight
		}
		for _, child := range n.Children {
			if o := osds[child]; o != nil && n.Type == "host" {
				o.Host = n.Name
			}
		}
	}
	list := make([]ceph.OSD, 0, len(osds))
	for _, o := range osds {
		list = append(list, *o)
	}
	slices.SortFunc(list, func(a, b ceph.OSD) int { return cmp.Compare(a.ID, b.ID) })
	return list
}

// osdFill is the answer to `osd df`.
type osdFill struct {
	Nodes []struct {
		ID      int
		KB      uint64 `json:"kb"`
		KBUsed  uint64 `json:"kb_used"`
		KBAvail uint64 `json:"kb_avail"`
		Var     float64
		PGs     int `json:"pgs"`
	}
}

// osdStats asks the manager. What it does not answer is left out: the rest is known
// without it.
func (c calls) osdStats(ctx context.Context) <-chan map[int]*ceph.OSDStats {
	stats := make(chan map[int]*ceph.OSDStats, 1)
	go func() {
		all, err := c.askOSDStats(ctx)
		if err != nil {
			c.cluster.log.Debug("Ceph's manager does not tell statistics of OSDs", "err", err)
		}
		stats <- all
	}()
	return stats
}

func (c calls) askOSDStats(ctx context.Context) (map[int]*ceph.OSDStats, error) {
	ctx, cancel := context.WithTimeout(ctx, managerPatience)
	defer cancel()
	return call(ctx, c, "read statistics of OSDs", manage, reads, func(_ *link, conn *gorados.Conn) (map[int]*ceph.OSDStats, error) {
		var fill osdFill
		if err := (command{"prefix": "osd df"}).askManager(conn, &fill); err != nil {
			return nil, err
		}
		all := map[int]*ceph.OSDStats{}
		for _, n := range fill.Nodes {
			all[n.ID] = &ceph.OSDStats{
				PGs: n.PGs, UsedBytes: n.KBUsed << 10, AvailBytes: n.KBAvail << 10, TotalBytes: n.KB << 10, Variance: n.Var,
			}
		}
		text, err := command{"prefix": "osd status", "format": "plain"}.sendManager(conn)
		if err != nil {
			return all, err
		}
		for id, t := range parseTraffic(string(text)) {
			if s := all[id]; s != nil {
				s.Traffic = &t
			}
		}
		return all, nil
	})
}

// parseTraffic reads the traffic of OSDs from the table that `osd status` prints; the
// manager of Ceph 16 has no other form of it. A line of another form is left out.
func parseTraffic(text string) map[int]ceph.Traffic {
	traffic := map[int]ceph.Traffic{}
	for line := range strings.Lines(text) {
		if id, t, ok := trafficOf(strings.Fields(line)); ok {
			traffic[id] = t
		}
	}
	return traffic
}

// trafficOf reads a line: id, host (which may be empty), used, available, then for writing
// and for reading operations and bytes per second, state.
func trafficOf(cells []string) (id int, t ceph.Traffic, ok bool) {
	const withoutHost = 8
	if len(cells) < withoutHost {
		return 0, t, false
	}
	id, err := strconv.Atoi(cells[0])
	last := len(cells) - 1
	ok = err == nil
	for at, into := range []struct {
		unit  float64
		value *float64
	}{{1024, &t.ReadBytes}, {1000, &t.ReadOps}, {1024, &t.WriteBytes}, {1000, &t.WriteOps}} {
		var readable bool
		*into.value, readable = shortened(cells[last-1-at], into.unit)
		ok = ok && readable
	}
	return id, t, ok
}

// shortened reads a number with one of the suffixes k M G T P E.
func shortened(text string, unit float64) (float64, bool) {
	const suffixes = "kMGTPE"
	factor := 1.0
	if n := len(text) - 1; n > 0 && strings.IndexByte(suffixes, text[n]) >= 0 {
		factor = math.Pow(unit, float64(strings.IndexByte(suffixes, text[n])+1))
		text = text[:n]
	}
	v, err := strconv.ParseFloat(text, 64)
	return v * factor, err == nil && v >= 0 && !math.IsInf(v, 0)
}
