package dns

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"
	"pgregory.net/rapid"
)

// What the model plays with: names, domains, and addresses of which the last is in
// no block.
var (
	playLabels  = []string{"a", "b", "c"}
	playDomains = []string{"one.test", "two.test", "b.two.test"}
	playAddrs   = addrs("10.0.1.5", "10.0.1.6", "10.0.2.3", "10.0.2.4", "fd00:2::7", "10.0.2.99")
	playBlocks  = [][]netip.Prefix{prefixes("10.0.1.0/24"), prefixes("10.0.2.0/28"), prefixes("fd00:2::/62", "10.0.3.0/24")}
)

func drawZones(t *rapid.T) []Zone {
	var zones []Zone
	for vni := range 3 {
		if !rapid.Bool().Draw(t, "present") {
			continue
		}
		z := Zone{VNI: vni, Domain: rapid.SampledFrom(playDomains).Draw(t, "domain"), Networks: playBlocks[vni]}
		for range rapid.IntRange(0, 4).Draw(t, "hosts") {
			z.Hosts = append(z.Hosts, Host{rapid.SampledFrom(playLabels).Draw(t, "label"),
				rapid.SliceOfNDistinct(rapid.SampledFrom(playAddrs), 0, 3, rapid.ID[netip.Addr]).Draw(t, "addresses")})
		}
		zones = append(zones, z)
	}
	return rapid.Permutation(zones).Draw(t, "order")
}

// expect says what the names and the addresses lead to, by the words of the
// documentation and without any of the code.
func expect(zones []Zone) map[string]string {
	want := map[string]string{}
	domains, blocks := map[string]bool{}, []netip.Prefix{}
	for _, z := range zones {
		domains[z.Domain] = true
		blocks = append(blocks, z.Networks...)
	}
	for _, d := range playDomains {
		for _, l := range playLabels {
			switch {
			case domains[l+"."+d]:
				want[l+"."+d] = "NOERROR" // its own origin
			case domains[d], strings.HasPrefix(d, "b.two.") && domains["two.test"]:
				want[l+"."+d] = "NXDOMAIN"
			default:
				want[l+"."+d] = "REFUSED"
			}
		}
	}
	for _, a := range playAddrs {
		want[a.String()] = "REFUSED"
		for _, b := range blocks {
			if b.Contains(a) {
				want[a.String()] = "NXDOMAIN"
			}
		}
	}
	owned := map[string]bool{}
	for vni := range 3 {
		for _, z := range zones {
			if z.VNI != vni {
				continue
			}
			for _, h := range z.Hosts {
				name := h.Name + "." + z.Domain
				if owned[name] || domains[name] {
					continue
				}
				owned[name] = true
				if len(h.Addresses) == 0 {
					continue
				}
				var v4, v6 []string
				for _, a := range h.Addresses {
					if a.Is4() {
						v4 = append(v4, "A "+a.String())
					} else {
						v6 = append(v6, "AAAA "+a.String())
					}
					if p := want[a.String()]; p == "NXDOMAIN" {
						want[a.String()] = "PTR " + name + "."
					} else if p != "REFUSED" && !strings.Contains(p, "PTR "+name+".") {
						parts := append(strings.Split(p, ", "), "PTR "+name+".")
						slices.Sort(parts)
						want[a.String()] = strings.Join(parts, ", ")
					}
				}
				slices.Sort(v4)
				want[name] = strings.Join(append(v4, v6...), ", ")
			}
		}
	}
	return want
}

func TestAnswersAreThoseOfTheModelAfterAnyUpdates(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := New(quiet(Options{}))
		now := time.Unix(1_800_000_000, 0)
		s.now = func() time.Time { return now }
		serials, texts := map[string]uint32{}, map[string]string{}
		for range rapid.IntRange(1, 8).Draw(t, "updates") {
			now = now.Add(time.Duration(rapid.IntRange(-5, 5).Draw(t, "seconds")) * time.Second)
			zones := drawZones(t)
			s.Update(zones)
			if d := cmp.Diff(expect(zones), actual(s)); d != "" {
				t.Fatalf("of %+v: %s", zones, d)
			}
			checkSerials(t, s, serials, texts)
		}
	})
}

