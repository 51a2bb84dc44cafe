package cluster_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	gosync "sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sync/errgroup"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

const sessionTimeout = 4 * time.Second

// world is a cluster in a real ZooKeeper without any daemon: what the rules look at and
// what they write.
type world struct {
	client coord.Client
	addrs  []string
	now    compat.Tree // as the last case left it
	v      *view.View
	rules  *cluster.Cluster
}

// newWorld returns the world of this test process, empty again: a server and a view
// take longer to start than most tests.
func newWorld(t *testing.T) *world {
	t.Helper()
	if missing := ensemble.Missing(); missing != "" {
		t.Skip("no ZooKeeper: " + missing)
	}
	w := theWorld()
	w.now = w.tree(t)
	txn := new(coord.Txn)
	paths := w.now.Paths()
	for i := len(paths) - 1; i >= 0; i-- {
		if _, root := roots[paths[i]]; !root {
			txn.Delete(paths[i], coord.AnyVersion)
		}
	}
	w.commit(t, txn.Set("/primary_node", []byte("none"), coord.AnyVersion))
	w.now = nil
	sync(t, w.v)
	return w
}

// roots are there in every cluster, and a pool.
var roots = compat.Tree{
	"/primary_node": "none", "/nodes": "", "/domains": "", "/networks": "", "/ceph": "", "/ceph/volumes": "", "/ceph/volumes/vms": "",
	"/ceph/osds": "", "/ceph/pools": "", "/ceph/snapshots": "", "/commands": "",
	"/claims": "", "/claims/disks": "", "/config": "", "/fences": "",
}

var theWorld = gosync.OnceValue(func() *world {
	e := ensemble.Start(process, ensemble.Options{})
	w := &world{client: coordtest.Dial(process, e.Addrs(), sessionTimeout, nil), addrs: e.Addrs()}
	w.write(process, roots)
	w.v, w.rules = w.another(process)
	return w
})

// process is a test that lasts as long as all of them.
var process = new(processTest)

type processTest struct {
	testing.TB // what is not overridden below is not called
	cleanups   []func()
}

func (p *processTest) Helper()                  {}
func (p *processTest) Context() context.Context { return context.Background() }
func (p *processTest) Cleanup(f func())         { p.cleanups = append(p.cleanups, f) }
func (p *processTest) Fatal(args ...any)        { panic(fmt.Sprint(args...)) }
func (p *processTest) Fatalf(f string, a ...any) {
	panic(fmt.Sprintf(f, a...))
}

func (p *processTest) TempDir() string {
	dir, err := os.MkdirTemp("", "pvc-cluster-test-")
	if err != nil {
		panic(err)
	}
	p.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func TestMain(m *testing.M) {
	code := m.Run()
	for _, f := range slices.Backward(process.cleanups) {
		f()
	}
	os.Exit(code)
}

// another opens the rules over a view of its own, as a second API does.
func (w *world) another(t testing.TB) (*view.View, *cluster.Cluster) {
	t.Helper()
	v := view.New(view.Options{Dial: zk.Dial, Servers: w.addrs, Timeout: sessionTimeout, Connections: 1, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); _ = v.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	sync(t, v)
	return v, cluster.New(cluster.Options{
		View: v, Policy: domxml.Policy{FileDirectories: []string{"/srv"}}, CommitTimeout: coordtest.Patience,
		WaitTimeout: coordtest.Patience, DeleteTimeout: coordtest.Patience, CheckRule: noSemicolon,
	})
}

func sync(t testing.TB, v *view.View) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), coordtest.Patience)
	defer cancel()
	if err := v.Sync(ctx); err != nil {
		t.Fatal(err)
	}
}

func (w *world) write(t testing.TB, trees ...compat.Tree) {
	t.Helper()
	all := compat.Tree{}
	for _, tree := range trees {
		maps.Copy(all, tree)
	}
	txn := new(coord.Txn)
	for _, path := range all.Paths() {
		txn.Create(path, []byte(all[path]))
	}
	w.commit(t, txn)
}

func (w *world) commit(t testing.TB, txn *coord.Txn) {
	t.Helper()
	if _, err := w.client.Commit(t.Context(), *txn); err != nil {
		t.Fatal(err)
	}
}

