package httpapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"sync"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

const ceph = "/api/v1/storage/ceph"

// storageSteps come after the others, in an order in which they work.
var storageSteps = []answerStep{
	{route: "GET " + ceph}, {route: "GET " + ceph + "/status"}, {route: "GET " + ceph + "/df"}, {route: "GET " + ceph + "/utilization"},
	{route: "POST " + ceph + "/cluster-option", target: ceph + "/cluster-option?action=set&option=noout"},
	{route: "POST " + ceph + "/option", target: ceph + "/option?action=unset&option=noout"},
	{route: "POST " + ceph + "/option", target: ceph + "/option?action=set&option=nonsense", status: 510},
	{route: "GET " + ceph + "/osd"},
	{route: "GET " + ceph + "/osd/{osd}", target: ceph + "/osd/osd.0"},
	{route: "GET " + ceph + "/osd/{osd}", target: ceph + "/osd/1"},
	{route: "GET " + ceph + "/osd/{osd}/state", target: ceph + "/osd/0/state"},
	{route: "GET " + ceph + "/osd/{osd}/state", target: ceph + "/osd/1/state", status: 510},
	{route: "POST " + ceph + "/osd/{osd}/state", target: ceph + "/osd/0/state?state=out"},
	{route: "POST " + ceph + "/osd", target: ceph + "/osd?node=hv1&device=/dev/sdc&weight=1.0"},
	{route: "POST " + ceph + "/osd", target: ceph + "/osd?node=hv1&device=/dev/sdb&weight=1.0", status: 510},
	{route: "POST " + ceph + "/osd", target: ceph + "/osd?node=hv1&device=/dev/sdd&weight=1.0", key: "one", status: 202},
	{route: "GET /api/v1/tasks/{task}", target: "/api/v1/tasks/" + taskOf("one")},
	{route: "GET /api/v1/tasks/{task}", target: "/api/v1/tasks/" + taskOf("two"), status: 510},
	{route: "DELETE " + ceph + "/osd/{osd}", target: ceph + "/osd/0?yes-i-really-mean-it=yes&force=False"},
	{route: "DELETE " + ceph + "/osd/{osd}", target: ceph + "/osd/0", status: 510},
	{route: "GET " + ceph + "/pool"},
	{route: "GET " + ceph + "/pool/{pool}", target: ceph + "/pool/vms"},
	{route: "POST " + ceph + "/pool", target: ceph + "/pool?pool=fast&pgs=64&replcfg=copies%3D3,mincopies%3D2&tier=default"},
	{route: "POST " + ceph + "/pool", target: ceph + "/pool?pool=vms&pgs=64", status: 510},
	{route: "GET " + ceph + "/volume", target: ceph + "/volume?pool=vms"},
	{route: "GET " + ceph + "/volume/{pool}/{volume}", target: ceph + "/volume/vms/disk0"},
	{route: "GET " + ceph + "/volume/{pool}/{volume}", target: ceph + "/volume/nothing/disk0", status: 510},
	{route: "POST " + ceph + "/volume", target: ceph + "/volume?pool=vms&volume=disk1&size=1G&force=False"},
	{route: "POST " + ceph + "/volume", target: ceph + "/volume?pool=vms&volume=disk0&size=1G", status: 510},
	{route: "PUT " + ceph + "/volume/{pool}/{volume}", target: ceph + "/volume/vms/disk0?new_size=30G&force=False"},
	{route: "PUT " + ceph + "/volume/{pool}/{volume}", target: ceph + "/volume/vms/disk0", status: 510},
	{route: "DELETE " + ceph + "/volume/{pool}/{volume}", target: ceph + "/volume/vms/disk0"},
	{route: "DELETE " + ceph + "/volume/{pool}/{volume}", target: ceph + "/volume/vms/busy", status: 510},
	{route: "GET " + ceph + "/volume/snapshot"}, {route: "GET " + ceph + "/snapshot", target: ceph + "/snapshot?volume=disk0"},
	{route: "GET " + ceph + "/volume/snapshot/{pool}/{volume}/{snapshot}", target: ceph + "/volume/snapshot/vms/disk0/s1"},
	{route: "GET " + ceph + "/snapshot/{pool}/{volume}/{snapshot}", target: ceph + "/snapshot/vms/disk0/s1"},
	{route: "GET " + ceph + "/snapshot/{pool}/{volume}/{snapshot}", target: ceph + "/snapshot/vms/nothing/s1", status: 510},
	{route: "POST " + ceph + "/volume/snapshot", target: ceph + "/volume/snapshot?pool=vms&volume=disk0&snapshot=s2"},
	{route: "POST " + ceph + "/snapshot", target: ceph + "/snapshot?pool=vms&volume=disk0&snapshot=s3"},
	{route: "DELETE " + ceph + "/volume/snapshot/{pool}/{volume}/{snapshot}", target: ceph + "/volume/snapshot/vms/disk0/s1"},
	{route: "DELETE " + ceph + "/snapshot/{pool}/{volume}/{snapshot}", target: ceph + "/snapshot/vms/disk0/s1"},
	{route: "DELETE " + ceph + "/pool/{pool}", target: ceph + "/pool/vms?yes-i-really-mean-it=yes"},
	{route: "DELETE " + ceph + "/pool/{pool}", target: ceph + "/pool/vms", status: 510},
}

