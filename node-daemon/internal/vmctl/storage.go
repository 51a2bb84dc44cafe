package vmctl

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// Storage is what the guests of this host need of Ceph.
type Storage interface {
	// Ready asks whether a client that comes anew is let in: a Ceph whose monitors hang
	// still serves those that it has. No is errs.Unavailable.
	Ready(ctx context.Context) error
	// Key makes sure that the hypervisor has the key of the guests' Ceph user.
	Key(ctx context.Context) error
	// Image and Watchers are those of ceph.Calls.
	Image(ctx context.Context, pool, name string) (ceph.Image, error)
	Watchers(ctx context.Context, pool, imageID string) ([]string, error)
}

// media are what a document's disks need.
type media struct {
	own, shared []string       // names of the claims of what is no RBD image: of this guest alone, of several
	rbd         []domxml.Image // the RBD images that are written to, each once
	key         bool           // it has RBD images, if only to read
}

func mediaOf(xml string) (m media, err error) {
	spec, err := domxml.Parse(xml)
	if err != nil {
		return m, err
	}
	m.key = len(domxml.RBDList(spec)) > 0
	seen := map[string]bool{}
	for _, i := range domxml.WritableImages(spec) {
		name := i.Kind + ":" + i.Name
		switch {
		case seen[name]:
		case i.Kind == "rbd":
			m.rbd, m.key = append(m.rbd, i), true
		case i.Shareable:
			m.shared = append(m.shared, schema.EscapeDisk(name))
		default:
			m.own = append(m.own, schema.EscapeDisk(name))
		}
		seen[name] = true
	}
	return m, nil
}

// disks are the parts of a claim that are about disks.
type disks struct {
	own, shared []string // names of claims
	images      []string // Claim.Images
	before      []string // ClaimHost.Before
}

// resolve finds the RBD images that a document names. Images are claimed by their ids: a
// name can be given to another image at any moment.
func (c *Controller) resolve(ctx context.Context, m media) (d disks, err error) {
	d.own, d.shared = m.own, m.shared
	if m.key && c.o.Storage == nil {
		return d, errs.Conflictf("it has RBD disks, and this host does not look after storage (enable_storage is off)")
	}
	if m.key {
		if err := c.o.Storage.Ready(ctx); err != nil {
			return d, err
		}
	}
	for _, i := range m.rbd {
		image, err := c.image(ctx, i.Name)
		if err != nil {
			return d, fmt.Errorf("volume %q: %w", i.Name, err)
		}
		d.images = append(d.images, image.name)
		d.before = append(d.before, image.Watchers...)
		if i.Shareable {
			d.shared = append(d.shared, schema.EscapeDisk(image.name))
		} else {
			d.own = append(d.own, schema.EscapeDisk(image.name))
		}
	}
	d.before = sorted(d.before)
	return d, nil
}

// rbdImage is an image and how a claim names it.
type rbdImage struct {
	ceph.Image
	name string
}

// image looks up an image that a guest is to write to, "pool/volume". Without an
// exclusive lock it could not be taken away from a host that is dead.
func (c *Controller) image(ctx context.Context, name string) (rbdImage, error) {
	pool, volume, ok := strings.Cut(name, "/")
	if !ok || pool == "" || volume == "" || strings.Contains(volume, "/") {
		return rbdImage{}, errs.Invalidf("pool/volume was expected")
	}
	i, err := c.o.Storage.Image(ctx, pool, volume)
	switch {
	case err != nil:
		return rbdImage{}, err
	case i.OldFormat || i.ID == "" || !slices.Contains(i.Features, "exclusive-lock"):
		return rbdImage{}, errs.Conflictf("it has no exclusive-lock, without which no guest can be cut off from it")
	}
	return rbdImage{i, pool + "/" + i.ID}, nil
}