// set changes a key as somebody else does.
func (w *world) set(t *testing.T, path, data string) {
	t.Helper()
	w.commit(t, new(coord.Txn).Set(path, []byte(data), coord.AnyVersion))
}

// reset replaces nodes, VMs, claims and settings; the roots stay.
func (w *world) reset(t *testing.T, trees ...compat.Tree) {
	t.Helper()
	if w.now == nil {
		w.now = w.tree(t)
	}
	txn := new(coord.Txn)
	paths := w.now.Paths()
	for i := len(paths) - 1; i >= 0; i-- {
		root := strings.SplitN(paths[i], "/", 3)[1]
		if strings.Count(paths[i], "/") > 1 && paths[i] != "/claims/disks" && root != "ceph" {
			txn.Delete(paths[i], coord.AnyVersion)
			delete(w.now, paths[i])
		}
	}
	w.commit(t, txn.Set("/primary_node", []byte("none"), coord.AnyVersion))
	w.write(t, trees...)
	w.now["/primary_node"] = "none"
	w.now = join(append(trees, w.now)...)
	sync(t, w.v)
}

// tree reads everything, level by level; whoever has changed something without check has
// w.now read anew.
func (w *world) tree(t testing.TB) compat.Tree {
	t.Helper()
	out := compat.Tree{}
	var level []string
	for root := range roots {
		if strings.Count(root, "/") == 1 {
			level = append(level, root)
		}
	}
	for len(level) > 0 {
		level = w.readLevel(t, level, out)
	}
	return out
}

// readLevel adds znodes to a tree and returns the paths of their children.
func (w *world) readLevel(t testing.TB, paths []string, out compat.Tree) (below []string) {
	t.Helper()
	var all errgroup.Group
	all.SetLimit(32)
	var mu gosync.Mutex
	for _, path := range paths {
		all.Go(func() error {
			data, _, err := w.client.Get(t.Context(), path)
			if err != nil {
				return err
			}
			names, _, err := w.client.Children(t.Context(), path)
			mu.Lock()
			defer mu.Unlock()
			out[path] = string(data)
			for _, name := range names {
				below = append(below, path+"/"+name)
			}
			return err
		})
	}
	if err := all.Wait(); err != nil {
		t.Fatal(err)
	}
	return below
}

// gone stands for a deleted key in a list of changes.
const gone = "(gone)"

// changes are the keys in which two trees differ.
func changes(before, after compat.Tree) compat.Tree {
	out := compat.Tree{}
	for path, data := range after {
		if old, there := before[path]; !there || old != data {
			out[path] = data
		}
	}
	for path := range before {
		if _, there := after[path]; !there {
			out[path] = gone
		}
	}
	return out
}

// node is a host in normal operation with 1000 MiB of free memory; pairs of key and
// value are laid over it, the key "dead" takes its session away.
func node(name string, pairs ...string) compat.Tree {
	keys := map[string]string{
		"daemonmode": "coordinator", "daemonstate": "run", "routerstate": "secondary", "domainstate": "ready",
		"staticdata": "2 6.1 GNU/Linux x86_64", "memtotal": "1000", "memused": "0", "memfree": "1000", "memalloc": "0", "vcpualloc": "0",
		"cpuload": "0.0", "networkscount": "0", "domainscount": "0", "runningdomains": "", "keepalive": "1",
		"ipmihostname": "", "ipmiusername": "", "ipmipassword": "",
		"session": "{}", "session/session-b-1": "", "vms": "", "doorbell": "", "condition": "", "flush": "",
		"facts": `{"version":"1","machine_id":"m","cpu_model":"x","machines":["pc"],"kvm":true}`,
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		keys[pairs[i]] = pairs[i+1]
	}
	if _, dead := keys["dead"]; dead {
		delete(keys, "dead")
		delete(keys, "session/session-b-1")
	}
	t := compat.Tree{"/nodes/" + name: "coordinator"}
	for key, data := range keys {
		t["/nodes/"+name+"/"+key] = data
	}
	return t
}

// hosts are hv1 to hv3.
func hosts() compat.Tree { return join(node("hv1"), node("hv2"), node("hv3")) }

