package cluster_test

import (
	"context"
	"log/slog"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// late is an API that has not heard yet of what others have changed.
func (w *world) late(t *testing.T) *cluster.Cluster {
	t.Helper()
	v := view.New(view.Options{
		Dial: zk.Dial, Servers: w.addrs, Timeout: sessionTimeout, Connections: 1, Logger: slog.New(slog.DiscardHandler),
		Filter: func(e coord.Event, deliver func(coord.Event)) {
			if e.Path == "" {
				deliver(e)
			}
		},
	})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = v.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	sync(t, v)
	return cluster.New(cluster.Options{View: v, Policy: domxml.Policy{Unrestricted: true}, CommitTimeout: coordtest.Patience, CheckRule: noSemicolon})
}

func TestAWishForADeletedVMIsNotGivenToItsSuccessor(t *testing.T) {
	const uuid = "00000000-0000-4000-8000-0000000000aa"
	for what, wish := range map[string]func(*cluster.Cluster) error{
		"state": func(c *cluster.Cluster) error {
			_, err := c.SetVMState(t.Context(), cluster.SetVMState{VM: uuid, State: "start"})
			return err
		},
		"document": func(c *cluster.Cluster) error {
			_, err := c.ModifyVM(t.Context(), cluster.ModifyVM{VM: uuid, XML: document("first", uuid, "")})
			return err
		},
		"node": func(c *cluster.Cluster) error {
			_, err := c.SetVMNode(t.Context(), cluster.SetVMNode{VM: uuid, Action: "move", Node: "hv2"})
			return err
		},
	} {
		t.Run(what, func(t *testing.T) {
			w := newWorld(t)
			w.reset(t, hosts())
			if _, err := w.rules.DefineVM(t.Context(), cluster.DefineVM{XML: document("first", uuid, ""), Node: "hv1"}); err != nil {
				t.Fatal(err)
			}
			late := w.late(t)
			if _, err := w.rules.DeleteVM(t.Context(), cluster.DeleteVM{VM: uuid}); err != nil {
				t.Fatal(err)
			}
			if _, err := w.rules.DefineVM(t.Context(), cluster.DefineVM{XML: document("second", uuid, ""), Node: "hv1"}); err != nil {
				t.Fatal(err)
			}
			before := w.tree(t)
			if err := wish(late); !errs.Is(err, errs.Conflict) {
				t.Errorf("err = %v, want a conflict", err)
			}
			if diff := changes(before, w.tree(t)); len(diff) > 0 {
				t.Errorf("it changed %v", diff)
			}
		})
	}
}
