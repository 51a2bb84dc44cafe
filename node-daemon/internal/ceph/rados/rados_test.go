package rados

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"testing"
	"time"

	gorados "github.com/ceph/go-ceph/rados"
	gorbd "github.com/ceph/go-ceph/rbd"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph/conformance"
	testceph "github.com/parallelvirtualcluster/pvc/testbed/ceph"
)

// The testbed starts its programs from a thread that stays.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("github.com/parallelvirtualcluster/pvc/testbed/internal/proc.init.func1.1"))
}

// rig is a cluster and two daemons' ways to it.
type rig struct {
	cluster     *testceph.Cluster
	here, there *Cluster
}

func open(t testing.TB, c *testceph.Cluster) *Cluster {
	cluster := Open(Options{
		Conf: c.ConfFile(), User: testceph.PVC, Keyring: c.Keyring(testceph.PVC), Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	t.Cleanup(cluster.Close)
	return cluster
}

// TestOnARealCluster shares one start of it.
func TestOnARealCluster(t *testing.T) {
	c := testceph.Start(t, testceph.Options{})
	r := &rig{cluster: c, here: open(t, c), there: open(t, c)}
	t.Run("LibrariesAreACluster", func(t *testing.T) {
		conformance.Run(t, func(*testing.T) conformance.Harness { return r.harness() })
	})
	t.Run("TextsAreThoseOfTheTools", r.texts)
	t.Run("FencedClientIsTheOneThatOSDsSee", r.sameAddress)
	t.Run("UnknownStateIsNotSafeToDestroy", r.notSafe)
	t.Run("StoppedManagerHidesStatisticsOnly", r.stoppedManager)
	t.Run("StoppedOSDHoldsUpItsCallersOnly", r.stoppedOSDs)
	t.Run("FencedRemovalEnds", r.fencedRemoval)
	t.Run("WhoWasCutOffIsWaitedFor", r.letsGo)
	t.Run("HalfRemovedImageIsFinishedByItsID", r.halfRemoved)
	t.Run("WhatWasBrokenOffDoesNotHoldTheName", r.remnants)
	t.Run("CallsThatHangAreBounded", r.bounded)
	t.Run("LongWorkDelaysNothingElse", r.longWork)
	t.Run("MonitorThatWasKilledIsFoundAgain", r.killedMonitor)
	t.Run("StoppedMonitorIsUnavailableInTime", r.stoppedMonitor)
}

func (r *rig) harness() conformance.Harness {
	return conformance.Harness{
		Here: r.here, There: r.there, Open: r.open,
		Protect: func(t *testing.T, pool, image, snapshot string, on bool) {
			verb := "protect"
			if !on {
				verb = "unprotect"
			}
			r.tool(t, "rbd", "snap", verb, fmt.Sprintf("%s/%s@%s", pool, image, snapshot))
		},
		Discard: func(t *testing.T, pool, image string) { r.tool(t, "rbd", "trash", "mv", pool+"/"+image) },
		Blocklist: func(t *testing.T, address string, life time.Duration) {
			r.tool(t, "ceph", "osd", "blocklist", "add", address, fmt.Sprint(life.Seconds()))
		},
		Stop: func(*testing.T) { r.cluster.Stop("mon.a") },
		Cont: func(*testing.T) { r.cluster.Cont("mon.a") },
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (r *rig) tool(t testing.TB, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), conformance.Patience)
	defer cancel()
	out, err := r.cluster.Tool(ctx, argv...)
	must(t, err)
	return out
}

// open opens an image with a client of its own, as QEMU does.
func (r *rig) open(t *testing.T, pool, name string) (string, func()) {
	t.Helper()
	conn, err := connect(Options{Conf: r.cluster.ConfFile()}, short)
	must(t, err)
	io, err := conn.OpenIOContext(pool)
	must(t, err)
	image, err := gorbd.OpenImage(io, name, gorbd.NoSnapshot)
	must(t, err)
	text, err := conn.GetAddrs()
	must(t, err)
	address, err := plainAddress(text)
	must(t, err)
	return address, func() {
		must(t, image.Close())
		io.Destroy()
		conn.Shutdown()
	}
}

// pool makes a pool with an image.
func (r *rig) pool(t testing.TB, name string, size uint64) (string, ceph.Image) {
	t.Helper()
	p, err := r.here.CreatePool(t.Context(), name, 8)
	must(t, err)
	t.Cleanup(func() { must(t, r.here.RemovePool(context.WithoutCancel(t.Context()), name, p.ID)) })
	i, err := r.here.CreateImage(t.Context(), name, "disk0", size)
	must(t, err)
	return name, i
}

var numbers = regexp.MustCompile(`[0-9]+(\.[0-9]+)?`)

// masked leaves out numbers, and how much room they take.
func masked(text string) string {
	text = numbers.ReplaceAllString(text, "N")
	text = regexp.MustCompile(` [KMGT]i?B|   *`).ReplaceAllString(text, " ")
	return text
}

// texts changes nothing while it compares, so that both see the same in the end.
func (r *rig) texts(t *testing.T) {
	r.pool(t, "texts", 64<<20)
	r.cluster.WaitHealthy()
	deadline := time.Now().Add(conformance.Patience)
	for {
		d, err := r.here.DF(t.Context())
		must(t, err)
		diff := cmp.Diff(r.tool(t, "rados", "df"), d.Text) + cmp.Diff(strings.TrimSpace(r.tool(t, "rados", "df", "--format", "json")), string(d.JSON))
		if diff == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("rados df prints otherwise:", diff)
		}
	}
	s, err := r.here.Status(t.Context())
	must(t, err)
	if diff := cmp.Diff(masked(r.tool(t, "ceph", "status")), masked(s.Text)); diff != "" {
		t.Error("ceph status prints otherwise:", diff)
	}
	var ours, theirs map[string]any
	must(t, json.Unmarshal(s.JSON, &ours))
	must(t, json.Unmarshal([]byte(r.tool(t, "ceph", "status", "--format", "json")), &theirs))
	for key := range theirs {
		if _, there := ours[key]; !there {
			t.Errorf("JSON of the status lacks %q", key)
		}
	}
}

func (r *rig) sameAddress(t *testing.T) {
	name, _ := r.pool(t, "addresses", 8<<20)
	clients, err := r.there.Clients(t.Context())
	must(t, err)
	_, err = call(t.Context(), r.there.calls, "watch", long, reads, func(l *link, conn *gorados.Conn) (struct{}, error) {
		io, err := openPool(conn, name)
		if err != nil {
			return struct{}{}, err
		}
		defer io.Destroy()
		return withImage(io, name, "disk0", gorbd.OpenImage, func(*gorbd.Image) (struct{}, error) {
			status := r.tool(t, "rbd", "status", name+"/disk0")
			if !strings.Contains(status, "watcher="+clients[0]+" ") && !strings.Contains(status, "watcher="+clients[1]+" ") {
				t.Errorf("Ceph sees another client than one of %q: %s", clients, status)
			}
			return struct{}{}, nil
		})
	})
	must(t, err)
}

func (r *rig) notSafe(t *testing.T) {
	r.pool(t, "mapped", 8<<20)
	safe, why, err := r.here.SafeToDestroy(t.Context(), 0)
	must(t, err)
	if safe || why == "" {
		t.Errorf("an OSD with data is safe to destroy: %v, %q", safe, why)
	}
}

func (r *rig) until(t *testing.T, what string, ok func(context.Context) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*conformance.Patience)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !ok(ctx) {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("not in time: %s", what)
		}
	}
}
