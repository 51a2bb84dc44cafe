package osd

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph/fake"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/units"
)

// rig is a host with one disk and a cluster in memory. Every call that leaves the process
// is counted, and one of them can be made to fail, or be the daemon's last.
type rig struct {
	t      *testing.T
	world  *fake.World
	client *fake.Client

	disk    string // uuid on it; "used" by somebody else
	ready   bool   // its store is complete
	folder  string // uuid in the OSD's folder
	enabled map[string]bool
	running map[string]bool
	dead    bool // the daemon of an OSD ends right after its start
	slow    bool // Ceph notices the end of a daemon after some seconds only

	calls  int
	trap   int // the call at which something is to happen, counted from 1
	at     int // the same during the attempt in which it does, else 0
	how    happening
	called string // what that call was
}

type happening uint8

const (
	fails happening = iota // with an error, before anything is done
	dies                   // the daemon, before
	diesAfter
)

// crash is how a daemon ends in the middle.
type crash struct{}

var errInjected = errors.New("injected")

func newRig(t *testing.T) *rig {
	w := fake.NewWorld()
	return &rig{t: t, world: w, client: w.Connect(), enabled: map[string]bool{}, running: map[string]bool{}}
}

func (r *rig) host() *Host { return &Host{Node: "hv1", Disks: rigDisks{r}, Units: rigUnits{r}} }

// call counts what leaves the process.
func (r *rig) call(name string, do func() error) error {
	r.calls++
	if r.calls != r.at {
		return do()
	}
	r.called = name
	switch r.how {
	case fails:
		return fmt.Errorf("%s: %w", name, errInjected)
	case dies:
		panic(crash{})
	}
	_ = do() // nobody learns how it ended
	panic(crash{})
}

// survive runs an attempt that the daemon may not survive.
func survive(attempt func()) (survived bool) {
	defer func() {
		switch what := recover(); what {
		case nil:
			survived = true
		case crash{}:
		default:
			panic(what)
		}
	}()
	attempt()
	return true
}

// osds are those that Ceph knows.
func (r *rig) osds() []ceph.OSD {
	r.t.Helper()
	all, err := r.world.Connect().OSDs(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	return all
}

// state is everything that an OSD can leave, in a line.
func (r *rig) state() string {
	var b strings.Builder
	for _, o := range r.osds() {
		fmt.Fprintf(&b, "osd.%d %s up=%v host=%s weight=%v; ", o.ID, o.UUID, o.Up, o.Host, o.Weight)
	}
	fmt.Fprintf(&b, "disk=%q ready=%v folder=%q", r.disk, r.ready, r.folder)
	for unit := range maps.Keys(r.enabled) {
		fmt.Fprintf(&b, " enabled=%s", unit)
	}
	for unit := range maps.Keys(r.running) {
		fmt.Fprintf(&b, " running=%s", unit)
	}
	return b.String()
}

const nothing = `disk="" ready=false folder=""`

func one(uuid string) string {
	return fmt.Sprintf(`osd.0 %[1]s up=true host=hv1 weight=1.5; disk=%[1]q ready=true folder=%[1]q enabled=ceph-osd@0.service running=ceph-osd@0.service`, uuid)
}

// rigCalls are those of Ceph.
type rigCalls struct{ *rig }

func (r rigCalls) OSDs(ctx context.Context) (all []ceph.OSD, err error) {
	err = r.call("OSDs", func() error { all, err = r.client.OSDs(ctx); return err })
	return all, err
}

func (r rigCalls) SetOSDIn(ctx context.Context, id int, in bool) error {
	return r.call("SetOSDIn", func() error { return r.client.SetOSDIn(ctx, id, in) })
}

func (r rigCalls) NewOSD(ctx context.Context, uuid string) (id int, secret string, err error) {
	err = r.call("NewOSD", func() error { id, secret, err = r.client.NewOSD(ctx, uuid); return err })
	return id, secret, err
}

func (r rigCalls) CrushAdd(ctx context.Context, id int, weight float64, host string) error {
	return r.call("CrushAdd", func() error { return r.client.CrushAdd(ctx, id, weight, host) })
}

func (r rigCalls) SafeToDestroy(ctx context.Context, id int) (safe bool, why string, err error) {
	err = r.call("SafeToDestroy", func() error { safe, why, err = r.client.SafeToDestroy(ctx, id); return err })
	return safe, why, err
}

func (r rigCalls) PurgeOSD(ctx context.Context, id int, uuid string) error {
	return r.call("PurgeOSD", func() error { return r.client.PurgeOSD(ctx, id, uuid) })
}

// rigUnits are those of the host.
type rigUnits struct{ *rig }

var _ units.Units = rigUnits{}

func (r rigUnits) Start(_ context.Context, unit string) error {
	return r.call("Start", func() error {
		if r.dead {
			return nil
		}
		r.running[unit] = true
		for _, o := range r.osds() {
			if Unit(o.ID) == unit && r.disk == o.UUID && r.ready && r.folder == o.UUID {
				r.world.SetUp(o.ID, true)
			}
		}
		return nil
	})
}

func (r rigUnits) Stop(_ context.Context, unit string) error {
	return r.call("Stop", func() error {
		delete(r.running, unit)
		for _, o := range r.osds() {
			if Unit(o.ID) != unit {
				continue
			}
			if r.slow {
				time.AfterFunc(20*time.Second, func() { r.world.SetUp(o.ID, false) })
			} else {
				r.world.SetUp(o.ID, false)
			}
		}
		return nil
	})
}

func (r rigUnits) Enable(_ context.Context, unit string) error {
	return r.call("Enable", func() error { r.enabled[unit] = true; return nil })
}

func (r rigUnits) Disable(_ context.Context, unit string) error {
	return r.call("Disable", func() error { delete(r.enabled, unit); return nil })
}

func (r rigUnits) Active(_ context.Context, unit string) (bool, error) {
	return r.running[unit], r.call("Active", func() error { return nil })
}

// rigDisks is the one disk.
type rigDisks struct{ *rig }

func (r rigDisks) Check(_ context.Context, path, uuid string) (string, error) {
	return path, r.call("Check", func() error {
		if r.disk != "" && r.disk != uuid {
			return errs.Conflictf("device %s is used", path)
		}
		return nil
	})
}

func (r rigDisks) Prepare(_ context.Context, _ string, o Identity) error {
	err := r.call("Prepare (begin)", func() error { r.folder, r.disk = o.UUID, o.UUID; return nil })
	if err != nil {
		return err
	}
	return r.call("Prepare (end)", func() error {
		if o.Secret == "" {
			return errors.New("no key")
		}
		r.ready = true
		return nil
	})
}

func (r rigDisks) BootUnits(_ context.Context, o Identity) ([]string, error) {
	return []string{Unit(o.ID)}, r.call("BootUnits", func() error { return nil })
}

func (r rigDisks) Find(_ context.Context, o Identity, hints ...string) (string, error) {
	return "/dev/sdb", r.call("Find", func() error {
		if r.disk != o.UUID {
			return errs.NotFoundf("no disk")
		}
		return nil
	})
}

func (r rigDisks) Wipe(_ context.Context, device string, o Identity) error {
	err := r.call("Wipe (disk)", func() error {
		if device != "" && r.disk == o.UUID {
			if r.running[Unit(o.ID)] {
				r.t.Error("the disk of an OSD that runs is wiped")
			}
			r.disk, r.ready = "", false
		}
		return nil
	})
	if err != nil {
		return err
	}
	return r.call("Wipe (folder)", func() error {
		if r.folder == o.UUID {
			r.folder = ""
		}
		return nil
	})
}
