package schema

import (
	"math"
	"strconv"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// osdStats are the statistics of an OSD in JSON. The old system took the quoted ones from
// a table that Ceph prints. Its clients take ops and data for numbers, so that they are
// written without a unit here, per second.
type osdStats struct {
	UUID            string `json:"uuid"`
	Up              number `json:"up"`
	In              number `json:"in"`
	PrimaryAffinity number `json:"primary_affinity"`
	Utilization     number `json:"utilization"` // percent
	Variance        number `json:"var"`
	PGs             number `json:"pgs"`
	KB              number `json:"kb"` // KiB
	Weight          number `json:"weight"`
	Reweight        number `json:"reweight"`
	Node            string `json:"node"`
	Used            quoted `json:"used"`
	Avail           quoted `json:"avail"`
	WriteOps        quoted `json:"wr_ops"`
	WriteData       quoted `json:"wr_data"`
	ReadOps         quoted `json:"rd_ops"`
	ReadData        quoted `json:"rd_data"`
	State           string `json:"state"`
	// Additive.
	UsedBytes  number `json:"used_bytes"`
	AvailBytes number `json:"avail_bytes"`
	Class      string `json:"class"`
}

// unknownHost is what Ceph prints for a host that it does not know yet.
const unknownHost = "|"

// EncodeOSDStats is the data of an OSD's statistics.
func EncodeOSDStats(s model.OSDStats) []byte {
	rate := func(f float64) quoted { return quoted(ofFloat(math.Round(f))) }
	return encode(osdStats{
		UUID: s.UUID, Up: ofFlag(s.Up), In: ofFlag(s.In), PrimaryAffinity: ofFloat(s.PrimaryAffinity),
		Utilization: ofFloat(s.Utilization), Variance: ofFloat(s.Variance), PGs: ofInt(s.PGs), KB: ofInt(s.Total / 1024),
		Weight: ofFloat(s.Weight), Reweight: ofFloat(s.Reweight), Node: s.Host,
		Used: quoted(s.Used.String()), Avail: quoted(s.Avail.String()), State: s.State,
		WriteOps: rate(s.WriteOps), WriteData: quoted(ofInt(s.WriteRate)), ReadOps: rate(s.ReadOps), ReadData: quoted(ofInt(s.ReadRate)),
		UsedBytes: ofInt(s.Used), AvailBytes: ofInt(s.Avail), Class: s.Class,
	})
}

// DecodeOSDStats reads the statistics of an OSD; nil if there are none. The path is for
// errors, which tell of members that were read as not set; so it is for the others here.
func DecodeOSDStats(path, data string) (*model.OSDStats, error) {
	d, w := statsDecoder{path: path}, osdStats{}
	if !d.object(data, &w) {
		return nil, d.err()
	}
	const ops, bytes = 1000, 1024
	s := &model.OSDStats{
		UUID: w.UUID, Up: w.Up == "1", In: w.In == "1", Class: w.Class, State: w.State, PGs: d.small("pgs", w.PGs),
		PrimaryAffinity: d.fraction("primary_affinity", w.PrimaryAffinity), Weight: d.fraction("weight", w.Weight), Reweight: d.fraction("reweight", w.Reweight),
		Utilization: d.fraction("utilization", w.Utilization), Variance: d.fraction("var", w.Variance),
		WriteOps: d.measure("wr_ops", w.WriteOps, ops), ReadOps: d.measure("rd_ops", w.ReadOps, ops),
		WriteRate: model.Size(d.measure("wr_data", w.WriteData, bytes)), ReadRate: model.Size(d.measure("rd_data", w.ReadData, bytes)),
	}
	if w.Node != unknownHost {
		s.Host = w.Node
	}
	if kb := d.whole("kb", w.KB); kb <= math.MaxInt64/1024 {
		s.Total = model.Size(kb) * 1024
	} else {
		d.fail("kb", string(w.KB), "a number of KiB")
	}
	s.Used, s.Avail = d.bytes("used_bytes", w.UsedBytes), d.bytes("avail_bytes", w.AvailBytes)
	if w.UsedBytes == "" && w.AvailBytes == "" {
		s.Used, s.Avail = model.Size(d.measure("used", w.Used, bytes)), model.Size(d.measure("avail", w.Avail, bytes))
	}
	return s, d.err()
}

// poolStats are the statistics of a pool in JSON, those of "rados df".
type poolStats struct {
	ID          number `json:"id"`
	SizeBytes   number `json:"size_bytes"`
	Objects     number `json:"num_objects"`
	Clones      number `json:"num_object_clones"`
	Copies      number `json:"num_object_copies"`
	Missing     number `json:"num_objects_missing_on_primary"`
	Unfound     number `json:"num_objects_unfound"`
	Degraded    number `json:"num_objects_degraded"`
	ReadOps     number `json:"read_ops"`
	ReadBytes   number `json:"read_bytes"`
	WriteOps    number `json:"write_ops"`
	WriteBytes  number `json:"write_bytes"`
	StoredBytes number `json:"stored_bytes"` // from here on additive
	FreeBytes   number `json:"free_bytes"`
	Replicas    number `json:"replicas"`
	MinReplicas number `json:"min_replicas"`
	Application string `json:"application"`
}

// EncodePoolStats is the data of a pool's statistics.
func EncodePoolStats(s model.PoolStats) []byte {
	return encode(poolStats{
		ID: ofInt(s.ID), SizeBytes: ofInt(s.Used), Objects: ofInt(s.Objects), Clones: ofInt(s.Clones), Copies: ofInt(s.Copies),
		Missing: ofInt(s.Missing), Unfound: ofInt(s.Unfound), Degraded: ofInt(s.Degraded),
		ReadOps: ofInt(s.ReadOps), ReadBytes: ofInt(s.ReadData), WriteOps: ofInt(s.WriteOps), WriteBytes: ofInt(s.WriteData),
		StoredBytes: ofInt(s.Stored), FreeBytes: ofInt(s.Free), Replicas: ofInt(s.Replicas), MinReplicas: ofInt(s.MinReplicas), Application: s.Application,
	})
}

// DecodePoolStats reads the statistics of a pool; nil if there are none.
func DecodePoolStats(path, data string) (*model.PoolStats, error) {
	d, w := statsDecoder{path: path}, poolStats{}
	if !d.object(data, &w) {
		return nil, d.err()
	}
	return &model.PoolStats{
		ID: d.whole("id", w.ID), Used: d.bytes("size_bytes", w.SizeBytes), Stored: d.bytes("stored_bytes", w.StoredBytes), Free: d.bytes("free_bytes", w.FreeBytes),
		Objects: d.whole("num_objects", w.Objects), Clones: d.whole("num_object_clones", w.Clones), Copies: d.whole("num_object_copies", w.Copies),
		Missing: d.whole("num_objects_missing_on_primary", w.Missing), Unfound: d.whole("num_objects_unfound", w.Unfound),
		Degraded: d.whole("num_objects_degraded", w.Degraded),
		ReadOps:  d.whole("read_ops", w.ReadOps), WriteOps: d.whole("write_ops", w.WriteOps),
		ReadData: d.bytes("read_bytes", w.ReadBytes), WriteData: d.bytes("write_bytes", w.WriteBytes),
		Replicas: d.small("replicas", w.Replicas), MinReplicas: d.small("min_replicas", w.MinReplicas), Application: w.Application,
	}, d.err()
}

// volumeStats are the statistics of a volume in JSON, those of "rbd info".
type volumeStats struct {
	Name            string        `json:"name"`
	ID              string        `json:"id"`
	Size            number        `json:"size"`
	Objects         number        `json:"objects"`
	Order           number        `json:"order"`
	ObjectSize      number        `json:"object_size"`
	BlockNamePrefix string        `json:"block_name_prefix"`
	Format          number        `json:"format"`
	Features        []string      `json:"features"`
	Flags           []string      `json:"flags"`
	Created         string        `json:"create_timestamp,omitempty"`
	Parent          *volumeParent `json:"parent,omitempty"`
	Watchers        number        `json:"watchers"` // from here on additive
	UsedBytes       number        `json:"used_bytes"`
}

type volumeParent struct {
	Pool     string `json:"pool"`
	Image    string `json:"image"`
	Snapshot string `json:"snapshot"`
}

// EncodeVolumeStats is the data of a volume's statistics.
func EncodeVolumeStats(name string, s model.VolumeStats) []byte {
	return encode(volumeStats{
		Name: name, ID: s.ID, Size: ofInt(s.Size), Objects: ofInt(s.Objects), Order: ofInt(s.Order), ObjectSize: ofInt(s.ObjectSize),
		BlockNamePrefix: s.BlockNamePrefix, Format: ofInt(s.Format), Features: notNull(s.Features), Flags: notNull(s.Flags),
		Created: s.Created, Parent: splitParent(s.Parent), Watchers: ofInt(s.Watchers), UsedBytes: ofInt(s.Used),
	})
}

// notNull is for lists that clients go through.
func notNull(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// splitParent takes "pool/image@snapshot" apart.
func splitParent(s string) *volumeParent {
	pool, rest, ok := strings.Cut(s, "/")
	at := strings.LastIndexByte(rest, '@')
	if !ok || at < 0 {
		return nil
	}
	return &volumeParent{Pool: pool, Image: rest[:at], Snapshot: rest[at+1:]}
}

// DecodeVolumeStats reads the statistics of a volume; nil if there are none.
func DecodeVolumeStats(path, data string) (*model.VolumeStats, error) {
	d, w := statsDecoder{path: path}, volumeStats{}
	if !d.object(data, &w) {
		return nil, d.err()
	}
	s := &model.VolumeStats{
		ID: w.ID, Size: d.bytes("size", w.Size), Objects: d.whole("objects", w.Objects), Order: d.small("order", w.Order),
		ObjectSize: d.bytes("object_size", w.ObjectSize), BlockNamePrefix: w.BlockNamePrefix, Format: d.small("format", w.Format),
		Features: w.Features, Flags: w.Flags, Created: w.Created, Watchers: d.small("watchers", w.Watchers), Used: d.bytes("used_bytes", w.UsedBytes),
	}
	if p := w.Parent; p != nil {
		s.Parent = p.Pool + "/" + p.Image + "@" + p.Snapshot
	}
	return s, d.err()
}

// snapshotStats are the statistics of a snapshot in JSON, all additive: old clients write
// and expect an empty object.
type snapshotStats struct {
	ID        number `json:"id"`
	Size      number `json:"size"`
	Created   string `json:"timestamp,omitempty"`
	Protected truth  `json:"protected"`
}

// truth is a boolean that Ceph's tools also write as a string.
type truth bool

// UnmarshalJSON takes "true" with and without quotation marks for true.
func (b *truth) UnmarshalJSON(data []byte) error {
	text := strings.Trim(string(data), `"`)
	on, err := strconv.ParseBool(text)
	*b = truth(on)
	if text == "null" {
		return nil
	}
	return err
}

// EncodeSnapshotStats is the data of a snapshot's statistics.
func EncodeSnapshotStats(s model.SnapshotStats) []byte {
	return encode(snapshotStats{ID: ofInt(s.ID), Size: ofInt(s.Size), Created: s.Created, Protected: truth(s.Protected)})
}

// DecodeSnapshotStats reads the statistics of a snapshot; nil if there are none.
func DecodeSnapshotStats(path, data string) (*model.SnapshotStats, error) {
	d, w := statsDecoder{path: path}, snapshotStats{}
	if !d.object(data, &w) {
		return nil, d.err()
	}
	return &model.SnapshotStats{ID: uint64(d.bytes("id", w.ID)), Size: d.bytes("size", w.Size), Created: w.Created, Protected: bool(w.Protected)}, d.err()
}
