package httpapi

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/api-daemon/internal/auth"
	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

const (
	testToken = "a-token-for-tests"
	testKey   = "0123456789abcdef0123456789abcdef"
	web1      = "11111111-1111-4111-8111-111111111111"
	db1       = "22222222-2222-4222-8222-222222222222"
)

// pictured is a Mirror of what a test says. Its generation is that of everything.
type pictured struct {
	mu         sync.Mutex
	generation uint64
	vms        []*model.VM
	nodes      []*model.Node
	networks   []*model.Network
	storage    stored
	loading    bool
	stale      time.Duration
}

func (p *pictured) Read(fn func(Picture)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fn(p)
}
func (p *pictured) Ready() bool                             { return !p.loading }
func (p *pictured) Stale() (time.Duration, bool)            { return p.stale, p.stale > 0 }
func (p *pictured) Generation() uint64                      { return p.generation }
func (p *pictured) VMGeneration() uint64                    { return p.generation }
func (p *pictured) VMs() []*model.VM                        { return p.vms }
func (p *pictured) Nodes() []*model.Node                    { return p.nodes }
func (p *pictured) NetworkGeneration() uint64               { return p.generation }
func (p *pictured) Networks() []*model.Network              { return p.networks }
func (p *pictured) PrimaryNode() string                     { return "hv1" }
func (p *pictured) Spec(vm *model.VM) (*domxml.Spec, error) { return domxml.Parse(vm.XML) }

func (p *pictured) FindVM(ref string) (*model.VM, error) {
	uuid, _ := model.ParseUUID(ref)
	i := slices.IndexFunc(p.vms, func(vm *model.VM) bool { return vm.Name == ref || vm.UUID == uuid })
	if i < 0 {
		return nil, errs.NotFoundf("no VM is named %q", ref)
	}
	return p.vms[i], nil
}

func (p *pictured) Node(name string) (*model.Node, bool) {
	i := slices.IndexFunc(p.nodes, func(n *model.Node) bool { return n.Name == name })
	if i < 0 {
		return nil, false
	}
	return p.nodes[i], true
}

func (p *pictured) FindNetwork(ref string) (*model.Network, error) {
	i := slices.IndexFunc(p.networks, func(n *model.Network) bool { return n.Description == ref || strconv.Itoa(n.VNI) == ref })
	if i < 0 {
		return nil, errs.NotFoundf("no network is named %q", ref)
	}
	return p.networks[i], nil
}

// replace publishes a changed VM.
func (p *pictured) replace(vm *model.VM) {
	p.mu.Lock()
	defer p.mu.Unlock()
	i := slices.IndexFunc(p.vms, func(o *model.VM) bool { return o.UUID == vm.UUID })
	p.vms[i] = vm
	p.generation++
}

func domain(name, uuid string) string {
	return `<domain type='qemu'><name>` + name + `</name><uuid>` + uuid + `</uuid><memory unit='MiB'>64</memory><vcpu>2</vcpu>` +
		`<os><type arch='x86_64' machine='pc'>hvm</type></os><devices><emulator>/usr/bin/qemu-system-x86_64</emulator>` +
		`<interface type='bridge'><mac address='52:54:00:12:34:56'/><source bridge='vmbr100'/><model type='virtio'/></interface>` +
		`<disk type='network' device='disk'><source protocol='rbd' name='vms/` + name + `'/><target dev='vda' bus='virtio'/></disk>` +
		`<controller type='usb'/><console type='pty'/></devices></domain>`
}

