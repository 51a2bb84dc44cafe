package rados

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	gorados "github.com/ceph/go-ceph/rados"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// DF implements ceph.Calls. The tool renders its table and its JSON itself, and so do we.
func (c calls) DF(ctx context.Context) (ceph.DF, error) {
	return call(ctx, c, "read how full Ceph is", short, reads, func(_ *link, conn *gorados.Conn) (ceph.DF, error) {
		m, err := readOSDMap(conn)
		if err != nil {
			return ceph.DF{}, err
		}
		pools := m.pools()
		stats, err := poolStats(conn, pools)
		if err != nil {
			return ceph.DF{}, err
		}
		total, err := conn.GetClusterStats()
		if err != nil {
			return ceph.DF{}, refusal(err, "")
		}
		u := usage{Pools: []poolUsage{}, Objects: total.Num_objects, UsedKB: total.Kb_used, AvailKB: total.Kb_avail, SpaceKB: total.Kb}
		for _, p := range pools {
			if s, there := stats[p.Name]; there {
				u.Pools = append(u.Pools, poolUsage{Name: p.Name, ID: p.ID, poolStat: s})
			}
		}
		raw, err := json.Marshal(u)
		return ceph.DF{Text: u.text(), JSON: raw}, err
	})
}

// usage is what `rados df --format json` prints.
type usage struct {
	Pools   []poolUsage `json:"pools"`
	Objects uint64      `json:"total_objects"`
	UsedKB  uint64      `json:"total_used"`
	AvailKB uint64      `json:"total_avail"`
	SpaceKB uint64      `json:"total_space"`
}

type poolUsage struct {
	Name string `json:"name"`
	ID   int64  `json:"id"`
	poolStat
}

// poolStat is what librados counts (rados_pool_stat_t), in the order of the tool.
type poolStat struct {
	Bytes           uint64 `json:"size_bytes"`
	KB              uint64 `json:"size_kb"`
	Objects         uint64 `json:"num_objects"`
	Clones          uint64 `json:"num_object_clones"`
	Copies          uint64 `json:"num_object_copies"`
	Missing         uint64 `json:"num_objects_missing_on_primary"`
	Unfound         uint64 `json:"num_objects_unfound"`
	Degraded        uint64 `json:"num_objects_degraded"`
	ReadOps         uint64 `json:"read_ops"`
	ReadBytes       uint64 `json:"read_bytes"`
	WriteOps        uint64 `json:"write_ops"`
	WriteBytes      uint64 `json:"write_bytes"`
	CompressedBytes uint64 `json:"compress_bytes_used"`
	CompressedUnder uint64 `json:"compress_under_bytes"`
}

// header is the first line of the table.
var header = []string{
	"POOL_NAME", "USED", "OBJECTS", "CLONES", "COPIES", "MISSING_ON_PRIMARY", "UNFOUND", "DEGRADED",
	"RD_OPS", "RD", "WR_OPS", "WR", "USED COMPR", "UNDER COMPR",
}

func (p poolUsage) row() []string {
	n := func(v uint64) string { return strconv.FormatUint(v, 10) }
	return []string{
		p.Name, inUnits(p.Bytes), n(p.Objects), n(p.Clones), n(p.Copies), n(p.Missing), n(p.Unfound), n(p.Degraded),
		n(p.ReadOps), inUnits(p.ReadBytes), n(p.WriteOps), inUnits(p.WriteBytes), inUnits(p.CompressedBytes), inUnits(p.CompressedUnder),
	}
}

// text is what `rados df` prints.
func (u usage) text() string {
	rows := [][]string{header}
	for _, p := range u.Pools {
		rows = append(rows, p.row())
	}
	var b strings.Builder
	table(&b, rows)
	fmt.Fprintf(&b, "\ntotal_objects    %d\n", u.Objects)
	fmt.Fprintf(&b, "total_used       %s\n", inUnits(u.UsedKB<<10))
	fmt.Fprintf(&b, "total_avail      %s\n", inUnits(u.AvailKB<<10))
	fmt.Fprintf(&b, "total_space      %s\n", inUnits(u.SpaceKB<<10))
	return b.String()
}

// table writes rows as the tools do: the first column to the left, the others to the
// right, as wide as the bytes of their longest cell.
func table(b *strings.Builder, rows [][]string) {
	widths := make([]int, len(rows[0]))
	for _, row := range rows {
		for i, cell := range row {
			widths[i] = max(widths[i], len(cell))
		}
	}
	for _, row := range rows {
		for i, cell := range row {
			space := strings.Repeat(" ", widths[i]-len(cell))
			if i == 0 {
				b.WriteString(cell + space)
			} else {
				b.WriteString("  " + space + cell)
			}
		}
		b.WriteByte('\n')
	}
}

// widest is what a size takes at most when it is shortened.
const widest = 7

// inUnits writes bytes as the tools do (byte_u_t): powers of 1024, as many of two
// decimals as there is room for, none if there is nothing to tell.
func inUnits(bytes uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"}
	unit, size := 0, uint64(1)
	for bytes/size >= 1024 {
		unit, size = unit+1, size<<10
	}
	if bytes%size == 0 {
		return fmt.Sprintf("%d %s", bytes/size, units[unit])
	}
	text := ""
	for decimals := 2; decimals >= 0; decimals-- {
		text = fmt.Sprintf("%.*f %s", decimals, float64(bytes)/float64(size), units[unit])
		if len(text) <= widest {
			break
		}
	}
	return text
}
