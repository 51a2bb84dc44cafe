package compat_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/compat"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
	"github.com/parallelvirtualcluster/pvc/testbed/lab"
)

// deadline bounds every wait; the machine may be busy with other tests.
const deadline = 60 * time.Second

// shutdownTimeout is shorter than the shipped one (90 s); all else is as shipped.
const shutdownTimeout = 5 * time.Second

// rig is the one cluster of this package.
type rig struct {
	*testbed.Cluster
	images guest.Images
}

var (
	theRig = sync.OnceValues(newRig)
	built  *rig
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

// binaries is the folder of both daemons, built once with the race detector.
var binaries = sync.OnceValues(func() (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "pvc-compat-")
	if err != nil {
		return "", err
	}
	binariesDir = dir
	return dir, testbed.BuildDaemons(ctx, dir, testbed.Watched()...)
})

var binariesDir string // to remove at the end, empty if nothing was built

func run(m *testing.M) int {
	defer func() { _ = os.RemoveAll(binariesDir) }()
	if idleTime() < longIdleTime {
		fmt.Printf("compat: short form: an idle cluster is watched for %v instead of %v (PVC_TEST_LONG=1 runs the whole)\n", idleTime(), longIdleTime)
	}
	code := m.Run()
	if built == nil {
		return code
	}
	if faults := lab.DaemonFaults(built.Cluster); len(faults) > 0 {
		fmt.Printf("the daemons' logs hold:\n%s\n", strings.Join(faults, "\n"))
		code = 1
	}
	if code != 0 {
		lab.KeepLogs("compat", built.Cluster)
	}
	if err := built.Down(context.Background()); err != nil {
		fmt.Println(err)
		return 1
	}
	return code
}

// theCluster is the cluster, all hosts on and running; the first test that needs it
// brings it up.
func theCluster(t testing.TB) *rig {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("hosts are namespaces: root is needed")
	}
	for _, file := range []string{"/usr/sbin/libvirtd", "/usr/bin/qemu-system-x86_64", "/usr/share/java/zookeeper.jar", "/usr/bin/nsenter"} {
		if _, err := os.Stat(file); err != nil {
			t.Skip("missing:", err)
		}
	}
	l, err := theRig()
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func newRig() (*rig, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	dir, err := binaries()
	if err != nil {
		return nil, err
	}
	images, err := guest.Build(ctx, testbed.GuestCache(testbed.DefaultRoot()), func(s string) { fmt.Println(s) })
	if err != nil {
		return nil, err
	}
	c, err := testbed.Up(ctx, testbed.Options{Prefix: "cc", Subnet: "10.93.0.0/24", Binaries: dir, PVCDSettings: map[string]any{
		"pvc.system.vm.shutdown_timeout": shutdownTimeout.Seconds(),
	}})
	if err != nil {
		return nil, err
	}
	built = &rig{Cluster: c}
	built.images, err = images.CopyTo(filepath.Join(c.SharedDir(), "images"))
	return built, err
}

func must(t testing.TB, err error) { t.Helper(); lab.Must(t, err) }

// within waits until check returns "" and fails with its last word otherwise.
func within(t testing.TB, what string, check func() string) {
	t.Helper()
	lab.Until(t, deadline, what, check)
}

// during fails if check does not return "" at any look within the time.
func during(t testing.TB, d time.Duration, what string, check func() string) {
	t.Helper()
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); <-ticker.C {
		if wrong := check(); wrong != "" {
			t.Fatalf("%s: %s", what, wrong)
		}
	}
}

// call asks the API of the primary. What no primary answers, or answers with 503, is
// asked again: the role may be moving.
func (l *rig) call(t testing.TB, method, path string, values url.Values) (status int, body string) {
	t.Helper()
	within(t, method+" "+path, func() string {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), deadline)
		defer cancel()
		a, err := l.API(ctx)
		if err != nil {
			return err.Error()
		}
		code, b, err := a.Call(ctx, method, path, values)
		if err != nil || code == http.StatusServiceUnavailable {
			return fmt.Sprint(code, string(b), err)
		}
		status, body = code, string(b)
		return ""
	})
	return status, body
}

// vm is what the API says of a VM.
type vm struct {
	State, Node string
	LastNode    string `json:"last_node"`
	Failed      string `json:"failed_reason"`
}

func (l *rig) vm(t testing.TB, name string) (v vm, ok bool) {
	t.Helper()
	status, body := l.call(t, http.MethodGet, "/api/v1/vm/"+name, nil)
	var list []vm
	if err := json.Unmarshal([]byte(body), &list); status != http.StatusOK || err != nil {
		t.Fatalf("VM %s: %d %s", name, status, body)
	}
	if len(list) == 0 {
		return v, false
	}
	return list[0], true
}

// running are the numbers of the hosts with a process of the VM.
func (l *rig) running(t testing.TB, name string) (hosts []int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), deadline) // cleanups ask too
	defer cancel()
	for i, h := range l.Hosts() {
		if !h.On() {
			continue
		}
		out, err := h.Exec(ctx, "virsh", "-q", "list", "--name", "--state-running")
		must(t, err)
		for _, n := range strings.Fields(out) {
			if n == name {
				hosts = append(hosts, i+1)
			}
		}
	}
	return hosts
}

