package cluster_test

import (
	"context"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

func relocate(r cluster.SetVMNode) deed {
	r.VM = "web1"
	return func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) { return c.SetVMNode(ctx, r) }
}

// begun are the changes of a migration of web1 from hv1 that is asked for, with the home
// to remember from now on and the one to come back to if it fails.
func begun(to, home, before, cold string) compat.Tree {
	record := `{"id":"[0-9a-f]{16}","source":"hv1","target":"` + to + `","home":"` + before + `","phase":"prepare"` + cold + `}`
	t := compat.Tree{
		"/domains/" + web1 + "/state": "migrate", "/domains/" + web1 + "/node": to,
		"/domains/" + web1 + "/migration": "~" + record, "/nodes/" + to + "/vms/" + web1: "",
	}
	if home != before {
		t["/domains/"+web1+"/lastnode"] = home
	}
	return t
}

// assigned are the changes of a VM on hv1 that does not run and goes elsewhere.
func assigned(to, home string) compat.Tree {
	t := compat.Tree{"/domains/" + web1 + "/node": to, "/nodes/hv1/vms/" + web1: gone, "/nodes/" + to + "/vms/" + web1: ""}
	if home != "" {
		t["/domains/"+web1+"/lastnode"] = home
	}
	return t
}

// decision: migrate
// decision: migrated VMs
// decision: `move` and `permanent`
// decision: unmigrate
// decision: present host
// decision: a VM that does not run
// decision: under way
// decision: target node
func TestMovesFollowTheTable(t *testing.T) {
	w := newWorld(t)
	runs := func(pairs ...string) compat.Tree { return join(hosts(), vm("start", "hv1", pairs...), claim("hv1")) }
	rests := func(pairs ...string) compat.Tree { return join(hosts(), vm("stop", "hv1", pairs...)) }
	migrate := func(node string) deed { return relocate(cluster.SetVMNode{Action: "migrate", Node: node}) }
	move := func(node string) deed { return relocate(cluster.SetVMNode{Action: "move", Node: node}) }
	force := relocate(cluster.SetVMNode{Action: "migrate", Node: "hv3", Force: true})
	unmigrate := relocate(cluster.SetVMNode{Action: "unmigrate"})
	refused := func(given compat.Tree, do deed, says string) rule {
		return rule{given: given, do: do, no: true, kind: errs.Conflict, says: says}
	}
	noHome := compat.Tree{"/domains/" + web1 + "/lastnode": ""}
	for name, r := range map[string]rule{
		"migrate a running one":      {given: runs(), do: migrate("hv2"), says: "from hv1 to hv2 (as asked), live", writes: begun("hv2", "hv1", "", "")},
		"migrate anywhere":           {given: runs(), do: migrate(""), says: "to hv2 (least", writes: begun("hv2", "hv1", "", "")},
		"migrate to no node":         {given: runs(), do: migrate("hv9"), says: `"hv9" cannot take it`, writes: begun("hv2", "hv1", "", "")},
		"migrate to where it is":     {given: runs(), do: migrate("hv1"), says: "already on hv1"},
		"migrate a migrated one":     refused(runs("lastnode", "hv3"), migrate("hv2"), "migrated already (from hv3)"),
		"migrate it by force":        {given: runs("lastnode", "hv2"), do: force, says: "to hv3", writes: begun("hv3", "hv2", "hv2", "")},
		"migrate it home by force":   {given: runs("lastnode", "hv3"), do: force, says: "to hv3", writes: begun("hv3", "", "hv3", "")},
		"move a running one":         {given: runs(), do: move("hv2"), says: "live", writes: begun("hv2", "", "", "")},
		"move a migrated one":        {given: runs("lastnode", "hv3"), do: move("hv2"), writes: begun("hv2", "", "hv3", "")},
		"move to where it is":        {given: runs("lastnode", "hv3"), do: move("hv1"), says: "its home from now on", writes: noHome},
		"move home to where it is":   {given: runs(), do: move("hv1"), says: "already on hv1"},
		"permanently is move":        {given: runs(), do: relocate(cluster.SetVMNode{Action: "migrate", Node: "hv2", Permanent: true}), writes: begun("hv2", "", "", "")},
		"unmigrate":                  {given: runs("lastnode", "hv3"), do: unmigrate, says: "to hv3 (its home)", writes: begun("hv3", "", "hv3", "")},
		"unmigrate one at home":      refused(runs(), unmigrate, "not migrated"),
		"unmigrate to where it is":   {given: runs("lastnode", "hv1"), do: unmigrate, says: "its home from now on", writes: noHome},
		"unmigrate to no node":       refused(runs("lastnode", "hv9"), unmigrate, `"hv9", is no node`),
		"unmigrate to a flushed one": refused(join(runs("lastnode", "hv3"), node("hv3", "domainstate", "flushed")), unmigrate, "its domain state is flushed"),
		"unmigrate to one that fetches its own": {
			given: join(runs("lastnode", "hv3"), node("hv3", "domainstate", "unflush")), do: unmigrate, writes: begun("hv3", "", "hv3", "")},
		"migrate to one that fetches its own": {
			given: join(runs(), node("hv3", "domainstate", "unflush")), do: migrate("hv3"), says: "to hv2", writes: begun("hv2", "hv1", "", "")},
		"unmigrate to no hypervisor": refused(join(runs("lastnode", "hv3"), node("hv3", "facts", `{"no_guests":"it is none"}`)), unmigrate, "it is none"),
		"migrate to no hypervisor": {
			given: join(runs(), node("hv2", "facts", `{"no_guests":"it is none"}`)), do: migrate("hv2"), says: `"hv2" cannot take it`, writes: begun("hv3", "hv1", "", "")},
		"no other node":         refused(join(node("hv1"), vm("start", "hv1"), claim("hv1")), migrate(""), "there is no other node"),
		"no other node can":     refused(join(node("hv1"), node("hv2", "memfree", "10"), node("hv3", "dead", ""), vm("start", "hv1"), claim("hv1")), migrate(""), "hv2: 10 MiB free, 64 needed; hv3: its daemon does not answer"),
		"one that does not run": {given: rests(), do: migrate("hv2"), says: "does not run; it is assigned to hv2", writes: assigned("hv2", "hv1")},
		"move one that rests":   {given: rests(), do: move("hv2"), writes: assigned("hv2", "")},
		"unmigrate one that rests": {
			given: rests("lastnode", "hv2"), do: unmigrate, writes: join(assigned("hv2", ""), noHome)},
		"force live without a guest":    refused(rests(), relocate(cluster.SetVMNode{Action: "migrate", Node: "hv2", ForceLive: true}), "nothing to migrate live"),
		"while it migrates":             refused(join(hosts(), vm("migrate", "hv1"), claim("hv1")), migrate("hv2"), "state migrate"),
		"while it shuts down":           refused(join(hosts(), vm("shutdown", "hv1"), claim("hv1")), migrate("hv2"), "state shutdown"),
		"while it restarts":             refused(join(hosts(), vm("restart", "hv1"), claim("hv1")), move("hv2"), "state restart"),
		"while it is deleted":           refused(join(hosts(), vm("delete", "hv1")), move("hv2"), "state delete"),
		"while an old one is cleared":   refused(runs("migration", `{"id":"1","source":"hv1","target":"hv3","phase":"failed"}`), migrate("hv2"), "still being cleared away"),
		"held by another than its node": refused(join(hosts(), vm("start", "hv1"), claim("hv2")), migrate("hv3"), "still held by hv2"),
	} {
		t.Run(name, func(t *testing.T) { w.check(t, r) })
	}
	bad := relocate(cluster.SetVMNode{Action: "teleport"})
	w.check(t, rule{given: runs(), do: bad, no: true, kind: errs.Invalid, says: `"teleport"`})
	w.check(t, rule{given: runs(), do: relocate(cluster.SetVMNode{Action: "migrate", Selector: "luck"}), no: true, kind: errs.Invalid, says: `"luck"`})
}

