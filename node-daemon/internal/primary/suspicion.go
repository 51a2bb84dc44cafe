package primary

import (
	"context"
	"encoding/json"
	"log/slog"
	"sync"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

const (
	// suspectAfter is how long a session is missed before the host is asked: a daemon
	// that restarts is no news.
	suspectAfter = 3 * time.Second
	// askAgain is the time between two questions to a host whose daemon stays away.
	askAgain = 10 * time.Second
	// suspicionPulse is the time between two looks while a session is missed.
	suspicionPulse = time.Second
)

// Sight is what the overview sees of a node.
type Sight struct {
	Node  string
	Facts model.NodeFacts

	known     bool // our release has registered it
	alive     bool
	state     model.DaemonState
	condition string
	version   int32 // of the condition
}

// missed is a node whose session has vanished without a goodbye.
func (s Sight) missed() bool { return s.known && !s.alive && s.state != model.DaemonStop }

// suspicion finds out about missed nodes. It reports; nothing is fenced or moved.
type suspicion struct {
	session Session
	mirror  *view.Mirror
	answers func(ctx context.Context, host Sight) bool
	log     *slog.Logger
	wake    chan struct{}

	due map[string]time.Time // when to ask a missed node
}

func newSuspicion(o OverviewOptions) *suspicion {
	return &suspicion{
		session: o.Session, answers: o.Answers, log: o.Logger,
		wake: make(chan struct{}, 1), due: map[string]time.Time{},
	}
}

func (s *suspicion) run(ctx context.Context) {
	for ctx.Err() == nil {
		var wait <-chan time.Time
		if s.pass(ctx) {
			wait = time.After(suspicionPulse)
		}
		select {
		case <-ctx.Done():
		case <-s.wake:
		case <-wait:
		}
	}
}

// pass looks once and reports whether any node is missed.
func (s *suspicion) pass(ctx context.Context) bool {
	var sights []Sight
	s.mirror.Read(func(t schema.Tree) { sights = readSights(t) })
	ask := s.choose(sights, time.Now())
	var asking sync.WaitGroup
	for _, host := range ask {
		asking.Go(func() { s.find(ctx, host) })
	}
	asking.Wait()
	return len(s.due) > 0
}

func readSights(t schema.Tree) (out []Sight) {
	for _, name := range t.Children(schema.Nodes) {
		host := Sight{Node: name}
		_, _, host.known = t.Data(schema.Node(name, schema.NodeSession))
		host.alive = len(t.Children(schema.Node(name, schema.NodeSession))) > 0
		state, _, _ := t.Data(schema.Node(name, schema.NodeDaemonState))
		host.state = model.DaemonState(state)
		host.condition, host.version, _ = t.Data(schema.Node(name, schema.NodeCondition))
		facts, _, _ := t.Data(schema.Node(name, schema.NodeFacts))
		// A host without readable facts is asked by its name.
		_ = json.Unmarshal([]byte(facts), &host.Facts)
		out = append(out, host)
	}
	return out
}

// choose keeps the times and returns the nodes to ask now.
func (s *suspicion) choose(sights []Sight, now time.Time) (ask []Sight) {
	missed := map[string]bool{}
	for _, host := range sights {
		if !host.missed() {
			continue
		}
		missed[host.Node] = true
		due, there := s.due[host.Node]
		switch {
		case !there:
			s.due[host.Node] = now.Add(suspectAfter)
		case !now.Before(due):
			s.due[host.Node] = now.Add(askAgain)
			ask = append(ask, host)
		}
	}
	for name := range s.due {
		if !missed[name] {
			delete(s.due, name)
		}
	}
	return ask
}

// find asks a host and records what it found, unless the node has been written to
// meanwhile.
func (s *suspicion) find(ctx context.Context, host Sight) {
	actx, cancel := context.WithTimeout(ctx, probeTimeout)
	found := model.Unreachable
	if s.answers(actx, host) {
		found = model.ControlPlaneLost
	}
	cancel()
	if found == host.condition || ctx.Err() != nil {
		return
	}
	ctx, cancel = context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var txn coord.Txn
	s.session.Check(&txn)
	txn.Check(schema.PrimaryHolder, coord.AnyVersion)
	txn.Set(schema.Node(host.Node, schema.NodeCondition), []byte(found), host.version)
	_, err := s.session.Client().Commit(ctx, txn)
	switch {
	case err == nil:
		s.log.Error("a node's daemon has vanished", "suspect", host.Node, "condition", found)
	case !errs.Is(err, errs.Conflict): // a conflict: it has registered, or the role has moved
		s.log.Warn("the condition of a node could not be recorded", "suspect", host.Node, "err", err)
	}
}
