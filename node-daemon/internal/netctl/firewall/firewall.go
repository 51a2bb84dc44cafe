package firewall

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/run"
)

// WholeHost is the key of an error that concerns no single network.
const WholeHost = 0

// Firewall keeps the tables of managed networks in the kernel as they should be. It is
// safe for concurrent use.
type Firewall struct {
	run run.Runner
	log *slog.Logger

	mu     sync.Mutex
	loaded map[int]state // what this daemon has put there
	there  map[int]bool  // the tables of ours in the kernel
	drawn  map[int]drawn
	seen   uint32 // the generation of the rule set that loaded and there describe; 0 if it must be looked at
}

// state is what is in force for a network.
type state struct {
	table
	adopted bool              // found there when the daemon started, and kept: the text is not known
	sum     [sha256.Size]byte // of the kernel's table; zero if that is not what was loaded
}

func (s state) inForce() bool { return s.sum != [sha256.Size]byte{} }

// New returns a Firewall that knows nothing yet of what is in force: the first Apply
// loads every table anew.
func New(runner run.Runner, log *slog.Logger) *Firewall {
	return &Firewall{run: runner, log: log, loaded: map[int]state{}, drawn: map[int]drawn{}}
}

// Apply makes nftables hold the rules of the managed networks if this host is primary, and
// none of ours if it is not. Only tables that differ from what was loaded, or that
// somebody has changed since, are replaced, each as a whole; tables of networks that are
// gone are removed; other tables are never touched. When nothing has changed it costs one
// request to the kernel.
//
// The errors are by VNI; one under [WholeHost] concerns the host. A network with an error
// keeps its former rules or has them up to the bad one, as the package's comment says: the
// error's text names the rule and which of the two it is. It is errs.Invalid for a rule
// and errs.Unavailable if nft or the kernel did not answer.
func (f *Firewall) Apply(ctx context.Context, primary bool, networks []*model.Network) map[int]error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !primary {
		networks = nil
	}
	a := &apply{Firewall: f, failed: map[int]error{}}
	if err := a.look(); err != nil {
		return hostFailed(networks, err)
	}
	a.plan(networks)
	a.remove(ctx)
	a.load(ctx)
	if err := a.record(); err != nil {
		f.seen = 0
		return hostFailed(networks, err)
	}
	return a.failed
}

// hostFailed is the error of every network.
func hostFailed(networks []*model.Network, err error) map[int]error {
	failed := map[int]error{WholeHost: err}
	for _, n := range networks {
		if n.Type == model.NetworkManaged {
			failed[n.VNI] = err
		}
	}
	return failed
}

// apply is one pass of Apply.
type apply struct {
	*Firewall
	generation uint32 // before the first change
	commits    uint32 // that this pass has made
	change     []*change
	gone       []int
	failed     map[int]error
}

// change is a network whose table is to be replaced.
type change struct {
	network *model.Network
	table
	adopt bool // nothing is loaded: the kernel's table is kept from now on
}

// look finds out which tables of ours are in the kernel and forgets those that are not as
// they were loaded.
func (a *apply) look() error {
	var err error
	if a.generation, err = generation(); err != nil {
		return err
	}
	if a.seen != 0 && a.generation == a.seen {
		return nil
	}
	sums, err := loadedTables(func(vni int) bool { return a.loaded[vni].inForce() })
	if err != nil {
		return err
	}
	a.there = map[int]bool{}
	for vni := range sums {
		a.there[vni] = true
	}
	for vni, t := range a.loaded {
		if sum, ok := sums[vni]; !t.inForce() || ok && sum == t.sum {
			continue
		}
		if a.seen != 0 {
			a.log.Warn("firewall table changed by somebody else; it is loaded again", "network", vni)
		}
		t.sum = [sha256.Size]byte{}
		a.loaded[vni] = t
	}
	return nil
}

// plan finds the tables to replace and to remove.
func (a *apply) plan(networks []*model.Network) {
	wanted := map[int]bool{}
	for _, n := range networks {
		if n.Type != model.NetworkManaged {
			continue
		}
		wanted[n.VNI] = true
		d := a.draw(n)
		c := &change{network: n, table: d.table}
		if d.bad != nil {
			a.substitute(c, d.bad)
		}
		if t, ok := a.loaded[n.VNI]; !ok || !t.inForce() || !c.adopt && t.text != c.text {
			a.change = append(a.change, c)
		}
	}
	a.gone = slices.Sorted(maps.Keys(a.there))
	a.gone = slices.DeleteFunc(a.gone, func(vni int) bool { return wanted[vni] })
	maps.DeleteFunc(a.drawn, func(vni int, _ drawn) bool { return !wanted[vni] })
	maps.DeleteFunc(a.loaded, func(vni int, _ state) bool { return !wanted[vni] && !a.there[vni] })
}

// remove deletes the tables of networks that are gone.
func (a *apply) remove(ctx context.Context) {
	if len(a.gone) == 0 {
		return
	}
	var script string
	for _, vni := range a.gone {
		script += emptied(vni)
	}
	if err := a.nft(ctx, script); err != nil {
		for _, vni := range a.gone {
			a.failed[vni] = fmt.Errorf("remove the firewall of network %d: %w", vni, err)
		}
		return
	}
	for _, vni := range a.gone {
		delete(a.loaded, vni)
		delete(a.there, vni)
		a.log.Info("firewall removed", "network", vni)
	}
}

// record looks at the tables that were loaded and notes what they look like, if nobody
// else has touched the rule set since this pass began: else they are not known to be
// ours and are loaded again by the next pass.
func (a *apply) record() error {
	if a.commits == 0 && len(a.change) == 0 && len(a.gone) == 0 {
		a.seen = a.generation
		return nil
	}
	changed := map[int]bool{}
	for _, c := range a.change {
		changed[c.network.VNI] = true
	}
	sums, err := loadedTables(func(vni int) bool { return changed[vni] })
	if err != nil {
		return err
	}
	now, err := generation()
	if err != nil {
		return err
	}
	if now != a.generation+a.commits {
		a.seen = 0
		return nil
	}
	a.seen = now
	a.there = map[int]bool{}
	for vni := range sums {
		a.there[vni] = true
	}
	for _, c := range a.change {
		if t, ok := a.loaded[c.network.VNI]; ok {
			t.sum = sums[c.network.VNI]
			a.loaded[c.network.VNI] = t
		}
	}
	return nil
}
