package libvirt

import (
	"context"
	"fmt"
	"time"

	lv "libvirt.org/go/libvirt"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

// abortEvery is how often a migration whose caller has given up is aborted again:
// before its transfer has begun and after its end there is no job to abort.
const abortEvery = 500 * time.Millisecond

// MigratePaused implements hypervisor.Hypervisor (virDomainMigrateToURI3, the source's
// libvirtd talks to the target's). It has no deadline but ctx; libvirt's own
// keepalives bound the wait for a peer that is gone.
func (d *Driver) MigratePaused(ctx context.Context, uuid string, o hypervisor.MigrateOptions) error {
	what := fmt.Sprintf("migrate domain %s to %s", uuid, o.URI)
	params, flags := migrateParameters(o)
	started, cancel := context.WithTimeout(ctx, hypervisor.CallTimeout)
	defer cancel()
	b, err := begin(started, d, func(c *lv.Connect) (nothing, error) {
		dom, err := c.LookupDomainByUUIDString(uuid)
		if err != nil {
			return nothing{}, err
		}
		defer free(dom)
		return nothing{}, dom.MigrateToURI3(o.URI, params, flags)
	})
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	select {
	case r := <-b.answer:
		return migrateError(what, r)
	case <-b.session.given:
		return migrateError(what, b.lost())
	case <-ctx.Done():
	}
	return migrateError(what, d.abortUntil(ctx, uuid, b))
}

func migrateError(what string, r answer[nothing]) error {
	if r.err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, classify(r.err, r.alive, changes))
}

// abortUntil aborts the migration until its call has returned, and returns what it did.
func (d *Driver) abortUntil(ctx context.Context, uuid string, b begun[nothing]) answer[nothing] {
	again := time.NewTicker(abortEvery)
	defer again.Stop()
	for {
		if err := d.AbortJob(context.WithoutCancel(ctx), uuid); err != nil {
			d.log.Warn("cannot abort a migration", "vm", uuid, "err", err)
		}
		select {
		case r := <-b.answer:
			return r
		case <-b.session.given:
			return b.lost()
		case <-again.C:
		}
	}
}

func migrateParameters(o hypervisor.MigrateOptions) (*lv.DomainMigrateParameters, lv.DomainMigrateFlags) {
	flags := lv.MIGRATE_LIVE | lv.MIGRATE_PEER2PEER | lv.MIGRATE_PAUSED
	if o.UnsafeStorage {
		flags |= lv.MIGRATE_UNSAFE
	}
	if o.TLS {
		flags |= lv.MIGRATE_TLS
	}
	return &lv.DomainMigrateParameters{
		URISet: o.MigrateURI != "", URI: o.MigrateURI,
		BandwidthSet: o.BandwidthMiB > 0, Bandwidth: uint64(max(o.BandwidthMiB, 0)),
	}, flags
}

// AbortJob implements hypervisor.Hypervisor. After the transfer has ended it changes
// nothing and says nothing.
func (d *Driver) AbortJob(ctx context.Context, uuid string) error {
	_, err := call(ctx, d, "abort the migration of domain "+uuid, changes, func(c *lv.Connect) (nothing, error) {
		dom, err := c.LookupDomainByUUIDString(uuid)
		if isNumber(err, lv.ERR_NO_DOMAIN) {
			return nothing{}, nil
		}
		if err != nil {
			return nothing{}, err
		}
		defer free(dom)
		if j, err := readJob(dom); err != nil || j != jobOutgoing {
			return nothing{}, err
		}
		err = dom.AbortJob()
		if isNumber(err, lv.ERR_NO_DOMAIN) || isNumber(err, lv.ERR_OPERATION_INVALID) {
			return nothing{}, nil
		}
		return nothing{}, err
	})
	return err
}
