package primary

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/coord/watch"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

// tree is a schema.Tree of a map.
type tree map[string]string

func (t tree) Data(path string) (string, int32, bool) {
	s, ok := t[path]
	return s, 7, ok
}

func (t tree) Children(path string) (out []string) {
	for p := range t {
		if rest, ok := strings.CutPrefix(p, path+"/"); ok && !strings.Contains(rest, "/") {
			out = append(out, rest)
		}
	}
	slices.Sort(out)
	return out
}

func TestTheIndexLacksWhatOldWritersDoNotKeep(t *testing.T) {
	tr := tree{
		"/nodes/hv1": "", "/nodes/hv1/vms": "", "/nodes/hv1/vms/u1": "",
		"/nodes/hv2": "", "/nodes/hv2/vms": "",
		"/nodes/old": "",
		"/domains":   "",
	}
	for uuid, node := range map[string]string{"u1": "hv1", "u2": "hv2", "u3": "old", "u4": "None", "u5": "", "u6": "hv99"} {
		tr["/domains/"+uuid], tr["/domains/"+uuid+"/node"] = "vm", node
	}
	tr["/domains/u7"] = "half deleted"
	want := []entry{{"u2", "hv2", 7}}
	if d := cmp.Diff(want, missingEntries(tr), cmp.AllowUnexported(entry{})); d != "" {
		t.Errorf("missing (-want +got):\n%s", d)
	}
}

