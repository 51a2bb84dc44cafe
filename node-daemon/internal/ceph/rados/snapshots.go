package rados

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"syscall"
	"time"

	gorbd "github.com/ceph/go-ceph/rbd"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// Snapshots implements ceph.Calls.
func (c calls) Snapshots(ctx context.Context, pool, imageID string) ([]ceph.Snapshot, error) {
	return onImage(ctx, c, "list the snapshots of image", pool, imageID, func(_ *link, image *gorbd.Image) ([]ceph.Snapshot, error) {
		return snapshotsOf(image)
	})
}

// snapshotsOf lists what users have made: not what Ceph keeps of removed ones or for groups.
func snapshotsOf(image *gorbd.Image) ([]ceph.Snapshot, error) {
	list, err := image.GetSnapshotNames()
	if err != nil {
		return nil, refusal(err, "")
	}
	var snapshots []ceph.Snapshot
	for _, s := range list {
		space, err := image.GetSnapNamespaceType(s.Id)
		if err != nil {
			return nil, refusal(err, "")
		}
		if space != gorbd.SnapNamespaceTypeUser {
			continue
		}
		protected, err := image.GetSnapshot(s.Name).IsProtected()
		if err != nil {
			return nil, refusal(err, "")
		}
		created, err := image.GetSnapTimestamp(s.Id)
		if err != nil {
			return nil, refusal(err, "")
		}
		snapshots = append(snapshots, ceph.Snapshot{
			ID: s.Id, Name: s.Name, Size: s.Size, Created: time.Unix(created.Sec, created.Nsec).UTC(), Protected: protected,
		})
	}
	slices.SortFunc(snapshots, func(a, b ceph.Snapshot) int { return cmp.Compare(a.ID, b.ID) })
	return snapshots, nil
}

// CreateSnapshot implements ceph.Calls.
func (c calls) CreateSnapshot(ctx context.Context, pool, imageID, name string) (ceph.Snapshot, error) {
	what := fmt.Sprintf("create snapshot %q of image %s/%s", name, pool, imageID)
	return onOpen(ctx, c, what, pool, imageID, func(image *gorbd.Image) (ceph.Snapshot, error) {
		_, err := image.CreateSnapshot(name)
		if numberOf(err) == syscall.EEXIST {
			return ceph.Snapshot{}, ceph.Refused(syscall.EEXIST, fmt.Sprintf("image has a snapshot %q already", name))
		}
		if err != nil {
			return ceph.Snapshot{}, refusal(err, "")
		}
		return findSnapshot(image, func(s ceph.Snapshot) bool { return s.Name == name }, name)
	})
}

func findSnapshot(image *gorbd.Image, is func(ceph.Snapshot) bool, key any) (ceph.Snapshot, error) {
	all, err := snapshotsOf(image)
	if err != nil {
		return ceph.Snapshot{}, err
	}
	if n := slices.IndexFunc(all, is); n >= 0 {
		return all[n], nil
	}
	return ceph.Snapshot{}, ceph.Refused(syscall.ENOENT, fmt.Sprintf("image has no snapshot %v", key))
}

// RemoveSnapshot implements ceph.Calls.
func (c calls) RemoveSnapshot(ctx context.Context, pool, imageID string, snapID uint64) error {
	what := fmt.Sprintf("remove snapshot %d of image %s/%s", snapID, pool, imageID)
	_, err := onOpen(ctx, c, what, pool, imageID, func(image *gorbd.Image) (struct{}, error) {
		return struct{}{}, removeSnapshot(image, snapID)
	})
	return err
}

// removeSnapshot looks the name up in the image that it has open: no other client can give
// it to another snapshot before this one is gone, and snapshots are not renamed by us.
func removeSnapshot(image *gorbd.Image, id uint64) error {
	s, err := findSnapshot(image, func(s ceph.Snapshot) bool { return s.ID == id }, id)
	if err != nil {
		return notSent{err}
	}
	if s.Protected {
		return notSent{ceph.Refused(syscall.EBUSY, fmt.Sprintf("snapshot %q is protected", s.Name))}
	}
	return refusal(image.GetSnapshot(s.Name).Remove(), "")
}
