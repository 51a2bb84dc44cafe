package domxml

import (
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// sourceAttribute says which attribute of an interface's <source> names the thing it
// is plugged into; types that are not listed have none.
var sourceAttribute = map[string]string{
	"bridge":    "bridge",
	"network":   "network",
	"direct":    "dev",
	"vdpa":      "dev",
	"internal":  "name",
	"vhostuser": "path",
	"server":    "address",
	"client":    "address",
	"mcast":     "address",
	"udp":       "address",
}

// hostBridges are the bridges of a host's own networks, which clients know by name.
var hostBridges = map[string]string{"brcluster": "cluster", "brstorage": "storage", "brupstream": "upstream"}

func parseNIC(d *node) NIC {
	nic := NIC{
		Type:   orElse(d.attr("type"), "user"),
		MAC:    strings.ToLower(d.child("mac").attr("address")),
		Model:  d.child("model").attr("type"),
		Target: d.child("target").attr("dev"),
	}
	source := d.child("source")
	if name, ok := sourceAttribute[nic.Type]; ok {
		nic.Source = source.attr(name)
	}
	if nic.Type == "hostdev" {
		nic.Source = hostDevice(source)
	}
	nic.VNI = vniText(nic.Type, nic.Source)
	return nic
}

// hostDevice names a device given to the guest: its PCI address as lspci writes it,
// or the host's interface.
func hostDevice(source *node) string {
	a := source.child("address")
	if a == nil {
		return source.attr("dev")
	}
	hex := func(name string, digits int) string {
		v := strings.TrimPrefix(a.attr(name), "0x")
		return strings.Repeat("0", max(0, digits-len(v))) + v
	}
	return hex("domain", 4) + ":" + hex("bus", 2) + ":" + hex("slot", 2) + "." + hex("function", 1)
}

func vniText(typ, source string) string {
	switch typ {
	case "direct":
		return "macvtap:" + source
	case "hostdev":
		return "hostdev:" + source
	case "bridge":
		if vni, ok := strings.CutPrefix(source, model.BridgePrefix); ok && allDigits(vni) {
			return vni
		}
		if name, ok := hostBridges[source]; ok {
			return name
		}
	}
	return source
}

func allDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
