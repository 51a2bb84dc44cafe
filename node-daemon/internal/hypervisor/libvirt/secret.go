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

// usageOf is the name under which the secret is known, which libvirt never changes. A
// secret that an administrator has defined makes room, with its copy on the disk:
// libvirt 9.0 keeps the file of one that becomes ephemeral.
func usageOf(c *lv.Connect, s hypervisor.Secret) (string, error) {
	usage := "client." + s.User + " secret"
	old, err := c.LookupSecretByUUIDString(s.UUID)
	switch {
	case isNumber(err, lv.ERR_NO_SECRET):
		return usage, nil
	case err != nil:
		return "", err
	}
	defer func() { _ = old.Free() }()
	text, err := old.GetXMLDesc(0)
	if err != nil {
		return "", err
	}
	var doc libvirtxml.Secret
	if err := doc.Unmarshal(text); err != nil {
		return "", err
	}
	switch {
	case doc.Usage == nil || doc.Usage.Type != "ceph":
		return "", errs.Conflictf("a secret of another kind has this UUID")
	case doc.Ephemeral == "yes" && doc.Private == "yes":
		return doc.Usage.Name, nil
	}
	return usage, old.Undefine()
}

func secretDocument(s hypervisor.Secret, usage string) (string, error) {
	doc := libvirtxml.Secret{
		Ephemeral: "yes", Private: "yes", UUID: s.UUID, Description: "Ceph key of the guests, set by pvcd",
		Usage: &libvirtxml.SecretUsage{Type: "ceph", Name: usage},
	}
	return doc.Marshal()
}
