package link

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netlink"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/run"
	"github.com/parallelvirtualcluster/pvc/testbed/frames"
)

// Guests on two hosts, by network: all in one IP network, so that a frame in the wrong
// VLAN would be understood there.
var near5, near6, far5, far6 = asker5, asker6, answer5, answer6

// decision: bridged networks over Open vSwitch
func TestGuestsMeetOverPortsOfOpenVSwitchInTheirVLANOnly(t *testing.T) {
	hosts := switchCluster(t, 2)
	a, b := hosts[0], hosts[1]
	for _, m := range hosts {
		if err := m.vlans(t); err != nil {
			t.Errorf("bridged networks are not possible: %v", err)
		}
		m.complete(t, vlans(5, 6))
	}
	five, six := near5.start(t, a.machine, "vnet0"), near6.start(t, a.machine, "vnet1")
	there5, there6 := far5.start(t, b.machine, "vnet0"), far6.start(t, b.machine, "vnet1")
	wire, in5, in6 := b.watch(t, "eth1"), there5.watch(t, "eth0"), there6.watch(t, "eth0")
	there5.echo(t)
	there6.echo(t)
	five.reaches(t, there5)
	six.reaches(t, there6)
	if five.ask(there6, 1, absent) == nil || six.ask(there5, 2, absent) == nil {
		t.Error("somebody in the other VLAN answers")
	}
	for _, c := range []struct {
		where string
		at    *frames.Watcher
		want  map[string][]int
	}{
		{"eth1", wire, map[string][]int{near5.mac: {5}, near6.mac: {6}}},
		{"the guest in VLAN 5", in5, map[string][]int{near5.mac: {frames.Untagged}}},
		{"the guest in VLAN 6", in6, map[string][]int{near6.mac: {frames.Untagged}}},
	} {
		if diff := cmp.Diff(c.want, c.at.Tags(t, near5.mac, near6.mac)); diff != "" {
			t.Errorf("tags by sender at %s (-want +got):\n%s", c.where, diff)
		}
	}
	t.Run("repairs", func(t *testing.T) { a.repairPorts(t, five, there5) })
	t.Run("daemon", func(t *testing.T) { a.surviveTheDaemon(t, five, there5) })
	t.Run("removal", func(t *testing.T) { a.removePorts(t, five, there5) })
}

// repairPorts damages network 5 in ways that cut it, and has them repaired.
func (m *switchMachine) repairPorts(t *testing.T, from, to *guest) {
	number := uint32(1000)
	vsctl := func(args ...string) func() error {
		return func() error { m.vsctl(t, args...); return nil }
	}
	for name, damage := range map[string]func() error{
		"port deleted":      vsctl("del-port", "vlan5"),
		"another tag":       vsctl("set", "Port", "vlan5", "tag=7"),
		"a trunk":           vsctl("remove", "Port", "vlan5", "tag", "5"),
		"in another bridge": vsctl("del-port", "vlan5", "--", "add-br", "br2", "--", "set", "Bridge", "br2", "datapath_type=netdev", "--", "add-port", "br2", "vlan5", "tag=5", "external_ids:pvc=5", "--", "set", "Interface", "vlan5", "type=internal"),
		"device down":       on("vlan5", netlink.LinkSetDown),
		"out of the bridge": on("vlan5", netlink.LinkSetNoMaster),
	} {
		t.Run(strings.ReplaceAll(name, " ", "-"), func(t *testing.T) {
			m.must(t, damage)
			if number++; from.ask(to, number, absent) == nil {
				t.Error("the damage does no harm, so the test says nothing")
			}
			m.complete(t, vlans(5, 6))
			from.reaches(t, to)
		})
	}
}

