package netctl

import (
	"encoding/json"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/run"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/address"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/netctl/firewall"
)

// bareHost has the programs of iproute2 and nftables do it.
type bareHost struct {
	b     *testing.B
	space *benchSpace
}

// program runs one in the name space and returns what it prints.
func (h *bareHost) program(stdin string, argv ...string) []byte {
	h.b.Helper()
	var r run.Result
	var err error
	h.space.in(func() { r, err = run.System{}.Run(h.b.Context(), run.Command{Argv: argv, Stdin: []byte(stdin)}) })
	if err != nil || r.Truncated {
		h.b.Fatalf("%q: %v, truncated: %v", argv, err, r.Truncated)
	}
	return r.Stdout
}

// first makes the devices of the networks, and the rules and gateways as they were made.
func (h *bareHost) first(networks []*model.Network, made objects, took durations) {
	h.b.Helper()
	var devices, flood, addrs strings.Builder
	for _, n := range networks {
		fmt.Fprintf(&devices, "link add name %s mtu %d type bridge stp_state 0 forward_delay 0 mcast_snooping 0\n"+
			"link set dev %[1]s alias pvc:%[3]d up\n"+
			"link add name vxlan%[3]d mtu %[2]d type vxlan id %[3]d dev eth0 local %s dstport 4789 learning\n"+
			"link set dev vxlan%[3]d alias pvc:%[3]d addrgenmode none master %[1]s up\n", n.Bridge(), n.MTU, n.VNI, benchLocal)
		for _, peer := range benchPeers() {
			fmt.Fprintf(&flood, "fdb append 00:00:00:00:00:00 dev vxlan%d dst %s\n", n.VNI, peer)
		}
	}
	for _, p := range gateways(networks) {
		addrs.WriteString(addressLine("add", p))
	}
	began := time.Now()
	h.program(devices.String(), "ip", "-batch", "-")
	h.program(flood.String(), "bridge", "-batch", "-")
	took.add("first-bare-devices", began)
	ruled := time.Now()
	h.program(made.Rules, "nft", "-f", "-")
	took.add("first-bare-rules", ruled)
	placed := time.Now()
	h.program(addrs.String(), "ip", "-batch", "-")
	took.add("first-bare-gateways", placed)
	took.add("first-bare", began)
}

func addressLine(verb string, p address.Place) string {
	nodad := ""
	if p.Prefix.Addr().Is6() {
		nodad = " nodad"
	}
	return fmt.Sprintf("addr %s %s dev %s valid_lft 3600 preferred_lft 3600%s\n", verb, p.Prefix, p.Device, nodad)
}

// change makes of one network what it is to be.
func (h *bareHost) change(from, to *model.Network, took durations) {
	h.b.Helper()
	batch := fmt.Sprintf("link set dev %s mtu %d\nlink set dev vxlan%d mtu %[2]d\n", to.Bridge(), to.MTU, to.VNI)
	batch += addressLine("del", gateways([]*model.Network{from})[0]) + addressLine("add", gateways([]*model.Network{to})[0])
	rules := firewall.Render([]*model.Network{to})[to.VNI]
	began := time.Now()
	h.program(batch, "ip", "-batch", "-")
	h.program(rules, "nft", "-f", "-")
	took.add("change-bare", began)
}

// look prints all there is.
func (h *bareHost) look(took durations) {
	h.b.Helper()
	began := time.Now()
	h.program("", "ip", "-d", "link", "show")
	h.program("", "bridge", "fdb", "show")
	h.program("", "ip", "addr", "show")
	h.program("", "nft", "list", "table", "inet", "pvc")
	took.add("nothing-bare", began)
}

// objects are what was made, as the programs show it.
type objects struct {
	Devices []shownLink
	Flood   []string
	Gateway []string
	Rules   string
}

// shownLink is a device as "ip -d -j link" shows it, as far as it is ours to say.
type shownLink struct {
	Index   int      `json:"ifindex"`
	Name    string   `json:"ifname"`
	Address string   `json:"address"`
	Alias   string   `json:"ifalias"`
	Master  string   `json:"master"`
	MTU     int      `json:"mtu"`
	Flags   []string `json:"flags"`
	Kind    struct {
		Name string `json:"info_kind"`
		Data struct {
			STP      int    `json:"stp_state"`
			Delay    int    `json:"forward_delay"`
			Snooping int    `json:"mcast_snooping"`
			VNI      int    `json:"id"`
			Below    string `json:"link"`
			Local    string `json:"local"`
			Port     int    `json:"port"`
			Learning bool   `json:"learning"`
		} `json:"info_data"`
	} `json:"linkinfo"`
}

