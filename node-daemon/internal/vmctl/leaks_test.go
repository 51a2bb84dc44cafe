package vmctl

import (
	"fmt"
	"slices"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor/fake"
)

func TestAVMThatHasLeftIsForgotten(t *testing.T) {
	l := newLab(t, "hv1", "hv2")
	uuid := l.define("web1", "hv2", "")
	l.state("web1", "start")
	c := l.nodes["hv1"].c
	for _, u := range []string{uuid, model.NewUUID()} {
		again, err := c.reconcile(t.Context(), u)
		if err != nil || again != 0 {
			t.Errorf("a VM that is none of ours is looked at again after %v (%v)", again, err)
		}
		c.memory.mu.Lock()
		_, there := c.memory.guests[u]
		c.memory.mu.Unlock()
		if there {
			t.Error("it is remembered")
		}
	}
}

func TestAFlushThatHasEndedKeepsNoViewOfTheCluster(t *testing.T) {
	l := newLab(t, "hv1", "hv2")
	for _, wish := range []string{"flush", "ready"} {
		if _, err := l.rules.SetDomainState(t.Context(), cluster.SetDomainState{Node: "hv1", State: wish, Wait: true}); err != nil {
			t.Fatal(err)
		}
	}
	n := l.nodes["hv1"]
	l.until("the views are closed", func(*view.Snapshot) bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		for _, ctx := range n.viewing {
			if ctx.Err() == nil {
				return false
			}
		}
		return len(n.viewing) == 2
	})
}

// A migration that nobody has on record ends with the guest where it has no claim, and
// with its memory lost.
func TestAMigrationByHandIsEnded(t *testing.T) {
	l := newLab(t, "hv1", "hv2")
	uuid := l.define("web1", "hv1", "")
	l.state("web1", "start")
	l.runsOn(uuid, "hv1")
	source := l.world.Host("hv1")
	sent := make(chan error, 1)
	go func() { // received below
		sent <- source.MigratePaused(t.Context(), uuid, hypervisor.MigrateOptions{URI: fake.URI("hv2"), BandwidthMiB: 1})
	}()
	l.until("it is noticed", func(*view.Snapshot) bool {
		l.nodes["hv1"].c.queue.Add(uuid) // as the look at everything, once a minute
		return source.Calls(fake.AbortJob) > 0
	})
	if err := <-sent; err == nil {
		t.Error("the guest was sent away")
	}
	l.runsOn(uuid, "hv1")
	if on := l.world.Executing(uuid); !slices.Equal(on, []string{"hv1"}) || source.Calls(fake.CreatePaused) != 1 {
		t.Error(fmt.Sprint("it was started again, and runs on ", on))
	}
}
