package cluster_test

import (
	"context"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

func define(d cluster.DefineVM) deed {
	return func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) { return c.DefineVM(ctx, d) }
}

func modify(xml string, restart bool) deed {
	return func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) {
		return c.ModifyVM(ctx, cluster.ModifyVM{VM: "web1", XML: xml, Restart: restart})
	}
}

// defined are the keys of a new web1: the eight of the old layout as an old client
// writes them, its identity, and its node's index.
func defined(at, xml, rbdlist string) compat.Tree {
	return compat.Tree{
		"/domains/" + web1: "web1", "/domains/" + web1 + "/state": "stop", "/domains/" + web1 + "/node": at, "/domains/" + web1 + "/lastnode": "",
		"/domains/" + web1 + "/failedreason": "", "/domains/" + web1 + "/consolelog": "", "/domains/" + web1 + "/rbdlist": rbdlist,
		"/domains/" + web1 + "/xml": xml, "/domains/" + web1 + "/gen-*": "", "/nodes/" + at + "/vms/" + web1: "",
	}
}

const (
	bridge  = "<interface type='bridge'><source bridge='%'/></interface>"
	file    = "<disk type='file' device='disk'><source file='%'/><target dev='vda' bus='virtio'/></disk>"
	shared  = "<disk type='file' device='disk'><source file='%'/><target dev='vda' bus='virtio'/><shareable/></disk>"
	rbd     = "<disk type='network' device='disk'><source protocol='rbd' name='%'><host name='m' port='6789'/></source><target dev='vdb' bus='virtio'/></disk>"
	twoMore = "<disk type='network' device='disk'><source protocol='rbd' name='vms/b'><host name='m' port='6789'/></source><target dev='vdc' bus='virtio'/></disk>"
)

func device(kind, of string) string { return strings.Replace(kind, "%", of, 1) }

