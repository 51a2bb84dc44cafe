package firewall

import (
	"context"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/run"
)

// WholeHost is the key of an error that concerns no single network.
const WholeHost = 0

// Firewall keeps our table in the kernel as it should be. It is safe for concurrent use.
type Firewall struct {
	run run.Runner
	log *slog.Logger

	mu     sync.Mutex
	loaded map[int]state // what this daemon has put there
	base   digest        // of the rest of the table; zero if it is not known to be ours
	there  bool          // there is a table
	seen   uint32        // the generation of the rule set that all this describes; 0 if it must be looked at
	drawn  map[int]drawn
}

// state is what is in force for a network.
type state struct {
	chains
	sum digest // of the chains in the kernel; zero if they are not what was loaded
}

func (s state) inForce() bool { return s.sum != digest{} }

// New returns a Firewall that knows nothing yet of what is in force: the first Apply
// makes the table anew, in one transaction.
func New(runner run.Runner, log *slog.Logger) *Firewall {
	return &Firewall{run: runner, log: log, loaded: map[int]state{}, drawn: map[int]drawn{}}
}

// Apply makes nftables hold the rules of the managed networks if this host is primary, and
// nothing of ours if it is not. Only chains that differ from what was loaded, or that
// somebody has changed since, are replaced; those of networks that are gone are removed; other tables
// are never touched. When nothing has changed it costs one request to the kernel.
//
// The errors are by VNI. A network with an error
// keeps its former rules or has them up to the bad one, as the package's comment says: the
// error's text names the rule and which of the two it is. It is errs.Invalid for a rule
// and errs.Unavailable if nft or the kernel did not answer, which is also under [WholeHost].
func (f *Firewall) Apply(ctx context.Context, primary bool, networks []*model.Network) map[int]error {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := &apply{Firewall: f, wanted: map[int]*model.Network{}, failed: map[int]error{}}
	for _, n := range networks {
		if primary && n.Type == model.NetworkManaged {
			a.wanted[n.VNI] = n
		}
	}
	err := a.look()
	if err == nil && len(a.wanted) == 0 {
		err = a.clear(ctx)
	} else if err == nil {
		a.plan(ctx)
		err = a.load(ctx)
	}
	if err == nil {
		err = a.record()
	}
	if err != nil {
		f.seen = 0
		a.failAll(err)
	}
	return a.failed
}

// failAll notes an error of the whole pass for what was to be changed, or for everything.
func (a *apply) failAll(err error) {
	a.failed[WholeHost] = err
	for _, c := range a.change {
		a.fail(c.network.VNI, err)
	}
	if len(a.change) == 0 {
		for vni := range a.wanted {
			a.fail(vni, err)
		}
	}
}

// apply is one pass of Apply.
type apply struct {
	*Firewall
	wanted     map[int]*model.Network
	generation uint32 // before the first change
	commits    uint32 // that this pass has made
	rebuild    bool   // the table is made anew with everything in it
	change     []*change
	gone       []int
	failed     map[int]error
}

// change is a network whose chains are to be replaced.
type change struct {
	network *model.Network
	chains
}

// look finds out what of the table is not as it was loaded.
func (a *apply) look() error {
	var err error
	if a.generation, err = generation(); err != nil {
		return err
	}
	if a.seen != 0 && a.generation == a.seen {
		return nil
	}
	base, there, err := baseDigest()
	if err != nil {
		return err
	}
	a.there = there
	if !there || base != a.base || a.base == (digest{}) {
		if a.base != (digest{}) {
			a.log.Warn("firewall is not as it was loaded; it is made anew")
		}
		a.base, a.rebuild = digest{}, true
		return nil
	}
	for vni, s := range a.loaded {
		now, err := networkDigest(vni)
		if err != nil {
			return err
		}
		if s.inForce() && now != s.sum {
			a.log.Warn("rules are not as they were loaded; they are replaced", "network", vni)
			a.loaded[vni] = state{chains: s.chains}
		}
	}
	return nil
}

// clear removes the table.
func (a *apply) clear(ctx context.Context) error {
	if !a.there {
		return nil
	}
	if err := a.nft(ctx, removed); err != nil {
		return err
	}
	clear(a.loaded)
	clear(a.drawn)
	a.base, a.there = digest{}, false
	a.log.Info("firewall removed")
	return nil
}

// plan finds the networks to replace and to remove.
func (a *apply) plan(ctx context.Context) {
	a.rebuild = a.rebuild || a.base == digest{}
	for _, vni := range slices.Sorted(maps.Keys(a.wanted)) {
		d := a.draw(a.wanted[vni])
		c := &change{a.wanted[vni], d.chains}
		if d.bad != nil {
			a.substitute(ctx, c, d.bad)
		}
		if a.rebuild || a.differs(c) {
			a.change = append(a.change, c)
		}
	}
	for _, vni := range slices.Sorted(maps.Keys(a.loaded)) {
		if a.wanted[vni] == nil {
			a.gone = append(a.gone, vni)
		}
	}
	maps.DeleteFunc(a.drawn, func(vni int, _ drawn) bool { return a.wanted[vni] == nil })
}

// differs reports whether something else is in force.
func (a *apply) differs(c *change) bool {
	s, ok := a.loaded[c.network.VNI]
	return !ok || !s.inForce() || s.chains != c.chains
}

// record looks at what was loaded and notes what it looks like, if nobody else has touched
// the rule set since this pass began: else it is not known to be ours, and the next
// pass makes the table anew.
func (a *apply) record() error {
	if a.commits == 0 {
		a.seen = a.generation
		return nil
	}
	base, there, err := baseDigest()
	if err != nil {
		return err
	}
	sums := map[int]digest{}
	for _, c := range a.change {
		if sums[c.network.VNI], err = networkDigest(c.network.VNI); err != nil {
			return err
		}
	}
	now, err := generation()
	if err != nil {
		return err
	}
	if now != a.generation+a.commits {
		a.seen, a.base = 0, digest{}
		return nil
	}
	a.seen, a.base, a.there = now, base, there
	for vni, sum := range sums {
		a.loaded[vni] = state{a.loaded[vni].chains, sum}
	}
	return nil
}
