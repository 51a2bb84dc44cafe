package faults_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed/faults"
)

var epoch = time.Now().Add(-time.Minute).Truncate(time.Microsecond)

func at(ms int) time.Time { return epoch.Add(time.Duration(ms) * time.Millisecond) }

func TestOnceFindsTwoThatExecutedAtTheSameTime(t *testing.T) {
	span := func(host string, process, from, to int) faults.Span {
		return faults.Span{Host: host, Process: process, From: at(from), To: at(to)}
	}
	for name, c := range map[string]struct {
		history []faults.Span
		twice   bool
		gap     time.Duration
	}{
		"one":                      {[]faults.Span{span("a", 1, 0, 100)}, false, 0},
		"handed over":              {[]faults.Span{span("a", 1, 0, 100), span("b", 2, 130, 200)}, false, 30 * time.Millisecond},
		"handed over to the point": {[]faults.Span{span("a", 1, 0, 100), span("b", 2, 100, 200)}, false, 0},
		"resumed":                  {[]faults.Span{span("a", 1, 0, 100), span("a", 1, 150, 200)}, false, 50 * time.Millisecond},
		"overlap":                  {[]faults.Span{span("a", 1, 0, 100), span("b", 2, 99, 200)}, true, 0},
		"within":                   {[]faults.Span{span("a", 1, 0, 300), span("b", 2, 100, 200)}, true, 0},
		"two on one host":          {[]faults.Span{span("a", 1, 0, 100), span("a", 2, 50, 200)}, true, 0},
		"not neighbours":           {[]faults.Span{span("a", 1, 0, 300), span("a", 1, 305, 320), span("b", 2, 310, 400)}, true, 5 * time.Millisecond},
	} {
		if err := faults.Once(c.history); (err != nil) != c.twice {
			t.Errorf("%s: %v", name, err)
		}
		if got := faults.Gap(c.history, at(0)); got != c.gap {
			t.Errorf("%s: gap %v, want %v", name, got, c.gap)
		}
	}
}

// fakeQEMU speaks as much QMP as the witness uses.
type fakeQEMU struct {
	listener net.Listener
	conn     chan net.Conn
}

func newFakeQEMU(t *testing.T, socket string) *fakeQEMU {
	t.Helper()
	l, err := net.Listen("unix", socket)
	must(t, err)
	q := &fakeQEMU{listener: l, conn: make(chan net.Conn, 1)}
	served := make(chan struct{})
	go func() { // waited for below
		defer close(served)
		conn, err := l.Accept()
		if err != nil {
			return
		}
		q.conn <- conn
		q.serve(conn)
	}()
	t.Cleanup(func() { l.Close(); <-served })
	return q
}

func (q *fakeQEMU) serve(conn net.Conn) {
	fmt.Fprintln(conn, `{"QMP":{}}`)
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		var r struct {
			Execute string `json:"execute"`
			ID      int    `json:"id"`
		}
		if json.Unmarshal(lines.Bytes(), &r) != nil {
			return
		}
		switch r.Execute {
		case "query-status":
			fmt.Fprintf(conn, `{"return":{"status":"paused","running":false},"id":%d}`+"\n", r.ID)
		default:
			fmt.Fprintf(conn, `{"return":{},"id":%d}`+"\n", r.ID)
		}
	}
}

func event(conn net.Conn, name string, ms int) {
	when := at(ms)
	fmt.Fprintf(conn, `{"event":%q,"timestamp":{"seconds":%d,"microseconds":%d}}`+"\n", name, when.Unix(), when.Nanosecond()/1000)
}

func TestWitnessSeesTwoQEMUsExecute(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	first, second := newFakeQEMU(t, a), newFakeQEMU(t, b)
	w := faults.Watch(map[string]string{"a": a, "b": b})
	t.Cleanup(w.Stop)
	one, two := <-first.conn, <-second.conn
	within(t, "both are met", func() error {
		if w.State("a") != "paused" || w.State("b") != "paused" {
			return errors.New("not yet")
		}
		return nil
	})
	executing := func(want string) {
		t.Helper()
		within(t, "executing: "+want, func() error {
			if got := strings.Join(w.Executing(), " "); got != want {
				return errors.New(got)
			}
			return nil
		})
	}
	event(one, "RESUME", 0)
	executing("a")
	event(two, "RESUME", 150)
	executing("a b")
	event(one, "STOP", 100) // it had stopped before the other began
	executing("b")
	if err := faults.Once(w.History()); err != nil {
		t.Errorf("one after the other: %v", err)
	}
	event(one, "RESUME", 200)
	executing("a b")
	if err := faults.Once(w.History()); err == nil {
		t.Error("both at once was not found")
	}
	one.Close() // its process is gone
	first.listener.Close()
	executing("b")
	within(t, "a is gone", func() error {
		if s := w.State("a"); s != "" {
			return errors.New(s)
		}
		return nil
	})
}

func TestMonitoredKeepsADomainAndAddsTheSocket(t *testing.T) {
	got := faults.Monitored("<domain type='qemu'>\n  <name>x</name>\n</domain>\n", "/run/q")
	want := "<domain xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0' type='qemu'>\n  <name>x</name>\n" +
		"  <qemu:commandline>\n    <qemu:arg value='-qmp'/>\n    <qemu:arg value='unix:/run/q,server=on,wait=off'/>\n  </qemu:commandline>\n</domain>\n"
	if got != want {
		t.Errorf("got %s", got)
	}
}