// decision: define
// decision: names
// decision: resources
// decision: shared images
// decision: writable volumes
// decision: target node
func TestDefinitionsFollowTheTable(t *testing.T) {
	w := newWorld(t)
	w.write(t, compat.Tree{"/ceph/volumes/vms/a": "", "/ceph/volumes/vms/b": ""}, pool("vms"), volume("vms", "unlocked", "layering"))
	plain := document("web1", web1, "")
	doc := func(xml string) cluster.DefineVM { return cluster.DefineVM{XML: xml, Node: "hv2"} }
	with := func(devices ...string) string { return document("web1", web1, strings.Join(devices, "")) }
	network := compat.Tree{"/networks/100": "office"}
	other := vmAs("web2", web2, "stop", "hv1", "xml", document("web2", web2, device(file, "/srv/x")))
	refused := func(given compat.Tree, d cluster.DefineVM, kind errs.Kind, says string) rule {
		return rule{given: given, do: define(d), no: true, kind: kind, says: says}
	}
	for name, r := range map[string]rule{
		"on the wanted node": {given: hosts(), do: define(doc(plain)), says: "on hv2 (as asked)", writes: defined("hv2", plain, "")},
		"byte for byte":      {given: hosts(), do: define(doc("\n" + plain + "\n<!-- ü -->\n")), writes: defined("hv2", "\n"+plain+"\n<!-- ü -->\n", "")},
		"with volumes":       {given: hosts(), do: define(doc(with(device(rbd, "vms/a"), twoMore))), writes: defined("hv2", with(device(rbd, "vms/a"), twoMore), "vms/a,vms/b")},
		"on one of our networks": {
			given: join(hosts(), network), do: define(doc(with(device(bridge, "vmbr100")))), writes: defined("hv2", with(device(bridge, "vmbr100")), "")},
		"on a bridge and a file of the hosts": {
			given: hosts(), do: define(doc(with(device(bridge, "br0"), device(file, "/srv/x")))), says: `bridge "br0", file "/srv/x"`,
			writes: defined("hv2", with(device(bridge, "br0"), device(file, "/srv/x")), "")},
		"with a shareable image that another keeps for itself": refused(join(hosts(), other), doc(with(device(shared, "/srv/x"))), errs.Conflict, "both have to say"),
		"with an image of another":                             refused(join(hosts(), other), doc(with(device(file, "/srv/x"))), errs.Conflict, `belongs to VM "web2"`),
		"without its network":                                  refused(hosts(), doc(with(device(bridge, "vmbr100"))), errs.Conflict, `network "100" does not exist`),
		"of a network's mistake":                               refused(hosts(), doc(with(device(bridge, "vmbr1x"))), errs.Invalid, `network "1x"`),
		"without its volume":                                   refused(hosts(), doc(with(device(rbd, "vms/c"))), errs.Conflict, `volume "vms/c" does not exist`),
		"with a volume without a lock":                         refused(hosts(), doc(with(device(rbd, "vms/unlocked"))), errs.Conflict, `volume "vms/unlocked" has no exclusive-lock`),
		"a name that is taken":                                 refused(join(hosts(), vmAs("web1", web2, "stop", "hv1")), doc(plain), errs.Conflict, `named "web1" exists`),
		"a UUID that is taken":                                 refused(join(hosts(), vmAs("web2", web1, "stop", "hv1")), doc(plain), errs.Conflict, `belongs to VM "web2"`),
		"a bad name":                                           refused(hosts(), doc(document("we b", web1, "")), errs.Invalid, `"we b"`),
		"a UUID as name":                                       refused(hosts(), doc(document(web2, web1, "")), errs.Invalid, web2),
		"what the policy refuses":                              refused(hosts(), doc(with(device(file, "/etc/shadow"))), errs.Invalid, "/etc/shadow"),
		"no XML":                                               refused(hosts(), doc("no"), errs.Invalid, ""),
		"no VM":                                                refused(hosts(), doc("<network/>"), errs.Invalid, "network"),
		"an unknown selector":                                  refused(hosts(), cluster.DefineVM{XML: plain, Selector: "luck"}, errs.Invalid, `"luck"`),
		"a node that is not there":                             {given: hosts(), do: define(cluster.DefineVM{XML: plain, Node: "hv9"}), says: `"hv9" cannot take it`, writes: defined("hv1", plain, "")},
		"a node that is flushed": {
			given: join(node("hv1"), node("hv2", "domainstate", "flushed")), do: define(doc(plain)), says: "on hv1", writes: defined("hv1", plain, "")},
		"a node without networks": {
			given: join(hosts(), network, node("hv2", "facts", `{"no_networks":"it has none"}`)), do: define(doc(with(device(bridge, "vmbr100")))),
			says: `"hv2" cannot take it`, writes: defined("hv1", with(device(bridge, "vmbr100")), "")},
		"a node without networks that needs none": {
			given: join(hosts(), node("hv2", "facts", `{"no_networks":"it has none"}`)), do: define(doc(plain)), says: "on hv2 (as asked)", writes: defined("hv2", plain, "")},
		"a host without storage is not chosen for a VM with a volume, even if asked": {
			given: join(hosts(), node("hv2", "facts", `{"no_storage":"it has none"}`)), do: define(doc(with(device(rbd, "vms/a")))),
			says: "hv1", writes: defined("hv1", with(device(rbd, "vms/a")), "vms/a")},
		"no node with networks": refused(join(network, node("hv2", "facts", `{"no_networks":"it has none"}`)), doc(with(device(bridge, "vmbr100"))), errs.Conflict, "hv2: it has none"),
		"no hypervisor":         refused(node("hv2", "facts", `{"no_guests":"it is none"}`), doc(plain), errs.Conflict, "hv2: it is none"),
		"no node at all":        refused(compat.Tree{}, doc(plain), errs.Conflict, "no other node"),
		"no node that can": refused(join(node("hv1", "dead", ""), node("hv2", "domainstate", "flush"), node("hv3", "memfree", "63"), node("hv4", "daemonstate", "init")),
			doc(plain), errs.Conflict, "hv1: its daemon does not answer; hv2: its domain state is flush; hv3: 63 MiB free, 64 needed; hv4: its daemon is in state init"),
	} {
		t.Run(name, func(t *testing.T) { w.check(t, r) })
	}
}

func TestAMissingUUIDIsGenerated(t *testing.T) {
	w := newWorld(t)
	w.reset(t, hosts())
	answer, err := w.rules.DefineVM(t.Context(), cluster.DefineVM{XML: document("web1", "", "")})
	if err != nil {
		t.Fatal(err)
	}
	for path, data := range w.tree(t) {
		uuid, ok := strings.CutSuffix(strings.TrimPrefix(path, "/domains/"), "/xml")
		if !ok {
			continue
		}
		if !strings.Contains(data, "<uuid>"+uuid+"</uuid>") || !strings.Contains(answer.Message, uuid) {
			t.Errorf("%s: %s; answer %q", path, data, answer.Message)
		}
		return
	}
	t.Error("nothing was defined")
}

