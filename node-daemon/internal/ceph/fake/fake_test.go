package fake_test

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/parallelvirtualcluster/pvc/common/errs"
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

// image makes a pool with an image.
func image(t *testing.T, c *fake.Client) ceph.Image {
	t.Helper()
	_, err := c.CreatePool(t.Context(), "vms", 8)
	must(t, err)
	i, err := c.CreateImage(t.Context(), "vms", "disk0", 1<<30)
	must(t, err)
	return i
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestFailedCallDoesNothing(t *testing.T) {
	c := newWorld().Connect()
	i := image(t, c)
	c.Fail(fake.RemoveImage, ceph.Refused(syscall.EBUSY, "image is open"))
	err := c.RemoveImage(t.Context(), "vms", i.ID, nil)
	if !errs.Is(err, errs.Conflict) || ceph.NumberOf(err) != syscall.EBUSY || !strings.HasSuffix(err.Error(), ": EBUSY: image is open") {
		t.Errorf("%v", err)
	}
	c.Fail(fake.RemoveImage, nil)
	must(t, c.RemoveImage(t.Context(), "vms", i.ID, nil))
	if n := c.Calls(fake.RemoveImage); n != 2 {
		t.Errorf("counted %d calls, want 2", n)
	}
}

func TestLostAnswerIsOfACallThatWasMade(t *testing.T) {
	c := newWorld().Connect()
	image(t, c)
	c.LoseAnswer(fake.CreateImage, errs.New(errs.Unknown, "the answer is lost"))
	if _, err := c.CreateImage(t.Context(), "vms", "disk1", 1<<20); !errs.Is(err, errs.Unknown) {
		t.Errorf("%v, want unknown", err)
	}
	if _, err := c.Image(t.Context(), "vms", "disk1"); err != nil {
		t.Error(err)
	}
}

// TestHungChangeIsMadeWhenItGoesOn is the executor that was stopped: unless it has been
// fenced meanwhile, what it has sent happens.
func TestHungChangeIsMadeWhenItGoesOn(t *testing.T) {
	for _, isFenced := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			c, other := w.Connect(), w.Connect()
			i := image(t, c)
			clients, err := c.Clients(t.Context())
			must(t, err)
			c.Hang(fake.RemoveImage)
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			start := time.Now()
			err = c.As(clients).RemoveImage(ctx, "vms", i.ID, nil)
			if !errs.Is(err, errs.Unknown) || time.Since(start) != time.Minute {
				t.Errorf("%v after %v, want unknown after a minute: it is long work", err, time.Since(start))
			}
			if isFenced {
				must(t, other.Fence(t.Context(), clients))
			}
			c.Release(fake.RemoveImage)
			_, err = other.ImageByID(t.Context(), "vms", i.ID)
			if isThere := err == nil; isThere != isFenced {
				t.Errorf("fenced: %v, image: %v", isFenced, err)
			}
			if isFenced {
				if diff := cmp.Diff(clients, w.Blocklisted()); diff != "" {
					t.Error(diff)
				}
			}
		})
	}
}

func TestShortCallsHangNoLongerThanTheyMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		c := w.Connect()
		image(t, c)
		c.Hang(fake.Images)
		start := time.Now()
		if _, err := c.Images(t.Context(), "vms"); !errs.Is(err, errs.Unavailable) || time.Since(start) != ceph.CallTimeout {
			t.Errorf("%v after %v, want unavailable after %v", err, time.Since(start), ceph.CallTimeout)
		}
		c.Release(fake.Images)
		if _, err := c.Images(t.Context(), "vms"); err != nil {
			t.Error(err)
		}
		w.Stop()
		start = time.Now()
		if err := c.RemoveImage(t.Context(), "vms", "1", nil); !errs.Is(err, errs.Unavailable) || time.Since(start) != ceph.CallTimeout {
			t.Errorf("cluster stopped: %v after %v, want unavailable after %v", err, time.Since(start), ceph.CallTimeout)
		}
		w.Cont()
	})
}

func TestHookSeesWhatTheCallIsAbout(t *testing.T) {
	c := newWorld().Connect()
	var seen []string
	c.Before(fake.CreateImage, func(object string) { seen = append(seen, object) })
	image(t, c)
	if diff := cmp.Diff([]string{"vms/disk0"}, seen); diff != "" {
		t.Error(diff)
	}
}

func TestPoolThatWasNotInitialisedCanBe(t *testing.T) {
	w := newWorld()
	c := w.Connect()
	p, err := c.CreatePool(t.Context(), "vms", 8)
	must(t, err)
	if !w.Uninitialise("vms") {
		t.Fatal("no pool")
	}
	pools, err := c.Pools(t.Context())
	if err != nil || pools[0].Application != "" {
		t.Errorf("%+v, %v; want no application", pools, err)
	}
	again, err := c.InitPool(t.Context(), "vms", p.ID)
	if diff := cmp.Diff(p, again); diff != "" || err != nil {
		t.Error(diff, err)
	}
}

func TestStateOfTheWorldIsWhatItWasSetTo(t *testing.T) {
	w := newWorld()
	c := w.Connect()
	ctx := t.Context()
	image(t, c)
	if !w.SetUnsafe(0, "osd.0 has placement groups") || w.SetUnsafe(9, "") || !w.SetUp(0, false) || !w.SetPoolStats("vms", ceph.PoolStats{Objects: 7}) || w.SetPoolStats("no", ceph.PoolStats{}) {
		t.Error("the world does not know what it has")
	}
	safe, why, err := c.SafeToDestroy(ctx, 0)
	if safe || why != "osd.0 has placement groups" || err != nil {
		t.Errorf("%v, %q, %v", safe, why, err)
	}
	pools, err := c.Pools(ctx)
	must(t, err)
	if pools[0].Stats.Objects != 7 {
		t.Errorf("%+v", pools)
	}
	s, err := c.Status(ctx)
	if err != nil || s.Health != "HEALTH_WARN" {
		t.Errorf("%+v, %v", s, err)
	}
	c.Close()
	if _, err := c.Status(ctx); !errs.Is(err, errs.Unavailable) {
		t.Errorf("after Close: %v, want unavailable", err)
	}
}
