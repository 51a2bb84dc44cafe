package httpapi

import (
	"math"
	"strconv"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// osdJSON is an OSD as clients see it; its three names are text.
type osdJSON struct {
	ID       string       `json:"id"`
	Node     string       `json:"node"`
	Device   string       `json:"device"`
	DBDevice string       `json:"db_device"`
	Stats    osdStatsJSON `json:"stats"`
}

// osdStatsJSON is what Ceph tells of an OSD. Used and avail are text of the old system.
type osdStatsJSON struct {
	UUID            string     `json:"uuid"`
	Up              int        `json:"up"`
	In              int        `json:"in"`
	PrimaryAffinity float64    `json:"primary_affinity"`
	Utilization     float64    `json:"utilization"` // percent
	Variance        float64    `json:"var"`
	PGs             int        `json:"pgs"`
	KB              uint64     `json:"kb"` // KiB
	Weight          float64    `json:"weight"`
	Reweight        float64    `json:"reweight"`
	Node            string     `json:"node"`
	Used            string     `json:"used"`
	Avail           string     `json:"avail"`
	UsedBytes       model.Size `json:"used_bytes"`
	AvailBytes      model.Size `json:"avail_bytes"`
	WriteOps        float64    `json:"wr_ops"`  // per second, as the next three
	WriteData       model.Size `json:"wr_data"` // bytes
	ReadOps         float64    `json:"rd_ops"`
	ReadData        model.Size `json:"rd_data"` // bytes
	State           string     `json:"state"`
	Class           string     `json:"class"`
}

func osdAnswer(o *model.OSD) osdJSON {
	s := o.Stats
	if s == nil {
		s = &model.OSDStats{}
	}
	return osdJSON{ID: strconv.Itoa(o.ID), Node: o.Node, Device: o.Device, Stats: osdStatsJSON{
		UUID: s.UUID, Up: bit(s.Up), In: bit(s.In), PrimaryAffinity: s.PrimaryAffinity, Utilization: s.Utilization, Variance: s.Variance, PGs: s.PGs,
		KB: uint64(s.Total / 1024), Weight: s.Weight, Reweight: s.Reweight, Node: s.Host, Used: s.Used.String(), Avail: s.Avail.String(),
		UsedBytes: s.Used, AvailBytes: s.Avail, WriteOps: s.WriteOps, WriteData: s.WriteRate, ReadOps: s.ReadOps, ReadData: s.ReadRate,
		State: s.State, Class: s.Class,
	}}
}

// osdStateJSON says whether an OSD runs and holds data.
type osdStateJSON struct {
	ID string `json:"id"`
	In int    `json:"in"`
	Up int    `json:"up"`
}

func osdState(o *model.OSD) osdStateJSON {
	stats := osdAnswer(o).Stats
	return osdStateJSON{strconv.Itoa(o.ID), stats.In, stats.Up}
}

func bit(on bool) int {
	if on {
		return 1
	}
	return 0
}

// poolJSON is a pool as clients see it.
type poolJSON struct {
	Name    string        `json:"name"`
	Tier    string        `json:"tier"`
	PGs     int           `json:"pgs"`
	Volumes int           `json:"volume_count"`
	Stats   poolStatsJSON `json:"stats"`
}

// poolStatsJSON is what Ceph tells of a pool. Sizes are in bytes, operations and data are
// those since the pool exists.
type poolStatsJSON struct {
	ID          int64      `json:"id"`
	Size        model.Size `json:"size_bytes"`   // with all copies
	Used        model.Size `json:"used_bytes"`   // the same
	Stored      model.Size `json:"stored_bytes"` // as clients have written it
	Free        model.Size `json:"free_bytes"`   // what they can still write
	UsedPercent float64    `json:"used_percent"` // of what they can have written
	Objects     int64      `json:"num_objects"`
	Clones      int64      `json:"num_object_clones"`
	Copies      int64      `json:"num_object_copies"`
	Missing     int64      `json:"num_objects_missing_on_primary"`
	Unfound     int64      `json:"num_objects_unfound"`
	Degraded    int64      `json:"num_objects_degraded"`
	ReadOps     int64      `json:"read_ops"`
	ReadBytes   model.Size `json:"read_bytes"`
	WriteOps    int64      `json:"write_ops"`
	WriteBytes  model.Size `json:"write_bytes"`
	Replicas    int        `json:"replicas"`
	MinReplicas int        `json:"min_replicas"`
	Application string     `json:"application"`
}

func poolAnswer(p *model.Pool, volumes int) poolJSON {
	s := p.Stats
	if s == nil {
		s = &model.PoolStats{}
	}
	return poolJSON{Name: p.Name, Tier: "default", PGs: p.PGs, Volumes: volumes, Stats: poolStatsJSON{
		ID: s.ID, Size: s.Used, Used: s.Used, Stored: s.Stored, Free: s.Free, UsedPercent: percent(s.Stored, s.Free),
		Objects: s.Objects, Clones: s.Clones, Copies: s.Copies, Missing: s.Missing, Unfound: s.Unfound, Degraded: s.Degraded,
		ReadOps: s.ReadOps, ReadBytes: s.ReadData, WriteOps: s.WriteOps, WriteBytes: s.WriteData,
		Replicas: s.Replicas, MinReplicas: s.MinReplicas, Application: s.Application,
	}}
}

// percent is how much of used and free together is used, with two digits.
func percent(used, free model.Size) float64 {
	if used == 0 {
		return 0
	}
	return math.Round(10000*float64(used)/(float64(used)+float64(free))) / 100
}

// volumeJSON is a volume as clients see it.
type volumeJSON struct {
	Name  string          `json:"name"`
	Pool  string          `json:"pool"`
	Stats volumeStatsJSON `json:"stats"`
}

// volumeStatsJSON is what Ceph tells of an RBD image. Size is text of the old system.
type volumeStatsJSON struct {
	Name       string     `json:"name"`
	ID         string     `json:"id"`
	Size       string     `json:"size"`
	SizeBytes  model.Size `json:"size_bytes"`
	Objects    int64      `json:"objects"`
	Order      int        `json:"order"`
	ObjectSize model.Size `json:"object_size"` // bytes
	Prefix     string     `json:"block_name_prefix"`
	Format     int        `json:"format"`
	Features   []string   `json:"features"`
	Flags      []string   `json:"flags"`
	Created    string     `json:"create_timestamp"`
	Parent     string     `json:"parent"`
	Watchers   int        `json:"watchers"`
	UsedBytes  model.Size `json:"used_bytes"`
}

func volumeAnswer(v *model.Volume) volumeJSON {
	s := v.Stats
	if s == nil {
		s = &model.VolumeStats{}
	}
	return volumeJSON{Name: v.Name, Pool: v.Pool, Stats: volumeStatsJSON{
		Name: v.Name, ID: s.ID, Size: s.Size.String(), SizeBytes: s.Size, Objects: s.Objects, Order: s.Order, ObjectSize: s.ObjectSize,
		Prefix: s.BlockNamePrefix, Format: s.Format, Features: append([]string{}, s.Features...), Flags: append([]string{}, s.Flags...),
		Created: s.Created, Parent: s.Parent, Watchers: s.Watchers, UsedBytes: s.Used,
	}}
}

// snapshotJSON is a snapshot as clients see it.
type snapshotJSON struct {
	Pool     string            `json:"pool"`
	Volume   string            `json:"volume"`
	Snapshot string            `json:"snapshot"`
	Stats    snapshotStatsJSON `json:"stats"`
}

// snapshotStatsJSON is what Ceph tells of a snapshot.
type snapshotStatsJSON struct {
	ID        uint64     `json:"id"`
	Size      string     `json:"size"` // of the volume when it was taken
	SizeBytes model.Size `json:"size_bytes"`
	Created   string     `json:"timestamp"`
	Protected bool       `json:"protected"`
}

func snapshotAnswer(s *model.Snapshot) snapshotJSON {
	stats := s.Stats
	if stats == nil {
		stats = &model.SnapshotStats{}
	}
	return snapshotJSON{s.Pool, s.Volume, s.Name, snapshotStatsJSON{stats.ID, stats.Size.String(), stats.Size, stats.Created, stats.Protected}}
}
