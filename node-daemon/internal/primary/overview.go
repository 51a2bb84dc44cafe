package primary

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// OverviewOptions are what the overview needs. Logger must be set.
type OverviewOptions struct {
	Session Session
	Dial    coord.Dialer
	Coord   coord.Options // for the sessions of the mirror; nothing ephemeral hangs on them
	// Answers reports whether a host whose daemon has no session answers in any way.
	Answers func(ctx context.Context, host Sight) bool
	Logger  *slog.Logger
}

// Overview is what the primary does because it sees every node and the place of
// every VM: it keeps the index of VMs for writers that do not, and says what became
// of hosts whose daemon has vanished. Its Run is for a [Duty].
type Overview struct {
	o OverviewOptions
}

// NewOverview returns an overview.
func NewOverview(o OverviewOptions) *Overview { return &Overview{o: o} }

// Run works until ctx ends; a lost connection begins it anew.
func (v *Overview) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		if err := v.once(ctx); err != nil && ctx.Err() == nil {
			v.o.Logger.Warn("the primary's overview of the cluster begins anew", "err", err)
		}
		pause(ctx, pulse)
	}
	return nil
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// openTimeout bounds the loading of the mirror.
const openTimeout = time.Minute

// once opens a mirror and works until it is lost.
func (v *Overview) once(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	index := &indexer{session: v.o.Session, log: v.o.Logger, wake: make(chan struct{}, 1), watched: map[string]bool{}}
	suspicion := newSuspicion(v.o)
	octx, stop := context.WithTimeout(ctx, openTimeout)
	mirror, err := view.Open(octx, view.MirrorOptions{
		Dial: v.o.Dial, Servers: v.o.Coord.Servers, Timeout: v.o.Coord.Timeout, Digest: v.o.Coord.Digest,
		Roots: []string{schema.Nodes, schema.Domains}, Want: wantOverview, Group: view.GroupOf,
		Changed: func(string) { signal(index.wake); signal(suspicion.wake) },
	})
	stop()
	if err != nil {
		return fmt.Errorf("mirror the places of VMs: %w", err)
	}
	defer mirror.Close()
	index.mirror, suspicion.mirror = mirror, mirror
	var loops sync.WaitGroup
	defer loops.Wait()
	loops.Go(func() { index.run(ctx) })
	loops.Go(func() { suspicion.run(ctx) })
	select {
	case <-ctx.Done():
	case <-mirror.Lost():
		err = fmt.Errorf("the mirror was lost")
	}
	cancel()
	return err
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// wantOverview is the scope: of nodes their presence and index, of VMs their place.
// The list of a VM's keys is not watched; indexer adds the one key by its path.
func wantOverview(path string) view.Interest {
	parts := schema.Split(path)
	below := strings.Join(parts[min(2, len(parts)):], "/")
	switch {
	case len(parts) == 1:
		return view.Interest{Children: true}
	case parts[0] == "domains" && below == schema.VMNode:
		return view.Interest{Data: true}
	case parts[0] != "nodes":
		return view.Interest{}
	case below == "":
		return view.Interest{Children: true}
	case below == schema.NodeSession:
		return view.Interest{Data: true, Children: true}
	case below == schema.NodeVMs:
		return view.Interest{Children: true}
	case below == schema.NodeDaemonState, below == schema.NodeCondition, below == schema.NodeFacts:
		return view.Interest{Data: true}
	}
	return view.Interest{}
}
