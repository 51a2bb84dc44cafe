package vmctl

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

// sector is the unit of a disk's size, bytes.
const sector = 512

// guestDisks are the RBD disks that a run of a guest writes to.
type guestDisks struct {
	run  string
	list []guestDisk
}

type guestDisk struct {
	dev    string // as the hypervisor names it
	volume string // "pool/volume"
	// checked is the recorded size for which the guest's disk was looked at last.
	checked model.Size
}

// grow has the guest see its volumes in the size on record. A size that was looked at
// once is not looked at again until it changes: only this daemon changes that of a
// running guest's disk.
func (c *Controller) grow(ctx context.Context, j *job) error {
	cl := j.w.Claim
	_, s, ok := c.current()
	if !ok || c.o.Storage == nil || len(cl.Images) == 0 || !cl.Resumed || cl.Incoming != nil || j.w.VM == nil || j.w.VM.Migration != nil ||
		j.domain.State != hypervisor.Running && j.domain.State != hypervisor.Paused {
		return nil
	}
	disks, err := c.disksOf(ctx, j)
	if err != nil {
		return err
	}
	s.followVolumes(j.uuid, disks.volumes())
	for i := range disks.list {
		d := &disks.list[i]
		size, known := s.volumeSize(d.volume)
		if !known || size == d.checked {
			continue
		}
		if err := c.growDisk(ctx, j, *d, size); err != nil {
			return fmt.Errorf("grow disk %s of the guest: %w", d.dev, err)
		}
		d.checked = size
	}
	c.memory.with(j.uuid, func(g *guest) { g.disks = disks })
	return nil
}

// disksOf are the disks of the guest as it runs, whatever its next document says.
func (c *Controller) disksOf(ctx context.Context, j *job) (d guestDisks, err error) {
	c.memory.with(j.uuid, func(g *guest) { d.run, d.list = g.disks.run, slices.Clone(g.disks.list) })
	if d.run == j.w.Claim.Owner.Run {
		return d, nil
	}
	xml, err := c.o.Hypervisor.XML(ctx, j.uuid)
	if err != nil {
		return d, err
	}
	spec, err := domxml.Parse(xml)
	if err != nil {
		return d, fmt.Errorf("the document of the running guest: %w", err)
	}
	d = guestDisks{run: j.w.Claim.Owner.Run}
	for _, disk := range spec.Disks {
		if disk.Type == "rbd" && disk.Name != "" && disk.Dev != "" && disk.Writable() {
			d.list = append(d.list, guestDisk{dev: disk.Dev, volume: disk.Name})
		}
	}
	return d, nil
}

func (d guestDisks) volumes() []string {
	var names []string
	for _, disk := range d.list {
		names = append(names, disk.volume)
	}
	return sorted(names)
}

// growDisk makes a disk as large as its image. The image is asked for its size, because
// the hypervisor gives an image the size of the disk: with one that is out of date it
// would be cut off.
func (c *Controller) growDisk(ctx context.Context, j *job, d guestDisk, recorded model.Size) error {
	now, err := c.o.Hypervisor.DiskSize(ctx, j.uuid, d.dev)
	if err != nil || uint64(recorded) <= now {
		return err
	}
	image, err := c.image(ctx, d.volume)
	if err != nil {
		return err
	}
	if !slices.Contains(j.w.Claim.Images, image.name) {
		return fmt.Errorf("volume %q is another image than the one that the guest has open", d.volume)
	}
	want := (image.Size + sector - 1) / sector * sector
	if want <= now {
		return nil
	}
	if err := c.o.Hypervisor.ResizeDisk(ctx, j.uuid, d.dev, want); err != nil {
		return err
	}
	c.o.Logger.Info("a disk of a running guest has grown", "vm", j.name, "disk", d.dev, "volume", d.volume, "from", now, "bytes", want)
	return nil
}

// volumeSize is the size of a volume on record, if there is one.
func (s *scope) volumeSize(name string) (size model.Size, known bool) {
	pool, volume, _ := strings.Cut(name, "/")
	path := schema.Volume(pool, volume, schema.StorageStats)
	s.mirror.Read(func(t schema.Tree) {
		data, _, there := t.Data(path)
		if !there {
			return
		}
		// An unreadable record says nothing; who publishes it puts it right.
		if stats, err := schema.DecodeVolumeStats(path, data); err == nil && stats != nil {
			size, known = stats.Size, stats.Size > 0
		}
	})
	return size, known
}

// followVolumes mirrors the records of the volumes that a guest has open, and no others
// for it. The mirror tells of what it forgets at once, so mu is not held then.
func (s *scope) followVolumes(uuid string, names []string) {
	s.following.Lock()
	defer s.following.Unlock()
	s.mu.Lock()
	old := s.volumes[uuid]
	if s.volumes[uuid] = names; len(names) == 0 {
		delete(s.volumes, uuid)
	}
	unused := slices.DeleteFunc(slices.Clone(old), s.volumeInUse)
	s.mu.Unlock()
	if slices.Equal(old, names) {
		return
	}
	for _, v := range names {
		s.mirror.Add(volumeRecord(v))
	}
	for _, v := range unused {
		s.mirror.Remove(volumeRecord(v))
	}
}

func volumeRecord(name string) string {
	pool, volume, _ := strings.Cut(name, "/")
	return schema.Volume(pool, volume, schema.StorageStats)
}

// volumeInUse reports whether a guest has it open; s.mu is held.
func (s *scope) volumeInUse(name string) bool {
	for _, names := range s.volumes {
		if slices.Contains(names, name) {
			return true
		}
	}
	return false
}

// writers are the guests that have a volume open.
func (s *scope) writers(name string) (uuids []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for uuid, names := range s.volumes {
		if slices.Contains(names, name) {
			uuids = append(uuids, uuid)
		}
	}
	return uuids
}
