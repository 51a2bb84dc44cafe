package libvirt

import (
	"context"

	lv "libvirt.org/go/libvirt"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// DiskSize implements hypervisor.Hypervisor (virDomainGetBlockInfo).
func (d *Driver) DiskSize(ctx context.Context, uuid, dev string) (uint64, error) {
	return onDomain(ctx, d, "read the size of disk "+dev+" of", uuid, reads, func(dom *lv.Domain) (uint64, error) {
		info, err := dom.GetBlockInfo(dev, 0)
		if err != nil {
			return 0, err
		}
		return info.Capacity, nil
	})
}

// ResizeDisk implements hypervisor.Hypervisor (virDomainBlockResize).
func (d *Driver) ResizeDisk(ctx context.Context, uuid, dev string, bytes uint64) error {
	if bytes == 0 || bytes%512 != 0 {
		return errs.Invalidf("disk %s of domain %s cannot have %d bytes: a multiple of 512 is needed", dev, uuid, bytes)
	}
	_, err := onDomain(ctx, d, "resize disk "+dev+" of", uuid, changes, func(dom *lv.Domain) (nothing, error) {
		return nothing{}, dom.BlockResize(dev, bytes, lv.DOMAIN_BLOCK_RESIZE_BYTES)
	})
	return err
}
