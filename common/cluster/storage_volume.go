package cluster

import (
	"context"
	"fmt"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// AddVolume makes a volume.
type AddVolume struct {
	By           Caller
	Pool, Volume string
	Size         string // bytes, or a number with one of B K M G T P
	// Force makes a volume that is larger than the space that is left.
	Force bool
}

// AddVolume has the volume made.
func (c *Cluster) AddVolume(ctx context.Context, r AddVolume) (Answer, error) {
	size, err := model.ParseSize(r.Size)
	if err != nil {
		return Answer{}, forValue("size", err)
	}
	if err := model.CheckVolumeName(r.Volume); err != nil {
		return Answer{}, forValue("volume", err)
	}
	args := command.VolumeAdd{Pool: r.Pool, Volume: r.Volume, Size: size, Force: r.Force}
	return c.command(ctx, r.By, args, func(s *view.Snapshot) (place, error) {
		pool, err := findPool(s, r.Pool)
		if err != nil {
			return place{}, forValue("pool", err)
		}
		if _, there := s.Volume(r.Pool, r.Volume); there {
			return place{}, forValue("volume", errs.Conflictf("a volume %q exists already in pool %q", r.Volume, r.Pool))
		}
		if err := hasRoom(pool, size, r.Force); err != nil {
			return place{}, err
		}
		return anyHost(s)
	})
}

// ModifyVolume changes the size of a volume, its name, or both.
type ModifyVolume struct {
	By           Caller
	Pool, Volume string
	Size         string // as in AddVolume; empty: it stays
	Name         string // empty: it stays
	// Force allows a smaller size, which cuts data off, and one that the pool has no space for.
	Force bool
}

// ModifyVolume has the size changed, then the name. A failure of the second says that the
// first was done. While a VM names the volume it can only grow.
func (c *Cluster) ModifyVolume(ctx context.Context, r ModifyVolume) (Answer, error) {
	switch {
	case r.Size == "" && r.Name == "":
		return Answer{}, errs.Invalidf("neither value %q nor %q is given", "size", "name")
	case r.Name == "":
		return c.resizeVolume(ctx, r)
	case r.Size == "":
		return c.renameVolume(ctx, r)
	}
	// A name that cannot be had is found out before anything is done.
	if err := c.renamePossible(r); err != nil {
		return Answer{}, err
	}
	resize, rename := r, r
	resize.By, rename.By = r.By.step("size"), r.By.step("name")
	// Who hangs up meanwhile gets the second step, too.
	resized, err := c.resizeVolume(context.WithoutCancel(ctx), resize)
	if err != nil {
		return Answer{}, fmt.Errorf("the volume was not renamed, as its size could not be changed: %w", err)
	}
	renamed, err := c.renameVolume(ctx, rename)
	if err != nil {
		return Answer{}, fmt.Errorf("%s, but it was not renamed: %w", resized.Message, err)
	}
	return Answer{resized.Message + "; " + renamed.Message}, nil
}

func (c *Cluster) resizeVolume(ctx context.Context, r ModifyVolume) (Answer, error) {
	size, err := model.ParseSize(r.Size)
	if err != nil {
		return Answer{}, forValue("size", err)
	}
	args := command.VolumeResize{Pool: r.Pool, Volume: r.Volume, Size: size, Shrink: r.Force, Force: r.Force}
	return c.command(ctx, r.By, args, func(s *view.Snapshot) (place, error) { return resizable(s, args) })
}

func resizable(s *view.Snapshot, r command.VolumeResize) (place, error) {
	v, err := findVolume(s, r.Pool, r.Volume)
	if err != nil {
		return place{}, err
	}
	if v.Stats != nil && r.Size < v.Stats.Size {
		if !r.Shrink {
			return place{}, forValue("size", errs.Conflictf("volume %q has %s: %s would cut off what is behind that, use force if you want it",
				v.FullName(), v.Stats.Size, r.Size))
		}
		if err := unused(s, v, "made smaller"); err != nil {
			return place{}, err
		}
	}
	if pool, ok := s.Pool(r.Pool); ok && v.Stats != nil && r.Size > v.Stats.Size {
		if err := hasRoom(pool, r.Size-v.Stats.Size, r.Force); err != nil {
			return place{}, err
		}
	}
	return anyHost(s)
}

func (c *Cluster) renameVolume(ctx context.Context, r ModifyVolume) (Answer, error) {
	if err := model.CheckVolumeName(r.Name); err != nil {
		return Answer{}, forValue("name", err)
	}
	if r.Name == r.Volume {
		return Answer{fmt.Sprintf("volume %q has that name already", r.Pool+"/"+r.Volume)}, nil
	}
	args := command.VolumeRename{Pool: r.Pool, Volume: r.Volume, Name: r.Name}
	return c.command(ctx, r.By, args, func(s *view.Snapshot) (place, error) { return renamable(s, args) })
}

// renamePossible checks a rename that is to come after something else. One that was begun
// before is joined later.
func (c *Cluster) renamePossible(r ModifyVolume) (err error) {
	if err := model.CheckVolumeName(r.Name); err != nil {
		return forValue("name", err)
	}
	args := command.VolumeRename{Pool: r.Pool, Volume: r.Volume, Name: r.Name}
	joins, err := c.commands.Joins(command.Request{Args: args, Key: r.By.step("name").key()})
	if err != nil || joins || r.Name == r.Volume {
		return err
	}
	c.o.View.Read(func(s *view.Snapshot) { _, err = renamable(s, args) })
	return err
}

func renamable(s *view.Snapshot, r command.VolumeRename) (place, error) {
	v, err := findVolume(s, r.Pool, r.Volume)
	if err != nil {
		return place{}, err
	}
	if _, there := s.Volume(r.Pool, r.Name); there {
		return place{}, forValue("name", errs.Conflictf("a volume %q exists already in pool %q", r.Name, r.Pool))
	}
	if err := unused(s, v, "renamed"); err != nil {
		return place{}, err
	}
	return anyHost(s)
}

// RemoveVolume removes a volume.
type RemoveVolume struct {
	By           Caller
	Pool, Volume string
}

// RemoveVolume has the volume removed. While a VM names it that is errs.Conflict.
func (c *Cluster) RemoveVolume(ctx context.Context, r RemoveVolume) (Answer, error) {
	return c.command(ctx, r.By, command.VolumeRemove{Pool: r.Pool, Volume: r.Volume}, func(s *view.Snapshot) (place, error) {
		v, err := findVolume(s, r.Pool, r.Volume)
		if err != nil {
			return place{}, err
		}
		if err := unused(s, v, "removed"); err != nil {
			return place{}, err
		}
		return anyHost(s)
	})
}

// AddSnapshot takes a snapshot of a volume.
type AddSnapshot struct {
	By                     Caller
	Pool, Volume, Snapshot string
}

// AddSnapshot has the snapshot taken.
func (c *Cluster) AddSnapshot(ctx context.Context, r AddSnapshot) (Answer, error) {
	if err := model.CheckSnapshotName(r.Snapshot); err != nil {
		return Answer{}, forValue("snapshot", err)
	}
	args := command.SnapshotAdd{Pool: r.Pool, Volume: r.Volume, Snapshot: r.Snapshot}
	return c.command(ctx, r.By, args, func(s *view.Snapshot) (place, error) {
		v, err := findVolume(s, r.Pool, r.Volume)
		if err != nil {
			return place{}, err
		}
		if _, there := s.Snapshot(r.Pool, r.Volume, r.Snapshot); there {
			return place{}, forValue("snapshot", errs.Conflictf("a snapshot %q of volume %q exists already", r.Snapshot, v.FullName()))
		}
		return anyHost(s)
	})
}

// RemoveSnapshot removes a snapshot of a volume.
type RemoveSnapshot struct {
	By                     Caller
	Pool, Volume, Snapshot string
}

// RemoveSnapshot has the snapshot removed.
func (c *Cluster) RemoveSnapshot(ctx context.Context, r RemoveSnapshot) (Answer, error) {
	args := command.SnapshotRemove{Pool: r.Pool, Volume: r.Volume, Snapshot: r.Snapshot}
	return c.command(ctx, r.By, args, func(s *view.Snapshot) (place, error) {
		v, err := findVolume(s, r.Pool, r.Volume)
		if err != nil {
			return place{}, err
		}
		if _, there := s.Snapshot(r.Pool, r.Volume, r.Snapshot); !there {
			return place{}, errs.NotFoundf("volume %q has no snapshot %q", v.FullName(), model.Clip(r.Snapshot))
		}
		return anyHost(s)
	})
}