// decision: unreachable host
func TestAVMOnAHostThatDoesNotAnswerIsNotTouched(t *testing.T) {
	w := newWorld(t)
	lost := func(pairs ...string) compat.Tree {
		return join(node("hv1", append(pairs, "dead", "")...), node("hv2"), vm("start", "hv1"), claim("hv1"))
	}
	migrate := relocate(cluster.SetVMNode{Action: "migrate", Node: "hv2", Force: true})
	remove := func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error) {
		return c.DeleteVM(ctx, cluster.DeleteVM{VM: "web1"})
	}
	for name, do := range map[string]deed{"migrate": migrate, "move": relocate(cluster.SetVMNode{Action: "move"}), "delete": remove} {
		t.Run(name, func(t *testing.T) {
			w.check(t, rule{given: lost(), do: do, no: true, kind: errs.Conflict, says: "may be running on hv1 (its daemon does not answer); it is free when"})
		})
	}
	w.check(t, rule{given: lost("condition", "control plane lost: it answers"), do: migrate, no: true, kind: errs.Conflict, says: "control plane lost: it answers"})
	// An old client may have sent it elsewhere already: what counts is the claim.
	sent := join(lost(), compat.Tree{"/domains/" + web1 + "/node": "hv2"})
	w.check(t, rule{given: sent, do: migrate, no: true, kind: errs.Conflict, says: "may be running on hv1"})
	unreadable := join(hosts(), vm("start", "hv1"), compat.Tree{"/claims/" + web1: "{"})
	w.check(t, rule{given: unreadable, do: migrate, no: true, kind: errs.Conflict, says: "may be running on"})
	// What rests there can be had.
	w.check(t, rule{given: join(node("hv1", "dead", ""), node("hv2"), vm("stop", "hv1")), do: migrate, writes: assigned("hv2", "hv1")})
}

