package firewall

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// guest is a thread with a network namespace of its own.
type guest struct {
	work chan func()
	ns   int // file descriptor
}

// newGuest makes a guest whose eth0, with the addresses, is joined to a device of the test's
// namespace.
func newGuest(t *testing.T, device string, addresses ...netip.Prefix) *guest {
	t.Helper()
	g := &guest{work: make(chan func())}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := unix.Unshare(unix.CLONE_NEWNET)
		if err == nil {
			g.ns, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		}
		started <- err
		for f := range g.work {
			f()
		}
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		close(g.work)
		if err := unix.Close(g.ns); err != nil {
			t.Error(err)
		}
	})
	g.do(t, func() error { return sysctl("ipv6/conf/default/accept_dad", "0") })
	veth := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: device}, PeerName: "eth0", PeerNamespace: netlink.NsFd(g.ns)}
	if err := netlink.LinkAdd(veth); err != nil {
		t.Fatal(err)
	}
	g.do(t, func() error { return configure("eth0", addresses...) })
	if err := configure(device); err != nil {
		t.Fatal(err)
	}
	return g
}

// newRouted makes a guest of a network that has its gateway for everything else.
func newRouted(t *testing.T, n *model.Network) *guest {
	t.Helper()
	gateways := []netip.Prefix{netip.PrefixFrom(n.IP4.Gateway, n.IP4.Network.Bits()), netip.PrefixFrom(n.IP6.Gateway, n.IP6.Network.Bits())}
	var own []netip.Prefix
	for _, gw := range gateways {
		own = append(own, netip.PrefixFrom(gw.Addr().Next(), gw.Bits()))
	}
	g := newGuest(t, n.Bridge(), own...)
	if err := configure(n.Bridge(), gateways...); err != nil {
		t.Fatal(err)
	}
	g.do(t, func() error {
		for _, gw := range gateways {
			if err := netlink.RouteAdd(&netlink.Route{Gw: gw.Addr().AsSlice()}); err != nil {
				return fmt.Errorf("route over %v: %w", gw, err)
			}
		}
		return nil
	})
	return g
}

// sysctl sets a value below /proc/sys/net of the thread's namespace.
func sysctl(name, value string) error {
	return os.WriteFile("/proc/sys/net/"+name, []byte(value), 0o644)
}

func configure(device string, addresses ...netip.Prefix) error {
	link, err := netlink.LinkByName(device)
	if err != nil {
		return err
	}
	for _, a := range addresses {
		addr := &netlink.Addr{IPNet: &net.IPNet{IP: a.Addr().AsSlice(), Mask: net.CIDRMask(a.Bits(), a.Addr().BitLen())}, Flags: unix.IFA_F_NODAD}
		if err := netlink.AddrAdd(link, addr); err != nil {
			return fmt.Errorf("address %v: %w", a, err)
		}
	}
	return netlink.LinkSetUp(link)
}

