package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/api-daemon/internal/auth"
	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

const startDeadline = 30 * time.Second

// steps call every route of the table once or more on a real cluster record, in an
// order in which they work.
var steps = slices.Concat(generalSteps, storageSteps)

// answerStep is one call; the target is that of the route if it is empty.
type answerStep struct {
	route, target string
	status        int    // 0 is 200
	key           string // header Idempotency-Key; with one a task is asked for
}

var generalSteps = []answerStep{
	{route: "GET /api/v1", status: StatusRoot},
	{route: "GET /api/v1/"}, {route: "GET /healthz"}, {route: "GET /readyz"}, {route: "GET /metrics"}, {route: "GET /api/v1/metrics"},
	{route: "GET /api/v1/auth/login"},
	{route: "POST /api/v1/auth/login", target: "/api/v1/auth/login?token=" + testToken},
	{route: "GET /api/v1/auth/logout"}, {route: "POST /api/v1/auth/logout"},
	{route: "POST /api/v1/login", target: "/api/v1/login?token=" + testToken}, {route: "POST /api/v1/logout"},
	{route: "GET /api/v1/status/primary_node"}, {route: "GET /api/v1/network"},

	{route: "POST /api/v1/network", target: "/api/v1/network?vni=100&description=office&nettype=managed&mtu=1400&name_servers=10.0.0.53" +
		"&ip4_network=10.100.0.0/24&ip4_gateway=10.100.0.1&dhcp4=True&dhcp4_start=10.100.0.100&dhcp4_end=10.100.0.199&ip6_network=2001:db8::/64"},
	{route: "POST /api/v1/network", target: "/api/v1/network?vni=7&description=uplink&nettype=bridged"},
	{route: "POST /api/v1/network", target: "/api/v1/network?vni=7&description=other&nettype=bridged", status: 510},
	{route: "GET /api/v1/network"},
	{route: "GET /api/v1/network", target: "/api/v1/network?limit=^1"},
	{route: "GET /api/v1/network/{network}", target: "/api/v1/network/office"},
	{route: "GET /api/v1/network/{network}", target: "/api/v1/network/7"},
	{route: "GET /api/v1/network/{network}", target: "/api/v1/network/nothing"},
	{route: "PUT /api/v1/network/{network}", target: "/api/v1/network/office?dhcp4=False&domain=office.example"},
	{route: "PUT /api/v1/network/{network}", target: "/api/v1/network/office", status: 510},
	{route: "PUT /api/v1/network/{network}", target: "/api/v1/network/nothing?mtu=1400", status: 510},
	{route: "POST /api/v1/network/{network}/lease", target: "/api/v1/network/office/lease?macaddress=52-54-00-00-00-01&ipaddress=10.100.0.10&hostname=db1"},
	{route: "POST /api/v1/network/{network}/dhcp", target: "/api/v1/network/100/dhcp?macaddress=525400000002&ipaddress=10.100.0.11"},
	{route: "POST /api/v1/network/{network}/dhcp", target: "/api/v1/network/100/dhcp?macaddress=525400000003&ipaddress=10.100.0.11", status: 510},
	{route: "GET /api/v1/network/{network}/lease", target: "/api/v1/network/office/lease?static"},
	{route: "GET /api/v1/network/{network}/lease", target: "/api/v1/network/nothing/lease", status: 510},
	{route: "GET /api/v1/network/{network}/dhcp", target: "/api/v1/network/office/dhcp"},
	{route: "GET /api/v1/network/{network}/lease/{lease}", target: "/api/v1/network/office/lease/525400000001"},
	{route: "GET /api/v1/network/{network}/dhcp/{lease}", target: "/api/v1/network/office/dhcp/52:54:00:00:00:99"},
	{route: "DELETE /api/v1/network/{network}/lease/{lease}", target: "/api/v1/network/office/lease/52:54:00:00:00:01"},
	{route: "DELETE /api/v1/network/{network}/lease/{lease}", target: "/api/v1/network/office/lease/52:54:00:00:00:01", status: 510},
	{route: "DELETE /api/v1/network/{network}/dhcp/{lease}", target: "/api/v1/network/office/dhcp/52:54:00:00:00:02"},
	{route: "POST /api/v1/network/{network}/acl", target: "/api/v1/network/office/acl?description=web+in&direction=in&rule=tcp+dport+80+accept&order=0"},
	{route: "POST /api/v1/network/{network}/acl", target: "/api/v1/network/office/acl?description=bad&direction=in&rule=;", status: 510},
	{route: "GET /api/v1/network/{network}/acl", target: "/api/v1/network/office/acl?direction=in"},
	{route: "GET /api/v1/network/{network}/acl", target: "/api/v1/network/nothing/acl", status: 510},
	{route: "GET /api/v1/network/{network}/acl/{acl}", target: "/api/v1/network/office/acl/web%20in"},
	{route: "GET /api/v1/network/{network}/acl/{acl}", target: "/api/v1/network/office/acl/nothing"},
	{route: "DELETE /api/v1/network/{network}/acl/{acl}", target: "/api/v1/network/office/acl/web%20in"},
	{route: "DELETE /api/v1/network/{network}/acl/{acl}", target: "/api/v1/network/office/acl/web%20in", status: 510},

	{route: "GET /api/v1/node"},
	{route: "GET /api/v1/node/{node}", target: "/api/v1/node/hv1"},
	{route: "GET /api/v1/node/{node}", target: "/api/v1/node/nowhere"},
	{route: "GET /api/v1/node/{node}/daemon-state", target: "/api/v1/node/hv1/daemon-state"},
	{route: "GET /api/v1/node/{node}/daemon-state", target: "/api/v1/node/nowhere/daemon-state", status: 510},
	{route: "GET /api/v1/node/{node}/coordinator-state", target: "/api/v1/node/hv1/coordinator-state"},
	{route: "GET /api/v1/node/{node}/domain-state", target: "/api/v1/node/hv1/domain-state"},
	{route: "POST /api/v1/node/{node}/coordinator-state", target: "/api/v1/node/hv1/coordinator-state?state=primary"},
	{route: "POST /api/v1/node/{node}/coordinator-state", target: "/api/v1/node/nowhere/coordinator-state?state=primary", status: 510},
	{route: "POST /api/v1/node/{node}/domain-state", target: "/api/v1/node/hv1/domain-state?domain-state=ready"},
	{route: "DELETE /api/v1/node/{node}", target: "/api/v1/node/hv1?yes_i_really_mean_it", status: 510},
	{route: "DELETE /api/v1/node/{node}", target: "/api/v1/node/hv3?yes_i_really_mean_it"},

	{route: "POST /api/v1/vm", target: "/api/v1/vm?node=hv1&xml=" + url.QueryEscape(tiny)},
	{route: "POST /api/v1/vm", target: "/api/v1/vm?node=hv1&xml=" + url.QueryEscape(tiny), status: 510},
	{route: "POST /api/v1/vm", target: "/api/v1/vm?xml=%3Cdomain", status: 510},
	{route: "GET /api/v1/vm"},
	{route: "GET /api/v1/vm/{vm}", target: "/api/v1/vm/web1"},
	{route: "GET /api/v1/vm/{vm}", target: "/api/v1/vm/nothing"},
	{route: "POST /api/v1/vm/{vm}", target: "/api/v1/vm/new?vm_template=small", status: 510},
	{route: "PUT /api/v1/vm/{vm}", target: "/api/v1/vm/web1?xml=" + url.QueryEscape(strings.Replace(tiny, "64", "128", 1))},
	{route: "GET /api/v1/vm/{vm}/node", target: "/api/v1/vm/web1/node"},
	{route: "POST /api/v1/vm/{vm}/node", target: "/api/v1/vm/web1/node?action=migrate&node=hv2"},
	{route: "POST /api/v1/vm/{vm}/state", target: "/api/v1/vm/web1/state?state=start"},
	{route: "POST /api/v1/vm/{vm}/state", target: "/api/v1/vm/nothing/state?state=start", status: 510},
	{route: "GET /api/v1/vm/{vm}/state", target: "/api/v1/vm/web1/state"},
	{route: "GET /api/v1/vm/{vm}/state", target: "/api/v1/vm/nothing/state", status: 510},
	{route: "GET /api/v1/vm/{vm}/dump", target: "/api/v1/vm/" + web1 + "/dump"},
	{route: "GET /api/v1/vm/{vm}/console", target: "/api/v1/vm/web1/console?lines=5"},
	{route: "GET /api/v1/vm/{vm}/console", target: "/api/v1/vm/nothing/console", status: 510},
	{route: "PUT /api/v1/vm/{vm}", target: "/api/v1/vm/web1?xml=" + url.QueryEscape(strings.Replace(tiny, "br0", "vmbr100", 1))},
	{route: "DELETE /api/v1/network/{network}", target: "/api/v1/network/office", status: 510}, // web1 is on it
	{route: "DELETE /api/v1/vm/{vm}", target: "/api/v1/vm/web1"},
	{route: "DELETE /api/v1/network/{network}", target: "/api/v1/network/office"},
	{route: "GET /api/v1/vm"},
}