func newPicture() *pictured {
	session := &model.NodeSession{Version: "9.9"}
	return &pictured{
		generation: 1,
		storage:    newStored(),
		vms: []*model.VM{
			{UUID: db1, Name: "db1", State: model.VMStop, Node: "hv2", LastNode: "hv1", XML: domain("db1", db1)},
			{UUID: web1, Name: "web1", State: model.VMStart, Node: "hv1", XML: domain("web1", web1)},
		},
		nodes: []*model.Node{
			{Name: "hv1", Mode: model.ModeCoordinator, DaemonState: model.DaemonRun, RouterState: model.RouterPrimary,
				DomainState: model.DomainReady, Session: session, CPUCount: 8, RunningDomains: []string{web1}},
			{Name: "hv2", Mode: model.ModeHypervisor, DaemonState: model.DaemonRun, DomainState: model.DomainFlushed,
				Facts: model.NodeFacts{Version: "9.8", Health: []string{"no time source"}}},
		},
		networks: []*model.Network{
			{VNI: 7, Description: "uplink", Type: model.NetworkBridged},
			{VNI: 100, Description: "office", Type: model.NetworkManaged, Domain: "office.local", MTU: 1400,
				NameServers: []netip.Addr{netip.MustParseAddr("10.100.0.2")},
				IP4: model.NetworkIP4{Network: netip.MustParsePrefix("10.100.0.0/24"), Gateway: netip.MustParseAddr("10.100.0.1"), DHCP: true,
					Start: netip.MustParseAddr("10.100.0.100"), End: netip.MustParseAddr("10.100.0.199")},
				IP6: model.NetworkIP6{Network: netip.MustParsePrefix("2001:db8:1::/64"), Gateway: netip.MustParseAddr("2001:db8:1::1"), DHCP: true},
				Leases: []model.Lease{
					{MAC: "52:54:00:00:00:01", Address: netip.MustParseAddr("10.100.0.100"), Hostname: "web1", ClientID: "*", Expiry: 4102444800},
					{MAC: "52:54:00:00:00:02", Address: netip.MustParseAddr("10.100.0.10"), Expiry: 4102444800},
					{MAC: "52:54:00:00:00:03", Address: netip.MustParseAddr("10.100.0.101"), Hostname: "over", Expiry: 1},
					{MAC: "52:54:00:00:00:04", Address: netip.MustParseAddr("10.100.0.102"), Expiry: 0},
					{MAC: "52:54:00:00:00:05", Address: netip.MustParseAddr("10.100.0.103"), Expiry: 4102444801},
				},
				Leases6: []model.Lease6{
					{Address: netip.MustParseAddr("2001:db8:1::65"), DUID: "00:01:00:01:2a:00:00:00:52:54:00:00:00:65", Expiry: 1},
					{Address: netip.MustParseAddr("2001:db8:1::66"), DUID: "00:01:00:01:2a:00:00:00:52:54:00:00:00:66", Hostname: "six", Expiry: 4102444802},
					{Address: netip.MustParseAddr("2001:db8:1::67"), DUID: "00:04:11:22:33:44:55:66:77:88:99:aa:bb:cc:dd:ee:ff:00", Expiry: 0},
				},
				Reservations: []model.Reservation{
					{MAC: "52:54:00:00:00:02", Address: netip.MustParseAddr("10.100.0.10"), Hostname: "db1"},
					{MAC: "52:54:00:00:00:05", Address: netip.MustParseAddr("10.100.0.11")}, // has another address yet
					{MAC: "52:54:00:00:00:06", Address: netip.MustParseAddr("10.100.0.12"), Hostname: "idle"},
				},
				In:  []model.Rule{{Name: "ssh", Order: 2, Text: "tcp dport 22 accept"}, {Name: "no", Order: 10, Text: "drop"}},
				Out: []model.Rule{{Name: "ssh", Order: 0, Text: "tcp dport 22 drop"}},
			},
		},
	}
}

// recorder is a Changes that notes what it is asked for.
type recorder struct {
	mu    sync.Mutex
	calls []string
	err   error
	do    func(ctx context.Context) // runs inside a call; may be nil

	unknown error // why records of storage cannot be shown; nil if they can
	tasks   map[string]command.Task
}

func (c *recorder) note(ctx context.Context, in any) (cluster.Answer, error) {
	c.mu.Lock()
	c.calls = append(c.calls, fmt.Sprintf("%+v", in))
	err, do := c.err, c.do
	c.mu.Unlock()
	if do != nil {
		do(ctx)
	}
	return cluster.Answer{Message: "done"}, err
}