// surviveTheDaemon kills ovs-vswitchd, which leaves the devices without anybody behind
// them, and then the database, without which the datapath in user space stands still.
func (m *switchMachine) surviveTheDaemon(t *testing.T, from, to *guest) {
	before := m.index(t, "vlan5")
	m.kill(t, "ovs-vswitchd")
	down := func(what string) {
		result := m.apply(t, vlans(5, 6))
		if !errs.Is(result[5], errs.Unavailable) || !errs.Is(result[6], errs.Unavailable) || !strings.Contains(result[5].Error(), what) {
			t.Errorf("%q was expected in %v", what, result)
		}
		if err := m.vlans(t); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), what) {
			t.Errorf("%q was expected in %v", what, err)
		}
	}
	down("ovs-vswitchd does not run")
	m.startDaemon(t)
	m.vsctl(t, "set", "Bridge", "br1", "external_ids:awake=yes") // returns when it works
	m.complete(t, vlans(5, 6))
	from.reaches(t, to)
	if now := m.index(t, "vlan5"); now != before {
		t.Errorf("vlan5 had number %d and has %d", before, now)
	}

	m.kill(t, "ovsdb-server")
	down("Open vSwitch cannot be asked")
	m.startDB(t)
	m.complete(t, vlans(5, 6))
	if err := m.vlans(t); err != nil {
		t.Error(err)
	}
	from.reaches(t, to)
}

// removePorts removes first the one network and then the other.
func (m *switchMachine) removePorts(t *testing.T, from, to *guest) {
	m.vsctl(t, "add-port", "br1", "vlan9", "tag=9", "--", "set", "Interface", "vlan9", "type=internal")
	result := m.apply(t, vlans(5))
	if err := result[6]; !errs.Is(err, errs.Conflict) || !strings.Contains(err.Error(), "vnet1") {
		t.Errorf("result %v, want a conflict that names the guest's port", result)
	}
	m.must(t, on("vnet1", netlink.LinkDel))
	m.complete(t, vlans(5))
	if err := from.ask(to, 2, time.Second); err != nil {
		t.Errorf("the other network is cut: %v", err)
	}
	m.must(t, on("vnet0", netlink.LinkDel))
	m.complete(t, Desired{})
	if got := strings.Fields(m.vsctl(t, "list-ports", "br1")); !cmp.Equal(got, []string{"eth1", "vlan9"}) {
		t.Errorf("ports of br1: %q", got)
	}
	for _, name := range []string{"vlan5", "vlan6", "vmbr5", "vmbr6"} {
		if m.index(t, name) != 0 {
			t.Errorf("%s is there", name)
		}
	}
	if m.index(t, "vlan9") == 0 || m.index(t, "br1") == 0 {
		t.Error("what is not ours is gone")
	}
}

func TestAPortOfSomebodyElseIsAFaultOfItsNetworkOnly(t *testing.T) {
	m := switchCluster(t, 1)[0]
	m.vsctl(t, "add-port", "br1", "vlan9", "tag=9", "--", "set", "Interface", "vlan9", "type=internal")
	before := m.index(t, "vlan9")
	result := m.apply(t, vlans(5, 9))
	if len(result) != 1 || !errs.Is(result[9], errs.Conflict) {
		t.Errorf("result %v, want a conflict of 9", result)
	}
	if m.index(t, "vlan5") == 0 || m.index(t, "vmbr9") == 0 || m.index(t, "vlan9") != before {
		t.Error("5 has no port, 9 no bridge, or somebody else's port was touched")
	}
	if m.apply(t, Desired{}); m.index(t, "vlan9") != before {
		t.Error("somebody else's port is gone")
	}
}

