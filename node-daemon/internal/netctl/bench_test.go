package netctl

import (
	"bytes"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/run"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/address"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/firewall"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/link"
)

// Rounds, and turns within each of what is quick.
const (
	benchRounds = 3
	benchTurns  = 5
)

// BenchmarkNetworks200 has a primary make and keep the devices, rules and gateways of 200
// managed networks with 20 rules each and 10 other hosts. The bare side has ip, bridge
// and nft make the same objects, in turns, each in a network name space of its own. It
// fails if the objects are not the same, or if a daemon that starts again changes any.
//
// Without a baseline is what has none: a start over what is there already.
func BenchmarkNetworks200(b *testing.B) {
	if os.Geteuid() != 0 {
		b.Skip("a network name space needs root")
	}
	b.Log(benchMachine())
	took := durations{}
	for b.Loop() {
		for range benchRounds {
			benchRound(b, took)
		}
	}
	b.ReportMetric(0, "ns/op")
	for what, all := range took {
		b.ReportMetric(float64(benchMedian(all).Microseconds())/1000, what+"-ms")
	}
	for _, what := range []string{"first", "change", "nothing"} {
		b.ReportMetric(float64(benchMedian(took[what]))/float64(benchMedian(took[what+"-bare"])), what+"-ratio")
	}
}

// benchRound is everything once, on two hosts without any objects.
func benchRound(b *testing.B, took durations) {
	outside, here, there := newBenchSpace(b), newBenchSpace(b), newBenchSpace(b)
	defer outside.end()
	outside.plug(b, here, "here")
	outside.plug(b, there, "there")
	ours, bare := newBenchHost(b, here), &bareHost{b, there}
	before, after := benchNetworks(), benchNetworks()
	benchEdit(after[100])

	ours.apply(before, took, "first")
	made := ours.objects()
	bare.first(before, made, took)
	benchSame(b, "ip, bridge and nft", made.anywhere(), bare.objects().anywhere())

	ours.restart()
	ours.apply(before, took, "restart")
	if ours.changes.Len() > 0 {
		b.Fatalf("a start over what is there has changed devices: %s", ours.changes.String())
	}
	benchSame(b, "a start over what is there", made, ours.objects())

	ours.settle() // the announcements that follow a start are over
	for i := range 2 * benchTurns {
		from, to := before[100], after[100]
		all := after
		if i%2 == 1 {
			from, to, all = to, from, before
		}
		ours.apply(all, took, "change")
		bare.change(from, to, took)
	}
	benchSame(b, "changes of ip and nft", ours.objects().anywhere(), bare.objects().anywhere())

	ours.settle()
	for range benchTurns {
		ours.apply(before, took, "nothing")
		bare.look(took)
	}
	if ours.late > 0 {
		b.Logf("%d times the gateways came too late and were set again", ours.late)
	}
	if ours.trouble.Len() > 0 {
		b.Fatalf("not everything was done: %.2000s", ours.trouble.String())
	}
	ours.links.Close() // its sockets would keep the name space
	outside.unplug(b, here, "here")
	outside.unplug(b, there, "there")
}

// benchNetworks are the networks, with ten rules in each direction.
func benchNetworks() (out []*model.Network) {
	for i := range 200 {
		n := &model.Network{VNI: 1000 + i, Type: model.NetworkManaged, Description: fmt.Sprintf("net%d", i), MTU: 1450}
		n.IP4.Network = netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 60, byte(i), 0}), 24)
		n.IP4.Gateway = n.IP4.Network.Addr().Next()
		n.IP6.Network = netip.PrefixFrom(netip.AddrFrom16([16]byte{0: 0xfd, 5: byte(i)}), 64)
		n.IP6.Gateway = n.IP6.Network.Addr().Next()
		for j := range 10 {
			n.In = append(n.In, model.Rule{Name: fmt.Sprintf("in%d", j), Order: j, Text: fmt.Sprintf("ip saddr 192.0.2.%d tcp dport { 443, %d } accept", j, 1000+j)})
			n.Out = append(n.Out, model.Rule{Name: fmt.Sprintf("out%d", j), Order: j, Text: fmt.Sprintf("udp dport %d drop", 2000+j)})
		}
		out = append(out, n)
	}
	return out
}

// benchEdit changes the MTU, the gateway and a rule of a network.
func benchEdit(n *model.Network) {
	n.MTU, n.IP4.Gateway, n.In[3].Text = 1400, n.IP4.Gateway.Next(), "tcp dport 9 drop"
}

