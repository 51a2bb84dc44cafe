package firewall

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	rules "github.com/parallelvirtualcluster/pvc/common/firewall"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/run"
)

// refusal says that nft works but does not take a script.
type refusal struct{ reason string }

func (r *refusal) Error() string { return "nft refuses it: " + r.reason }

// program runs nft. The error is a *refusal if nft or the kernel does not take the script,
// of which nothing is done then.
func (a *apply) program(ctx context.Context, script string, argv ...string) ([]byte, error) {
	r, err := a.run.Run(ctx, run.Command{Argv: append([]string{"nft"}, argv...), Stdin: []byte(script), Timeout: rules.Timeout})
	var exit *run.ExitError
	switch {
	case err == nil:
		return r.Stdout, nil
	case errors.As(err, &exit) && exit.Signal == "":
		return nil, &refusal{rules.Reason(r.Stderr)}
	}
	return nil, errs.Unavailablef("load nftables: %w", err)
}

// nft runs a script as one transaction of the kernel.
func (a *apply) nft(ctx context.Context, script string) error {
	_, err := a.program(ctx, script, "-f", "-")
	if err == nil {
		a.commits++
	}
	return err
}

func (a *apply) check(ctx context.Context, batch []*change) error {
	_, err := a.program(ctx, trial(batch), "-c", "-f", "-")
	return err
}

// load makes all changes in one transaction. If it is refused, the networks that are to
// blame get what can be loaded instead, and it is tried again.
func (a *apply) load(ctx context.Context) error {
	if len(a.change) == 0 && len(a.gone) == 0 && !a.rebuild {
		return nil
	}
	err := a.nft(ctx, a.script())
	var refused *refusal
	if errors.As(err, &refused) {
		if err := a.replaceCulprits(ctx); err != nil {
			return err
		}
		if len(a.change) == 0 && len(a.gone) == 0 {
			return nil
		}
		err = a.nft(ctx, a.script())
	}
	if errors.As(err, &refused) {
		return errs.Unavailablef("load nftables: %w", err)
	}
	if err != nil {
		return err
	}
	for _, c := range a.change {
		a.loaded[c.network.VNI] = state{chains: c.chains}
		a.log.Info("firewall loaded", "network", c.network.VNI)
	}
	for _, vni := range a.gone {
		delete(a.loaded, vni)
		a.log.Info("firewall removed", "network", vni)
	}
	return nil
}

func (a *apply) script() string {
	if a.rebuild {
		return rebuilt(a.change)
	}
	var b strings.Builder
	for _, vni := range a.gone {
		b.WriteString(withdrawn(vni))
	}
	for _, c := range a.change {
		b.WriteString(replaced(c.network.VNI, c.chains))
	}
	return b.String()
}

// replaceCulprits gives the networks whose chains nft refuses what it takes, and forgets
// those for which that is in force already.
func (a *apply) replaceCulprits(ctx context.Context) error {
	culprits, err := a.culprits(ctx, a.change)
	if err != nil {
		return err
	}
	for c, refused := range culprits {
		if err := a.replaceRules(ctx, c, refused); err != nil {
			return err
		}
	}
	var left []*change
	for _, c := range a.change {
		if a.rebuild || a.differs(c) {
			left = append(left, c)
		}
	}
	a.change = left
	return nil
}

// culprits finds the networks whose chains are refused, by halves.
func (a *apply) culprits(ctx context.Context, batch []*change) (map[*change]error, error) {
	if len(batch) == 0 {
		return nil, nil
	}
	err := a.check(ctx, batch)
	var refused *refusal
	if !errors.As(err, &refused) {
		return nil, err
	}
	if len(batch) == 1 {
		return map[*change]error{batch[0]: refused}, nil
	}
	found, err := a.culprits(ctx, batch[:len(batch)/2])
	if err != nil {
		return nil, err
	}
	more, err := a.culprits(ctx, batch[len(batch)/2:])
	for c, refused := range more {
		if found == nil {
			found = map[*change]error{}
		}
		found[c] = refused
	}
	return found, err
}

