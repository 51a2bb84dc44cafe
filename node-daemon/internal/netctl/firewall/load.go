package firewall

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	rules "github.com/parallelvirtualcluster/pvc/common/firewall"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/run"
)

// emptied is the script that removes a table whether it is there or not.
func emptied(vni int) string {
	return fmt.Sprintf("table inet %[1]s\ndelete table inet %[1]s\n", tableOf(vni))
}

// refusal says that nft works but does not take a script.
type refusal struct {
	reason string
	err    error
}

func (r *refusal) Error() string { return r.reason }
func (r *refusal) Unwrap() error { return r.err }

// nft runs a script as one transaction of the kernel. The error is a *refusal if nothing
// was changed because nft or the kernel does not take it.
func (a *apply) nft(ctx context.Context, script string) error {
	r, err := a.run.Run(ctx, run.Command{Argv: []string{"nft", "-f", "-"}, Stdin: []byte(script), Timeout: rules.Timeout})
	var exit *run.ExitError
	switch {
	case err == nil:
		a.commits++
		return nil
	case errors.As(err, &exit) && exit.Signal == "":
		return &refusal{rules.Reason(r.Stderr), err}
	}
	return errs.Unavailablef("load nftables: %w", err)
}

// load replaces the tables. All of them are tried in one transaction first, which is by
// far the fastest.
func (a *apply) load(ctx context.Context) {
	var batch []*change
	for _, c := range a.change {
		if c.adopt {
			a.loaded[c.network.VNI] = state{adopted: true}
		} else {
			batch = append(batch, c)
		}
	}
	a.loadBatch(ctx, batch)
}

// loadBatch loads tables in one transaction; if it is refused, by halves, until those that
// are to blame are alone.
func (a *apply) loadBatch(ctx context.Context, batch []*change) {
	if len(batch) == 0 {
		return
	}
	var script strings.Builder
	for _, c := range batch {
		script.WriteString(emptied(c.network.VNI) + c.text)
	}
	err := a.nft(ctx, script.String())
	var refused *refusal
	switch {
	case err == nil:
		for _, c := range batch {
			a.loaded[c.network.VNI] = state{table: c.table}
			a.log.Info("firewall loaded", "network", c.network.VNI)
		}
	case !errors.As(err, &refused):
		a.notLoaded(batch, err)
	case len(batch) > 1:
		a.loadBatch(ctx, batch[:len(batch)/2])
		a.loadBatch(ctx, batch[len(batch)/2:])
	default:
		a.refused(ctx, batch[0], refused)
	}
}

// notLoaded notes that the tables were not loaded, or that nobody knows whether they were.
func (a *apply) notLoaded(batch []*change, err error) {
	for _, c := range batch {
		vni := c.network.VNI
		a.failed[vni] = also(a.failed[vni], fmt.Errorf("firewall of network %d: %w", vni, err))
		if t, ok := a.loaded[vni]; ok {
			t.sum = [sha256.Size]byte{}
			a.loaded[vni] = t
		}
	}
}

// refused handles a network whose table is not taken: what can be loaded instead is loaded,
// unless the former one, which is untouched, goes on.
func (a *apply) refused(ctx context.Context, c *change, refused *refusal) {
	vni := c.network.VNI
	former := a.loaded[vni]
	if former.text == c.text {
		delete(a.loaded, vni) // it was taken once, and is no longer: nothing to go back to
	}
	bad, why, err := a.badRules(ctx, c.network)
	if err != nil {
		a.notLoaded([]*change{c}, err)
		return
	}
	again := &change{network: c.network, table: render(c.network, bad)}
	if len(bad) == 0 || again.text == c.text {
		a.notLoaded([]*change{c}, errs.Unavailablef("nft refuses it: %w", refused))
		return
	}
	a.substitute(again, why)
	switch {
	case again.adopt:
		a.loaded[vni] = state{adopted: true}
	case !former.inForce() || former.text != again.text:
		a.loadSubstitute(ctx, again)
	}
}

func (a *apply) loadSubstitute(ctx context.Context, c *change) {
	if err := a.nft(ctx, emptied(c.network.VNI)+c.text); err != nil {
		a.notLoaded([]*change{c}, err)
		return
	}
	a.loaded[c.network.VNI] = state{table: c.table}
}

// substitute decides what is in force for a network with rules that cannot be loaded, whose
// table c has only in part, and notes the error.
func (a *apply) substitute(c *change, err error) {
	vni := c.network.VNI
	former, ok := a.loaded[vni]
	consequence := "its former rules stay in force"
	switch {
	case ok && !former.adopted && !former.cut && former.frame == c.frame:
		c.table = former.table
	case (!ok || former.adopted && former.inForce()) && a.keeps(c):
		c.adopt = true
	default:
		consequence = "what comes to it is dropped"
	}
	a.failed[vni] = errs.Invalidf("firewall of network %d: %w; %s", vni, err, consequence)
}

// keeps reports whether the kernel has a former table that may stand in.
func (a *apply) keeps(c *change) bool {
	if !a.there[c.network.VNI] {
		return false
	}
	same, err := holdsWhole(c.network.VNI, c.frame)
	return err == nil && same
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

// also adds an error to others, in one line.
func also(others, err error) error {
	if others == nil {
		return err
	}
	return fmt.Errorf("%w; %w", others, err)
}
