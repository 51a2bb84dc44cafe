package link

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// leftovers plans the removal of what is ours and needed no longer, by network.
func (p *planner) leftovers() []work {
	by := map[int][]device{}
	for _, d := range p.have.devices {
		if vni, ok := owner(d.alias); ok && d.makeable() && !p.taken[d.name] {
			by[vni] = append(by[vni], d)
		}
	}
	var todo []work
	for _, vni := range slices.Sorted(maps.Keys(by)) {
		w := work{vni: vni}
		slices.SortFunc(by[vni], func(a, b device) int { return cmp.Compare(a.name, b.name) })
		p.leave(&w, by[vni])
		todo = append(todo, w)
	}
	return todo
}

// leave removes what is left of a network: bridges first, because they may turn out
// to be in use. A bridge that guests are attached to keeps its way to other hosts.
func (p *planner) leave(w *work, left []device) {
	kept, going := map[int]bool{}, map[int]string{}
	for _, d := range left {
		if d.kind != kindBridge {
			continue
		}
		ports := p.have.foreignPorts(d, w.vni)
		if len(ports) == 0 {
			going[d.index] = d.name
			w.add(step{op: remove, device: d.name, kind: kindBridge})
			continue
		}
		kept[d.index] = true
		w.fault(inUse(d.name, ports))
		if p.switching != nil {
			w.fault(p.switching) // one of them may be our own
		}
	}
	for _, d := range left {
		switch {
		case d.kind == kindBridge:
		case d.kind == kindPort && d.idle:
			w.fault(notRunning(d.port.bridge))
		case !kept[d.master]:
			w.add(step{op: remove, device: d.name, kind: d.kind, to: going[d.master]})
		case d.kind == kindVXLAN:
			p.flooding(w, d)
		}
	}
}

func inUse(bridge string, ports []string) error {
	slices.Sort(ports)
	return errs.Conflictf("network is gone, but its bridge %s is in use by %s", bridge, strings.Join(ports, ", "))
}