// clients finds the Ceph clients of a guest that was created here: those that have its
// images open now and had not before. Each image must have one, or they are not known.
func (c *Controller) clients(ctx context.Context, images []string, notIts ...string) ([]string, error) {
	if len(images) == 0 {
		return nil, nil
	}
	if c.o.Storage == nil {
		return nil, errs.Conflictf("this host does not look after storage (enable_storage is off)")
	}
	var all []string
	for _, image := range images {
		pool, id, _ := strings.Cut(image, "/")
		watchers, err := c.o.Storage.Watchers(ctx, pool, id)
		if err != nil {
			return nil, fmt.Errorf("image %s: %w", image, err)
		}
		its := slices.DeleteFunc(slices.Clone(watchers), func(a string) bool { return slices.Contains(notIts, a) })
		if len(its) == 0 {
			if err := c.o.Storage.Ready(ctx); err != nil {
				return nil, err // the guest is still waiting
			}
			return nil, fmt.Errorf("image %s: %w", image, errNotOpen)
		}
		all = append(all, its...)
	}
	return sorted(all), nil
}

// errNotOpen is what is said of a guest that does not have an image open: its client has
// lost the connection for a while, or it has opened another image of that name.
var errNotOpen = errs.Conflictf("the guest does not have it open")

func sorted(list []string) []string {
	slices.Sort(list)
	return slices.Compact(list)
}

// hasImages reports whether a VM's guests write to RBD images or read them: then they
// wait for Ceph, and others must not wait for them.
func hasImages(vm *model.VM) bool {
	m, err := mediaOf(vm.XML)
	return err == nil && m.key
}

const (
	// storagePace is how often Ceph is asked again for a guest that waits for it.
	storagePace = 2 * time.Second
	// notStarted is how a reason for people begins that will pass.
	notStarted = model.NotStarted
)

// later says on record why a VM is not started yet, once, and has it tried again.
func (c *Controller) later(ctx context.Context, j *job, why error) (time.Duration, error) {
	vm := j.w.VM
	if strings.HasPrefix(vm.FailedReason, notStarted) {
		return storagePace, nil
	}
	c.o.Logger.Warn("a VM waits for its storage", "vm", j.name, "err", why)
	txn := new(coord.Txn)
	txn.Check(j.key(schema.VMState), vm.Versions.State).Absent(schema.Claim(j.uuid))
	setText(txn, j.key(schema.VMFailedReason), vm.FailedReason, notStarted+why.Error(), vm.Versions.FailedReason)
	j.same(txn)
	return storagePace, c.commit(ctx, j.uuid, *txn)
}

// unlisted is where a created guest ends whose clients are not known: it does not run.
// What may pass is waited for, for a while.
func (c *Controller) unlisted(ctx context.Context, j *job, why error) (time.Duration, error) {
	passing := errs.Is(why, errs.Unavailable)
	var waited time.Duration
	c.memory.with(j.uuid, func(g *guest) { waited = g.waitedForClients(time.Now()) })
	if waiting := passing || errs.Is(why, errs.Conflict); waiting && waited < c.o.Limits.Clients && !executes(j) {
		return clientsPace, nil
	}
	if err := c.destroy(ctx, j, Action{}); err != nil {
		return 0, err
	}
	if there, err := c.present(ctx, j.uuid); err != nil || there {
		return time.Second, err
	}
	c.o.Logger.Warn("a guest was not let go: its Ceph clients are not known", "vm", j.name, "err", why)
	a := Action{State: model.VMFailed, Reason: fmt.Sprintf("its Ceph clients are not known: %v", why)}
	if passing {
		a.State, a.Reason = "", notStarted+why.Error()
	}
	return 0, c.release(ctx, j, a)
}

// clientsPace is how often the clients of a guest are looked for.
const clientsPace = 500 * time.Millisecond

// waitedForClients is how long the clients of the present guest have been looked for.
func (g *guest) waitedForClients(now time.Time) time.Duration {
	if g.unlisted.IsZero() {
		g.unlisted = now
	}
	return now.Sub(g.unlisted)
}
