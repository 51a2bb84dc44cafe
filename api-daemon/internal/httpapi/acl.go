package httpapi

import (
	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

func (a *API) listACLs(r *request) (*reply, error) {
	limit, direction := r.values.pattern("limit"), r.values.text("direction")
	return a.rulesWhere(r, func(d model.Direction, rule model.Rule) bool {
		return (direction == "" || direction == string(d)) && (limit == nil || limit.MatchString(rule.Name))
	})
}

// getACL answers the rules of that name, one for each direction that has one.
func (a *API) getACL(r *request) (*reply, error) {
	return a.rulesWhere(r, func(_ model.Direction, rule model.Rule) bool { return rule.Name == r.path["acl"] })
}

// rulesWhere lists rules by direction and position.
func (a *API) rulesWhere(r *request, wanted func(model.Direction, model.Rule) bool) (*reply, error) {
	n, _, err := a.findNetwork(r)
	if err != nil {
		return nil, err
	}
	out := []aclJSON{}
	for _, d := range []model.Direction{model.DirectionIn, model.DirectionOut} {
		for i, rule := range n.Rules(d) {
			if wanted(d, rule) {
				out = append(out, ruleAnswer(d, i, rule))
			}
		}
	}
	return jsonReply(out), nil
}

func (a *API) addACL(r *request) (*reply, error) {
	return answered(a.o.Changes.AddRule(r.Context(), cluster.AddRule{
		Network: r.path["network"], Name: r.values.text("description"), Direction: r.values.text("direction"),
		Rule: r.values.text("rule"), Order: r.values.number("order", -1),
	}))
}

func (a *API) deleteACL(r *request) (*reply, error) {
	return answered(a.o.Changes.RemoveRule(r.Context(), cluster.RemoveRule{
		Network: r.path["network"], Name: r.path["acl"], Direction: r.values.text("direction"),
	}))
}
