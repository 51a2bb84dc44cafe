package cephctl

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// readParallel is how many records are read at the same time.
const readParallel = 32

// vmImages is what a document names.
type vmImages struct {
	vm     string // its name; empty if it names no images
	images []string
}

// index is what the documents of all VMs name, for the life of a connection.
type index struct {
	client coord.Client

	mu     sync.Mutex
	list   bool            // the list of VMs is to be read
	stale  map[string]bool // VMs whose documents are to be read
	broken bool            // the connection was lost: changes may have been missed

	// Those are of the one who asks, by VM.
	named  map[string]vmImages
	unsure map[string]bool // documents that are read each time: none yet, or unreadable
}

// newIndex knows nothing yet. Its client's events go to event.
func newIndex(client coord.Client) *index {
	return &index{client: client, list: true, stale: map[string]bool{}, named: map[string]vmImages{}, unsure: map[string]bool{}}
}

func openIndex(ctx context.Context, dial coord.Dialer, o coord.Options) (x *index, err error) {
	x = newIndex(nil)
	o.OnEvent = x.event
	if x.client, err = dial(ctx, o); err != nil {
		return nil, err
	}
	return x, nil
}

// event notes what has to be read again.
func (x *index) event(e coord.Event) {
	x.mu.Lock()
	defer x.mu.Unlock()
	switch e.Kind {
	case coord.EventDisconnected, coord.EventExpired:
		x.broken = true
	case coord.EventChildren:
		x.list = x.list || e.Path == schema.Domains
	case coord.EventData:
		if parts := schema.Split(e.Path); len(parts) == 3 {
			x.stale[parts[1]] = true
		}
	}
}

func (x *index) isBroken() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.broken
}

// take returns what there is to be read, and forgets it: what changes from now on is noted
// again.
func (x *index) take() (list bool, stale map[string]bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	list, stale = x.list, x.stale
	x.list, x.stale = false, map[string]bool{}
	return list, stale
}

// refresh reads what has changed. Events come before the answer to what was asked later, so
// that after Sync everything that was committed before is noted.
func (x *index) refresh(ctx context.Context) error {
	if err := x.client.Sync(ctx, schema.Domains); err != nil {
		return err
	}
	list, stale := x.take()
	if list {
		uuids, _, err := x.client.ChildrenW(ctx, schema.Domains)
		if err != nil {
			return err
		}
		x.follow(uuids, stale)
	}
	maps.Copy(stale, x.unsure)
	return x.read(ctx, slices.Collect(maps.Keys(stale)))
}

// follow forgets the VMs that are gone, and adds those that are new to what is to be read.
func (x *index) follow(uuids []string, stale map[string]bool) {
	there := make(map[string]bool, len(uuids))
	for _, uuid := range uuids {
		there[uuid] = true
		if _, known := x.named[uuid]; !known {
			stale[uuid] = true
		}
	}
	for _, of := range []map[string]bool{stale, x.unsure} {
		maps.DeleteFunc(of, func(uuid string, _ bool) bool { return !there[uuid] })
	}
	maps.DeleteFunc(x.named, func(uuid string, _ vmImages) bool { return !there[uuid] })
}

// read reads documents. Those that can be read are watched from then on.
func (x *index) read(ctx context.Context, uuids []string) error {
	var mu sync.Mutex
	reading, ctx := errgroup.WithContext(ctx)
	reading.SetLimit(readParallel)
	for _, uuid := range uuids {
		reading.Go(func() error {
			names, sure, err := x.document(ctx, uuid)
			mu.Lock()
			defer mu.Unlock()
			x.named[uuid] = names
			if delete(x.unsure, uuid); !sure {
				x.unsure[uuid] = true
			}
			return err
		})
	}
	return reading.Wait()
}

// document reads and watches the document of a VM. It is not sure what one that cannot be
// parsed names: what was found in it when it could.
func (x *index) document(ctx context.Context, uuid string) (names vmImages, sure bool, err error) {
	xml, _, err := x.client.GetW(ctx, schema.VM(uuid, schema.VMXML))
	switch {
	case errors.Is(err, coord.ErrNoNode):
		return names, false, nil
	case err != nil:
		return names, false, err
	case !bytes.Contains(xml, []byte("rbd")) && !bytes.ContainsRune(xml, '&'):
		return names, true, nil
	}
	spec, err := domxml.Parse(string(xml))
	if err == nil {
		return vmImages{spec.Name, rbdImages(spec)}, true, nil
	}
	list, _, err := x.client.Get(ctx, schema.VM(uuid, schema.VMRBDList))
	own := []byte(nil)
	if err == nil {
		own, _, err = x.client.Get(ctx, schema.VM(uuid))
	}
	if errors.Is(err, coord.ErrNoNode) {
		return names, false, nil
	}
	return vmImages{string(own), strings.Split(schema.Text(string(list)), ",")}, false, err
}

// users are the VMs that name a volume, or those of the pool, by the volume's name.
func (x *index) users(pool, volume string) map[string][]string {
	users := map[string][]string{}
	for _, n := range x.named {
		for _, v := range volumesOf(n.images, pool, volume) {
			users[v] = append(users[v], "VM "+n.vm)
		}
	}
	for _, by := range users {
		slices.Sort(by)
	}
	return users
}

// volumesOf are the volumes among images ("vms/disk0") that are meant: all of the pool if volume
// is empty.
func volumesOf(images []string, pool, volume string) (volumes []string) {
	for _, image := range images {
		if of, v, _ := strings.Cut(image, "/"); of == pool && (volume == "" || v == volume) && !slices.Contains(volumes, v) {
			volumes = append(volumes, v)
		}
	}
	return volumes
}

// rbdImages are all RBD images that a document names, "pool/volume".
func rbdImages(spec *domxml.Spec) []string {
	images := domxml.RBDList(spec)
	for _, i := range domxml.WritableImages(spec) {
		if i.Kind == "rbd" {
			images = append(images, i.Name)
		}
	}
	return images
}
