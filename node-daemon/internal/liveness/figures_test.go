package liveness

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/lease"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// counted is a client that takes every transaction and remembers it.
type counted struct {
	coord.Client // any other request is a fault of the test
	lost         chan struct{}

	mu      sync.Mutex
	commits []coord.Txn
	at      []time.Time
}

func (c *counted) Commit(_ context.Context, txn coord.Txn) (coord.Committed, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.commits, c.at = append(c.commits, txn), append(c.at, time.Now())
	return coord.Committed{}, nil
}

func (c *counted) Exists(context.Context, string) (coord.Stat, bool, error) {
	return coord.Stat{}, true, nil
}

func (c *counted) Get(context.Context, string) ([]byte, coord.Stat, error) {
	return []byte(model.DaemonRun), coord.Stat{}, nil
}
func (c *counted) Timeout() time.Duration { return 10 * time.Second }
func (c *counted) Lost() <-chan struct{}  { return c.lost }
func (c *counted) Close()                 {}

// writesOf returns the values that were written to a key, and when.
func (c *counted) writesOf(path string) (values []string, at []time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, txn := range c.commits {
		for _, op := range txn.Ops {
			if op.Path == path {
				values, at = append(values, string(op.Data)), append(at, c.at[i])
			}
		}
	}
	return values, at
}

// simulate runs a registered node for a time that passes at once.
func simulate(t *testing.T, r *Registrar, during time.Duration) *counted {
	t.Helper()
	c := &counted{lost: make(chan struct{})}
	ctx, cancel := context.WithTimeout(t.Context(), during)
	defer cancel()
	s := &Session{
		client: c, id: identity{node: "hv1", child: "session-b-1"},
		proven: lease.New(c.Timeout(), DefaultMargin), held: lease.New(c.Timeout(), DefaultMargin),
	}
	earlier := make(chan struct{})
	close(earlier)
	workCtx, stop := context.WithCancel(ctx)
	failed, ended := r.startWork(workCtx, s, earlier, func(ctx context.Context, _ *Session) error { <-ctx.Done(); return nil })
	if err := r.live(ctx, s, stop, failed, ended); err != nil {
		t.Error(err)
	}
	return c
}

func TestAnIdleNodeCausesLessThanHalfATransactionPerSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Node: "hv1"})
		n := 0
		r.figures.host = func() (memory, string, error) { n++; return memory{100, n, 100 - n}, "0.1", nil } // restless
		const during = 1000 * time.Second
		c := simulate(t, r, during)
		if got := float64(len(c.commits)) / during.Seconds(); got > 0.5 || got < 0.3 {
			t.Errorf("%.2f transactions per second, want at most 0.5", got)
		}
	})
}

func TestASlowHypervisorDelaysNoBeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := New(Options{Node: "hv1", Guests: func(ctx context.Context) (Guests, error) {
			<-ctx.Done()
			return Guests{}, ctx.Err()
		}})
		r.figures.host = func() (memory, string, error) { return memory{}, "0", nil }
		c := simulate(t, r, 100*time.Second)
		_, at := c.writesOf("/nodes/hv1/keepalive")
		for i := 1; i < len(at); i++ {
			if gap := at[i].Sub(at[i-1]); gap > 4*time.Second {
				t.Errorf("%v between two beats", gap)
			}
		}
		if len(at) < 25 {
			t.Errorf("%d beats in 100 s", len(at))
		}
	})
}

// decision: figures
func TestAChangedGuestIsPublishedWithinASecondAndABurstAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var uuids []string
		r := New(Options{Node: "hv1", Guests: func(context.Context) (Guests, error) {
			mu.Lock()
			defer mu.Unlock()
			return Guests{UUIDs: slices.Clone(uuids), MemMiB: 10 * len(uuids), VCPUs: len(uuids)}, nil
		}})
		r.figures.host = func() (memory, string, error) { return memory{}, "0", nil }
		began := time.Now()
		go func() { // ends long before the simulation
			time.Sleep(5 * time.Second)
			for i := range 10 {
				mu.Lock()
				uuids = append(uuids, "u"+strconv.Itoa(i))
				mu.Unlock()
				r.GuestsChanged()
			}
		}()
		c := simulate(t, r, 60*time.Second)
		values, at := c.writesOf("/nodes/hv1/runningdomains")
		if last := values[len(values)-1]; last != "u0 u1 u2 u3 u4 u5 u6 u7 u8 u9" {
			t.Errorf("running list %q", last)
		}
		if after := at[len(at)-1].Sub(began); after < 5*time.Second || after > 6*time.Second+time.Millisecond {
			t.Errorf("published %v after the start, the change was after 5 s", after)
		}
		if len(values) > 3 {
			t.Errorf("%d writes of one burst", len(values))
		}
		if got, _ := c.writesOf("/nodes/hv1/memalloc"); got[len(got)-1] != "100" {
			t.Errorf("allocated memory %v", got)
		}
	})
}

func TestASourceThatFailsLeavesTheLastFigures(t *testing.T) {
	f := newFigures(New(Options{Guests: func(context.Context) (Guests, error) { return Guests{}, errors.New("libvirt is away") }}).o)
	f.host = func() (memory, string, error) { return memory{3, 2, 1}, "0.5", nil }
	want := map[string]string{"memtotal": "3", "memused": "2", "memfree": "1", "cpuload": "0.5"}
	if d := cmp.Diff(want, f.collect(t.Context())); d != "" {
		t.Errorf("figures (-want +got):\n%s", d)
	}
}

const meminfo = `MemTotal:        8048436 kB
MemFree:          202000 kB
MemAvailable:    6048436 kB
HugePages_Total:       0
`

func TestUsedAndFreeMemoryAddUpToTheTotal(t *testing.T) {
	got, err := parseMeminfo(meminfo)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(memory{Total: 7859, Used: 1953, Free: 5906}, got); d != "" {
		t.Errorf("memory (-want +got):\n%s", d)
	}
	for _, bad := range []string{"", "MemTotal: x kB\nMemAvailable: 1 kB\n", "MemTotal: 5 kB\n", "MemTotal: 5 MB\nMemAvailable: 1 kB\n"} {
		if _, err := parseMeminfo(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestTheHostOfTheTestCanBeRead(t *testing.T) {
	mem, load, err := readHostFigures()
	if err != nil || mem.Total == 0 || load == "" {
		t.Errorf("figures %+v %q: %v", mem, load, err)
	}
	t.Setenv(BootIDFile, "")
	host, err := ReadHost()
	if err != nil || host.BootID == "" || len(host.Static) == 0 {
		t.Errorf("host %+v: %v", host, err)
	}
}

func FuzzParseMeminfo(f *testing.F) {
	f.Add(meminfo)
	f.Add("MemTotal: 99999999999999999999 kB\n")
	f.Fuzz(func(t *testing.T, text string) {
		m, err := parseMeminfo(text)
		if err == nil && (m.Used < 0 || m.Free < 0 || m.Used+m.Free != m.Total) {
			t.Errorf("%+v from %q", m, text)
		}
	})
}

func FuzzParseLoad(f *testing.F) {
	f.Add("0.20 0.18 0.12 1/80 11206\n")
	f.Fuzz(func(t *testing.T, text string) {
		load, err := parseLoad(text)
		if _, perr := strconv.ParseFloat(load, 64); err == nil && perr != nil {
			t.Errorf("%q from %q", load, text)
		}
	})
}