func (g *guest) do(t *testing.T, f func() error) {
	t.Helper()
	done := make(chan error)
	g.work <- func() { done <- f() }
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

// addressOf is the guest's address in a network.
func addressOf(n *model.Network, family int) netip.Addr {
	if family == 4 {
		return n.IP4.Gateway.Next()
	}
	return n.IP6.Gateway.Next()
}

// listen makes the guest answer at TCP ports.
func (g *guest) listen(t *testing.T, ports ...int) {
	t.Helper()
	g.do(t, func() error { return listen(t, ports...) })
}

// listen accepts connections until the end of the test. The families are named since Go
// finds out once which there are, perhaps in a namespace without any.
func listen(t *testing.T, ports ...int) error {
	for _, port := range ports {
		for _, family := range []string{"tcp4", "tcp6"} {
			l, err := net.Listen(family, fmt.Sprintf(":%d", port))
			if err != nil {
				return err
			}
			done := make(chan struct{})
			go func() {
				defer close(done)
				for c, err := l.Accept(); err == nil; c, err = l.Accept() {
					_ = c.Close() // that it came is all that the tests look at
				}
			}()
			t.Cleanup(func() {
				if err := l.Close(); err != nil {
					t.Error(err)
				}
				<-done
			})
		}
	}
	return nil
}

// What a guest sees when it connects.
const (
	connects = "connects"
	refused  = "refused"
	silence  = "silence"
)

// dial says what the guest sees at an address.
func (g *guest) dial(t *testing.T, to netip.Addr, port uint16, wait time.Duration) (seen string) {
	t.Helper()
	g.do(t, func() error {
		c, err := net.DialTimeout("tcp", netip.AddrPortFrom(to, port).String(), wait)
		var timeout net.Error
		switch {
		case err == nil:
			seen = connects
			return c.Close()
		case errors.Is(err, syscall.ECONNREFUSED):
			seen = refused
		case errors.As(err, &timeout) && timeout.Timeout():
			seen = silence
		default:
			return err
		}
		return nil
	})
	return seen
}

// world is a primary that routes between guests of two networks.
type world struct {
	*rig
	networks []*model.Network
	guests   []*guest
}

func newWorld(t *testing.T) *world {
	inNamespace(t)
	for name, value := range map[string]string{"ipv4/ip_forward": "1", "ipv6/conf/all/forwarding": "1", "ipv6/conf/default/accept_dad": "0"} {
		if err := sysctl(name, value); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{rig: newRig(t)}
	for _, vni := range []int{100, 200} {
		n := network(vni, nil, nil)
		w.networks = append(w.networks, n)
		w.guests = append(w.guests, newRouted(t, n))
	}
	for _, g := range w.guests {
		g.listen(t, 80, 81)
	}
	return w
}

// sees wants what the first guest sees of the ports 80 and 81 of the second, in both families.
func (w *world) sees(t *testing.T, when, port80, port81 string) {
	t.Helper()
	got, want := map[string]string{}, map[string]string{}
	for _, family := range []int{4, 6} {
		for port, expected := range map[uint16]string{80: port80, 81: port81} {
			wait := 10 * time.Second
			if expected == silence {
				wait = 300 * time.Millisecond
			}
			name := fmt.Sprintf("IPv%d port %d", family, port)
			want[name] = expected
			got[name] = w.guests[0].dial(t, addressOf(w.networks[1], family), port, wait)
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s: want (-), got (+):\n%s", when, d)
	}
}

func (w *world) apply(t *testing.T) {
	t.Helper()
	mustHold(t, w.Apply(t.Context(), true, w.networks))
}

func TestARuleBlocksOnePortAndThenDoesNot(t *testing.T) {
	w := newWorld(t)
	w.apply(t)
	w.sees(t, "without rules", connects, connects)
	w.networks[1].In = ruleList([]string{"tcp dport 80 drop"})
	w.apply(t)
	w.sees(t, "with a rule that drops", silence, connects)
	w.networks[1].In = ruleList([]string{"tcp dport 80 reject with tcp reset"})
	w.apply(t)
	w.sees(t, "with a rule that refuses", refused, connects)
	w.networks[1].In = nil
	w.apply(t)
	w.sees(t, "without the rule", connects, connects)
	w.networks[0].Out = ruleList([]string{"tcp dport 81 reject with tcp reset"})
	w.apply(t)
	w.sees(t, "with a rule of the other network and direction", connects, refused)
	w.networks[0].Out = ruleList([]string{"drop"})
	w.apply(t)
	w.sees(t, "with the path cut", silence, silence)
	mustHold(t, w.Apply(t.Context(), false, w.networks))
	w.sees(t, "without the role", connects, connects)
}

// TestNoNetworkOverrulesAnother: a packet between two networks needs the consent of both,
// whatever the order.
func TestNoNetworkOverrulesAnother(t *testing.T) {
	accept, drop := ruleList([]string{"accept"}), ruleList([]string{"tcp dport 80 reject with tcp reset"})
	for name, rules := range map[string][2][]model.Rule{"out accepts, in refuses": {accept, drop}, "out refuses, in accepts": {drop, accept}} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.networks[0].Out, w.networks[1].In = rules[0], rules[1]
			w.apply(t)
			w.sees(t, "at first", refused, connects)
			w.networks[0].Out, w.networks[1].In = rules[1], rules[0]
			w.apply(t)
			w.sees(t, "interchanged", refused, connects)
		})
	}
}

// tree is a schema.Tree of fixed values.
type tree map[string]string

func (m tree) Data(path string) (string, int32, bool) { v, ok := m[path]; return v, 0, ok }

func (m tree) Children(path string) (names []string) {
	seen := map[string]bool{}
	for p := range m {
		if rest, ok := strings.CutPrefix(p, path+"/"); ok {
			name, _, _ := strings.Cut(rest, "/")
			if !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
		}
	}
	return names
}

// TestRuleTenComesAfterRuleTwo: read as text, they would change places.
func TestRuleTenComesAfterRuleTwo(t *testing.T) {
	w := newWorld(t)
	records := tree{schema.Network(200): "x", schema.Network(200, schema.NetworkType): "managed"}
	for name, rule := range map[string][2]string{"first": {"2", "tcp dport 80 accept"}, "second": {"10", "reject with tcp reset"}} {
		records[schema.Network(200, schema.NetworkRules, "in", name)] = ""
		records[schema.Network(200, schema.NetworkRules, "in", name, schema.RuleOrder)] = rule[0]
		records[schema.Network(200, schema.NetworkRules, "in", name, schema.RuleText)] = rule[1]
	}
	decoded, ok, err := schema.DecodeNetwork(records, 200)
	if err != nil || !ok || len(decoded.In) != 2 {
		t.Fatal(decoded, ok, err)
	}
	w.networks[1].In = decoded.In
	w.apply(t)
	w.sees(t, "2 accepts, 10 refuses", connects, refused)
}