// anywhere leaves out what two hosts do not have in common: numbers and MAC addresses.
func (o objects) anywhere() objects {
	o.Devices = slices.Clone(o.Devices)
	for i := range o.Devices {
		o.Devices[i].Index, o.Devices[i].Address = 0, ""
	}
	return o
}

// objects reads them back.
func (h *bareHost) objects() (o objects) {
	h.b.Helper()
	var fdb []struct{ MAC, Ifname, Dst string }
	var addrs []struct {
		Ifname string
		Info   []struct {
			Family, Local, Scope string
			Prefixlen            int
		} `json:"addr_info"`
	}
	for into, argv := range map[any][]string{&o.Devices: {"ip", "-d", "-j", "link"}, &fdb: {"bridge", "-j", "fdb"}, &addrs: {"ip", "-j", "addr"}} {
		if err := json.Unmarshal(h.program("", argv...), into); err != nil {
			h.b.Fatalf("%q: %v", argv, err)
		}
	}
	o.Devices = slices.DeleteFunc(o.Devices, func(l shownLink) bool { return l.Alias == "" })
	for _, e := range fdb {
		if e.MAC == "00:00:00:00:00:00" {
			o.Flood = append(o.Flood, e.Ifname+" "+e.Dst)
		}
	}
	for _, a := range addrs {
		for _, i := range a.Info {
			if OurBridge(a.Ifname) && i.Scope != "link" {
				o.Gateway = append(o.Gateway, fmt.Sprintf("%s %s/%d", a.Ifname, i.Local, i.Prefixlen))
			}
		}
	}
	slices.Sort(o.Flood)
	slices.Sort(o.Gateway)
	slices.SortFunc(o.Devices, func(x, y shownLink) int { return strings.Compare(x.Name, y.Name) })
	o.Rules = string(h.program("", "nft", "-s", "list", "table", "inet", "pvc"))
	return o
}

// benchSame demands that something has left, or made, the same objects.
func benchSame(b *testing.B, who string, want, got objects) {
	b.Helper()
	if len(want.Devices) != 400 || len(want.Flood) != 2000 || len(want.Gateway) != 400 || strings.Count(want.Rules, " dport ") < 4000 {
		b.Fatalf("not all was made: %d devices, %d peers, %d gateways, %d rules",
			len(want.Devices), len(want.Flood), len(want.Gateway), strings.Count(want.Rules, " dport "))
	}
	if d := cmp.Diff(want, got); d != "" {
		b.Fatalf("%s: not the same objects (-want +got):\n%s", who, d)
	}
}

// benchSpace is a network name space with a thread of its own.
type benchSpace struct {
	ns    netns.NsHandle
	todo  chan func()
	ended chan struct{}
}

func newBenchSpace(b *testing.B) *benchSpace {
	b.Helper()
	s := &benchSpace{todo: make(chan func()), ended: make(chan struct{})}
	ready := make(chan error)
	go func() { // until end
		defer close(s.ended)
		runtime.LockOSThread()
		home, err := netns.Get()
		if err == nil {
			defer home.Close()
			s.ns, err = netns.New()
		}
		ready <- err
		if err != nil {
			return
		}
		for f := range s.todo {
			f()
		}
		s.ns.Close()
		// The thread goes home, because the first of a process does not end with its
		// goroutine, and would keep the name space.
		if netns.Set(home) == nil {
			runtime.UnlockOSThread()
		}
	}()
	if err := <-ready; err != nil {
		b.Skipf("no network name space: %v", err)
	}
	return s
}

// in executes f in the name space. f must not end the test.
func (s *benchSpace) in(f func()) {
	done := make(chan struct{})
	s.todo <- func() { defer close(done); f() }
	<-done
}

func (s *benchSpace) end() {
	close(s.todo)
	<-s.ended
}

// plug gives a host the device of its cluster network.
func (s *benchSpace) plug(b *testing.B, host *benchSpace, name string) {
	b.Helper()
	var err error
	s.in(func() {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.Flags = name, 1 // up
		err = netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs, PeerName: "eth0", PeerNamespace: netlink.NsFd(host.ns)})
	})
	if err != nil {
		b.Fatal(err)
	}
	h := &bareHost{b, host}
	h.program(fmt.Sprintf("link set lo up\nlink set eth0 up\naddr add %s/24 dev eth0\n", benchLocal), "ip", "-batch", "-")
}

// unplug ends a host and waits until the kernel has removed what it had, which must not
// disturb the next: the other end of its cable goes with the rest.
func (s *benchSpace) unplug(b *testing.B, host *benchSpace, name string) {
	b.Helper()
	host.end()
	look := time.NewTicker(20 * time.Millisecond)
	defer look.Stop()
	for deadline := time.Now().Add(2 * time.Minute); ; <-look.C {
		there := false
		s.in(func() { there = address.DeviceExists(name) })
		if !there {
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("the name space of %q is still there", name)
		}
	}
}