// take returns the calls since the last take.
func (c *recorder) take() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := strings.Join(c.calls, "\n")
	c.calls = nil
	return out
}

func (c *recorder) DefineVM(ctx context.Context, in cluster.DefineVM) (cluster.Answer, error) {
	return c.note(ctx, in)
}
func (c *recorder) ModifyVM(ctx context.Context, in cluster.ModifyVM) (cluster.Answer, error) {
	return c.note(ctx, in)
}
func (c *recorder) DeleteVM(ctx context.Context, in cluster.DeleteVM) (cluster.Answer, error) {
	return c.note(ctx, in)
}
func (c *recorder) SetVMState(ctx context.Context, in cluster.SetVMState) (cluster.Answer, error) {
	return c.note(ctx, in)
}
func (c *recorder) SetVMNode(ctx context.Context, in cluster.SetVMNode) (cluster.Answer, error) {
	return c.note(ctx, in)
}
func (c *recorder) SetCoordinatorState(ctx context.Context, in cluster.SetCoordinatorState) (cluster.Answer, error) {
	return c.note(ctx, in)
}
func (c *recorder) SetDomainState(ctx context.Context, in cluster.SetDomainState) (cluster.Answer, error) {
	return c.note(ctx, in)
}
func (c *recorder) RemoveNode(ctx context.Context, node string) (cluster.Answer, error) {
	return c.note(ctx, "remove "+node)
}
func (c *recorder) CreateNetwork(ctx context.Context, in cluster.CreateNetwork) (cluster.Answer, error) {
	return c.note(ctx, in)
}
func (c *recorder) ModifyNetwork(ctx context.Context, in cluster.ModifyNetwork) (cluster.Answer, error) {
	return c.note(ctx, in)
}
func (c *recorder) RemoveNetwork(ctx context.Context, network string) (cluster.Answer, error) {
	return c.note(ctx, "remove network "+network)
}
func (c *recorder) AddReservation(ctx context.Context, in cluster.AddReservation) (cluster.Answer, error) {
	return c.note(ctx, in)
}
func (c *recorder) RemoveReservation(ctx context.Context, network, mac string) (cluster.Answer, error) {
	return c.note(ctx, "remove reservation "+network+" "+mac)
}
func (c *recorder) AddRule(ctx context.Context, in cluster.AddRule) (cluster.Answer, error) {
	return c.note(ctx, in)
}
func (c *recorder) RemoveRule(ctx context.Context, in cluster.RemoveRule) (cluster.Answer, error) {
	return c.note(ctx, in)
}
func (c *recorder) ConsoleLog(ctx context.Context, vm string, lines int) (string, error) {
	_, err := c.note(ctx, fmt.Sprintf("console %s %d", vm, lines))
	return "line\x1b[0m\n", err
}

// bench is an API over a picture and a recorder.
type bench struct {
	*API
	picture *pictured
	changes *recorder
	log     *logText
}

// logText is a log to look into.
type logText struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func newBench(t testing.TB) *bench {
	t.Helper()
	a, err := auth.New(auth.Options{Enabled: true, SecretKey: testKey, Tokens: []auth.Token{{Description: "tests", Secret: testToken}}})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{picture: newPicture(), changes: &recorder{tasks: map[string]command.Task{"k-1": {ID: "k-1", Verb: command.VerbOSDAdd, State: command.TaskRunning}}}, log: &logText{}}
	b.API = New(Options{
		Mirror: b.picture, Changes: b.changes, Auth: a, Version: "9.9",
		Log: slog.New(slog.NewTextHandler(b.log, nil)),
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/plain; version=0.0.4")
			fmt.Fprintln(w, "up 1")
		}),
	})
	return b
}

// serve answers one request.
func (b *bench) serve(r *http.Request) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	b.ServeHTTP(w, r)
	return w
}

// asked is a request with the token in a header.
func asked(method, target string) *http.Request {
	r := httptest.NewRequest(method, target, nil)
	r.Header.Set("X-Api-Key", testToken)
	return r
}
