package dhcp

import (
	"cmp"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// notForClients are names that other guests would trust without asking: a guest may not
// give them to itself. (For "wpad" see CERT VU#598349.)
var notForClients = map[string]bool{"localhost": true, "wpad": true, "isatap": true}

// naming is what decides about host names in a network.
type naming struct {
	domain string
	byMAC  map[string]string // names of the reservations that have one
	byName map[string]string // and their MACs
}

func newNaming(domain string, reservations []model.Reservation) naming {
	n := naming{domain: domain, byMAC: map[string]string{}, byName: map[string]string{}}
	for _, r := range reservations {
		if r.Hostname != "" && n.byName[r.Hostname] == "" {
			n.byMAC[r.MAC], n.byName[r.Hostname] = r.Hostname, r.MAC
		}
	}
	return n
}

// decide returns the name for a lease: that of the reservation, else the one that the
// client asks for, else the one it has had. Nobody gets one that is reserved for
// another guest or that another guest has.
func (n naming) decide(e event, leases map[string]Lease) string {
	owner := cmp.Or(e.mac, macOf(e.lease.DUID))
	if name := n.byMAC[owner]; name != "" {
		return name
	}
	name := n.clean(e.name)
	if had, ok := leases[e.lease.key()]; ok && e.name == "" && sameGuest(had, e.lease, owner) {
		name = had.Hostname
	}
	if name == "" || n.byName[name] != "" {
		return ""
	}
	for _, l := range leases {
		if l.Hostname == name && !sameGuest(l, e.lease, owner) {
			return ""
		}
	}
	return name
}

// clean is the host name in what a client says, or empty.
func (n naming) clean(s string) string {
	s = strings.TrimSuffix(strings.ToLower(s), ".")
	if n.domain != "" {
		s = strings.TrimSuffix(s, "."+n.domain)
	}
	name, err := model.ParseHostname(s)
	if err != nil || notForClients[name] {
		return ""
	}
	return name
}

// sameGuest says whether l belongs to the client of the lease of, which has that MAC, if
// it is known.
func sameGuest(l, of Lease, mac string) bool {
	if l.DUID != "" && l.DUID == of.DUID {
		return true
	}
	return mac != "" && (l.MAC == mac || macOf(l.DUID) == mac)
}
