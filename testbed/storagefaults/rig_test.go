package storagefaults

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
	"github.com/parallelvirtualcluster/pvc/testbed/lab"
)

func must(t testing.TB, err error) { t.Helper(); lab.Must(t, err) }

// within waits until check returns "" and fails with its last word otherwise.
func within(t testing.TB, limit time.Duration, what string, check func() string) {
	t.Helper()
	lab.Until(t, limit, what, check)
}

// bounded is a context for one step of a test or its cleanup.
func bounded(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), deadline)
	t.Cleanup(cancel)
	return ctx
}

// tool executes one of Ceph's tools on the host of the monitor.
func tool(t testing.TB, argv ...string) string {
	t.Helper()
	out, err := cluster.Host(1).Exec(bounded(t), argv...)
	must(t, err)
	return strings.TrimSpace(out)
}

// toolJSON is tool for what prints an object.
func toolJSON(t testing.TB, into any, argv ...string) {
	t.Helper()
	out := tool(t, append(argv, "--format", "json")...)
	if err := json.Unmarshal([]byte(out), into); err != nil {
		t.Fatalf("%v: %v: %s", argv, err, out)
	}
}

// call is a request to the API.
type call struct {
	method, path string   // below /api/v1
	values       []string // names and values in turn
	key          string   // Idempotency-Key, empty for none
}

func (c call) String() string { return c.method + " " + c.path }

// answer is what has become of a call.
type answer struct {
	status int
	text   string
	tries  int
}

// once sends a call to the primary one time.
func (c call) once(ctx context.Context) (answer, error) {
	a, err := cluster.API(ctx)
	if err != nil {
		return answer{}, err
	}
	return c.to(ctx, a)
}

// to sends the call to an API.
func (c call) to(ctx context.Context, a testbed.API) (answer, error) {
	form := url.Values{}
	for i := 0; i+1 < len(c.values); i += 2 {
		form.Set(c.values[i], c.values[i+1])
	}
	r, err := http.NewRequestWithContext(ctx, c.method, a.URL+"/api/v1"+c.path, strings.NewReader(form.Encode()))
	if err != nil {
		return answer{}, err
	}
	r.Header.Set("X-Api-Key", a.Token)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if c.key != "" {
		r.Header.Set("Idempotency-Key", c.key)
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	got, err := client.Do(r)
	if err != nil {
		return answer{}, err
	}
	defer got.Body.Close()
	b, err := io.ReadAll(got.Body)
	return answer{status: got.StatusCode, text: string(b)}, err
}

// untilAnswered sends the call again while nobody answers it or says that it may be
// repeated, as a careful client does.
func (c call) untilAnswered(ctx context.Context) (answer, error) {
	for tries := 1; ; tries++ {
		got, err := c.once(ctx)
		if got.tries = tries; err == nil && got.status != http.StatusServiceUnavailable {
			return got, nil
		}
		if ctx.Err() != nil {
			return got, fmt.Errorf("%v has no answer after %d tries: %d %s: %w", c, tries, got.status, got.text, errors.Join(err, ctx.Err()))
		}
	}
}

// do is untilAnswered for what has to succeed.
func (c call) do(t testing.TB) answer {
	t.Helper()
	got, err := c.untilAnswered(bounded(t))
	must(t, err)
	if got.status != http.StatusOK {
		t.Fatalf("%v: %d %s", c, got.status, got.text)
	}
	return got
}

// all sends calls at the same time and returns their answers in the same order.
func all(t testing.TB, calls []call) (wait func() []answer) {
	t.Helper()
	ctx := bounded(t)
	answers, failures := make([]answer, len(calls)), make([]error, len(calls))
	var under sync.WaitGroup
	for i, c := range calls {
		under.Go(func() { answers[i], failures[i] = c.untilAnswered(ctx) })
	}
	t.Cleanup(under.Wait)
	return func() []answer {
		t.Helper()
		under.Wait()
		must(t, errors.Join(failures...))
		return answers
	}
}

// primary is the host that executes the commands.
func primary(t testing.TB) *host.Host {
	t.Helper()
	a, err := cluster.API(bounded(t))
	must(t, err)
	return hostNamed(t, a.Node)
}

func hostNamed(t testing.TB, name string) *host.Host {
	t.Helper()
	for _, h := range cluster.Hosts() {
		if h.Name == name {
			return h
		}
	}
	t.Fatalf("no host %q", name)
	return nil
}

// ready waits until every host is registered, with nothing of an earlier registration
// under way, and an API answers. Ceph need not be healthy: flags are set and OSDs are out.
func ready(t testing.TB) {
	t.Helper()
	within(t, deadline, "all hosts are registered", func() string {
		for _, h := range cluster.Hosts() {
			state := znode(t, schema.Node(h.Name, schema.NodeDaemonState))
			if n := len(children(t, schema.Node(h.Name, schema.NodeSession))); n == 0 || state != "run" {
				return fmt.Sprintf("%s: state %q, %d sessions", h.Name, state, n)
			}
		}
		return ""
	})
	primary(t)
}

// unreserved waits until nothing is reserved for an executor that was lost before.
func unreserved(t testing.TB) {
	t.Helper()
	within(t, deadline, "nothing is reserved", func() string {
		for _, command := range children(t, schema.Commands) {
			for _, child := range children(t, schema.Command(command)) {
				if strings.HasPrefix(child, schema.CommandLostPrefix) {
					return command + " has " + child
				}
			}
		}
		return ""
	})
}

// gate holds the commands of a host at a step; release lets them go on and may be repeated.
func gate(t testing.TB, h *host.Host, step string) (reached func(), release func()) {
	t.Helper()
	dir := h.Path("/run/pvc/gates")
	must(t, os.MkdirAll(dir, 0o755))
	file := filepath.Join(dir, step)
	must(t, os.RemoveAll(file+".reached"))
	must(t, os.WriteFile(file+".hold", nil, 0o600))
	release = sync.OnceFunc(func() { must(t, os.Remove(file+".hold")) })
	t.Cleanup(release)
	return func() {
		t.Helper()
		within(t, deadline, h.Name+" reaches "+step, func() string {
			if _, err := os.Stat(file + ".reached"); err != nil {
				return err.Error()
			}
			return ""
		})
	}, release
}

// pause stops the pvcd of a host; goOn continues it and may be repeated.
func pause(t testing.TB, h *host.Host) (goOn func()) {
	t.Helper()
	must(t, h.Pause(bounded(t), testbed.PVCD))
	goOn = sync.OnceFunc(func() { must(t, h.Cont(bounded(t), testbed.PVCD)) })
	t.Cleanup(goOn)
	return goOn
}

// sessionOver waits until ZooKeeper has given up a host.
func sessionOver(t testing.TB, h *host.Host) {
	t.Helper()
	within(t, deadline, "the session of "+h.Name+" ends", func() string {
		if names := children(t, schema.Node(h.Name, schema.NodeSession)); len(names) > 0 {
			return fmt.Sprint(names)
		}
		return ""
	})
}

// children are those of a znode, none if there is no such znode.
func children(t testing.TB, path string) []string {
	t.Helper()
	names, _, err := zookeep.Children(bounded(t), path)
	if errors.Is(err, coord.ErrNoNode) {
		return nil
	}
	must(t, err)
	return names
}

// znode is the data of a znode, "" if there is none.
func znode(t testing.TB, path string) string {
	t.Helper()
	b, _, err := zookeep.Get(bounded(t), path)
	if errors.Is(err, coord.ErrNoNode) {
		return ""
	}
	must(t, err)
	return string(b)
}
