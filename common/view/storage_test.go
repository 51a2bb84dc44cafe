package view_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

// storageLayout makes the roots of storage and a pool.
func storageLayout(t *testing.T, c coord.Conn) {
	t.Helper()
	commit(t, c, new(coord.Txn).Create(schema.Commands, nil).Create(schema.Ceph, []byte("HEALTH_OK")).Create(schema.CephCmd, nil).
		Create(schema.CephOSDs, nil).Create(schema.CephPools, nil).Create(schema.CephVolumes, nil).Create(schema.CephSnapshots, nil).
		Create(schema.Pool("vms"), nil).Create(schema.Pool("vms", schema.PoolPGs), []byte("64")).Create(schema.Pool("vms", schema.StorageStats), []byte(schema.NoStats)).
		Create(schema.PoolVolumes("vms"), nil).Create(schema.PoolSnapshots("vms"), nil))
}

func volumeTxn(name string, size model.Size) *coord.Txn {
	return new(coord.Txn).Create(schema.Volume("vms", name), nil).
		Create(schema.Volume("vms", name, schema.StorageStats), schema.EncodeVolumeStats(name, model.VolumeStats{ID: "id-" + name, Size: size})).
		Create(schema.VolumeSnapshots("vms", name), nil)
}

func snapshotTxn(volume, name string) *coord.Txn {
	return new(coord.Txn).Create(schema.Snapshot("vms", volume, name), nil).
		Create(schema.Snapshot("vms", volume, name, schema.StorageStats), []byte(schema.NoStats))
}

func TestStorageIsSeenWhenTheCommitReturnsByWhoeverHasIt(t *testing.T) {
	t.Parallel()
	e := ensemble.Start(t, ensemble.Options{Servers: 3})
	c := dial(t, e)
	layout(t, c)
	storageLayout(t, c)
	for _, scope := range []view.Scope{view.WholeCluster, view.StorageHost} {
		v := start(t, view.Options{Servers: e.Addrs(), Scope: scope})
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		defer cancel()
		for i := range 20 {
			name := fmt.Sprintf("v%02d", i)
			steps := []struct {
				txn  *coord.Txn
				size model.Size
				snap int
			}{
				{volumeTxn(name, 5), 5, 0},
				{snapshotTxn(name, "s"), 5, 1},
				{new(coord.Txn).Set(schema.Volume("vms", name, schema.StorageStats), schema.EncodeVolumeStats(name, model.VolumeStats{Size: 6}), 0), 6, 1},
			}
			for _, step := range steps {
				before := storageGeneration(v)
				if err := v.Commit(ctx, schema.Volume("vms", name), *step.txn); err != nil {
					t.Fatal(err)
				}
				v.Read(func(s *view.Snapshot) {
					vol, ok := s.Volume("vms", name)
					if !ok || vol.Stats.Size != step.size || len(s.Snapshots("vms", name)) != step.snap || s.StorageGeneration() == before {
						t.Errorf("%s: %+v, %v; want %+v", name, vol, ok, step)
					}
				})
			}
		}
		v.Read(func(s *view.Snapshot) {
			if n := len(s.Volumes("vms")); n != 20 {
				t.Errorf("%d volumes", n)
			}
			if p, ok := s.Pool("vms"); !ok || p.PGs != 64 || !p.HasVolumes || !p.HasSnapshots || p.Stats != nil {
				t.Errorf("%+v, %v", p, ok)
			}
		})
		for i := range 20 {
			name := fmt.Sprintf("v%02d", i)
			commit(t, c, new(coord.Txn).Delete(schema.Snapshot("vms", name, "s", schema.StorageStats), -1).Delete(schema.Snapshot("vms", name, "s"), -1).Delete(schema.VolumeSnapshots("vms", name), -1).
				Delete(schema.Volume("vms", name, schema.StorageStats), -1).Delete(schema.Volume("vms", name), -1))
		}
		until(t, v, "all volumes are gone", func(s *view.Snapshot) bool { return len(s.Volumes("vms")) == 0 })
	}
}

func storageGeneration(v *view.View) (g uint64) {
	v.Read(func(s *view.Snapshot) { g = s.StorageGeneration() })
	return g
}

func TestStorageIsSorted(t *testing.T) {
	t.Parallel()
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	c := dial(t, e)
	layout(t, c)
	storageLayout(t, c)
	for _, id := range []int{10, 9, 0} {
		commit(t, c, new(coord.Txn).Create(schema.OSD(id), nil).Create(schema.OSD(id, schema.OSDNode), []byte("hv1")).
			Create(schema.OSD(id, schema.OSDDevice), []byte("/dev/sdb")).Create(schema.OSD(id, schema.StorageStats), []byte(schema.NoStats)))
	}
	commit(t, c, new(coord.Txn).Create(schema.CephOSDs+"/junk", nil).Create(schema.Pool("data"), nil))
	for _, name := range []string{"b", "a b", "ä"} {
		commit(t, c, volumeTxn(name, 1))
	}
	commit(t, c, snapshotTxn("b", "2"))
	commit(t, c, snapshotTxn("b", "1"))
	v := start(t, view.Options{Servers: e.Addrs()})
	var got []string
	v.Read(func(s *view.Snapshot) {
		for _, o := range s.OSDs() {
			got = append(got, fmt.Sprint(o.ID, o.Node, o.Device))
		}
		for _, p := range s.Pools() {
			got = append(got, p.Name)
			for _, vol := range s.Volumes(p.Name) {
				got = append(got, vol.FullName())
				for _, snap := range s.Snapshots(p.Name, vol.Name) {
					got = append(got, snap.FullName())
				}
			}
		}
		if _, ok := s.Snapshot("vms", "b", "2"); !ok {
			t.Error("a snapshot is not found by its name")
		}
		if _, ok := s.OSD(9); !ok {
			t.Error("an OSD is not found by its id")
		}
	})
	want := []string{"0hv1/dev/sdb", "9hv1/dev/sdb", "10hv1/dev/sdb", "data", "vms", "vms/a b", "vms/b", "vms/b@1", "vms/b@2", "vms/ä"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("(-want +got):\n%s", d)
	}
}

