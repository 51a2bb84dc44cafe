package libvirt

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"
	lv "libvirt.org/go/libvirt"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

type nothing = struct{}

// List implements hypervisor.Hypervisor.
func (d *Driver) List(ctx context.Context) ([]hypervisor.Domain, error) {
	return call(ctx, d, "list domains", reads, func(c *lv.Connect) ([]hypervisor.Domain, error) {
		doms, err := c.ListAllDomains(lv.CONNECT_LIST_DOMAINS_ACTIVE)
		if err != nil {
			return nil, err
		}
		defer func() {
			for i := range doms {
				free(&doms[i])
			}
		}()
		return describeAll(doms)
	})
}

// describeAll describes several at a time: one whose QEMU is stuck takes qemuPatience.
func describeAll(doms []lv.Domain) ([]hypervisor.Domain, error) {
	list := make([]hypervisor.Domain, len(doms))
	var g errgroup.Group
	g.SetLimit(8)
	for i := range doms {
		g.Go(func() (err error) {
			list[i], err = describe(&doms[i])
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list, func(d hypervisor.Domain) bool { return d.State == hypervisor.Absent }), nil
}

// Lookup implements hypervisor.Hypervisor. A domain that is only defined is Absent
// and Persistent.
func (d *Driver) Lookup(ctx context.Context, uuid string) (hypervisor.Domain, error) {
	return call(ctx, d, "look up domain "+uuid, reads, func(c *lv.Connect) (hypervisor.Domain, error) {
		return lookup(c, uuid)
	})
}

// XML implements hypervisor.Hypervisor. The document holds no passwords.
func (d *Driver) XML(ctx context.Context, uuid string) (string, error) {
	return onDomain(ctx, d, "read the document of", uuid, reads, func(dom *lv.Domain) (string, error) {
		active, err := dom.IsActive()
		if err != nil {
			return "", err
		}
		if !active {
			return "", errs.NotFoundf("domain %s is not active", uuid)
		}
		return dom.GetXMLDesc(0)
	})
}

// CreatePaused implements hypervisor.Hypervisor.
func (d *Driver) CreatePaused(ctx context.Context, xml string) error {
	_, err := call(ctx, d, "create domain", changes, func(c *lv.Connect) (nothing, error) {
		dom, err := c.DomainCreateXML(xml, lv.DOMAIN_START_PAUSED)
		if err == nil {
			free(dom)
		}
		return nothing{}, err
	})
	return err
}

// Resume implements hypervisor.Hypervisor. The target of a migration is refused: libvirt
// would remember the request and let the guest execute the moment it has arrived.
func (d *Driver) Resume(ctx context.Context, uuid string) error {
	_, err := onDomain(ctx, d, "resume", uuid, changes, func(dom *lv.Domain) (nothing, error) {
		now, err := describe(dom)
		switch {
		case err != nil:
			return nothing{}, err
		case now.State == hypervisor.Running:
			return nothing{}, nil
		case now.Pause == hypervisor.PausedIncoming || now.Migrating:
			return nothing{}, errs.Conflictf("domain %s is migrating", uuid)
		}
		return nothing{}, dom.Resume()
	})
	return err
}

// Shutdown implements hypervisor.Hypervisor.
func (d *Driver) Shutdown(ctx context.Context, uuid string) error {
	_, err := onDomain(ctx, d, "shut down", uuid, changes, func(dom *lv.Domain) (nothing, error) {
		return nothing{}, dom.ShutdownFlags(lv.DOMAIN_SHUTDOWN_ACPI_POWER_BTN)
	})
	return err
}

// Destroy implements hypervisor.Hypervisor. libvirt sends SIGKILL in the end and says
// so if even that did not help: the domain is still there then.
func (d *Driver) Destroy(ctx context.Context, uuid string) error {
	_, err := call(ctx, d, "destroy domain "+uuid, changes, func(c *lv.Connect) (nothing, error) {
		dom, err := c.LookupDomainByUUIDString(uuid)
		if isNumber(err, lv.ERR_NO_DOMAIN) {
			return nothing{}, nil
		}
		if err != nil {
			return nothing{}, err
		}
		defer free(dom)
		err = dom.DestroyFlags(lv.DOMAIN_DESTROY_DEFAULT)
		if err == nil || isNumber(err, lv.ERR_NO_DOMAIN) {
			return nothing{}, nil
		}
		if active, gone := dom.IsActive(); isNumber(gone, lv.ERR_NO_DOMAIN) || (gone == nil && !active) {
			return nothing{}, nil
		}
		return nothing{}, err
	})
	return err
}

// undefineFlags remove everything that hangs on a definition but the NVRAM, which
// belongs to the guest.
const undefineFlags = lv.DOMAIN_UNDEFINE_MANAGED_SAVE | lv.DOMAIN_UNDEFINE_SNAPSHOTS_METADATA |
	lv.DOMAIN_UNDEFINE_CHECKPOINTS_METADATA | lv.DOMAIN_UNDEFINE_KEEP_NVRAM

// Undefine implements hypervisor.Hypervisor. A domain without a definition is no error.
func (d *Driver) Undefine(ctx context.Context, uuid string) error {
	_, err := call(ctx, d, "undefine domain "+uuid, changes, func(c *lv.Connect) (nothing, error) {
		dom, err := c.LookupDomainByUUIDString(uuid)
		if isNumber(err, lv.ERR_NO_DOMAIN) {
			return nothing{}, nil
		}
		if err != nil {
			return nothing{}, err
		}
		defer free(dom)
		if defined, err := dom.IsPersistent(); err != nil || !defined {
			return nothing{}, err
		}
		return nothing{}, dom.UndefineFlags(undefineFlags)
	})
	return err
}
