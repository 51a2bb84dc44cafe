package firewall

import (
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

var update = flag.Bool("update", false, "write the golden files")

// network is a managed one with both families: 10.<n>.0.0/24 and 2001:db8:<n>::/64.
func network(vni int, in, out []string) *model.Network {
	n := &model.Network{VNI: vni, Type: model.NetworkManaged, Description: "test"}
	third := byte(vni % 250)
	n.IP4.Network = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, third, 0, 0}), 24)
	n.IP4.Gateway = n.IP4.Network.Addr().Next()
	n.IP6.Network = netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0x20, 1: 0x01, 2: 0x0d, 3: 0xb8, 5: third}), 64)
	n.IP6.Gateway = n.IP6.Network.Addr().Next()
	n.In, n.Out = ruleList(in), ruleList(out)
	return n
}

func ruleList(texts []string) (out []model.Rule) {
	for i, text := range texts {
		out = append(out, model.Rule{Name: "rule " + string(rune('a'+i)), Order: i, Text: text})
	}
	return out
}

func golden() map[string]*model.Network {
	return map[string]*model.Network{
		"rules":     network(100, []string{` ip6 saddr { fe80::/10, ::1 } accept `, `tcp dport { 80, 443 } accept comment "web"`, `drop`}, []string{`tcp dport 25 log prefix "mail: " drop`}),
		"empty":     {VNI: 16777215, Type: model.NetworkManaged},
		"bad-rules": network(101, []string{"tcp dport 22 accept", "accept; flush ruleset", "tcp dport 80 accept"}, []string{"accept\n}\nflush ruleset"}),
	}
}

func TestRenderedScripts(t *testing.T) {
	for name, n := range golden() {
		t.Run(name, func(t *testing.T) {
			got := Render([]*model.Network{n})[n.VNI]
			file := filepath.Join("testdata", name+".nft")
			if *update {
				if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(string(want), got); d != "" {
				t.Errorf("want (-), got (+):\n%s", d)
			}
		})
	}
}

func TestOnlyManagedNetworksHaveRules(t *testing.T) {
	bridged := &model.Network{VNI: 5, Type: model.NetworkBridged, In: ruleList([]string{"drop"})}
	if got := Render([]*model.Network{bridged, network(6, nil, nil)}); len(got) != 1 || got[6] == "" {
		t.Errorf("got %v", got)
	}
}

// FuzzRender: no text of a rule can leave its line.
func FuzzRender(f *testing.F) {
	f.Add("accept", "drop")
	f.Add("accept; flush ruleset", "accept }")
	f.Add("accept\n", `log prefix "}"`)
	lines := func(in, out string) int {
		return strings.Count(Render([]*model.Network{network(1, []string{in}, []string{out})})[1], "\n")
	}
	want := lines("accept", "accept")
	f.Fuzz(func(t *testing.T, in, out string) {
		text := Render([]*model.Network{network(1, []string{in}, []string{out})})[1]
		if got := lines(in, out); got != want || strings.Contains(text, ";") {
			t.Errorf("%q and %q make %d lines instead of %d:\n%s", in, out, got, want, text)
		}
	})
}