// TestOneVolumeAmongManyIsReadAlone: a change of one must not cost what all of them cost.
func TestOneVolumeAmongManyIsReadAlone(t *testing.T) {
	t.Parallel()
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	c := dial(t, e)
	layout(t, c)
	storageLayout(t, c)
	const volumes = 2000
	for from := 0; from < volumes; from += 200 {
		txn := new(coord.Txn)
		for i := from; i < from+200; i++ {
			txn.Append(*volumeTxn(fmt.Sprintf("v%04d", i), 1))
		}
		commit(t, c, txn)
	}
	begin := time.Now()
	v := start(t, view.Options{Servers: e.Addrs()})
	until(t, v, "all volumes", func(s *view.Snapshot) bool { return len(s.Volumes("vms")) == volumes })
	t.Logf("%d volumes are loaded after %v", volumes, time.Since(begin).Round(time.Millisecond))
	before := storageGeneration(v)
	commit(t, c, new(coord.Txn).Set(schema.Volume("vms", "v1000", schema.StorageStats), schema.EncodeVolumeStats("v1000", model.VolumeStats{Size: 2}), 0))
	until(t, v, "the change", func(s *view.Snapshot) bool { vol, _ := s.Volume("vms", "v1000"); return vol.Stats.Size == 2 })
	if after := storageGeneration(v); after != before+1 {
		t.Errorf("%d objects were decoded for the change of one", after-before)
	}
}

func TestCommandsAreInTheOrderInWhichTheyWereMade(t *testing.T) {
	t.Parallel()
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	c := dial(t, e)
	layout(t, c)
	storageLayout(t, c)
	v := start(t, view.Options{Servers: e.Addrs()})
	put := func(id, nonce string) *coord.Txn {
		cmd := &model.Command{Verb: "pool_add", Args: []byte("{}"), Nonce: nonce}
		return new(coord.Txn).Create(schema.Command(id), schema.EncodeCommand(cmd)).Create(schema.CommandGen(id, nonce), nil)
	}
	for _, id := range []string{"c", "a", "b"} {
		commit(t, c, put(id, "1"))
	}
	order := func(s *view.Snapshot) (out string) {
		for _, cmd := range s.Commands() {
			out += cmd.ID + cmd.Nonce + " "
		}
		return out
	}
	until(t, v, "three commands", func(s *view.Snapshot) bool { return order(s) == "c1 a1 b1 " })
	var kept []*model.Command
	v.Read(func(s *view.Snapshot) { kept = s.Commands() })
	again := new(coord.Txn).Delete(schema.CommandGen("c", "1"), -1).Delete(schema.Command("c"), -1)
	commit(t, c, again.Append(*put("c", "2")))
	until(t, v, "the first is made anew", func(s *view.Snapshot) bool { return order(s) == "a1 b1 c2 " })
	commit(t, c, new(coord.Txn).Create(schema.Command("a", schema.CommandExecutor), []byte(`{"node":"hv1","client":"x"}`)).Create(schema.CommandBy("a", "r"), nil))
	until(t, v, "one is claimed", func(s *view.Snapshot) bool {
		cmd, ok := s.Command("a")
		return ok && cmd.By == "r" && cmd.Executor != nil && cmd.Executor.Client == "x" && order(s) == "a1 b1 c2 " && s.UnfinishedCommands() == 3
	})
	commit(t, c, new(coord.Txn).Create(schema.Command("a", schema.CommandResult), []byte(`{"ok":true}`)).Delete(schema.CommandBy("a", "r"), -1))
	until(t, v, "it has a result", func(s *view.Snapshot) bool {
		cmd, ok := s.Command("a")
		return ok && cmd.Finished() && cmd.By == "" && cmd.ResultSeq > cmd.Seq && s.UnfinishedCommands() == 2 && s.Commands()[0] == cmd
	})
	if len(kept) != 3 || kept[0].ID != "c" || kept[1].ID != "a" || kept[1].Finished() {
		t.Errorf("a list that was given out has changed: %+v", kept)
	}
}

func TestWhatATransactionDidIsShownWhenShownReturns(t *testing.T) {
	t.Parallel()
	e := ensemble.Start(t, ensemble.Options{Servers: 3})
	c := dial(t, e)
	layout(t, c)
	storageLayout(t, c)
	v := start(t, view.Options{Servers: e.Addrs()})
	for i := range 50 {
		name := fmt.Sprintf("v%02d", i)
		done, err := c.Commit(t.Context(), *volumeTxn(name, 1).Set(schema.Pool("vms", schema.PoolPGs), fmt.Append(nil, i+1), -1))
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), deadline)
		err = v.Shown(ctx, done.Zxid, []string{schema.Pool("vms", schema.PoolPGs)},
			[]string{schema.PoolVolumes("vms"), schema.Volume("vms", name), schema.PoolSnapshots("vms")})
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		v.Read(func(s *view.Snapshot) {
			vol, ok := s.Volume("vms", name)
			pool, _ := s.Pool("vms")
			if !ok || vol.Stats == nil || !vol.HasSnapshots || pool.PGs != i+1 {
				t.Errorf("%s: %+v, %v, pool %+v", name, vol, ok, pool)
			}
		})
	}
}