// decision: what prevents live migration
// decision: local disks
// decision: `force_live`
func TestWhetherAMigrationIsLiveIsDecidedAndSaidBefore(t *testing.T) {
	w := newWorld(t)
	doc := func(from, to string) string { return strings.Replace(document("web1", web1, ""), from, to, 1) }
	facts := func(s string) compat.Tree { return node("hv2", "facts", s) }
	on := func(xml string, more ...compat.Tree) compat.Tree {
		return join(append([]compat.Tree{hosts(), vm("start", "hv1", "xml", xml), claim("hv1"), {"/config/shared_directories": `["/srv/shared"]`}}, more...)...)
	}
	kvm := doc("type='qemu'", "type='kvm'")
	passthrough := doc("type='qemu'>", "type='kvm'><cpu mode='host-passthrough'/>")
	local, onShare := document("web1", web1, device(file, "/srv/x")), document("web1", web1, device(file, "/srv/shared/x"))
	hostdev := document("web1", web1, "<hostdev mode='subsystem' type='pci'><source><address domain='0' bus='6' slot='2' function='0'/></source></hostdev>")
	for name, tc := range map[string]struct {
		given compat.Tree
		cold  string // why it cannot be live; empty if it can
		never bool   // it cannot leave at all
	}{
		"plain":                      {given: on(doc("", ""))},
		"a disk on the share":        {given: on(onShare)},
		"a disk of the host":         {given: on(local), cold: "/srv/x", never: true},
		"a device of the host":       {given: on(hostdev), cold: "host device", never: true},
		"another machine type":       {given: on(doc("'pc'", "'q35'"), facts(`{"machines":["pc"],"kvm":true}`)), cold: "machine type q35"},
		"machine types unknown":      {given: on(doc("'pc'", "'q35'"), facts(`{"kvm":true}`))},
		"no KVM there":               {given: on(kvm, facts(`{"machines":["pc"]}`)), cold: "has no KVM"},
		"another CPU":                {given: on(passthrough, facts(`{"cpu_model":"y","machines":["pc"],"kvm":true}`)), cold: "those differ (x, y)"},
		"another CPU, not passed on": {given: on(kvm, facts(`{"cpu_model":"y","machines":["pc"],"kvm":true}`))},
	} {
		t.Run(name, func(t *testing.T) {
			may := rule{given: tc.given, do: relocate(cluster.SetVMNode{Action: "migrate", Node: "hv2"}), says: tc.cold, writes: begun("hv2", "hv1", "", "")}
			must := rule{given: tc.given, do: relocate(cluster.SetVMNode{Action: "migrate", Node: "hv2", ForceLive: true}), writes: may.writes}
			if tc.cold == "" {
				may.says, must.says = ", live", ", live"
			} else {
				may.writes = begun("hv2", "hv1", "", `,"cold":true`)
				must.no, must.kind, must.says, must.writes = true, errs.Conflict, tc.cold, nil
			}
			if tc.never {
				may.no, may.kind, may.writes = true, errs.Conflict, nil
			}
			w.check(t, may)
			w.check(t, must)
		})
	}
}