// actual asks for everything that expect speaks of.
func actual(s *Server) map[string]string {
	got := map[string]string{}
	look := func(key, name string, types ...uint16) {
		var all []string
		code := ""
		for _, typ := range types {
			m := handle(s, udpPeer(stranger), question(name, typ))
			code = dns.RcodeToString[m.Rcode]
			all = append(all, data(m.Answer)...)
		}
		if got[key] = strings.Join(all, ", "); len(all) == 0 {
			got[key] = code
		}
	}
	for _, d := range playDomains {
		for _, l := range playLabels {
			look(l+"."+d, l+"."+d, dns.TypeA, dns.TypeAAAA)
		}
	}
	for _, a := range playAddrs {
		look(a.String(), reverseName(a), dns.TypePTR)
	}
	return got
}

// checkSerials holds each zone's serial against what a secondary has seen of it before.
func checkSerials(t *rapid.T, s *Server, serials map[string]uint32, texts map[string]string) {
	for origin, z := range s.table.Load().zones {
		if z.builtin {
			continue
		}
		text := fmt.Sprint(z.rrs)
		old, known := serials[origin]
		switch {
		case known && text != texts[origin] && int32(z.serial-old) <= 0:
			t.Fatalf("%s has changed and its serial went from %d to %d", origin, old, z.serial)
		case known && int32(z.serial-old) < 0:
			t.Fatalf("the serial of %s went back from %d to %d", origin, old, z.serial)
		case int32(s.Serial()-z.serial) < 0:
			t.Fatalf("%s has serial %d above the highest, %d", origin, z.serial, s.Serial())
		}
		serials[origin], texts[origin] = z.serial, text
	}
}

func TestSerialStaysWhileTheRecordsDo(t *testing.T) {
	s := New(quiet(Options{}))
	s.Update([]Zone{red(), blue()})
	first := s.Serial()
	serials := func() map[string]uint32 {
		out := map[string]uint32{}
		for _, z := range s.table.Load().zones {
			if !z.builtin {
				out[z.origin] = z.serial
			}
		}
		return out
	}
	before := serials()
	again := red()
	slices.Reverse(again.Hosts)
	slices.Reverse(again.Hosts[1].Addresses)
	s.Update([]Zone{blue(), again})
	if d := cmp.Diff(before, serials()); d != "" || s.Serial() != first {
		t.Errorf("the same in another order: %s, highest %d after %d", d, s.Serial(), first)
	}
	again.Hosts[0].Name = "db2"
	s.Update([]Zone{blue(), again})
	for origin, serial := range serials() {
		if changed := origin == "red.example." || origin == "2.1.10.in-addr.arpa."; changed != (serial != before[origin]) {
			t.Errorf("%s: serial %d after %d", origin, serial, before[origin])
		}
	}
}

func TestNextPrimaryGoesOnAboveTheSerialsOfTheLast(t *testing.T) {
	s := New(quiet(Options{}))
	s.now = func() time.Time { return time.Unix(1_900_000_000, 0) } // its clock is ahead
	s.Update([]Zone{red()})
	next := New(quiet(Options{Serial: s.Serial()}))
	next.now = func() time.Time { return time.Unix(1_800_000_000, 0) }
	next.Update([]Zone{red()})
	for origin, z := range next.table.Load().zones {
		if old := s.table.Load().zones[origin].serial; int32(z.serial-old) <= 0 {
			t.Errorf("%s: serial %d after %d", origin, z.serial, old)
		}
	}
}

// TestReturningZoneGoesOnAboveItsSerial: a secondary may still have it.
func TestReturningZoneGoesOnAboveItsSerial(t *testing.T) {
	s := New(quiet(Options{}))
	s.now = func() time.Time { return time.Unix(1_800_000_000, 0) }
	s.Update([]Zone{red()})
	before := s.table.Load().zones["red.example."].serial
	s.Update(nil)
	s.Update([]Zone{red()})
	if after := s.table.Load().zones["red.example."].serial; int32(after-before) <= 0 {
		t.Errorf("serial %d after %d", after, before)
	}
}
