package fake

import (
	"context"
	"slices"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

// SetSecret implements hypervisor.Hypervisor.
func (h *Host) SetSecret(ctx context.Context, s hypervisor.Secret) error {
	return h.do(ctx, SetSecret, "", func() error {
		s.Key = slices.Clone(s.Key)
		h.secrets[s.UUID] = s
		return nil
	})
}

// DiskSize implements hypervisor.Hypervisor. Disks are those that SetDiskSize has made.
func (h *Host) DiskSize(ctx context.Context, uuid, dev string) (size uint64, err error) {
	err = h.onGuest(ctx, DiskSize, uuid, func(g *guest) (err error) { size, err = g.disk(dev); return err })
	return size, err
}

// ResizeDisk implements hypervisor.Hypervisor.
func (h *Host) ResizeDisk(ctx context.Context, uuid, dev string, bytes uint64) error {
	return h.onGuest(ctx, ResizeDisk, uuid, func(g *guest) error {
		_, err := g.disk(dev)
		switch {
		case err != nil:
			return err
		case bytes == 0 || bytes%512 != 0:
			return errs.Invalidf("%d bytes: a multiple of 512 is needed", bytes)
		}
		g.disks[dev] = bytes
		return nil
	})
}

func (g *guest) disk(dev string) (uint64, error) {
	size, ok := g.disks[dev]
	if !ok {
		return 0, errs.Invalidf("domain %s has no disk %q", g.uuid, dev)
	}
	return size, nil
}