var tiny = `<domain type='qemu'><name>web1</name><uuid>` + web1 + `</uuid><memory unit='MiB'>64</memory><vcpu>1</vcpu>` +
	`<os><type arch='x86_64' machine='pc'>hvm</type></os><features><acpi/></features><devices>` +
	`<disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>` +
	`<interface type='bridge'><mac address='52:54:00:12:34:56'/><source bridge='br0'/><model type='virtio'/></interface>` +
	`<controller type='usb'/><console type='pty'/></devices></domain>`

// decision: elements
// decision: numbers
// decision: missing features
// decision: templates
// decision: dump
// decision: primary
func TestAnswersOfARealClusterHaveTheWrittenShape(t *testing.T) {
	shapes := readShapes(t)
	a := realAPI(t, nil)
	tried := make(map[string]bool)
	for _, s := range steps {
		method, target, _ := strings.Cut(s.route, " ")
		if s.target != "" {
			target = s.target
		}
		w, r := httptest.NewRecorder(), asked(method, target)
		if s.key != "" {
			r.Header.Set("Idempotency-Key", s.key)
			r.Header.Set("Prefer", "respond-async")
		}
		a.ServeHTTP(w, r)
		if want := max(s.status, http.StatusOK); w.Code != want {
			t.Errorf("%s %s: %d %s, want %d", method, target, w.Code, w.Body, want)
			continue
		}
		tried[s.route] = tried[s.route] || w.Code != StatusFailed || s.route == "POST /api/v1/vm/{vm}"
		shape := shapes[s.route]
		if w.Code == StatusFailed {
			shape = map[string]any{"message": "text"}
		} else if w.Code == http.StatusAccepted {
			shape = shapes["task begun"]
		}
		checkAnswer(t, s.route, shape, shapes, w)
	}
	for i := range table {
		if !tried[name(&table[i])] {
			t.Errorf("%s was never answered", name(&table[i]))
		}
	}
}

