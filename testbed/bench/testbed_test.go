package bench

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// BenchmarkTestbed measures a cluster of three hosts with libvirt and QEMU: starts one
// after the other, and the flush of a host with 20 tiny guests. All of it shares the
// processors of one machine, the emulated guests too.
func BenchmarkTestbed(b *testing.B) {
	if os.Getuid() != 0 {
		b.Skip("hosts are namespaces: root is needed")
	}
	b.Log(machine())
	const guests = 20
	cluster, images := startCluster(b)
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	at, err := cluster.API(ctx)
	if err != nil {
		b.Fatal(err)
	}
	api := &apiServer{addr: strings.TrimPrefix(at.URL, "http://"), token: at.Token, client: &http.Client{Timeout: 5 * time.Minute}}
	b.Cleanup(api.client.CloseIdleConnections)
	home := cluster.Host(1).Name
	for i := range guests {
		xml := guest.Tick(guest.Options{Name: tickName(i), UUID: vmUUID(i), Images: images})
		api.must(b, http.MethodPost, "/api/v1/vm", url.Values{"xml": {xml}, "node": {home}})
	}
	for b.Loop() {
		values := startTicks(b, api, cluster.Host(1), guests)
		lap := func(unit, state string, on func(node string) bool) {
			began := time.Now()
			api.must(b, http.MethodPost, "/api/v1/node/"+home+"/domain-state", url.Values{"domain-state": {state}, "wait": {"True"}})
			values[unit] = time.Since(began).Seconds()
			waitPlaces(b, api, guests, on)
		}
		lap("flush-20-s", "flush", func(node string) bool { return node != home })
		lap("ready-20-s", "ready", func(node string) bool { return node == home })
		figures(b, values)
	}
}

func tickName(i int) string { return fmt.Sprintf("bbtick%02d", i) }

// startCluster brings up three hosts and the images of guests.
func startCluster(b *testing.B) (*testbed.Cluster, guest.Images) {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	built, err := guest.Build(ctx, testbed.GuestCache(testbed.DefaultRoot()), func(s string) { b.Log(s) })
	if err != nil {
		b.Fatal(err)
	}
	c, err := testbed.Up(ctx, testbed.Options{Prefix: "bb", Subnet: "10.92.0.0/24", Binaries: binaries(b), FSync: true})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := c.Down(context.Background()); err != nil {
			b.Error(err)
		}
	})
	images, err := built.CopyTo(filepath.Join(c.SharedDir(), "images"))
	if err != nil {
		b.Fatal(err)
	}
	return c, images
}

// must makes a request that has to be answered with 200.
func (a *apiServer) must(b *testing.B, method, path string, values url.Values) {
	b.Helper()
	status, body, err := a.call(method, path, values)
	if err != nil || status != http.StatusOK {
		b.Fatalf("%s %s: %d %.300s %v", method, path, status, body, err)
	}
}

// startTicks starts the guests one after the other.
func startTicks(b *testing.B, api *apiServer, h *host.Host, guests int) map[string]float64 {
	b.Helper()
	l := new(startLatency)
	var running []time.Duration
	for i := range guests {
		s := started{uuid: vmUUID(i), sent: time.Now()}
		api.must(b, http.MethodPost, "/api/v1/vm/"+tickName(i)+"/state", url.Values{"state": {"start"}})
		s.accepted = time.Now()
		api.must(b, http.MethodPost, "/api/v1/vm/"+tickName(i)+"/state", url.Values{"state": {"start"}, "wait": {"True"}})
		running = append(running, time.Since(s.sent))
		created, err := launched(h.Path("/var/log/libvirt/qemu/" + tickName(i) + ".log"))
		if err != nil {
			b.Fatal(err)
		}
		l.add(s, created)
	}
	values := l.figures("")
	values["running-p50-ms"] = millis(median(running))
	return values
}

// launched is when libvirt began to launch QEMU: the first line that it writes into the
// guest's log, a few milliseconds after it was asked.
func launched(file string) (time.Time, error) {
	f, err := os.Open(file)
	if err != nil {
		return time.Time{}, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if stamp, _, ok := strings.Cut(lines.Text(), ": starting up"); ok {
			return time.Parse("2006-01-02 15:04:05.000-0700", stamp)
		}
	}
	return time.Time{}, fmt.Errorf("%s: no line about the start", file)
}

// waitPlaces waits until all guests are where they belong, running and not moving.
func waitPlaces(b *testing.B, api *apiServer, guests int, on func(node string) bool) {
	b.Helper()
	waitFor(b, "the guests to be in their places", func() (string, bool) {
		placed := 0
		for _, vm := range api.vms(b) {
			if vm.State == "start" && on(vm.Node) {
				placed++
			}
		}
		return fmt.Sprint(placed), placed == guests
	})
}

func TestTheTimeOfALaunchIsReadFromLibvirtsLog(t *testing.T) {
	file := filepath.Join(t.TempDir(), "log")
	text := "2026-03-04 05:06:07.089+0000: starting up libvirt version: 9.0.0, package: x\nLC_ALL=C \\\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	want := time.Date(2026, 3, 4, 5, 6, 7, 89e6, time.UTC)
	if got, err := launched(file); err != nil || !got.Equal(want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	if err := os.WriteFile(file, []byte("something else\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := launched(file); err == nil {
		t.Errorf("%v from a log without a launch", got)
	}
}