func join(trees ...compat.Tree) compat.Tree {
	out := compat.Tree{}
	for _, t := range trees {
		maps.Copy(out, t)
	}
	return out
}

const (
	web1 = "11111111-1111-4111-8111-111111111111"
	web2 = "22222222-2222-4222-8222-222222222222"
)

// document is a small VM of 64 MiB; more is put among its devices.
func document(name, uuid, more string) string {
	id := ""
	if uuid != "" {
		id = "<uuid>" + uuid + "</uuid>"
	}
	return fmt.Sprintf("<domain type='qemu'><name>%s</name>%s<memory unit='MiB'>64</memory><vcpu>1</vcpu>"+
		"<os><type arch='x86_64' machine='pc'>hvm</type></os><devices>%s</devices></domain>", name, id, more)
}

// vm is web1 in a state on a node, as our define left it.
func vm(state, at string, pairs ...string) compat.Tree {
	return vmAs("web1", web1, state, at, pairs...)
}

func vmAs(name, uuid, state, at string, pairs ...string) compat.Tree {
	keys := map[string]string{
		"state": state, "node": at, "lastnode": "", "failedreason": "", "consolelog": "", "rbdlist": "", "xml": document(name, uuid, ""), "gen-1": "",
	}
	for i := 0; i+1 < len(pairs); i += 2 {
		keys[pairs[i]] = pairs[i+1]
	}
	t := compat.Tree{"/domains/" + uuid: name, "/nodes/" + at + "/vms/" + uuid: ""}
	for key, data := range keys {
		t["/domains/"+uuid+"/"+key] = data
	}
	return t
}

// claim says that web1 runs on a node.
func claim(at string) compat.Tree {
	return compat.Tree{"/claims/" + web1: `{"owner":{"node":"` + at + `","boot_id":"b","instance":"i"},"recorded":true,"resumed":true}`}
}

// deed is a call of the rules.
type deed func(ctx context.Context, c *cluster.Cluster) (cluster.Answer, error)

// rule is one case: a cluster, a call, and what it answers and changes.
type rule struct {
	given  compat.Tree
	do     deed
	says   string      // in the message, or in the error
	kind   errs.Kind   // of the error, only with refused
	no     bool        // it is refused
	writes compat.Tree // all changes; a value "~x" is a regular expression
}

func (w *world) check(t *testing.T, r rule) {
	t.Helper()
	w.reset(t, r.given)
	before := w.now
	ctx, cancel := context.WithTimeout(t.Context(), coordtest.Patience)
	defer cancel()
	answer, err := r.do(ctx, w.rules)
	switch {
	case r.no && (err == nil || errs.KindOf(err) != r.kind || !strings.Contains(err.Error(), r.says)):
		t.Errorf("answer %q, error %v of kind %v; a refusal of kind %v with %q was expected", answer.Message, err, errs.KindOf(err), r.kind, r.says)
	case !r.no && (err != nil || !strings.Contains(answer.Message, r.says)):
		t.Errorf("answer %q, error %v; %q was expected", answer.Message, err, r.says)
	}
	w.now = w.tree(t)
	if d := cmp.Diff(r.writes, changes(before, w.now), values); d != "" {
		t.Errorf("changes (-want +got):\n%s", d)
	}
}

// values compares a tree of expected values, some of them patterns, with what there is.
var values = cmp.Options{
	cmp.Transformer("tree", func(t compat.Tree) map[string]text {
		out := map[string]text{}
		for path, data := range t {
			out[genName.ReplaceAllString(path, "/gen-*")] = text(data)
		}
		return out
	}),
	cmp.Comparer(func(a, b text) bool {
		if p, ok := strings.CutPrefix(string(a), "~"); ok {
			return regexp.MustCompile("^(?:" + p + ")$").MatchString(string(b))
		}
		if p, ok := strings.CutPrefix(string(b), "~"); ok {
			return regexp.MustCompile("^(?:" + p + ")$").MatchString(string(a))
		}
		return a == b
	}),
}

var genName = regexp.MustCompile(`/gen-[0-9a-f*]+$`)

type text string