func readShapes(t *testing.T) map[string]any {
	t.Helper()
	raw, err := os.ReadFile("testdata/answers.json")
	if err != nil {
		t.Fatal(err)
	}
	var shapes map[string]any
	if err := json.Unmarshal(raw, &shapes); err != nil {
		t.Fatal(err)
	}
	return shapes
}

func checkAnswer(t *testing.T, what string, shape any, shapes map[string]any, w *httptest.ResponseRecorder) {
	t.Helper()
	media := w.Header().Get("Content-Type")
	if other, ok := shape.(string); ok && shapes[other] == nil {
		if !strings.HasPrefix(media, other) {
			t.Errorf("%s: Content-Type %s, want %s", what, media, other)
		}
		return
	}
	var got any
	if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || media != mediaJSON {
		t.Errorf("%s: %s: %v: %s", what, media, err, w.Body)
		return
	}
	for _, problem := range differences(what, shape, got, shapes) {
		t.Error(problem)
	}
}

// differences compares a value with its shape: an object with exactly these keys, a
// list of one shape, "text", "number", "truth", "object" (of somebody else's), "nothing" (never there), or the name of a shape.
func differences(at string, shape, got any, shapes map[string]any) []string {
	switch shape := shape.(type) {
	case map[string]any:
		return objectDifferences(at, shape, got, shapes)
	case []any:
		list, ok := got.([]any)
		if !ok {
			return []string{fmt.Sprintf("%s: %v is no list", at, got)}
		}
		var out []string
		for i, e := range list {
			out = append(out, differences(fmt.Sprintf("%s[%d]", at, i), shape[0], e, shapes)...)
		}
		return out
	case string:
		return wordDifferences(at, shape, got, shapes)
	}
	return []string{fmt.Sprintf("%s has no shape", at)}
}

func objectDifferences(at string, shape map[string]any, got any, shapes map[string]any) []string {
	object, ok := got.(map[string]any)
	if !ok {
		return []string{fmt.Sprintf("%s: %v is no object", at, got)}
	}
	var out []string
	for key := range object {
		if _, ok := shape[key]; !ok {
			out = append(out, fmt.Sprintf("%s: key %s is not in the schema", at, key))
		}
	}
	for key, inner := range shape {
		if value, ok := object[key]; ok {
			out = append(out, differences(at+"."+key, inner, value, shapes)...)
		} else {
			out = append(out, fmt.Sprintf("%s: key %s is missing", at, key))
		}
	}
	slices.Sort(out)
	return out
}

