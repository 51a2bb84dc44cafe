package view

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

// TestGenerationsGoOnWhenANewPictureIsLoaded: a list that was made for one generation is
// given to whoever asks for that generation.
func TestGenerationsGoOnWhenANewPictureIsLoaded(t *testing.T) {
	t.Parallel()
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	v := New(Options{Dial: zk.Dial, Servers: e.Addrs(), Timeout: 4 * time.Second, Connections: 1, Logger: slog.New(slog.DiscardHandler)})
	load := func() {
		m, err := v.open(ctx)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(m.Close)
	}
	load()
	txn := new(coord.Txn)
	for _, root := range append([]string{schema.Ceph}, WholeCluster.Roots...) {
		txn.Create(root, nil)
	}
	txn.Create(schema.Network(5), []byte("lab")).Create(schema.Network(5, schema.NetworkType), []byte("managed"))
	txn.Create(schema.Network(5, schema.NetworkDomain), nil)
	if err := v.Commit(ctx, schema.Networks, *txn); err != nil {
		t.Fatal(err)
	}
	volume := new(coord.Txn).Create(schema.PoolVolumes("vms"), nil).Create(schema.Volume("vms", "a"), nil).Create(schema.Command("r-1"), nil)
	if err := v.Commit(ctx, schema.Volume("vms", "a"), *volume); err != nil {
		t.Fatal(err)
	}
	for i := range 5 { // more changes than a new picture counts by itself
		domain := new(coord.Txn).Set(schema.Network(5, schema.NetworkDomain), fmt.Appendf(nil, "d%d.local", i), coord.AnyVersion).
			Set(schema.Command("r-1"), nil, coord.AnyVersion)
		if err := v.Commit(ctx, schema.Network(5), *domain); err != nil {
			t.Fatal(err)
		}
	}
	generations := func() (all map[string]uint64) {
		v.Read(func(s *Snapshot) {
			all = map[string]uint64{"all": s.Generation(), "VMs": s.VMGeneration(), "nodes": s.NodeGeneration(), "networks": s.NetworkGeneration(),
				"storage": s.StorageGeneration(), "commands": s.CommandGeneration()}
		})
		return all
	}
	before := generations()
	load()
	for what, after := range generations() {
		if after <= before[what] {
			t.Errorf("the generation of %s went from %d to %d", what, before[what], after)
		}
	}
}
