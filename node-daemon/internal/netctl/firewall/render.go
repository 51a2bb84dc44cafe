package firewall

import (
	"fmt"
	"strings"

	rules "github.com/parallelvirtualcluster/pvc/common/firewall"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// tableName is our table of the family inet.
const tableName = "pvc"

// base is the part of the table that does not depend on networks: what protects the host from
// guests, and the ways to the rules.
const base = `table inet pvc {
	set bridges {
		type ifname
	}
	map leaving {
		type ifname : verdict
	}
	map entering {
		type ifname : verdict
	}
	chain services {
		meta l4proto icmp counter accept
		meta l4proto ipv6-icmp counter accept
		tcp dport 53 counter accept
		udp dport 53 counter accept
		udp dport 67 counter accept
		udp dport 123 counter accept
		meta nfproto ipv6 udp dport 547 counter accept
		counter drop
	}
	chain input {
		type filter hook input priority filter; policy accept
		iifname @bridges counter jump services
	}
	chain leaving {
		type filter hook forward priority filter - 1; policy accept
		iifname vmap @leaving
	}
	chain entering {
		type filter hook forward priority filter; policy accept
		oifname vmap @entering
	}
}
`

const (
	// removed is the script that removes the table whether it is there or not.
	removed = "table inet pvc\ndelete table inet pvc\n"
	// placeholder is in the comment of the rule in place of one that cannot be loaded.
	placeholder = "in place of a rule that cannot be loaded"
)

// Render returns, for every managed network by VNI, the script for nft(8) that makes its
// part of the table whether there is one already or not. A rule that [rules.Grammar] refuses
// is never part of it: what reaches its place is dropped.
func Render(networks []*model.Network) map[int]string {
	scripts := map[int]string{}
	for _, n := range networks {
		if n.Type == model.NetworkManaged {
			scripts[n.VNI] = replaced(n.VNI, render(n, nil))
		}
	}
	return scripts
}

// chains are the bodies of the two chains of a network.
type chains struct {
	in, out string
	cut     bool // some rules are not part of them
}

// render writes the chains of a network. bad are texts of rules that cannot be loaded
// although they have a grammar.
func render(n *model.Network, bad map[string]bool) (c chains) {
	// Frames between neighbours come here too where bridges call the firewall
	// (br_netfilter), but only on the primary: the rules are about what is routed.
	in, cutIn := body(`iifname "`+n.Bridge()+`" return`, n.In, bad)
	out, cutOut := body(`oifname "`+n.Bridge()+`" return`, n.Out, bad)
	return chains{in, out, cutIn || cutOut}
}

func body(first string, list []model.Rule, bad map[string]bool) (text string, cut bool) {
	var b strings.Builder
	fmt.Fprintf(&b, "\t\t%s\n\t\tcounter\n", first)
	for _, r := range list {
		if bad[r.Text] || rules.Grammar(r.Text) != nil {
			fmt.Fprintf(&b, "\t\tcounter drop comment %q\n", placeholder)
			return b.String(), true
		}
		fmt.Fprintf(&b, "\t\tcounter %s\n", strings.TrimSpace(r.Text))
	}
	return b.String(), false
}

// replaced is the script that makes the part of a network.
func replaced(vni int, c chains) string {
	return emptied(vni) + fmt.Sprintf("table inet %s {\n\tchain vxlan%d-in {\n%s\t}\n\tchain vxlan%[2]d-out {\n%[4]s\t}\n}\n", tableName, vni, c.in, c.out) +
		elements("add", vni)
}

// rebuilt is the script that makes the whole table anew with the chains of networks: in few
// commands, for nft takes longer for many.
func rebuilt(batch []*change) string {
	var bodies, bridges, entering, leaving strings.Builder
	for _, c := range batch {
		vni := c.network.VNI
		fmt.Fprintf(&bodies, "\tchain vxlan%d-in {\n%s\t}\n\tchain vxlan%[1]d-out {\n%[3]s\t}\n", vni, c.in, c.out)
		fmt.Fprintf(&bridges, "%q,\n", c.network.Bridge())
		fmt.Fprintf(&entering, "%q : jump vxlan%d-in,\n", c.network.Bridge(), vni)
		fmt.Fprintf(&leaving, "%q : jump vxlan%d-out,\n", c.network.Bridge(), vni)
	}
	script := removed + base
	if len(batch) > 0 {
		script += fmt.Sprintf("table inet pvc {\n%s}\nadd element inet pvc bridges {\n%s}\nadd element inet pvc entering {\n%s}\nadd element inet pvc leaving {\n%s}\n",
			bodies.String(), bridges.String(), entering.String(), leaving.String())
	}
	return script
}

// withdrawn is the script that removes the part of a network, whole or not.
func withdrawn(vni int) string {
	return emptied(vni) + elements("add", vni) + elements("delete", vni) +
		fmt.Sprintf("delete chain inet pvc vxlan%[1]d-in\ndelete chain inet pvc vxlan%[1]d-out\n", vni)
}

func emptied(vni int) string {
	return fmt.Sprintf("add chain inet pvc vxlan%[1]d-in\nadd chain inet pvc vxlan%[1]d-out\n"+
		"flush chain inet pvc vxlan%[1]d-in\nflush chain inet pvc vxlan%[1]d-out\n", vni)
}

func elements(verb string, vni int) string {
	return fmt.Sprintf("%[1]s element inet pvc bridges { %[2]q }\n"+
		"%[1]s element inet pvc entering { %[2]q : jump vxlan%[3]d-in }\n"+
		"%[1]s element inet pvc leaving { %[2]q : jump vxlan%[3]d-out }\n", verb, model.BridgeOf(vni), vni)
}

// trial is a script that has the chains of networks in a table of another name, for a check.
func trial(batch []*change) string {
	var b strings.Builder
	b.WriteString("table inet pvc-check {\n")
	for _, c := range batch {
		vni := c.network.VNI
		fmt.Fprintf(&b, "\tchain vxlan%d-in {\n%s\t}\n\tchain vxlan%[1]d-out {\n%[3]s\t}\n", vni, c.in, c.out)
	}
	b.WriteString("\tchain forward {\n\t\ttype filter hook forward priority filter\n")
	for _, c := range batch {
		fmt.Fprintf(&b, "\t\tjump vxlan%[1]d-in\n\t\tjump vxlan%[1]d-out\n", c.network.VNI)
	}
	b.WriteString("\t}\n}\n")
	return b.String()
}