// taskOf is the task of a request with that idempotency key.
func taskOf(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "k-" + hex.EncodeToString(sum[:])
}

// storageRecords are an OSD, a pool, volumes and a snapshot, as a host records them.
func storageRecords() *coord.Txn {
	const gib = 1 << 30
	txn := new(coord.Txn).Create(schema.Commands, nil).Create(schema.Ceph, []byte("  cluster:\n    health: HEALTH_OK\n"))
	txn.Create(schema.CephRadosDF, []byte("POOL_NAME  USED\n")).Create(schema.CephStatus, []byte(`{"health":{}}`))
	for _, root := range []string{schema.CephOSDs, schema.CephPools, schema.CephVolumes, schema.CephSnapshots, schema.PoolVolumes("vms"), schema.PoolSnapshots("vms")} {
		txn.Create(root, nil)
	}
	txn.Create(schema.OSD(0), nil).Create(schema.OSD(0, schema.OSDNode), []byte("hv1")).Create(schema.OSD(0, schema.OSDDevice), []byte("/dev/sdb"))
	txn.Create(schema.OSD(0, schema.StorageStats), schema.EncodeOSDStats(model.OSDStats{Up: true, In: true, State: "exists,up"}))
	txn.Create(schema.Pool("vms"), nil).Create(schema.Pool("vms", schema.PoolPGs), []byte("64"))
	txn.Create(schema.Pool("vms", schema.StorageStats), schema.EncodePoolStats(model.PoolStats{ID: 1, Free: 100 * gib}))
	for _, name := range []string{"disk0", "busy"} {
		txn.Create(schema.Volume("vms", name), nil).Create(schema.VolumeSnapshots("vms", name), nil)
		txn.Create(schema.Volume("vms", name, schema.StorageStats), schema.EncodeVolumeStats(name, model.VolumeStats{ID: "10a", Size: 20 * gib}))
	}
	txn.Create(schema.Snapshot("vms", "disk0", "s1"), nil)
	return txn.Create(schema.Snapshot("vms", "disk0", "s1", schema.StorageStats), []byte("{}"))
}

// hostSession is the registration of hv1 in the records.
type hostSession struct{ client coord.Client }

func (s hostSession) Client() coord.Client  { return s.client }
func (s hostSession) Node() string          { return "hv1" }
func (s hostSession) Instance() string      { return "i" }
func (s hostSession) Lost() <-chan struct{} { return s.client.Lost() }
func (s hostSession) Check(t *coord.Txn) {
	t.Check(schema.Node("hv1", schema.NodeSession, "session-boot-1"), coord.AnyVersion)
}

// executes has hv1 execute storage commands: all succeed and none records anything, but
// for the volume busy.
func executes(t *testing.T, servers []string, client coord.Client) {
	t.Helper()
	v := view.New(view.Options{Scope: view.StorageHost, Dial: zk.Dial, Servers: servers, Timeout: coordtest.Patience, Logger: slog.New(slog.DiscardHandler)})
	worker := &command.Worker{
		Session: hostSession{client}, View: v,
		Client: func(context.Context) (string, error) { return "192.0.2.1:0/1", nil },
		Fence:  func(context.Context, string) error { return nil },
		Execute: func(_ context.Context, c *command.Command, _ command.Attempt) (command.Outcome, error) {
			args, err := command.ParseArgs(c)
			if remove, ok := args.(command.VolumeRemove); ok && remove.Volume == "busy" {
				err = errs.Conflictf("EBUSY: image has snapshots")
			}
			return command.Outcome{Message: "done: " + c.Verb}, err
		},
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = v.Run(ctx) })
	running.Go(func() { _ = worker.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
}
