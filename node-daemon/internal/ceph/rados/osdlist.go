package rados

import (
	"cmp"
	"context"
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
		osds[o.OSD] = &ceph.OSD{ID: o.OSD, UUID: o.UUID, Up: o.Up != 0, In: o.In != 0, Reweight: o.Weight, PrimaryAffinity: o.Affinity}
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

// columns of the table that `osd status` prints, from its right end: the host may be empty.
const (
	trafficColumns = 9
	readBytesAt    = 2
	readOpsAt      = 3
	writeBytesAt   = 4
	writeOpsAt     = 5
)

// parseTraffic reads the traffic of OSDs from the table that `osd status` prints; the
// manager of Ceph 16 has no other form of it. A line of another form is left out.
func parseTraffic(text string) map[int]ceph.Traffic {
	traffic := map[int]ceph.Traffic{}
	for line := range strings.Lines(text) {
		cells := strings.Fields(line)
		if len(cells) < trafficColumns-1 {
			continue
		}
		id, err := strconv.Atoi(cells[0])
		if err != nil {
			continue
		}
		var values [writeOpsAt + 1]float64
		readable := true
		for _, at := range []int{readBytesAt, readOpsAt, writeBytesAt, writeOpsAt} {
			unit := 1000.0
			if at == readBytesAt || at == writeBytesAt {
				unit = 1024
			}
			var ok bool
			values[at], ok = shortened(cells[len(cells)-at], unit)
			readable = readable && ok
		}
		if readable {
			traffic[id] = ceph.Traffic{ReadOps: values[readOpsAt], WriteOps: values[writeOpsAt], ReadBytes: values[readBytesAt], WriteBytes: values[writeBytesAt]}
		}
	}
	return traffic
}

// shortened reads a number with one of the suffixes k M G T P E.
func shortened(text string, unit float64) (float64, bool) {
	factor := 1.0
	if at := strings.IndexAny(text, "kMGTPE"); at == len(text)-1 && at > 0 {
		for range strings.IndexByte("kMGTPE", text[at]) + 1 {
			factor *= unit
		}
		text = text[:at]
	}
	v, err := strconv.ParseFloat(text, 64)
	return v * factor, err == nil && v >= 0
}