// TestAGuestReachesOnlyTheServicesOfItsGateway: and nothing else of the host.
//
// decision: services of the gateway
func TestAGuestReachesOnlyTheServicesOfItsGateway(t *testing.T) {
	w := newWorld(t)
	if err := listen(t, 53, 22); err != nil {
		t.Fatal(err)
	}
	w.apply(t)
	for _, gateway := range []netip.Addr{w.networks[0].IP4.Gateway, w.networks[0].IP6.Gateway, w.networks[1].IP4.Gateway} {
		if got := w.guests[0].dial(t, gateway, 53, 10*time.Second); got != connects {
			t.Errorf("DNS of %v: %s", gateway, got)
		}
		if got := w.guests[0].dial(t, gateway, 22, 300*time.Millisecond); got != silence {
			t.Errorf("SSH of %v: %s", gateway, got)
		}
	}
}

// TestAFalseSourceDoesNotEvadeTheRules: the rules of the network that a packet comes from
// see it whatever address it claims.
//
// decision: reach of a rule
func TestAFalseSourceDoesNotEvadeTheRules(t *testing.T) {
	w := newWorld(t)
	w.networks[0].Out = ruleList([]string{"udp dport 9 drop"})
	w.apply(t)
	w.guests[0].do(t, func() error {
		if err := configure("lo", netip.MustParsePrefix("192.0.2.1/32")); err != nil {
			return err
		}
		d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP("192.0.2.1")}}
		c, err := d.Dial("udp", netip.AddrPortFrom(addressOf(w.networks[1], 4), 9).String())
		if err != nil {
			return err
		}
		if _, err := c.Write([]byte("x")); err != nil {
			return err
		}
		return c.Close()
	})
	// The packet has gone through the forward hook before the write returned: a pair of
	// devices delivers in the same context, or at the latest in a moment.
	deadline := time.Now().Add(10 * time.Second)
	for !strings.Contains(nft(t, "", "list", "chain", "inet", "pvc", "vxlan100-out"), "counter packets 1 bytes 29 udp dport 9 drop") {
		if time.Now().After(deadline) {
			t.Fatalf("the rule has not seen it:\n%s", nft(t, "", "list", "table", "inet", "pvc"))
		}
	}
}

// TestFramesWithinANetworkAreNotFiltered: where bridges call the firewall, the primary
// would treat neighbours in another way than all other hosts do.
func TestFramesWithinANetworkAreNotFiltered(t *testing.T) {
	inNamespace(t)
	if err := sysctl("bridge/bridge-nf-call-iptables", "1"); err != nil {
		t.Skipf("bridges cannot call the firewall here: %v", err)
	}
	n := network(100, []string{"drop"}, []string{"drop"})
	if err := netlink.LinkAdd(&netlink.Bridge{LinkAttrs: netlink.LinkAttrs{Name: n.Bridge()}}); err != nil {
		t.Skipf("no bridge: %v", err)
	}
	bridge, err := netlink.LinkByName(n.Bridge())
	if err != nil {
		t.Fatal(err)
	}
	first, second := n.IP4.Gateway.Next(), n.IP4.Gateway.Next().Next()
	var guests []*guest
	for i, a := range []netip.Addr{first, second} {
		device := fmt.Sprintf("tap%d", i)
		g := newGuest(t, device, netip.PrefixFrom(a, 24))
		link, err := netlink.LinkByName(device)
		if err != nil {
			t.Fatal(err)
		}
		if err := netlink.LinkSetMaster(link, bridge); err != nil {
			t.Fatal(err)
		}
		g.listen(t, 80)
		guests = append(guests, g)
	}
	if err := configure(n.Bridge()); err != nil {
		t.Fatal(err)
	}
	mustHold(t, newRig(t).Apply(t.Context(), true, []*model.Network{n}))
	if got := guests[0].dial(t, second, 80, 10*time.Second); got != connects {
		t.Errorf("a neighbour: %s", got)
	}
	nft(t, "insert rule inet pvc leaving iifname \"vmbr100\" drop", "-f", "-")
	if got := guests[0].dial(t, second, 80, 300*time.Millisecond); got != silence {
		t.Errorf("bridges do not call the firewall here, so nothing was shown: %s", got)
	}
}