// decision: selector
func TestTheBestNodeIsTakenBySelector(t *testing.T) {
	w := newWorld(t)
	big := strings.Replace(document("web2", web2, ""), ">64<", ">300<", 1)
	many := func(xml string) string { return strings.Replace(xml, "<vcpu>1<", "<vcpu>8<", 1) }
	const web3 = "33333333-3333-4333-8333-333333333333"
	// hv1: little memory, many vCPUs, one VM; hv2: much memory, few vCPUs; hv3: two VMs of nothing special.
	given := join(
		node("hv1", "cpuload", "3.0"), node("hv2", "cpuload", "2.0"), node("hv3", "cpuload", "1.0"),
		vmAs("a", "aaaaaaaa-0000-4000-8000-000000000001", "stop", "hv1", "xml", many(document("a", "aaaaaaaa-0000-4000-8000-000000000001", ""))),
		vmAs("b", web2, "stop", "hv2", "xml", strings.Replace(big, "web2", "b", 1)),
		vmAs("c", web3, "stop", "hv3"), vmAs("d", "dddddddd-0000-4000-8000-000000000001", "stop", "hv3"))
	plain := document("web1", web1, "")
	for _, tc := range []struct {
		selector, published, want, says string
	}{
		{"mem", "", "hv1", "least allocated memory: 64 MiB"},
		{"vcpus", "", "hv2", "least allocated vCPUs: 1"},
		{"load", "", "hv3", "least load: 1.00"},
		{"vms", "", "hv1", "fewest VMs: 1"}, // a tie with hv2, by name
		{"", "", "hv1", "least allocated memory"},
		{"", "vcpus", "hv2", "least allocated vCPUs"},
		{"none", "load", "hv3", "least load"},
		{"mem", "load", "hv1", "least allocated memory"},
		{"", "nonsense", "hv1", "least allocated memory"},
	} {
		t.Run(tc.selector+" "+tc.published, func(t *testing.T) {
			w.check(t, rule{given: join(given, compat.Tree{"/config/target_selector": tc.published}),
				do: define(cluster.DefineVM{XML: plain, Selector: tc.selector}), says: tc.says, writes: defined(tc.want, plain, "")})
		})
	}
}

// decision: modify
func TestModificationsFollowTheTable(t *testing.T) {
	w := newWorld(t)
	w.write(t, compat.Tree{"/ceph/volumes/vms/a": ""})
	other := vmAs("web2", web2, "stop", "hv1", "xml", document("web2", web2, device(file, "/srv/x")))
	bigger := strings.Replace(document("web1", web1, ""), ">64<", ">128<", 1)
	withDisk := document("web1", web1, device(rbd, "vms/a"))
	on := func(state string) compat.Tree { return join(hosts(), vm(state, "hv1")) }
	xml := func(s string) compat.Tree { return compat.Tree{"/domains/" + web1 + "/xml": s} }
	refused := func(given compat.Tree, s string, kind errs.Kind, says string) rule {
		return rule{given: given, do: modify(s, false), no: true, kind: kind, says: says}
	}
	for name, r := range map[string]rule{
		"running, no restart": {given: join(on("start"), claim("hv1")), do: modify(bigger, false), says: "next start", writes: xml(bigger)},
		"running, restart":    {given: join(on("start"), claim("hv1")), do: modify(bigger, true), says: "restarts with it", writes: join(xml(bigger), becomes("restart"))},
		"stopped, restart":    {given: on("stop"), do: modify(bigger, true), says: "was not started", writes: xml(bigger)},
		"its volumes are refreshed": {
			given: on("stop"), do: modify(withDisk, false), writes: join(xml(withDisk), compat.Tree{"/domains/" + web1 + "/rbdlist": "vms/a"})},
		"without its UUID":         {given: on("stop"), do: modify(strings.Replace(bigger, "<uuid>"+web1+"</uuid>", "", 1), false), writes: xml("~.*<uuid>" + web1 + "</uuid>.*>128<.*")},
		"another name":             refused(on("stop"), document("web9", web1, ""), errs.Conflict, `"web9"`),
		"another UUID":             refused(on("stop"), document("web1", web2, ""), errs.Conflict, web2),
		"an image of another":      refused(join(on("stop"), other), document("web1", web1, device(file, "/srv/x")), errs.Conflict, `belongs to VM "web2"`),
		"a missing network":        refused(on("stop"), document("web1", web1, device(bridge, "vmbr5")), errs.Conflict, `network "5" does not exist`),
		"what the policy refuses":  refused(on("stop"), document("web1", web1, device(file, "/etc/shadow")), errs.Invalid, "/etc/shadow"),
		"no XML":                   refused(on("stop"), "<", errs.Invalid, ""),
		"a VM that does not exist": refused(hosts(), bigger, errs.NotFound, `"web1"`),
	} {
		t.Run(name, func(t *testing.T) { w.check(t, r) })
	}
}
