package firewall

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"

	rules "github.com/parallelvirtualcluster/pvc/common/firewall"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// Render returns the table of every managed network by VNI, as nft(8) reads it. A rule that
// [rules.Grammar] refuses is never part of it: what reaches its place is dropped.
func Render(networks []*model.Network) map[int]string {
	tables := map[int]string{}
	for _, n := range networks {
		if n.Type == model.NetworkManaged {
			tables[n.VNI] = render(n, nil).text
		}
	}
	return tables
}

// table is what nft is given for a network.
type table struct {
	text  string
	frame string // the part that does not depend on rules
	cut   bool   // some rules are not part of it
}

// render writes the table of a network. bad are texts of rules that cannot be loaded
// although they have a grammar.
func render(n *model.Network, bad map[string]bool) table {
	t := table{frame: frameOf(n)}
	var chains strings.Builder
	for _, d := range []model.Direction{model.DirectionIn, model.DirectionOut} {
		fmt.Fprintf(&chains, "\n\tchain %s {\n\t\tcounter\n", chainOf(n.VNI, d))
		for _, r := range n.Rules(d) {
			if bad[r.Text] || rules.Grammar(r.Text) != nil {
				chains.WriteString("\t\tcounter drop comment \"in place of a rule that cannot be loaded\"\n")
				t.cut = true
				break
			}
			fmt.Fprintf(&chains, "\t\tcounter %s\n", strings.TrimSpace(r.Text))
		}
		chains.WriteString("\t}\n")
	}
	mark := whole(t.frame)
	if t.cut {
		mark = "part"
	}
	t.text = fmt.Sprintf("table inet %s {\n\tcomment %q\n%s%s}\n", tableOf(n.VNI), mark, chains.String(), t.frame)
	return t
}

// whole is the comment of a table that has all rules: after a restart of the daemon it
// tells whether the table may stand in for rules that cannot be loaded.
func whole(frame string) string {
	sum := sha256.Sum256([]byte(frame))
	return "all rules, frame " + hex.EncodeToString(sum[:8])
}

// frameOf writes the base chains: what sends packets to the rules and protects the host.
func frameOf(n *model.Network) string {
	var b strings.Builder
	b.WriteString("\n\tchain forward {\n\t\ttype filter hook forward priority filter\n")
	// Frames between guests come here too where bridges call the firewall (br_netfilter),
	// but never on hosts that are not primary: the rules are about what is routed.
	fmt.Fprintf(&b, "\t\tiifname %[1]q oifname %[1]q counter accept\n", n.Bridge())
	forward(&b, n, "ip6", n.IP6.Network, n.IP6.Gateway)
	forward(&b, n, "ip", n.IP4.Network, n.IP4.Gateway)
	b.WriteString("\t}\n\n\tchain input {\n\t\ttype filter hook input priority filter\n")
	for _, match := range []string{
		"meta l4proto icmp", "meta l4proto ipv6-icmp",
		"tcp dport 53", "udp dport 53", "udp dport 67", "udp dport 123", "meta nfproto ipv6 udp dport 547",
	} {
		fmt.Fprintf(&b, "\t\tiifname %q %s counter accept\n", n.Bridge(), match)
	}
	fmt.Fprintf(&b, "\t\tiifname %q counter drop\n\t}\n", n.Bridge())
	return b.String()
}

// forward sends the packets of one family to the rules. What comes from the bridge with a
// source that is not the network's passes the "out" rules too, or a guest would evade
// them with a false address.
func forward(b *strings.Builder, n *model.Network, family string, network netip.Prefix, gateway netip.Addr) {
	if !network.IsValid() || !gateway.IsValid() {
		return
	}
	in, out := chainOf(n.VNI, model.DirectionIn), chainOf(n.VNI, model.DirectionOut)
	fmt.Fprintf(b, "\t\t%s daddr %s counter jump %s\n", family, network, in)
	fmt.Fprintf(b, "\t\t%s saddr %s counter jump %s\n", family, network, out)
	fmt.Fprintf(b, "\t\tiifname %q %s saddr != %s counter jump %s\n", n.Bridge(), family, network, out)
}

func tableOf(vni int) string { return fmt.Sprintf("pvc-%d", vni) }

func chainOf(vni int, d model.Direction) string { return fmt.Sprintf("vxlan%d-%s", vni, d) }
