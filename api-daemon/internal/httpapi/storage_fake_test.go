package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// stored are the records of storage in a picture.
type stored struct {
	osds    []*model.OSD
	pools   []*model.Pool
	volumes []*model.Volume // by pool and name
}

func newStored() stored {
	const gib = 1 << 30
	return stored{
		osds: []*model.OSD{
			{ID: 3, Node: "hv1", Device: "/dev/sdb", Stats: &model.OSDStats{
				UUID: "u-3", Up: true, In: true, PrimaryAffinity: 1, Weight: 1.5, Reweight: 1, Host: "hv1", Class: "ssd", State: "exists,up", PGs: 64,
				Total: 100 * gib, Used: 10 * gib, Avail: 90 * gib, Utilization: 10, Variance: 0.5, WriteOps: 2, ReadOps: 3, WriteRate: 4096, ReadRate: 8192,
			}},
			{ID: 30, Node: "hv2", Device: "/dev/sdb"},
		},
		pools: []*model.Pool{
			{Name: "slow", PGs: 8},
			{Name: "vms", PGs: 64, Stats: &model.PoolStats{
				ID: 2, Used: 30, Stored: 10, Free: 90, Objects: 5, Clones: 1, Copies: 15, Missing: 2, Unfound: 3, Degraded: 4, ReadOps: 6, WriteOps: 7,
				ReadData: 8, WriteData: 9, Replicas: 3, MinReplicas: 2, Application: "rbd",
			}},
		},
		volumes: []*model.Volume{
			{Pool: "slow", Name: "disk0"},
			{Pool: "vms", Name: "disk0", Stats: &model.VolumeStats{
				ID: "10a", Size: 20 * gib, Objects: 5120, Order: 22, ObjectSize: 4 << 20, BlockNamePrefix: "rbd_data.10a", Format: 2,
				Features: []string{"layering", "exclusive-lock"}, Created: "Tue Jul  2 10:00:00 2019", Watchers: 1, Used: 4 << 20,
			}, Snapshots: []model.Snapshot{
				{Pool: "vms", Volume: "disk0", Name: "s1", Stats: &model.SnapshotStats{ID: 4, Size: 20 * gib, Created: "Wed", Protected: true}},
				{Pool: "vms", Volume: "disk0", Name: "s10"},
			}},
			{Pool: "vms", Name: "web1_disk0"},
		},
	}
}

func (p *pictured) StorageGeneration() uint64 { return p.generation }
func (p *pictured) OSDs() []*model.OSD        { return p.storage.osds }
func (p *pictured) Pools() []*model.Pool      { return p.storage.pools }

func (p *pictured) OSD(id int) (*model.OSD, bool) {
	i := slices.IndexFunc(p.storage.osds, func(o *model.OSD) bool { return o.ID == id })
	if i < 0 {
		return nil, false
	}
	return p.storage.osds[i], true
}

func (p *pictured) Pool(name string) (*model.Pool, bool) {
	i := slices.IndexFunc(p.storage.pools, func(o *model.Pool) bool { return o.Name == name })
	if i < 0 {
		return nil, false
	}
	return p.storage.pools[i], true
}

func (p *pictured) Volumes(pool string) (out []*model.Volume) {
	for _, v := range p.storage.volumes {
		if v.Pool == pool {
			out = append(out, v)
		}
	}
	return out
}

func (p *pictured) Volume(pool, name string) (*model.Volume, bool) {
	for _, v := range p.Volumes(pool) {
		if v.Name == name {
			return v, true
		}
	}
	return nil, false
}

// begun is the command of every OSD that a recorder adds or removes.
var begun = cluster.Begun{Handle: command.Handle{ID: "k-1", Nonce: "n"}, Verb: command.VerbOSDAdd, Node: "hv2"}

func (c *recorder) begin(ctx context.Context, in any) (cluster.Begun, error) {
	_, err := c.note(ctx, in)
	return begun, err
}

func (c *recorder) StorageKnown(context.Context) error { return c.unknown }

func (c *recorder) StorageStatus(context.Context) (cluster.StorageText, error) {
	return cluster.StorageText{Text: "  cluster:\n    health: HEALTH_OK", JSON: json.RawMessage(`{"health":{"status":"HEALTH_OK"}}`)}, c.unknown
}
func (c *recorder) StorageUsage(context.Context) (cluster.StorageText, error) {
	return cluster.StorageText{Text: "POOL_NAME"}, c.unknown
}
func (c *recorder) SetOption(ctx context.Context, in cluster.SetOption) (cluster.Answer, error) {
	return c.note(ctx, in)
}
func (c *recorder) AddOSD(ctx context.Context, in cluster.AddOSD) (cluster.Begun, error) {
	return c.begin(ctx, in)
}
func (c *recorder) RemoveOSD(ctx context.Context, in cluster.RemoveOSD) (cluster.Begun, error) {
	return c.begin(ctx, in)
}
func (c *recorder) SetOSDState(ctx context.Context, in cluster.SetOSDState) (cluster.Answer, error) {
	return c.note(ctx, in)
}
func (c *recorder) AddPool(ctx context.Context, in cluster.AddPool) (cluster.Answer, error) {
	return c.note(ctx, in)
}
func (c *recorder) RemovePool(ctx context.Context, in cluster.RemovePool) (cluster.Answer, error) {
	return c.note(ctx, in)
}
func (c *recorder) AddVolume(ctx context.Context, in cluster.AddVolume) (cluster.Answer, error) {
	return c.note(ctx, in)
}
func (c *recorder) ModifyVolume(ctx context.Context, in cluster.ModifyVolume) (cluster.Answer, error) {
	return c.note(ctx, in)
}
func (c *recorder) RemoveVolume(ctx context.Context, in cluster.RemoveVolume) (cluster.Answer, error) {
	return c.note(ctx, in)
}
func (c *recorder) AddSnapshot(ctx context.Context, in cluster.AddSnapshot) (cluster.Answer, error) {
	return c.note(ctx, in)
}
func (c *recorder) RemoveSnapshot(ctx context.Context, in cluster.RemoveSnapshot) (cluster.Answer, error) {
	return c.note(ctx, in)
}
func (c *recorder) WaitFor(ctx context.Context, b cluster.Begun) (cluster.Answer, error) {
	return c.note(ctx, fmt.Sprintf("wait for %s", b.Handle.ID))
}

func (c *recorder) Task(id string) (command.Task, error) {
	t, ok := c.tasks[id]
	if !ok {
		return t, errs.NotFoundf("no task has the id %q", id)
	}
	return t, nil
}