// TestOpenVSwitchIsReadOnceInAPassAndOnlyForBridgedNetworks counts processes.
func TestOpenVSwitchIsReadOnceInAPassAndOnlyForBridgedNetworks(t *testing.T) {
	m := switchCluster(t, 1)[0]
	m.must(t, func() error {
		if _, err := m.links.Apply(t.Context(), Desired{Networks: []Network{managed(100)}}); err != nil {
			return err
		}
		_, err := m.links.Orphans()
		return err
	})
	if n := m.asked.calls.Load(); n != 0 {
		t.Errorf("%d calls without a bridged network", n)
	}
	for _, step := range []struct {
		want  Desired
		calls int64
	}{
		{vlans(5, 6), 3}, // a look, and two ports
		{vlans(5, 6), 1},
		{vlans(5), 2},
		{vlans(), 2},
		{vlans(), 0},
	} {
		before := m.asked.calls.Load()
		if result := m.apply(t, step.want); len(result) != 0 {
			t.Errorf("%v: %v", step.want, result)
		}
		if n := m.asked.calls.Load() - before; n != step.calls {
			t.Errorf("%v: %d calls, want %d", step.want, n, step.calls)
		}
	}
	for range 2 { // it is known by now
		if err := m.vlans(t); err != nil {
			t.Error(err)
		}
	}
	if orphans, err := m.orphans(t); err != nil || len(orphans) != 0 {
		t.Errorf("devices of Open vSwitch are taken for guests: %v %v", orphans, err)
	}
}

func (m *machine) orphans(t *testing.T) (names []string, err error) {
	t.Helper()
	m.in(func() { names, err = m.links.Orphans() })
	return names, err
}

// TestPortsFollowTheMTUAndLeaveTheBridgeItsOwn: Open vSwitch gives the bridge the smallest
// MTU that is requested of it.
func TestPortsFollowTheMTUAndLeaveTheBridgeItsOwn(t *testing.T) {
	m := switchCluster(t, 1)[0]
	small := bridged(5)
	small.MTU = 1300
	want := Desired{Networks: []Network{small, bridged(6)}}
	mtus := func(vlan5, vlan6, br1 int) {
		t.Helper()
		m.complete(t, want)
		for name, mtu := range map[string]int{"vlan5": vlan5, "vmbr5": vlan5, "vlan6": vlan6, "vmbr6": vlan6, "br1": br1} {
			m.must(t, on(name, func(l netlink.Link) error {
				if got := l.Attrs().MTU; got != mtu {
					t.Errorf("%s has MTU %d, want %d", name, got, mtu)
				}
				return nil
			}))
		}
	}
	mtus(1300, 1500, 1500)
	m.must(t, on("eth1", func(l netlink.Link) error { return netlink.LinkSetMTU(l, 2000) }))
	m.vsctl(t, "set", "Bridge", "br1", "external_ids:seen=yes") // returns when the new MTU has been seen
	mtus(1300, 2000, 2000)

	m.vsctl(t, "set", "Interface", "vlan6", "mtu_request=1400") // somebody's, for the whole bridge
	m.apply(t, want)
	mtus(1300, 2000, 2000)
}

func TestATAPDeviceOnAHostWithoutOpenVSwitchIsADeviceAsOthers(t *testing.T) {
	m := &machine{space: newSpace(t)}
	m.must(t, func() error {
		return netlink.LinkAdd(&netlink.Tuntap{LinkAttrs: attrs("tap0"), Mode: netlink.TUNTAP_MODE_TAP})
	})
	m.links = New(Underlay{BridgedDevice: "tap0"}, slog.New(slog.NewTextHandler(t.Output(), nil)))
	t.Cleanup(m.links.Close)
	m.links.ovs.runner = noPrograms{}
	without := m.links.vlans()
	if err := m.vlans(t); err != without {
		t.Errorf("VLANs: %v, want %v", err, without)
	}
	if err := m.apply(t, vlans(5))[5]; (err == nil) != (without == nil) || err != nil && !strings.Contains(err.Error(), without.Error()) {
		t.Errorf("network 5: %v, want %v", err, without)
	}
}

// noPrograms is a host that has none.
type noPrograms struct{}

func (noPrograms) Run(ctx context.Context, c run.Command) (run.Result, error) {
	c.Argv = []string{"pvc-no-such-program"}
	return run.System{}.Run(ctx, c)
}
