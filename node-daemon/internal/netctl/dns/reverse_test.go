package dns

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

func TestReverseZonesOfABlockCoverItAndNothingElse(t *testing.T) {
	for _, tt := range []struct {
		block   string
		first   string
		zones   int
		partial bool
	}{
		{"10.0.0.0/8", "10.in-addr.arpa.", 1, false},
		{"172.16.0.0/12", "16.172.in-addr.arpa.", 16, false},
		{"10.1.16.0/20", "16.1.10.in-addr.arpa.", 16, false},
		{"10.1.2.0/24", "2.1.10.in-addr.arpa.", 1, false},
		{"10.1.2.128/25", "2.1.10.in-addr.arpa.", 1, true},
		{"10.1.2.4/30", "2.1.10.in-addr.arpa.", 1, true},
		{"10.1.2.4/32", "2.1.10.in-addr.arpa.", 1, true},
		{"10.0.0.0/7", "10.in-addr.arpa.", 2, false},
		{"2001:db8:1::/48", "1.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa.", 1, false},
		{"fd00:0:0:8::/61", "8.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", 8, false},
		{"fd00::/64", "0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa.", 1, false},
		{"fd00::ac/126", "c.a." + strings.Repeat("0.", 28) + "d.f.ip6.arpa.", 4, false},
	} {
		origins, partial := reverseZones(netip.MustParsePrefix(tt.block))
		if origins[0] != tt.first || len(origins) != tt.zones || partial != tt.partial {
			t.Errorf("%s: %d zones from %s on, partial %v; want %d from %s on, %v",
				tt.block, len(origins), origins[0], partial, tt.zones, tt.first, tt.partial)
		}
	}
}

func TestReverseNameIsThatOfTheLibrary(t *testing.T) {
	for _, a := range []string{"10.1.2.3", "255.0.100.9", "::", "2001:db8::1:af", "fe80::1"} {
		want, err := dns.ReverseAddr(a)
		if got := reverseName(netip.MustParseAddr(a)); err != nil || got != want {
			t.Errorf("%s: %s, want %s (%v)", a, got, want, err)
		}
	}
}

// TestAddressIsInTheZonesOfItsBlockOnly: of every block, whatever its length.
func TestAddressIsInTheZonesOfItsBlockOnly(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		size := rapid.SampledFrom([]int{4, 16}).Draw(t, "size")
		raw := rapid.SliceOfN(rapid.Byte(), size, size).Draw(t, "address")
		a, _ := netip.AddrFromSlice(raw)
		if a.Is4In6() {
			t.Skip("not an address of its own")
		}
		block, _ := a.Prefix(rapid.IntRange(1, a.BitLen()).Draw(t, "bits"))
		origins, partial := reverseZones(block)
		raw[rapid.IntRange(0, size-1).Draw(t, "octet")] ^= rapid.Byte().Draw(t, "flip")
		other, _ := netip.AddrFromSlice(raw)
		in := 0
		for _, o := range origins {
			z := &zone{content: content{origin: o}}
			if partial {
				z.blocks = []netip.Prefix{block}
			}
			if name := reverseName(other); dns.IsSubDomain(o, name) && z.claims(name) {
				in++
			}
		}
		if want := block.Contains(other); in > 1 || (in == 1) != want {
			t.Fatalf("%v is in %d of the zones of %v: %v", other, in, block, origins)
		}
	})
}

func TestOctetIsReadOnlyFromItsOneSpelling(t *testing.T) {
	const origin = "2.1.10.in-addr.arpa."
	got := map[string]int{}
	names := []string{"7." + origin, "255." + origin, "x.7." + origin, "256." + origin, "07." + origin, "+7." + origin,
		"0/25." + origin, "a." + origin, origin, "7.12.1.10.in-addr.arpa.", "7.3.1.10.in-addr.arpa."}
	for _, name := range names {
		if o, ok := octetAbove(name, origin); ok {
			got[name] = int(o)
		}
	}
	want := map[string]int{"7." + origin: 7, "255." + origin: 255, "x.7." + origin: 7}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestSerialRisesWhateverTheClockSays(t *testing.T) {
	for _, tt := range []struct{ last, now, want uint32 }{
		{0, 1_800_000_000, 1_800_000_000},
		{0, 4_000_000_000, 4_000_000_000},
		{0, 0, 1},
		{1_800_000_000, 1_800_000_001, 1_800_000_001},
		{1_800_000_000, 1_800_000_000, 1_800_000_001},
		{1_800_000_000, 5, 1_800_000_001}, // the clock of this host is wrong
		{1<<32 - 1, 1<<32 - 1, 1},         // RFC 1982: after the highest comes the lowest
		{1<<32 - 10, 20, 20},
	} {
		got := nextSerial(tt.last, tt.now)
		if got != tt.want || tt.last != 0 && int32(got-tt.last) <= 0 {
			t.Errorf("after %d at %d: %d, want %d", tt.last, tt.now, got, tt.want)
		}
	}
}
