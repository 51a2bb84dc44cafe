package cluster_test

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	gosync "sync"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

const gib = 1 << 30

// pool is the record of a pool with 10 GiB left.
func pool(name string) compat.Tree {
	return compat.Tree{
		"/ceph/pools/" + name: "", "/ceph/pools/" + name + "/pgs": "64", "/ceph/snapshots/" + name: "",
		"/ceph/pools/" + name + "/stats": `{"id":1,"size_bytes":30,"stored_bytes":10,"free_bytes":10737418240}`,
	}
}

// volume is the record of a volume of 2 GiB; features are laid over its own.
func volume(pool, name string, features ...string) compat.Tree {
	s := model.VolumeStats{ID: "id-" + name, Size: 2 * gib, Features: features}
	if len(features) == 0 {
		s.Features = []string{"layering", "exclusive-lock"}
	}
	return compat.Tree{
		"/ceph/volumes/" + pool + "/" + name: "", "/ceph/snapshots/" + pool + "/" + name: "",
		"/ceph/volumes/" + pool + "/" + name + "/stats": string(schema.EncodeVolumeStats(name, s)),
	}
}

func snapshot(pool, volume, name string) compat.Tree {
	path := "/ceph/snapshots/" + pool + "/" + volume + "/" + name
	return compat.Tree{path: "", path + "/stats": `{}`}
}

func osd(id int, node, device string) compat.Tree {
	path := fmt.Sprintf("/ceph/osds/%d", id)
	return compat.Tree{path: "", path + "/node": node, path + "/device": device, path + "/stats": `{"up":1,"in":1}`}
}

// executor is a host's part of storage: it notes what it is asked for and keeps records of
// volumes. Volumes of certain names fail.
type executor struct {
	view  *view.View
	mu    gosync.Mutex
	asked []string
	// hold, if set, is waited for in each command.
	hold chan struct{}
}

// reasons are what commands on volumes of these names fail with.
var reasons = map[string]error{
	"busy":      errs.Conflictf("EBUSY: image has snapshots"),
	"down":      errs.Unavailablef("Ceph does not answer: no monitor within 10 s"),
	"forbidden": errs.Deniedf("EPERM: pool deletion is disabled"),
	"lost":      errs.New(errs.NotFound, "ENOENT: no such image"),
}

func (e *executor) execute(ctx context.Context, c *command.Command, a command.Attempt) (command.Outcome, error) {
	if err := a.Begin(ctx); err != nil {
		return command.Outcome{}, err
	}
	e.mu.Lock()
	e.asked = append(e.asked, c.Verb+string(c.Args))
	hold := e.hold
	e.mu.Unlock()
	if hold != nil {
		select {
		case <-hold:
		case <-ctx.Done():
			return command.Outcome{}, ctx.Err()
		}
	}
	args, err := command.ParseArgs(c)
	if err != nil {
		return command.Outcome{}, err
	}
	out := command.Outcome{Message: "done: " + c.Verb}
	switch a := args.(type) {
	case command.VolumeAdd:
		err = reasons[a.Volume]
		e.view.Read(func(s *view.Snapshot) {
			if _, there := s.Volume(a.Pool, a.Volume); there {
				err = errs.Conflictf("EEXIST: image exists")
			}
		})
		out.Records = func(*view.Snapshot) (txn coord.Txn, err error) {
			stats := schema.EncodeVolumeStats(a.Volume, model.VolumeStats{ID: "id-" + a.Volume, Size: a.Size})
			txn.Create(schema.Volume(a.Pool, a.Volume), nil).Create(schema.Volume(a.Pool, a.Volume, "stats"), stats)
			return *txn.Create(schema.VolumeSnapshots(a.Pool, a.Volume), nil), nil
		}
	case command.VolumeResize:
		err = reasons[a.Volume]
	case command.VolumeRename:
		err = cmp.Or(reasons[a.Volume], reasons[a.Name])
	case command.VolumeRemove:
		err = reasons[a.Volume]
		out.Records = func(*view.Snapshot) (txn coord.Txn, err error) {
			txn.Delete(schema.Volume(a.Pool, a.Volume, "stats"), coord.AnyVersion).Delete(schema.Volume(a.Pool, a.Volume), coord.AnyVersion)
			return *txn.Delete(schema.VolumeSnapshots(a.Pool, a.Volume), coord.AnyVersion), nil
		}
	}
	if err != nil {
		out.Records = nil
	}
	return out, err
}

// take returns what was asked for since the last take.
func (e *executor) take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := e.asked
	e.asked = nil
	return out
}

// hostSession is the registration that a node of a test has.
type hostSession struct {
	client coord.Client
	node   string
}

func (s hostSession) Client() coord.Client  { return s.client }
func (s hostSession) Node() string          { return s.node }
func (s hostSession) Instance() string      { return "i" }
func (s hostSession) Lost() <-chan struct{} { return s.client.Lost() }
func (s hostSession) Check(t *coord.Txn) {
	t.Check(schema.Node(s.node, schema.NodeSession, "session-b-1"), coord.AnyVersion)
}

// executes has a node of the world execute commands, until the test ends.
func (w *world) executes(t *testing.T, node string) *executor {
	t.Helper()
	v := view.New(view.Options{
		Scope: view.StorageHost, Dial: zk.Dial, Servers: w.addrs, Timeout: sessionTimeout, Connections: 1, Logger: slog.New(slog.DiscardHandler),
	})
	e := &executor{view: v}
	worker := &command.Worker{
		Session: hostSession{coordtest.Dial(t, w.addrs, sessionTimeout, nil), node}, View: v, Execute: e.execute,
		Client: func(context.Context) (string, error) { return "192.0.2.1:0/1", nil },
		Fence:  func(context.Context, string) error { return nil },
	}
	ctx, cancel := context.WithCancel(context.Background())
	var running gosync.WaitGroup
	running.Go(func() { _ = v.Run(ctx) })
	running.Go(func() { _ = worker.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	sync(t, v)
	return e
}