// runs says what is wrong if the VM does not run on that host alone; 0 is nowhere.
func (l *rig) runs(t testing.TB, name string, host int) string {
	t.Helper()
	got := l.running(t, name)
	if host == 0 && len(got) == 0 || len(got) == 1 && got[0] == host {
		return ""
	}
	return fmt.Sprintf("%s runs on hosts %v, want %d", name, got, host)
}

// boots counts the starts of the guest's kernel that its consoles show.
func (l *rig) boots(t testing.TB, name string) (n int) {
	t.Helper()
	for _, h := range l.Hosts() {
		b, err := os.ReadFile(h.Path("/var/log/libvirt/" + name + ".log"))
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		n += strings.Count(string(b), "TICK boot")
	}
	return n
}

// oldVM is a VM as an old client handles it.
type oldVM struct {
	l          *rig
	c          *compat.OldClient
	name, uuid string
}

func (v oldVM) key(name string) string { return "/domains/" + v.uuid + "/" + name }

// define writes the eight keys of a new VM, with no index and no identity. Its end is
// that of the test.
func (l *rig) define(t *testing.T, c *compat.OldClient, name, node string) oldVM {
	t.Helper()
	return l.defineXML(t, c, name, node, func(o guest.Options) string { return guest.Tick(o) })
}

// defineSilent is define for a guest that never says anything: it has nothing to boot.
func (l *rig) defineSilent(t *testing.T, c *compat.OldClient, name, node string) oldVM {
	t.Helper()
	return l.defineXML(t, c, name, node, func(o guest.Options) string {
		return kernelLine.ReplaceAllString(guest.Tick(o), "")
	})
}

var kernelLine = regexp.MustCompile(`<kernel>.*</kernel>`)

func (l *rig) defineXML(t *testing.T, c *compat.OldClient, name, node string, xml func(guest.Options) string) oldVM {
	t.Helper()
	v := oldVM{l, c, name, model.NewUUID()}
	c.Write(map[string]string{
		"/domains/" + v.uuid: name, v.key("state"): "stop", v.key("node"): node, v.key("lastnode"): "", v.key("failedreason"): "",
		v.key("consolelog"): "", v.key("rbdlist"): "", v.key("xml"): xml(guest.Options{Name: name, UUID: v.uuid, Images: l.images}),
	})
	t.Cleanup(func() {
		if _, there := c.Tree("/domains")["/domains/"+v.uuid]; there {
			v.set("state", "stop")
			within(t, name+" ends", func() string { return v.l.runs(t, name, 0) })
			c.Remove("/domains/" + v.uuid)
		}
		within(t, name+" is released", func() string { return v.released() })
	})
	return v
}

// set writes pairs of key and value in one transaction, again if a daemon has changed
// one of them meanwhile: a person would repeat it.
func (v oldVM) set(pairs ...string) {
	keys := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		keys[v.key(pairs[i])] = pairs[i+1]
	}
	for range 10 {
		if v.c.TryWrite(keys) {
			return
		}
	}
	v.c.Write(keys)
}

func (v oldVM) released() string {
	if claim, there := v.c.Tree("/claims")["/claims/"+v.uuid]; there {
		return "claim " + claim
	}
	return ""
}

// isForgotten waits until nothing of a deleted VM is left: no guest, no claim, no entry
// in the node's index.
func (v oldVM) isForgotten(t testing.TB, node string) {
	t.Helper()
	within(t, v.name+": the guest ends", func() string { return v.l.runs(t, v.name, 0) })
	within(t, v.name+": the claim is released", v.released)
	within(t, v.name+": no index names it", func() string {
		if _, there := v.c.Tree("/nodes/" + node + "/vms")["/nodes/"+node+"/vms/"+v.uuid]; there {
			return "that of " + node + " does"
		}
		return ""
	})
}

// shows says what is wrong if the keys of the VM are not these pairs.
func (v oldVM) shows(pairs ...string) string {
	tree := v.c.Tree("/domains/" + v.uuid)
	for i := 0; i < len(pairs); i += 2 {
		if got := tree[v.key(pairs[i])]; got != pairs[i+1] {
			return fmt.Sprintf("%s is %q, want %q (failedreason %q)", pairs[i], got, pairs[i+1], tree[v.key("failedreason")])
		}
	}
	return ""
}

// awaits waits until the VM runs on that host alone and shows these pairs.
func (v oldVM) awaits(t testing.TB, what string, host int, pairs ...string) {
	t.Helper()
	within(t, v.name+": "+what, func() string {
		if wrong := v.shows(pairs...); wrong != "" {
			return wrong
		}
		return v.l.runs(t, v.name, host)
	})
}

func count(got, want int) string {
	if got == want {
		return ""
	}
	return fmt.Sprintf("%d, want %d", got, want)
}
