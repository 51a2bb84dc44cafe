package fake_test

import (
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph/conformance"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph/fake"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newWorld returns a cluster with an OSD.
func newWorld() *fake.World {
	w := fake.NewWorld()
	w.AddOSD(ceph.OSD{
		ID: 0, UUID: "b07e14e7-1b89-4134-acaf-f683f05a6fd4", Up: true, In: true, Host: "hv1", Class: "ssd", Weight: 1, Reweight: 1, PrimaryAffinity: 1,
		Stats: &ceph.OSDStats{PGs: 8, UsedBytes: 1 << 30, AvailBytes: 3 << 30, TotalBytes: 4 << 30, Variance: 1, Traffic: &ceph.Traffic{}},
	})
	return w
}

func TestFakeIsACluster(t *testing.T) {
	conformance.Run(t, func(t *testing.T) conformance.Harness {
		w := newWorld()
		here, there := w.Connect(), w.Connect()
		id := func(t *testing.T, pool, name string) string {
			i, err := here.Image(t.Context(), pool, name)
			if err != nil {
				t.Fatal(err)
			}
			return i.ID
		}
		return conformance.Harness{
			Here: here, There: there,
			Open: func(t *testing.T, pool, image string) (string, func()) {
				const address = "192.0.2.9:0/99"
				i := id(t, pool, image)
				w.Watch(pool, i, address)
				return address, func() { w.Unwatch(pool, i, address) }
			},
			Protect: func(t *testing.T, pool, image, _ string, on bool) { w.Protect(pool, id(t, pool, image), on) },
			Discard: func(t *testing.T, pool, image string) { w.Discard(pool, id(t, pool, image)) },
			Blocklist: func(_ *testing.T, address string, life time.Duration) {
				w.Blocklist(address, life)
			},
			Stop: func(*testing.T) { w.Stop() },
			Cont: func(*testing.T) { w.Cont() },
		}
	})
}
