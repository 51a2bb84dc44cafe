package faults_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/faults"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// TestDowntimeOfAMigrationBesideThatOfStockLibvirt measures how long nobody executes a
// guest: the one that pvcd moves arrives paused and waits for the record, its twin is
// moved by virsh, in turns, over the same network and without a bandwidth limit.
func TestDowntimeOfAMigrationBesideThatOfStockLibvirt(t *testing.T) {
	if !long {
		t.Skip("a measurement: PVC_TEST_LONG=1")
	}
	if why := unfit(); why != "" {
		t.Skip(why)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("/var/tmp", "pvc-downtime-")
	must(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	c, err := build(ctx, dir, testbed.Options{Prefix: "fd"})
	must(t, err)
	t.Cleanup(func() {
		ctx, cancel := cleanup()
		defer cancel()
		if err := c.Down(ctx); err != nil {
			t.Error(err)
		}
	})
	images, err := makeImages(ctx, c)
	must(t, err)
	ours, stock := newVMFrom(t, t, c, "fd-ours", images, c.Host(1)), newTwin(t, c, "fd-stock", images)
	const rounds = 9
	var paused, plain []time.Duration
	for i := range rounds {
		from, to := c.Host(1+i%2), c.Host(2-i%2)
		plain = append(plain, stock.virshMigrate(t, from, to, c.PeerURI(to.Index)))
		paused = append(paused, ours.measure(t, to))
	}
	ours.writes(t)
	extra := median(paused) - median(plain)
	t.Logf("nobody executed the guest, ms, median of %d (least, most): stock libvirt %s; paused arrival %s; extra %d",
		rounds, summary(plain), summary(paused), extra.Milliseconds())
	if extra > time.Second {
		t.Errorf("the paused arrival costs %v", extra)
	}
}

// measure moves a guest and returns how long it stood still.
func (v *vm) measure(t *testing.T, to *host.Host) time.Duration {
	t.Helper()
	begin := time.Now()
	v.call(t, http.MethodPost, v.path("/node"), "action", "move", "node", to.Name, "wait", "true")
	v.waitSettled(t)
	must(t, faults.Once(v.witness.History()))
	return faults.Gap(v.witness.History(), begin)
}

// newTwin starts the same guest by virsh, unknown to pvcd.
func newTwin(t *testing.T, c *testbed.Cluster, name string, images guest.Images) *vm {
	t.Helper()
	v := prepare(t, c, name)
	xml := faults.Monitored(v.linux(t, images), v.socket())
	file := filepath.Join(c.SharedDir(), name+".xml")
	must(t, os.WriteFile(file, []byte(xml), 0o644))
	_, err := c.Host(1).Exec(t.Context(), "virsh", "-q", "create", file)
	must(t, err)
	v.writes(t)
	return v
}

func (v *vm) virshMigrate(t *testing.T, from, to *host.Host, uri string) time.Duration {
	t.Helper()
	begin := time.Now()
	_, err := from.Exec(t.Context(), "virsh", "-q", "migrate", "--live", "--p2p", "--unsafe", v.name, uri)
	must(t, err)
	within(t, "it runs on "+to.Name, func() error {
		if got := v.witness.Executing(); !slices.Equal(got, []string{to.Name}) {
			return fmt.Errorf("executing on %v", got)
		}
		return nil
	})
	return faults.Gap(v.witness.History(), begin)
}

func median(d []time.Duration) time.Duration {
	s := slices.Sorted(slices.Values(d))
	return s[len(s)/2]
}

func summary(d []time.Duration) string {
	return fmt.Sprintf("%d (%d, %d)", median(d).Milliseconds(), slices.Min(d).Milliseconds(), slices.Max(d).Milliseconds())
}
