package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// lines is a buffer that may be read while it is written.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// history records who has the API's listener open and who is the holder on record.
// Listeners are read from the hosts' socket tables, so that a host that is cut off is
// seen as well as the others.
type history struct {
	mu        sync.Mutex
	listeners []string // sets of hosts, as they followed each other
	holders   []string
	looks     int
	faults    []string
}

// watchHistory records until the function it returns is called.
func watchHistory(t testing.TB) (end func() *history) {
	t.Helper()
	h := new(history)
	pids := map[string]int{}
	for _, host := range cluster.Hosts() {
		pid, err := host.PID(t.Context(), testbed.ZooKeeper) // any process of the host
		must(t, err)
		pids[host.Name] = pid
	}
	ctx, cancel := context.WithCancel(t.Context())
	var loops sync.WaitGroup
	every := func(d time.Duration, f func()) {
		loops.Go(func() {
			ticker := time.NewTicker(d)
			defer ticker.Stop()
			for {
				f()
				select {
				case <-ticker.C:
				case <-ctx.Done():
					return
				}
			}
		})
	}
	every(20*time.Millisecond, func() { h.lookAtListeners(pids) })
	every(50*time.Millisecond, func() {
		if data, _, err := zookeep.Get(ctx, schema.PrimaryHolder); err == nil {
			h.note(&h.holders, string(data))
		}
	})
	return func() *history { cancel(); loops.Wait(); return h }
}

// lookAtListeners looks at all hosts twice: what is open both times was open at once
// with everything else of which that is true.
func (h *history) lookAtListeners(pids map[string]int) {
	seen := map[string]int{}
	var open []string
	for look := range 2 {
		for _, host := range cluster.Hosts() {
			if !listens(pids[host.Name]) {
				continue
			}
			if seen[host.Name]++; seen[host.Name] == look+1 && look == 1 {
				open = append(open, host.Name)
			}
		}
	}
	h.note(&h.listeners, strings.Join(open, "+"))
	h.mu.Lock()
	defer h.mu.Unlock()
	h.looks++
	if len(open) > 1 {
		h.faults = append(h.faults, fmt.Sprintf("%s: open listeners %v", time.Now().Format("15:04:05.000"), open))
	}
}

// note appends to a history what differs from its end.
func (h *history) note(to *[]string, now string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if n := len(*to); n == 0 || (*to)[n-1] != now {
		*to = append(*to, now)
	}
}

// listens reports whether the host of a process has the API's port open
// (proc(5), /proc/net/tcp: state 0A is LISTEN).
func listens(pid int) bool {
	for _, family := range []string{"tcp", "tcp6"} {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", pid, family))
		if err != nil {
			continue // the process was killed by the test
		}
		port := fmt.Sprintf(":%04X", testbed.APIPort)
		for line := range strings.Lines(string(b)) {
			f := strings.Fields(line)
			if len(f) > 3 && strings.HasSuffix(f[1], port) && f[3] == "0A" {
				return true
			}
		}
	}
	return false
}

// login opens a session and returns its cookie.
func login(t testing.TB) *http.Cookie {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	a, err := cluster.API(ctx)
	must(t, err)
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, a.URL+"/api/v1/auth/login", strings.NewReader(url.Values{"token": {a.Token}}.Encode()))
	must(t, err)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := http.DefaultTransport.RoundTrip(r)
	must(t, err)
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK || len(answer.Cookies()) != 1 {
		b, _ := io.ReadAll(answer.Body) // for the message only
		t.Fatalf("login: %d, %d cookies: %s", answer.StatusCode, len(answer.Cookies()), b)
	}
	return answer.Cookies()[0]
}

// status is what a call with a session, and without a token, is answered.
func status(t testing.TB, cookie *http.Cookie) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	a, err := cluster.API(ctx)
	must(t, err)
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL+"/api/v1/node", nil)
	must(t, err)
	r.AddCookie(cookie)
	answer, err := http.DefaultTransport.RoundTrip(r)
	must(t, err)
	defer answer.Body.Close()
	return answer.StatusCode
}

func TestPrimaryIsReplacedWithoutOverlap(t *testing.T) {
	for _, c := range []struct {
		name       string
		hurt, heal func(context.Context, *host.Host) error
		moves      bool // the role has to go elsewhere; else it may come back to the same node
		long       bool // in the long form only
	}{
		{name: "killed", hurt: func(ctx context.Context, h *host.Host) error { return h.Kill(ctx, testbed.PVCD) }, long: true},
		{name: "kept down", hurt: func(ctx context.Context, h *host.Host) error { return h.KeepDown(ctx, testbed.PVCD) },
			heal: func(ctx context.Context, h *host.Host) error { return h.Up(ctx, testbed.PVCD) }, moves: true, long: true},
		{name: "stopped", hurt: func(ctx context.Context, h *host.Host) error { return h.Pause(ctx, testbed.PVCD) },
			heal: func(ctx context.Context, h *host.Host) error { return h.Cont(ctx, testbed.PVCD) }, moves: true},
		{name: "cut off", hurt: func(ctx context.Context, h *host.Host) error { return h.CutLink(ctx) },
			heal: func(ctx context.Context, h *host.Host) error { return h.HealLink(ctx) }, moves: true},
	} {
		if c.long && !long {
			t.Logf("only in the long form: the primary's daemon is %s", c.name)
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			cookie, old := login(t), primary(t)
			end := watchHistory(t)
			began := time.Now()
			must(t, c.hurt(t.Context(), old))
			heal := func() {}
			if c.heal != nil {
				heal = sync.OnceFunc(func() { must(t, c.heal(context.WithoutCancel(t.Context()), old)) })
			}
			defer heal()
			within(t, deadline, "a primary", func() string {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second) // one host may be silent
				defer cancel()
				a, err := cluster.API(ctx)
				if err != nil {
					return err.Error()
				}
				if c.moves && a.Node == old.Name {
					return "still " + old.Name
				}
				return ""
			})
			t.Logf("after %v the primary is %s, before it was %s", time.Since(began).Round(time.Millisecond), primary(t).Name, old.Name)
			if got := status(t, cookie); got != http.StatusOK {
				t.Errorf("with the session of before: %d", got)
			}
			// Long enough for the sessions of the old primary to expire.
			during(t, time.Until(began.Add(stopped)), "with its replacement", func() string { return "" })
			heal()
			healthy(t)
			h := end()
			t.Logf("listeners %v, holders %v, %d looks", h.listeners, h.holders, h.looks)
			if len(h.faults) > 0 {
				t.Errorf("overlap:\n%s", strings.Join(h.faults, "\n"))
			}
			if c.moves && (len(h.listeners) < 2 || len(h.holders) < 2) {
				t.Error("the change of primary was not seen by who watched for two of them")
			}
		})
	}
}

// decision: coordinator state
func TestPrimaryIsHandedOverOnRequest(t *testing.T) {
	old := primary(t)
	next := cluster.Host(others(old)[0])
	end := watchHistory(t)
	do(t, post, "/node/"+next.Name+"/coordinator-state", "coordinator-state=primary")
	within(t, deadline, "the hand-over", func() string {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if a, err := cluster.API(ctx); err != nil || a.Node != next.Name {
			return fmt.Sprint(a.Node, err)
		}
		return ""
	})
	if h := end(); len(h.faults) > 0 {
		t.Errorf("overlap:\n%s", strings.Join(h.faults, "\n"))
	}
	healthy(t)
}