func TestOnlyADaemonThatVanishedWithoutAWordIsSuspected(t *testing.T) {
	for name, tc := range map[string]struct {
		s    Sight
		want bool
	}{
		"alive":                       {Sight{known: true, alive: true, state: model.DaemonRun}, false},
		"vanished":                    {Sight{known: true, state: model.DaemonRun}, true},
		"vanished while it started":   {Sight{known: true, state: model.DaemonInit}, true},
		"signed off":                  {Sight{known: true, state: model.DaemonStop}, false},
		"a daemon of the old system":  {Sight{state: model.DaemonRun}, false},
		"vanished while it shut down": {Sight{known: true, state: model.DaemonShutdown}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.s.missed(); got != tc.want {
				t.Errorf("missed = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestAShortAbsenceIsNotAskedAbout(t *testing.T) {
	s := newSuspicion(OverviewOptions{})
	gone := []Sight{{Node: "hv1", known: true, state: model.DaemonRun}}
	back := []Sight{{Node: "hv1", known: true, alive: true, state: model.DaemonRun}}
	now := time.Now()
	var asked []time.Duration
	at := func(after time.Duration, sights []Sight) {
		if len(s.choose(sights, now.Add(after))) > 0 {
			asked = append(asked, after)
		}
	}
	at(0, gone)
	at(2*time.Second, gone)
	at(2500*time.Millisecond, back)
	at(3*time.Second, gone)
	at(5*time.Second, gone)
	at(6*time.Second, gone)
	at(7*time.Second, gone)
	at(16*time.Second, gone)
	if d := cmp.Diff([]time.Duration{6 * time.Second, 16 * time.Second}, asked); d != "" {
		t.Errorf("asked at (-want +got):\n%s", d)
	}
}

func TestARefusedConnectionIsAnAnswerAndSilenceIsNone(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	if !anyAnswers(t.Context(), "127.0.0.1", []int{port}) {
		t.Error("an accepted connection is taken for silence")
	}
	l.Close()
	if !anyAnswers(t.Context(), "127.0.0.1", []int{port}) {
		t.Error("a refused connection is taken for silence")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if anyAnswers(ctx, "nobody.invalid", []int{port}) { // RFC 2606: no such host
		t.Error("silence is taken for an answer")
	}
}

// holder is a session of the primary without a daemon around it.
type holder struct {
	client coord.Client
	hub    *watch.Hub
}

func (h holder) Client() coord.Client    { return h.client }
func (h holder) Hub() *watch.Hub         { return h.hub }
func (h holder) Check(t *coord.Txn)      { t.Check(schema.PrimaryHolder, coord.AnyVersion) }
func (h holder) Node() string            { return "hv1" }
func (h holder) RoleLeft() time.Duration { return time.Minute }
func (h holder) Lost() <-chan struct{}   { return h.client.Lost() }

func newHolder(t *testing.T, addrs []string) holder {
	t.Helper()
	h := holder{hub: new(watch.Hub)}
	h.client = coordtest.Dial(t, addrs, 4*time.Second, h.hub.OnEvent)
	coordtest.Put(t, h.client, schema.Primary, "hv1")
	if _, err := h.client.Commit(t.Context(), *new(coord.Txn).CreateEphemeral(schema.PrimaryHolder, []byte("hv1"))); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{schema.Nodes, schema.Domains, schema.Config} {
		coordtest.Put(t, h.client, path, "")
	}
	return h
}

// duty runs a loop until the end of the test.
func duty(t *testing.T, run func(ctx context.Context) error) {
	t.Helper()
	d := NewDuty("test", run, func(err error) { t.Error(err) })
	if err := d.Acquire(t.Context(), 0); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Release(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

func overview(t *testing.T, h holder, addrs []string, answers bool) {
	v := NewOverview(OverviewOptions{
		Session: h, Dial: zk.Dial, Coord: coord.Options{Servers: addrs, Timeout: 4 * time.Second},
		Answers: func(context.Context, Sight) bool { return answers },
		Logger:  slog.New(slog.NewTextHandler(t.Output(), nil)),
	})
	duty(t, v.Run)
}

// register makes a node as a daemon does; it is there until the client is closed.
func register(t *testing.T, conn coord.Client, node string) {
	t.Helper()
	for _, k := range []string{"", "/vms", "/doorbell", "/session", "/condition", "/facts"} {
		coordtest.Put(t, conn, schema.Node(node)+k, "")
	}
	coordtest.Put(t, conn, schema.Node(node, schema.NodeDaemonState), "run")
	if _, err := conn.Commit(t.Context(), *new(coord.Txn).CreateEphemeral(schema.Node(node, schema.NodeSession, "session-b-1"), nil)); err != nil {
		t.Fatal(err)
	}
}

func TestAMoveByAnOldClientReachesTheIndexAndTheDoorbell(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	h := newHolder(t, e.Addrs())
	register(t, h.client, "hv1")
	register(t, h.client, "hv2")
	coordtest.Put(t, h.client, schema.VM("before"), "vm0") // known before the role was taken
	coordtest.Put(t, h.client, schema.VM("before", schema.VMNode), "hv1")
	overview(t, h, e.Addrs(), true)
	indexed := func(node, uuid string) func() bool {
		return func() bool { _, there := coordtest.Data(t, h.client, schema.NodeVM(node, uuid)); return there }
	}
	coordtest.Eventually(t, "a VM from before", indexed("hv1", "before"))

	// An old client defines: one Multi of the VM's keys, without index and doorbell.
	txn := new(coord.Txn).Create(schema.VM("u1"), []byte("vm1")).Create(schema.VM("u1", schema.VMNode), []byte("hv1"))
	if _, err := h.client.Commit(t.Context(), *txn); err != nil {
		t.Fatal(err)
	}
	coordtest.Eventually(t, "a defined VM", indexed("hv1", "u1"))
	rung := func() int32 {
		st, _, err := h.client.Exists(t.Context(), schema.Node("hv2", schema.NodeDoorbell))
		if err != nil {
			t.Fatal(err)
		}
		return st.Version
	}
	if rung() != 0 {
		t.Error("the doorbell of a node rang for nothing")
	}
	coordtest.Put(t, h.client, schema.VM("u1", schema.VMNode), "hv2")
	coordtest.Eventually(t, "a moved VM", indexed("hv2", "u1"))
	if rung() != 1 {
		t.Errorf("the doorbell rang %d times, want once", rung())
	}
}

// decision: additional keys
func TestAVanishedDaemonIsReportedByWhatItsHostSays(t *testing.T) {
	for _, tc := range []struct {
		answers bool
		want    string
	}{{true, model.ControlPlaneLost}, {false, model.Unreachable}} {
		t.Run(fmt.Sprintf("host answers %v", tc.answers), func(t *testing.T) {
			e := ensemble.Start(t, ensemble.Options{Servers: 1})
			h := newHolder(t, e.Addrs())
			leaving := coordtest.Dial(t, e.Addrs(), 4*time.Second, nil)
			register(t, leaving, "hv2")
			register(t, h.client, "hv3")
			overview(t, h, e.Addrs(), tc.answers)
			leaving.Close()
			coordtest.Eventually(t, "the condition", func() bool {
				got, _ := coordtest.Data(t, h.client, schema.Node("hv2", schema.NodeCondition))
				return got == tc.want
			})
			if got, _ := coordtest.Data(t, h.client, schema.Node("hv3", schema.NodeCondition)); got != "" {
				t.Errorf("condition of a live node %q", got)
			}
		})
	}
}

func TestSettingsArePublishedAndCorrected(t *testing.T) {
	e := ensemble.Start(t, ensemble.Options{Servers: 1})
	h := newHolder(t, e.Addrs())
	coordtest.Put(t, h.client, schema.ConfigKey(schema.ConfigTargetSelector), "load")
	p := &Publisher{Session: h, Settings: Settings{TargetSelector: "mem", SharedDirectories: []string{"/srv/a"}}, Logger: slog.New(slog.DiscardHandler)}
	duty(t, p.Run)
	coordtest.Eventually(t, "both settings", func() bool {
		selector, _ := coordtest.Data(t, h.client, schema.ConfigKey(schema.ConfigTargetSelector))
		dirs, _ := coordtest.Data(t, h.client, schema.ConfigKey(schema.ConfigSharedDirectories))
		return selector == "mem" && dirs == `["/srv/a"]`
	})
}
