package dhcp

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// Lease is an address that a guest has: of IPv4, known by its MAC, or of IPv6, known by
// the address.
type Lease struct {
	Address  netip.Addr
	Hostname string // empty: none, or one that was refused
	Expiry   int64  // epoch seconds of the primary's clock; 0 never

	MAC      string // IPv4; see model.ParseMAC
	ClientID string // IPv4; hexadecimal pairs with colons, "*" for none

	DUID       string // IPv6; of the client, hexadecimal pairs with colons
	IAID       string // IPv6; a number, after a "T" if the address is a temporary one
	ServerDUID string // IPv6; what the server calls itself: a successor has to take it on
}

// Leases is where leases are recorded. Its methods are called with a deadline. An error
// of kind errs.NotFound, errs.Invalid or errs.Denied is final (the network is gone, or the
// record impossible); after any other the call is repeated.
type Leases interface {
	// Known returns the leases on record of a network, of both families, not older than
	// the call: a server will give away every other address. A server DUID on record
	// comes with each lease of IPv6.
	Known(ctx context.Context, vni int) ([]Lease, error)
	// Put records a lease in the place of the one with the same MAC, or for IPv6 with
	// the same address.
	Put(ctx context.Context, vni int, l Lease) error
	// Drop removes a lease from the record. One that is not there, or has for this MAC
	// another address, is no error and changes nothing.
	Drop(ctx context.Context, vni int, l Lease) error
}

var (
	pairs = regexp.MustCompile(`^[0-9a-f]{2}(:[0-9a-f]{2})*$`)
	iaid  = regexp.MustCompile(`^T?[0-9]{1,10}$`)
)

// Bounds of identifiers in bytes: option lengths of RFC 2132, RFC 8415 section 11.1.
const (
	maxClientID = 255
	maxDUID     = 130
)

// identifier says whether s is a text as dnsmasq writes at most so many bytes.
func identifier(s string, bytes int) bool { return len(s) < bytes*3 && pairs.MatchString(s) }

// key is what a lease is on record by.
func (l Lease) key() string { return cmp.Or(l.MAC, l.Address.String()) }

// check says whether a lease can be written into a line of dnsmasq's.
func (l Lease) check() error {
	if l.Expiry < 0 {
		return errs.Invalidf("expiry %d", l.Expiry)
	}
	if !plain(l.Address) {
		return errs.Invalidf("address %s", l.Address)
	}
	if l.Address.Is4() {
		if mac, err := model.ParseMAC(l.MAC); err != nil || mac != l.MAC {
			return errs.Invalidf("MAC address %q", model.Clip(l.MAC))
		}
		if l.ClientID != "*" && !identifier(l.ClientID, maxClientID) {
			return errs.Invalidf("client identifier %q", model.Clip(l.ClientID))
		}
		return nil
	}
	if l.MAC != "" || !identifier(l.DUID, maxDUID) {
		return errs.Invalidf("DUID %q", model.Clip(l.DUID))
	}
	if _, err := strconv.ParseUint(strings.TrimPrefix(l.IAID, "T"), 10, 32); err != nil || !iaid.MatchString(l.IAID) {
		return errs.Invalidf("IAID %q", model.Clip(l.IAID))
	}
	if l.ServerDUID != "" && !identifier(l.ServerDUID, maxDUID) {
		return errs.Invalidf("DUID of the server %q", model.Clip(l.ServerDUID))
	}
	return nil
}

// line is a lease as a line of dnsmasq's lease file, without a name: dnsmasq has no use
// for it here, and would take it away from whom it likes.
func (l Lease) line() string {
	if l.Address.Is4() {
		return fmt.Sprintf("%d %s %s * %s", l.Expiry, l.MAC, l.Address, l.ClientID)
	}
	return fmt.Sprintf("%d %s %s * %s", l.Expiry, l.IAID, l.Address, l.DUID)
}

// database is the text of a lease file. Records that cannot be understood are left out
// and reported; so are, if there are too many, those that end first.
func database(leases []Lease) (string, error) {
	var all []error
	byAddress := map[netip.Addr]Lease{}
	duid := ""
	for _, l := range leases {
		if err := l.check(); err != nil {
			all = append(all, fmt.Errorf("lease of %s: %w", l.Address, err))
			continue
		}
		if other, ok := byAddress[l.Address]; !ok || later(l, other) < 0 {
			byAddress[l.Address] = l
		}
		duid = cmp.Or(duid, l.ServerDUID)
	}
	lines, left := fit(byAddress)
	if left > 0 {
		all = append(all, errs.Conflictf("%d leases are too many by %d", len(byAddress), left))
	}
	if duid != "" {
		lines = append(lines, "duid "+duid)
	}
	slices.Sort(lines)
	if len(lines) == 0 {
		return "", errors.Join(all...)
	}
	return strings.Join(lines, "\n") + "\n", errors.Join(all...)
}

// fit returns as many lines as dnsmasq takes, and how many are left out.
func fit(leases map[netip.Addr]Lease) (lines []string, left int) {
	var order []Lease
	for _, l := range leases {
		order = append(order, l)
	}
	slices.SortFunc(order, later)
	left = max(0, len(order)-maxLeases)
	for _, l := range order[:len(order)-left] {
		lines = append(lines, l.line())
	}
	return lines, left
}

// later sorts leases that end later before those that end earlier.
func later(a, b Lease) int {
	if a.Expiry == 0 || b.Expiry == 0 {
		return cmp.Compare(min(a.Expiry, 1), min(b.Expiry, 1))
	}
	return cmp.Or(cmp.Compare(b.Expiry, a.Expiry), a.Address.Compare(b.Address))
}
