package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor/fake"
)

// Options of Start.
type Options struct {
	Nodes        int // named n001…
	Coordinators int // how many of them take part in the election
	Servers      []string
	Timeout      time.Duration // of the sessions; 0 is 10 s
	LockDir      string        // for the lock files of the nodes
	// Created is told of each guest when the hypervisor is asked to create it. It is
	// called by many goroutines at once. May be nil.
	Created func(node, uuid string, at time.Time)
	Logger  *slog.Logger // nil discards
}

// Fleet is a set of running nodes.
type Fleet struct {
	o     Options
	world *fake.World
	nodes []*node
	stop  context.CancelFunc
	wg    sync.WaitGroup

	mu     sync.Mutex
	errors []error // of nodes that ended by themselves
}

// Start starts the nodes and returns when all of them are registered and running. On
// failure nothing is left running.
func Start(ctx context.Context, o Options) (*Fleet, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	f := &Fleet{o: o, world: fake.NewWorld()}
	for i := range o.Nodes {
		f.nodes = append(f.nodes, f.newNode(Name(i), i < o.Coordinators))
	}
	run, stop := context.WithCancel(context.WithoutCancel(ctx))
	f.stop = stop
	for _, n := range f.nodes {
		f.wg.Go(func() { f.ended(n.name, n.run(run)) })
	}
	for _, n := range f.nodes {
		select {
		case <-n.running:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("node %s does not run: %w", n.name, ctx.Err()), f.Close())
		}
	}
	return f, nil
}

// Name is the name of node number i (0…).
func Name(i int) string { return fmt.Sprintf("n%03d", i+1) }

func (f *Fleet) ended(name string, err error) {
	if err == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.errors = append(f.errors, fmt.Errorf("node %s: %w", name, err))
}

// Lose takes a node's connections away for good, without a goodbye: its sessions end
// and its daemon finds no server any more. Its guests go on.
func (f *Fleet) Lose(name string) error {
	for _, n := range f.nodes {
		if n.name == name {
			n.line.cut()
			return nil
		}
	}
	return errs.NotFoundf("no node is named %q", name)
}

// IgnoreShutdown makes a guest deaf to the power button. It reports whether the guest
// is on that node.
func (f *Fleet) IgnoreShutdown(node, uuid string) bool {
	return f.world.Host(node).IgnoreShutdown(uuid, true)
}

// Shutdowns is how often a node's hypervisor was asked to press the power button.
func (f *Fleet) Shutdowns(node string) int { return f.world.Host(node).Calls(fake.Shutdown) }

// Guests is the number of guests on all nodes.
func (f *Fleet) Guests(ctx context.Context) (int, error) {
	total := 0
	for _, n := range f.nodes {
		g, err := n.guests(ctx)
		if err != nil {
			return 0, fmt.Errorf("node %s: %w", n.name, err)
		}
		total += len(g.UUIDs)
	}
	return total, nil
}

// Running returns the names of the nodes on which a guest executes.
func (f *Fleet) Running(uuid string) []string { return f.world.Executing(uuid) }

// Twice tells of each moment at which a guest executed on two nodes.
func (f *Fleet) Twice() []string { return f.world.Twice() }

// Close signs all nodes off and returns what has failed since the start.
func (f *Fleet) Close() error {
	f.stop()
	f.wg.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return errors.Join(f.errors...)
}
