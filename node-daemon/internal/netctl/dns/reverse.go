package dns

import (
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/miekg/dns"
)

// reverseZones returns the origins of the reverse zones of a block. partial says that
// the only one of them is larger than the block.
func reverseZones(block netip.Prefix) (origins []string, partial bool) {
	unit := 4 // bits per label
	if block.Addr().Is4() {
		unit = 8
		if block.Bits() > 24 {
			p, _ := block.Addr().Prefix(24)
			return []string{reverseOrigin(p, unit)}, true
		}
	}
	bits := max(unit, (block.Bits()+unit-1)/unit*unit) // up to the next boundary
	for i := range 1 << max(0, bits-block.Bits()) {
		a := block.Masked().Addr().AsSlice()
		a[bits/8-1+(bits%8+7)/8] |= byte(i << ((8 - bits%8) % 8))
		addr, _ := netip.AddrFromSlice(a)
		origins = append(origins, reverseOrigin(netip.PrefixFrom(addr, bits), unit))
	}
	return origins, false
}

// reverseOrigin is the name of a block that ends at a boundary of labels.
func reverseOrigin(p netip.Prefix, unit int) string {
	name := reverseName(p.Addr())
	for range (p.Addr().BitLen() - p.Bits()) / unit {
		name = name[strings.IndexByte(name, '.')+1:]
	}
	return name
}

// reverseName is the name of the address's PTR record (RFC 1035 section 3.5, RFC 3596
// section 2.5).
func reverseName(a netip.Addr) string {
	var b []byte
	octets := a.AsSlice()
	slices.Reverse(octets)
	if a.Is4() {
		for _, o := range octets {
			b = append(strconv.AppendUint(b, uint64(o), 10), '.')
		}
		return string(b) + "in-addr.arpa."
	}
	const digits = "0123456789abcdef"
	for _, o := range octets {
		b = append(b, digits[o&15], '.', digits[o>>4], '.')
	}
	return string(b) + "ip6.arpa."
}

// octetAbove returns the octet that the label left of origin stands for.
func octetAbove(name, origin string) (byte, bool) {
	below := strings.TrimSuffix(name, "."+origin)
	if len(below) == len(name) {
		return 0, false
	}
	label := below[strings.LastIndexByte(below, '.')+1:]
	n, err := strconv.ParseUint(label, 10, 8)
	return byte(n), err == nil && strconv.FormatUint(n, 10) == label
}

// privateZones are the reverse zones that mean something else in every site; nobody
// outside can know an answer (RFC 6303 section 4, RFC 7793).
var privateZones = func() []string {
	zones := []string{
		"10.in-addr.arpa.", "168.192.in-addr.arpa.", "0.in-addr.arpa.", "127.in-addr.arpa.", "254.169.in-addr.arpa.",
		"2.0.192.in-addr.arpa.", "100.51.198.in-addr.arpa.", "113.0.203.in-addr.arpa.", "255.255.255.255.in-addr.arpa.",
		reverseName(netip.IPv6Unspecified()), reverseName(netip.IPv6Loopback()),
		"c.f.ip6.arpa.", "d.f.ip6.arpa.", "8.e.f.ip6.arpa.", "9.e.f.ip6.arpa.", "a.e.f.ip6.arpa.", "b.e.f.ip6.arpa.",
		"8.b.d.0.1.0.0.2.ip6.arpa.",
	}
	for _, block := range []string{"172.16.0.0/12", "100.64.0.0/10"} {
		origins, _ := reverseZones(netip.MustParsePrefix(block))
		zones = append(zones, origins...)
	}
	return zones
}()

// enclosing calls f with the name and every name above it but the root, until f says
// that it has found what it looked for.
func enclosing(name string, f func(string) (found bool)) {
	for off, end := 0, name == "."; !end; off, end = dns.NextLabel(name, off) {
		if f(name[off:]) {
			return
		}
	}
}
