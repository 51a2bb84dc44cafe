package cephctl

import (
	"math"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// createdFormat is how `rbd info` writes a time. It is UTC here: hosts may differ.
const createdFormat = time.ANSIC

func created(t time.Time) string {
	if t.IsZero() || t.Unix() == 0 { // images of old releases have none
		return ""
	}
	return t.UTC().Format(createdFormat)
}

func volumeStats(i ceph.Image) model.VolumeStats {
	s := model.VolumeStats{
		ID: i.ID, Size: model.Size(i.Size), Objects: int64(i.Objects), Order: i.Order, ObjectSize: 1 << i.Order,
		BlockNamePrefix: i.Prefix, Format: 2, Features: i.Features, Created: created(i.Created), Parent: i.Parent, Watchers: len(i.Watchers),
	}
	if i.OldFormat {
		s.Format = 1
	}
	return s
}

func snapshotStats(s ceph.Snapshot) model.SnapshotStats {
	return model.SnapshotStats{ID: s.ID, Size: model.Size(s.Size), Created: created(s.Created), Protected: s.Protected}
}

// poolStats leaves what clients did as it is. The free space changes by itself all the
// time, as OSDs tidy up: it is rounded down.
func poolStats(p ceph.Pool) model.PoolStats {
	s := p.Stats
	return model.PoolStats{
		ID: p.ID, Used: model.Size(s.UsedBytes), Stored: model.Size(s.StoredBytes), Free: roundDown(s.MaxAvail, 1<<20),
		Objects: int64(s.Objects), Clones: int64(s.Clones), Copies: int64(s.Copies), Missing: int64(s.Missing),
		Unfound: int64(s.Unfound), Degraded: int64(s.Degraded), ReadOps: int64(s.ReadOps), WriteOps: int64(s.WriteOps),
		ReadData: model.Size(s.ReadBytes), WriteData: model.Size(s.WriteBytes),
		Replicas: p.Size, MinReplicas: p.MinSize, Application: p.Application,
	}
}

// osdStats are rounded to what a person looks at: MiB, hundredths of a percent, whole
// operations and KiB per second.
func osdStats(o ceph.OSD) model.OSDStats {
	s := model.OSDStats{
		UUID: o.UUID, Up: o.Up, In: o.In, PrimaryAffinity: round(o.PrimaryAffinity, 1e4), Weight: round(o.Weight, 1e5),
		Reweight: round(o.Reweight, 1e4), Host: o.Host, Class: o.Class, State: osdState(o),
	}
	if o.Stats == nil {
		return s
	}
	s.PGs, s.Variance = o.Stats.PGs, round(o.Stats.Variance, 100)
	s.Total = roundDown(o.Stats.TotalBytes, 1<<20)
	s.Used, s.Avail = roundDown(o.Stats.UsedBytes, 1<<20), roundDown(o.Stats.AvailBytes, 1<<20)
	if s.Total > 0 {
		s.Utilization = round(100*float64(s.Used)/float64(s.Total), 100)
	}
	if t := o.Stats.Traffic; t != nil {
		s.ReadOps, s.WriteOps = math.Round(t.ReadOps), math.Round(t.WriteOps)
		s.ReadRate, s.WriteRate = rate(t.ReadBytes), rate(t.WriteBytes)
	}
	return s
}

// osdState is in the words of `ceph osd status`.
func osdState(o ceph.OSD) string {
	words := []string{"exists"}
	if o.Up {
		words = append(words, "up")
	}
	return strings.Join(words, ",")
}

func roundDown(n, unit uint64) model.Size { return model.Size(n / unit * unit) }

// round keeps what counts of a number: 1/parts.
func round(f float64, parts float64) float64 { return math.Round(f*parts) / parts }

func rate(perSecond float64) model.Size {
	return roundDown(uint64(max(perSecond, 0)), 1<<10)
}
