package libvirt

import (
	"context"
	"fmt"

	lv "libvirt.org/go/libvirt"
	"libvirt.org/go/libvirtxml"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
)

// SetSecret implements hypervisor.Hypervisor. The secret is ephemeral, so that its value
// is in libvirtd's memory only, and private, so that libvirtd's clients cannot read it.
func (d *Driver) SetSecret(ctx context.Context, s hypervisor.Secret) error {
	_, err := call(ctx, d, fmt.Sprintf("give libvirt the key of client.%s as secret %s", s.User, s.UUID), changes,
		func(c *lv.Connect) (nothing, error) { return nothing{}, setSecret(c, s) })
	return err
}

func setSecret(c *lv.Connect, s hypervisor.Secret) error {
	usage, err := usageOf(c, s)
	if err != nil {
		return err
	}
	text, err := secretDocument(s, usage)
	if err != nil {
		return err
	}
	secret, err := c.SecretDefineXML(text, 0)
	if err != nil {
		return err
	}
	defer func() { _ = secret.Free() }()
	return secret.SetValue(s.Key, 0)
}

// usageOf is the name under which the secret is known. libvirt never changes that of a
// secret, so one that an administrator has defined keeps its own.
func usageOf(c *lv.Connect, s hypervisor.Secret) (string, error) {
	old, err := c.LookupSecretByUUIDString(s.UUID)
	switch {
	case isNumber(err, lv.ERR_NO_SECRET):
		return "client." + s.User + " secret", nil
	case err != nil:
		return "", err
	}
	defer func() { _ = old.Free() }()
	kind, err := old.GetUsageType()
	if err != nil {
		return "", err
	}
	if kind != lv.SECRET_USAGE_TYPE_CEPH {
		return "", errs.Conflictf("a secret of another kind has this UUID")
	}
	return old.GetUsageID()
}

func secretDocument(s hypervisor.Secret, usage string) (string, error) {
	doc := libvirtxml.Secret{
		Ephemeral: "yes", Private: "yes", UUID: s.UUID, Description: "Ceph key of the guests, set by pvcd",
		Usage: &libvirtxml.SecretUsage{Type: "ceph", Name: usage},
	}
	return doc.Marshal()
}