func wordDifferences(at, word string, got any, shapes map[string]any) []string {
	ok := false
	switch word {
	case "text":
		_, ok = got.(string)
	case "number":
		_, ok = got.(float64)
	case "truth":
		_, ok = got.(bool)
	case "object":
		_, ok = got.(map[string]any)
	case "nothing":
	default:
		return differences(at, shapes[word], got, shapes)
	}
	if !ok {
		return []string{fmt.Sprintf("%s: %v is no %s", at, got, word)}
	}
	return nil
}

// realAPI is the API over a real ZooKeeper with the records of three nodes. between,
// if given, says how to reach the servers.
func realAPI(t *testing.T, between func(servers []string) []string) *API {
	t.Helper()
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	ctx, cancel := context.WithTimeout(t.Context(), startDeadline)
	defer cancel()
	c, err := zk.Dial(ctx, coord.Options{Servers: e.Addrs(), Timeout: 4 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	if _, err := c.Commit(ctx, *records().Append(*storageRecords())); err != nil {
		t.Fatal(err)
	}
	executes(t, e.Addrs(), c)
	a, err := auth.New(auth.Options{Enabled: true, SecretKey: testKey, Tokens: []auth.Token{{Description: "tests", Secret: testToken}}})
	if err != nil {
		t.Fatal(err)
	}
	servers := e.Addrs()
	if between != nil {
		servers = between(servers)
	}
	v := runView(t, servers)
	return New(Options{
		Mirror: FromView(v), Changes: cluster.New(cluster.Options{View: v, Policy: domxml.Policy{}, CheckRule: noSemicolon}), Auth: a, Version: "9.9",
		Log: slog.New(slog.DiscardHandler), Metrics: newBench(t).o.Metrics,
	})
}

// noSemicolon stands in for the check of rules, which asks nft.
func noSemicolon(_ context.Context, rule string) error {
	if strings.Contains(rule, ";") {
		return errs.Invalidf("%q is no rule", rule)
	}
	return nil
}

func runView(t *testing.T, servers []string) *view.View {
	t.Helper()
	v := view.New(view.Options{Dial: zk.Dial, Servers: servers, Timeout: 4 * time.Second, Logger: slog.New(slog.DiscardHandler)})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- v.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	loaded, cancel := context.WithTimeout(ctx, startDeadline)
	defer cancel()
	if err := v.Until(loaded, func(s *view.Snapshot) (bool, error) { return len(s.Nodes()) == 3, nil }); err != nil {
		t.Fatal(err)
	}
	return v
}

// records is an empty cluster with two running nodes and one that was stopped.
func records() *coord.Txn {
	txn := new(coord.Txn)
	for _, root := range []string{schema.Nodes, schema.Domains, schema.Networks, schema.Claims, schema.ClaimDisks, schema.Config} {
		txn.Create(root, nil)
	}
	txn.Create(schema.Primary, []byte("hv1"))
	txn.Create(schema.PrimaryHolder, []byte("hv1"))
	for i, name := range []string{"hv1", "hv2", "hv3"} {
		state := "run"
		if i == 2 {
			state = "stop"
		}
		txn.Create(schema.Node(name), []byte("coordinator"))
		for key, value := range map[string]string{
			schema.NodeDaemonMode: "coordinator", schema.NodeDaemonState: state, schema.NodeRouterState: "secondary", schema.NodeDomainState: "ready",
			schema.NodeStaticData: "8 6.1.0 GNU/Linux x86_64", schema.NodeMemTotal: "4096", schema.NodeMemUsed: "100", schema.NodeMemFree: "3996",
			schema.NodeMemAlloc: "0", schema.NodeVCPUAlloc: "0", schema.NodeCPULoad: "0.25", schema.NodeDomainsCount: "0", schema.NodeRunningDomains: "",
			schema.NodeVMs: "", schema.NodeDoorbell: "", schema.NodeSession: "", schema.NodeFacts: `{"version":"9.9","health":["no time source"]}`,
		} {
			txn.Create(schema.Node(name, key), []byte(value))
		}
		if state == "run" {
			txn.Create(schema.Node(name, schema.NodeSession, "session-boot-1"), []byte(`{"instance":"i","boot_id":"b","version":"9.9"}`))
		}
	}
	return txn
}
