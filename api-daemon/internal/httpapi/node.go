package httpapi

import (
	"slices"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

func (a *API) listNodes(r *request) (*reply, error) {
	limit, daemon := r.values.pattern("limit"), r.values.text("daemon_state")
	coordinator, domain := r.values.text("coordinator_state"), r.values.text("domain_state")
	if limit == nil && daemon == "" && coordinator == "" && domain == "" {
		return a.shelves.nodeList(), nil
	}
	generation, nodes := a.shelves.snapshotNodes()
	nodes = slices.DeleteFunc(nodes, func(n *model.Node) bool {
		return limit != nil && !limit.MatchString(n.Name) ||
			daemon != "" && string(n.EffectiveDaemonState()) != daemon ||
			coordinator != "" && coordinatorStateOf(n) != coordinator ||
			domain != "" && string(n.DomainState) != domain
	})
	return a.shelves.someNodes(generation, nodes), nil
}

func (a *API) getNode(r *request) (*reply, error) {
	generation, nodes := a.shelves.snapshotNodes()
	nodes = slices.DeleteFunc(nodes, func(n *model.Node) bool { return n.Name != r.path["node"] })
	return a.shelves.someNodes(generation, nodes), nil
}

// findNode returns the node that the path names.
func (a *API) findNode(r *request) (n *model.Node, err error) {
	name := r.path["node"]
	a.o.Mirror.Read(func(p Picture) {
		var ok bool
		if n, ok = p.Node(name); !ok {
			err = errs.NotFoundf("no node is named %q", model.Clip(name))
		}
	})
	return n, err
}

func (a *API) deleteNode(r *request) (*reply, error) {
	if !r.values.flag(confirm.name) {
		return nil, errs.Invalidf("removing node %q needs the value %q", model.Clip(r.path["node"]), confirm.name)
	}
	return answered(a.o.Changes.RemoveNode(r.Context(), r.path["node"]))
}

// nodeWord answers one word about a node.
func (a *API) nodeWord(r *request, key string, of func(*model.Node) string) (*reply, error) {
	n, err := a.findNode(r)
	if err != nil {
		return nil, err
	}
	return jsonReply(map[string]string{"name": n.Name, key: of(n)}), nil
}

func (a *API) getDaemonState(r *request) (*reply, error) {
	return a.nodeWord(r, "daemon_state", func(n *model.Node) string { return string(n.EffectiveDaemonState()) })
}

func (a *API) getCoordinatorState(r *request) (*reply, error) {
	return a.nodeWord(r, "coordinator_state", coordinatorStateOf)
}

func (a *API) getDomainState(r *request) (*reply, error) {
	return a.nodeWord(r, "domain_state", func(n *model.Node) string { return string(n.DomainState) })
}

func (a *API) setCoordinatorState(r *request) (*reply, error) {
	return answered(a.o.Changes.SetCoordinatorState(r.Context(), cluster.SetCoordinatorState{
		Node: r.path["node"], State: r.values.text(newCoordinatorState.name), Wait: r.values.flag("wait"),
	}))
}

func (a *API) setDomainState(r *request) (*reply, error) {
	return answered(a.o.Changes.SetDomainState(r.Context(), cluster.SetDomainState{
		Node: r.path["node"], State: r.values.text(newDomainState.name), Wait: r.values.flag("wait"),
	}))
}