// replaceRules finds the rules that are refused and what is loaded instead.
func (a *apply) replaceRules(ctx context.Context, c *change, refused error) error {
	bad, why, err := a.badRules(ctx, c.network)
	if err != nil {
		return err
	}
	if len(bad) == 0 { // no rule alone is to blame
		why = refused
		for _, r := range append(append([]model.Rule{}, c.network.In...), c.network.Out...) {
			bad[r.Text] = true
		}
	}
	part := render(c.network, bad)
	c.chains = part
	delete(a.failed, c.network.VNI)
	a.substitute(ctx, c, why)
	if c.chains == part {
		return nil
	}
	err = a.check(ctx, []*change{c})
	var again *refusal
	if errors.As(err, &again) { // it was taken once, and is no longer
		delete(a.loaded, c.network.VNI)
		c.chains = part
		a.failed[c.network.VNI] = invalid(c.network.VNI, why, dropped)
		return nil
	}
	return err
}

// What happens with packets of a network that has bad rules.
const (
	kept    = "its former rules stay in force"
	dropped = "what comes to it is dropped"
)

func invalid(vni int, err error, consequence string) error {
	return errs.Invalidf("firewall of network %d: %w; %s", vni, err, consequence)
}

// substitute decides what is in force for a network with rules that cannot be loaded, whose
// chains c has only in part, and notes the error.
func (a *apply) substitute(ctx context.Context, c *change, err error) {
	vni := c.network.VNI
	former, ok := a.former(ctx, vni)
	if !ok || former.cut {
		a.failed[vni] = invalid(vni, err, dropped)
		return
	}
	c.chains = former
	a.failed[vni] = invalid(vni, err, kept)
}

// former are the chains that were loaded last: by this daemon, or by the one before it, of
// which only the kernel knows.
func (a *apply) former(ctx context.Context, vni int) (chains, bool) {
	if s, ok := a.loaded[vni]; ok {
		return s.chains, true
	}
	if !a.there {
		return chains{}, false
	}
	in, okIn := a.list(ctx, fmt.Sprintf("vxlan%d-in", vni))
	out, okOut := a.list(ctx, fmt.Sprintf("vxlan%d-out", vni))
	return chains{in, out, strings.Contains(in+out, placeholder)}, okIn && okOut
}

// list is the body of a chain in the kernel, as nft would load it.
func (a *apply) list(ctx context.Context, chain string) (text string, ok bool) {
	out, err := a.program(ctx, "", "-s", "list", "chain", "inet", tableName, chain)
	if err != nil {
		return "", false
	}
	_, text, ok = strings.Cut(string(out), "\tchain "+chain+" {\n")
	text, _, end := strings.Cut(text, "\t}\n")
	return text, ok && end
}

// grammar is the error of the rules of a network that have no grammar.
func grammar(n *model.Network) error {
	var bad error
	for _, d := range []model.Direction{model.DirectionIn, model.DirectionOut} {
		for _, r := range n.Rules(d) {
			if err := rules.Grammar(r.Text); err != nil {
				bad = also(bad, named(d, r, err))
			}
		}
	}
	return bad
}

func named(d model.Direction, r model.Rule, err error) error {
	return fmt.Errorf("%s rule %q: %w", d, r.Name, err)
}

// badRules tries every rule of a network alone and returns the texts of those that cannot
// be loaded, and why.
func (a *apply) badRules(ctx context.Context, n *model.Network) (bad map[string]bool, why, err error) {
	checker := rules.Checker{Run: a.run}
	bad = map[string]bool{}
	for _, d := range []model.Direction{model.DirectionIn, model.DirectionOut} {
		for _, r := range n.Rules(d) {
			err := checker.Check(ctx, r.Text)
			if errs.Is(err, errs.Unavailable) {
				return nil, nil, err
			}
			if err != nil {
				bad[r.Text] = true
				why = also(why, named(d, r, err))
			}
		}
	}
	return bad, why, nil
}

func (a *apply) fail(vni int, err error) {
	a.failed[vni] = also(a.failed[vni], fmt.Errorf("firewall of network %d: %w", vni, err))
}

// also adds an error to others, in one line.
func also(others, err error) error {
	if others == nil {
		return err
	}
	return fmt.Errorf("%w; %w", others, err)
}