var benchLocal = netip.MustParseAddr("198.51.100.1")

func benchPeers() (out []netip.Addr) {
	for i := range 10 {
		out = append(out, netip.AddrFrom4([4]byte{198, 51, 100, byte(100 + i)}))
	}
	return out
}

// durations are those of each thing that was done, by its name.
type durations map[string][]time.Duration

func (d durations) add(what string, since time.Time) {
	d[what] = append(d[what], time.Since(since))
}

func benchMedian(all []time.Duration) time.Duration {
	if len(all) == 0 {
		return 0
	}
	return slices.Sorted(slices.Values(all))[len(all)/2]
}

// benchMachine says where the figures come from, as the benchmarks of testbed/bench do.
func benchMachine() string {
	cpus, _ := os.ReadFile("/proc/cpuinfo") // empty if unknown
	_, rest, _ := strings.Cut(string(cpus), "model name")
	cpu, _, _ := strings.Cut(rest, "\n")
	load, _ := os.ReadFile("/proc/loadavg")
	first, _, _ := strings.Cut(string(load), " ")
	return fmt.Sprintf("%s, %d processors, %s, load %s, %s", strings.Trim(cpu, "\t :"), runtime.NumCPU(), runtime.Version(), first, time.Now().Format("2006-01-02 15:04"))
}

// benchHost is what a primary does, in a name space.
type benchHost struct {
	b       *testing.B
	space   *benchSpace
	links   *link.Links
	rules   *firewall.Firewall
	places  *address.Set
	changes bytes.Buffer // what was logged of devices
	trouble bytes.Buffer // warnings of the others
	started bool
	late    int // how often gateways came too late
}

func newBenchHost(b *testing.B, s *benchSpace) *benchHost {
	h := &benchHost{b: b, space: s}
	h.restart()
	return h
}

// restart begins with nothing but what the kernel has.
func (h *benchHost) restart() {
	if h.links != nil {
		h.links.Close()
	}
	h.changes.Reset()
	h.links = link.New(link.Underlay{Device: "eth0", Local: benchLocal}, slog.New(slog.NewTextHandler(&h.changes, nil)))
	warnings := slog.New(slog.NewTextHandler(&h.trouble, &slog.HandlerOptions{Level: slog.LevelWarn}))
	h.rules = firewall.New(run.System{}, warnings)
	h.places = address.NewSet("gateways", OurBridge, warnings)
	h.started = false
}

// apply does what a pass of the primary does with these, in its order.
func (h *benchHost) apply(networks []*model.Network, took durations, what string) {
	h.b.Helper()
	var failed error
	h.space.in(func() {
		began := time.Now()
		result, err := h.links.Apply(h.b.Context(), link.Desired{Networks: links(networks), Peers: benchPeers()})
		took.add(what+"-devices", began)
		ruled := time.Now()
		wrong := h.rules.Apply(h.b.Context(), true, managed(networks))
		took.add(what+"-rules", ruled)
		placed := time.Now()
		bad := h.places.Want(gateways(networks))
		if !h.started {
			bad = h.places.Acquire(h.b.Context(), time.Hour)
		}
		bad = h.again(bad)
		took.add(what+"-gateways", placed)
		took.add(what, began)
		if err != nil || bad != nil || len(result)+len(wrong) > 0 {
			failed = fmt.Errorf("%s: devices: %v, %v; rules: %v; gateways: %v", what, err, result, wrong, bad)
		}
	})
	if failed != nil {
		h.b.Fatal(failed)
	}
	h.started = true
}

// again tries as the daemon does when a busy machine was so slow that the gateways were
// removed again; that time counts too.
func (h *benchHost) again(err error) error {
	for tries := 0; errs.Is(err, errs.Unavailable) && tries < 20; tries++ {
		h.late++
		err = h.places.Keep(h.b.Context(), time.Hour)
	}
	return err
}

// settle lets the gateways be announced as often as they are.
func (h *benchHost) settle() {
	h.b.Helper()
	var err error
	h.space.in(func() {
		for range 3 {
			if err == nil {
				err = h.again(h.places.Keep(h.b.Context(), time.Hour))
			}
		}
	})
	if err != nil {
		h.b.Fatal(err)
	}
}

func (h *benchHost) objects() objects { return (&bareHost{h.b, h.space}).objects() }
