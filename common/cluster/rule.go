package cluster

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// AddRule puts a rule into the firewall of a managed network.
type AddRule struct {
	Network   string // VNI or description
	Name      string // its description in the API
	Direction string // in, out
	Rule      string // nftables expressions and a verdict
	Order     int    // position from 0; what is negative or beyond the end is the end
}

// maxRule is the length of a rule in characters.
const maxRule = 1024

// AddRule checks the rule by itself and commits it; the rules behind it move down.
func (c *Cluster) AddRule(ctx context.Context, r AddRule) (Answer, error) {
	direction, err := model.ParseDirection(r.Direction)
	if err != nil {
		return Answer{}, about("direction", err)
	}
	if err := model.CheckRuleName(r.Name); err != nil {
		return Answer{}, about("description", err)
	}
	if err := c.checkRule(ctx, r); err != nil {
		return Answer{}, err
	}
	return c.changeNetworks(ctx, always(func(s *view.Snapshot) (plan, error) { return addRule(s, r, direction) }))
}

func (c *Cluster) checkRule(ctx context.Context, r AddRule) error {
	if n := utf8.RuneCountInString(r.Rule); n > maxRule {
		return errs.Invalidf("value %q: %q has %d characters, at most %d are allowed", "rule", model.Clip(r.Rule), n, maxRule)
	}
	if c.o.CheckRule == nil {
		return errs.Unavailablef("value %q: this daemon cannot check rules, nothing was changed", "rule")
	}
	if err := c.o.CheckRule(ctx, r.Rule); err != nil {
		return errs.New(errs.KindOf(err), "value %q: %w", "rule", err)
	}
	return nil
}

func addRule(s *view.Snapshot, r AddRule, d model.Direction) (plan, error) {
	n, err := s.FindNetwork(r.Network)
	if err != nil {
		return plan{}, err
	}
	if n.Type != model.NetworkManaged {
		return plan{}, errs.Conflictf("network %q is %s: it has no firewall", n.Description, n.Type)
	}
	rules := n.Rules(d)
	if i := indexOf(rules, r.Name); i >= 0 {
		return plan{}, errs.Conflictf("network %q has a rule %q in direction %s already, at position %d", n.Description, r.Name, d, i)
	}
	at := r.Order
	if at < 0 || at > len(rules) {
		at = len(rules)
	}
	p := plan{about: schema.Network(n.VNI), missing: map[string]string{}}
	path := rulePath(n.VNI, d, r.Name)
	p.txn.Create(path, nil)
	p.txn.Create(path+"/"+schema.RuleOrder, []byte(strconv.Itoa(at)))
	p.txn.Create(path+"/"+schema.RuleText, []byte(r.Rule))
	p.renumber(n, d, rules[:at], 0)
	p.renumber(n, d, rules[at:], at+1)
	sameNetwork(&p.txn, n)
	effect := ""
	if !n.IP4.Gateway.IsValid() && !n.IP6.Gateway.IsValid() {
		effect = "; it has no effect while the network has no gateway"
	}
	p.message = fmt.Sprintf("rule %q is at position %d of direction %s in network %q%s", r.Name, at, d, n.Description, effect)
	return p, nil
}

// renumber writes the positions of all rules given, so that a text of another client, or
// one number twice, does not stay.
func (p *plan) renumber(n *model.Network, d model.Direction, rules []model.Rule, from int) {
	for i, r := range rules {
		path := rulePath(n.VNI, d, r.Name) + "/" + schema.RuleOrder
		p.txn.Set(path, []byte(strconv.Itoa(from+i)), r.Version)
		p.missing[path] = fmt.Sprintf("rule %q in direction %s of network %q is incomplete: remove it first", r.Name, d, n.Description)
	}
}

func rulePath(vni int, d model.Direction, name string) string {
	return schema.Network(vni, schema.NetworkRules, string(d), name)
}

func indexOf(rules []model.Rule, name string) int {
	for i, r := range rules {
		if r.Name == name {
			return i
		}
	}
	return -1
}

// RemoveRule takes a rule out of the firewall of a network.
type RemoveRule struct {
	Network   string // VNI or description
	Name      string // its description in the API
	Direction string // may be empty if only one direction has a rule of that name
}

// RemoveRule commits the removal; the rules behind it move up.
func (c *Cluster) RemoveRule(ctx context.Context, r RemoveRule) (Answer, error) {
	directions := []model.Direction{model.DirectionIn, model.DirectionOut}
	if r.Direction != "" {
		d, err := model.ParseDirection(r.Direction)
		if err != nil {
			return Answer{}, about("direction", err)
		}
		directions = []model.Direction{d}
	}
	return c.changeNetworks(ctx, func(ctx context.Context, _ at) (rule, error) {
		n, err := c.findNetwork(r.Network)
		if err != nil {
			return nil, err
		}
		d, err := directionOf(n, r.Name, directions)
		if err != nil {
			return nil, err
		}
		paths, err := c.addTree(ctx, nil, rulePath(n.VNI, d, r.Name), 1)
		if err != nil {
			return nil, err
		}
		return func(s *view.Snapshot) (plan, error) { return removeRule(s, n.VNI, d, r.Name, paths) }, nil
	})
}

// directionOf finds the one direction that has a rule of that name.
func directionOf(n *model.Network, name string, among []model.Direction) (d model.Direction, err error) {
	var found []string
	for _, try := range among {
		if indexOf(n.Rules(try), name) >= 0 {
			d, found = try, append(found, string(try))
		}
	}
	switch len(found) {
	case 0:
		return "", errs.NotFoundf("network %q has no rule %q%s", n.Description, model.Clip(name), inDirection(among))
	case 1:
		return d, nil
	}
	return "", errs.Conflictf("network %q has a rule %q in the directions %s: the value %q has to say which",
		n.Description, name, strings.Join(found, " and "), "direction")
}

func inDirection(among []model.Direction) string {
	if len(among) == 1 {
		return " in direction " + string(among[0])
	}
	return ""
}

func removeRule(s *view.Snapshot, vni int, d model.Direction, name string, paths []string) (plan, error) {
	n, ok := s.Network(vni)
	if !ok {
		return plan{}, removedMeanwhile(vni)
	}
	rules := n.Rules(d)
	i := indexOf(rules, name)
	if i < 0 || len(paths) == 0 {
		return plan{}, errs.NotFoundf("rule %q in direction %s of network %q was removed by somebody else meanwhile", name, d, n.Description)
	}
	p := plan{about: schema.Network(vni), missing: map[string]string{}}
	for _, path := range paths {
		p.txn.Delete(path, coord.AnyVersion)
	}
	p.renumber(n, d, rules[:i], 0)
	p.renumber(n, d, rules[i+1:], i)
	sameNetwork(&p.txn, n)
	p.message = fmt.Sprintf("rule %q in direction %s of network %q is removed", name, d, n.Description)
	return p, nil
}
