package ensemble

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/go-zookeeper/zk"
)

const deadline = 30 * time.Second

// quiet keeps the library's log out of the test output.
type quiet struct{}

func (quiet) Printf(string, ...any) {}

func connect(t *testing.T, e *Ensemble) *zk.Conn {
	t.Helper()
	conn, _, err := zk.Connect(e.Addrs(), 5*time.Second, zk.WithLogger(quiet{}))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(conn.Close)
	return conn
}

// within repeats f until it succeeds.
func within(t *testing.T, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	ticker := time.NewTicker(20 * time.Millisecond)
	defer ticker.Stop()
	for !f() {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %v", what, deadline)
		}
	}
}

func TestKilledLeaderIsReplacedAndRejoins(t *testing.T) {
	e := Start(t, Options{Servers: 3, Tick: 200 * time.Millisecond})
	conn := connect(t, e)
	if _, err := conn.Create("/kept", []byte("before"), 0, zk.WorldACL(zk.PermAll)); err != nil {
		t.Fatal(err)
	}
	old := e.Leader()
	if old < 0 {
		t.Fatal("no leader")
	}
	e.Kill(old)
	within(t, "a new leader", func() bool { l := e.Leader(); return l >= 0 && l != old })
	within(t, "a write through the new leader", func() bool {
		_, err := conn.Set("/kept", []byte("after"), -1)
		return err == nil
	})
	e.Start(old)
	e.WaitServing()
	if m := ModeOf(t.Context(), e.Addrs()[old]); m != Follower {
		t.Errorf("server %d came back as %q, want follower", old, m)
	}
	value, _, err := conn.Get("/kept")
	if err != nil || string(value) != "after" {
		t.Errorf("value %q, %v; want after", value, err)
	}
}

func TestFrozenServerAnswersAgainWhenContinued(t *testing.T) {
	e := Start(t, Options{})
	if l := e.Leader(); l != 0 {
		t.Fatalf("leader = %d, want 0 (alone)", l)
	}
	e.Stop(0)
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if answer, err := Ask(ctx, e.Addrs()[0], "ruok"); err == nil {
		t.Errorf("a frozen server answers %q", answer)
	}
	e.Cont(0)
	e.WaitServing()
}

func TestDataSurvivesAKilledServer(t *testing.T) {
	e := Start(t, Options{FSync: true})
	conn := connect(t, e)
	if _, err := conn.Create("/kept", []byte("x"), 0, zk.WorldACL(zk.PermAll)); err != nil {
		t.Fatal(err)
	}
	e.Kill(0)
	if m := ModeOf(t.Context(), e.Addrs()[0]); m != None {
		t.Fatalf("a killed server has mode %q", m)
	}
	e.Start(0)
	e.WaitServing()
	var value []byte
	var err error
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the last answer is %q, %v; the connection is in state %v", value, err, conn.State())
		}
	})
	within(t, "the value after the restart", func() bool {
		value, _, err = conn.Get("/kept")
		return err == nil && string(value) == "x"
	})
}

func TestConfigSyncsUnlessToldOtherwise(t *testing.T) {
	c := Config{ID: 1, Addrs: []string{"127.0.0.1"}, Dir: "/d", Tick: DefaultTick, FSync: true}
	if strings.Contains(c.Text(), "forceSync") {
		t.Error("FSync leaves forceSync in the file")
	}
	c.FSync = false
	if !strings.Contains(c.Text(), "forceSync=no\n") {
		t.Error("no forceSync=no without FSync")
	}
}

func TestParseMode(t *testing.T) {
	for text, want := range map[string]Mode{
		"Zookeeper version: 3.8\nLatency: 0\nMode: follower\nNode count: 5\n": Follower,
		"Mode: standalone\n": Standalone,
		"This ZooKeeper instance is not currently serving requests\n": None,
		"": None,
	} {
		if got := parseMode(text); got != want {
			t.Errorf("parseMode(%q) = %q, want %q", text, got, want)
		}
	}
}
