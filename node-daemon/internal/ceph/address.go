package ceph

import (
	"net/netip"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// CheckClient is errs.Invalid for what is not the address of a client as Clients returns
// them, IP:PORT/NONCE. Ceph itself enters anything into its blocklist without complaint.
func CheckClient(address string) error {
	endpoint, nonce, found := strings.Cut(address, "/")
	_, err := netip.ParseAddrPort(endpoint)
	if err != nil || !found || nonce == "" || strings.Trim(nonce, "0123456789") != "" {
		return errs.Invalidf("%q is not the address of a Ceph client, IP:PORT/NONCE", address)
	}
	return nil
}

// CheckClients is CheckClient for each.
func CheckClients(addresses []string) error {
	for _, a := range addresses {
		if err := CheckClient(a); err != nil {
			return err
		}
	}
	return nil
}
