package compat_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

// oldTree loads a tree of PVC 0.5, as its clients left it, and returns it.
func oldTree(t *testing.T, c *compat.OldClient) compat.Tree {
	t.Helper()
	tree, err := compat.ReadTree("../../common/schema/testdata/pvc05.tree")
	must(t, err)
	for _, path := range tree.Paths() {
		if strings.Contains(path, "lock__") { // contenders are ephemeral
			delete(tree, path)
		}
	}
	c.Write(tree)
	return tree
}

// startAPI runs pvc-api on loopback, for one ZooKeeper server, until the test ends.
func startAPI(t *testing.T, server string) testbed.API {
	t.Helper()
	bin, err := binaries()
	must(t, err)
	dir, port := t.TempDir(), freePort(t)
	file := filepath.Join(dir, "pvc-api.yaml")
	must(t, os.WriteFile(file, fmt.Appendf(nil, `pvc:
  coordinators: ["%s"]
  api:
    listen_address: 127.0.0.1
    listen_port: %d
    follow_primary: False
    authentication: {enabled: True, secret_key: 0123456789abcdef0123456789abcdef, tokens: [{description: test, token: t0ken}]}
    ssl: {enabled: False}
`, server, port), 0o600))
	cmd := exec.Command(filepath.Join(bin, "pvc-api"), "--config", file)
	log, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil || t.Failed() {
			b, _ := os.ReadFile(log.Name())
			t.Errorf("pvc-api: %v\n%s", err, b)
		}
	})
	a := testbed.API{URL: fmt.Sprintf("http://127.0.0.1:%d", port), Token: "t0ken"}
	within(t, "the API is ready", func() string {
		status, body, err := a.Call(t.Context(), http.MethodGet, "/readyz", nil)
		if err != nil || status != http.StatusOK {
			return fmt.Sprint(status, string(body), err)
		}
		return ""
	})
	return a
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func get(t *testing.T, client *http.Client, a testbed.API, path string) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, a.URL+path, nil)
	must(t, err)
	r.Header.Set("X-Api-Key", a.Token)
	answer, err := client.Do(r)
	must(t, err)
	defer answer.Body.Close()
	var body json.RawMessage
	must(t, json.NewDecoder(answer.Body).Decode(&body))
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: %d %s", path, answer.StatusCode, body)
	}
	return body
}

// TestReadsSendNothingToZooKeeper counts what passes between pvc-api and its server.
func TestReadsSendNothingToZooKeeper(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{})
	c := compat.StartOldClient(t, e.Addrs())
	oldTree(t, c)
	counter := compat.NewCounter(t, e.Addrs()[0])
	a := startAPI(t, counter.Addr())
	loaded := counter.Requests()
	if loaded[compat.Connect] == 0 || loaded[compat.GetData] == 0 {
		t.Fatalf("the view was loaded by %v: nothing is counted", loaded)
	}
	begin := time.Now()
	const rounds = 334 // three requests each
	for range rounds {
		for _, path := range []string{"/api/v1/vm", "/api/v1/vm/web1", "/api/v1/node"} {
			if body := get(t, http.DefaultClient, a, path); len(body) < 100 {
				t.Fatalf("GET %s: %s", path, body)
			}
		}
	}
	if sent := counter.Since(loaded); len(sent) > 0 {
		t.Errorf("%d reads sent requests beside pings, by opcode: %v", 3*rounds, sent)
	}
	t.Logf("%d reads in %v, pings meanwhile: %d", 3*rounds, time.Since(begin), counter.Requests()[compat.Ping]-loaded[compat.Ping])

	// A change is one transaction.
	status, body, err := a.Call(t.Context(), http.MethodPost, "/api/v1/vm/web1/state", map[string][]string{"state": {"stop"}})
	if err != nil || status != http.StatusOK {
		t.Fatalf("stop: %d %s %v", status, body, err)
	}
	if sent := counter.Since(loaded); sent[compat.Multi] != 1 {
		t.Errorf("a change sent %v, want one transaction", sent)
	}
	if got := c.Tree("/domains/7b2f3c1e-8d5a-4a53-9a4e-0c1d2e3f4a5b/state"); got["/domains/7b2f3c1e-8d5a-4a53-9a4e-0c1d2e3f4a5b/state"] != "stop" {
		t.Errorf("the old client reads %v", got)
	}
}

// TestTheAPIShowsAnOldClusterAndLeavesItAsItIs: reading adds no key and changes none.
func TestTheAPIShowsAnOldClusterAndLeavesItAsItIs(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{})
	c := compat.StartOldClient(t, e.Addrs())
	before := oldTree(t, c)
	a := startAPI(t, e.Addrs()[0])
	var vms []struct{ Name, State, Node, LastNode, Migrated string }
	must(t, json.Unmarshal(get(t, http.DefaultClient, a, "/api/v1/vm"), &vms))
	var got []string
	for _, v := range vms {
		got = append(got, strings.Join([]string{v.Name, v.State, v.Node, v.Migrated}, "|"))
	}
	want := []string{"broken|failed||from hv3", "db1|migrate|hv1|from hv2", "future|provision|hv2|no", "nowhere|stop||no", "web1|start|hv1|no"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("VMs (-want +got):\n%s", d)
	}
	var nodes []struct {
		Name             string
		DaemonState      string `json:"daemon_state"`
		CoordinatorState string `json:"coordinator_state"`
		DomainState      string `json:"domain_state"`
	}
	must(t, json.Unmarshal(get(t, http.DefaultClient, a, "/api/v1/node"), &nodes))
	got = nil
	for _, n := range nodes {
		got = append(got, strings.Join([]string{n.Name, n.DaemonState, n.CoordinatorState, n.DomainState}, "|"))
	}
	want = []string{"hv1|dead|primary|ready", "hv2|dead|secondary|flush", "hv3|dead|secondary|flushed", "hv4|stop|client|flushed"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("nodes (-want +got):\n%s", d)
	}
	after := c.Tree("/")
	for _, path := range after.Paths() {
		if path == "/" || strings.HasPrefix(path, "/zookeeper") {
			delete(after, path)
		}
	}
	if d := cmp.Diff(before, after); d != "" {
		t.Errorf("the tree has changed (-before +after):\n%s", d)
	}
}

func TestTheCounterCountsByKind(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{})
	counter := compat.NewCounter(t, e.Addrs()[0])
	client := coordtest.Dial(t, []string{counter.Addr()}, 4*time.Second, nil)
	before := counter.Requests()
	for range 3 {
		_, _, err := client.Get(t.Context(), "/zookeeper")
		must(t, err)
	}
	_, err := client.Commit(t.Context(), *new(coord.Txn).Create("/a", nil))
	must(t, err)
	want := map[compat.Opcode]int{compat.GetData: 3, compat.Multi: 1}
	if d := cmp.Diff(want, counter.Since(before)); d != "" {
		t.Errorf("counted (-want +got):\n%s", d)
	}
}
