package ovs

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/vishvananda/netns"

	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/frames"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
	"github.com/parallelvirtualcluster/pvc/testbed/lab"
)

// The guests, two in each network. All are in one IP network, so that a frame in the wrong
// VLAN would be understood there.
type guestOf struct{ name, vlan, mac, ip string }

var (
	left10  = guestOf{"ovleft10", "10", "52:54:00:00:10:01", "10.0.0.1"}
	right10 = guestOf{"ovright10", "10", "52:54:00:00:10:02", "10.0.0.2"}
	left20  = guestOf{"ovleft20", "20", "52:54:00:00:20:01", "10.0.0.3"}
	right20 = guestOf{"ovright20", "20", "52:54:00:00:20:02", "10.0.0.4"}
)

func (g guestOf) launch(t *testing.T, on *host.Host) *lab.Machine {
	t.Helper()
	return users.Launch(t, g.name, "vmbr"+g.vlan, on, g.mac, "ip="+g.ip+"/24")
}

// repair is how soon damage by others must be gone; the rest is for a machine that is
// busy with other tests.
const repair = 10*time.Second + 20*time.Second

// decision: bridged networks over Open vSwitch
func TestGuestsOfBridgedNetworksMeetOverOpenVSwitch(t *testing.T) {
	for _, vni := range []string{"10", "20"} {
		network(t, vni)
	}
	first, second := users.Cluster.Host(1), users.Cluster.Host(2)
	trunk, plain := atSwitch(t, "t"+second.Name), atSwitch(t, "v"+second.Name)
	a, b := left10.launch(t, first), right10.launch(t, second)

	t.Run("two networks", func(t *testing.T) {
		c, d := left20.launch(t, first), right20.launch(t, second)
		for _, m := range []*lab.Machine{a, b, c, d} {
			m.Booted(t)
		}
		a.Reaches(t, right10.ip)
		c.Reaches(t, right20.ip)
		for _, other := range []guestOf{left20, right20} {
			if out, ok := a.Run(t, "arping -c 2 -w 1 -I eth0 "+other.ip); ok {
				t.Errorf("a guest of network 10 reaches %s of network 20: %s", other.name, out)
			}
		}
		all := []string{left10.mac, right10.mac, left20.mac, right20.mac}
		want := map[string][]int{left10.mac: {10}, right10.mac: {10}, left20.mac: {20}, right20.mac: {20}}
		if diff := cmp.Diff(want, trunk.Tags(t, all...)); diff != "" {
			t.Errorf("tags by sender between the hosts (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(map[string][]int{}, plain.Tags(t, all...)); diff != "" {
			t.Errorf("frames of guests on the network of the hosts (+got):\n%s", diff)
		}
		if status, body := users.Ask(t, http.MethodDelete, "/network/20"); status != 510 || !strings.Contains(body, left20.name) {
			t.Errorf("network 20 can be removed: %d %s", status, body)
		}
	})
	t.Run("a removed network", func(t *testing.T) { removed(t, "20") })
	a.Reaches(t, right10.ip)
	t.Run("a deleted port", func(t *testing.T) {
		vsctl(t, first, "del-port", "vlan10")
		began := time.Now()
		lab.Within(t, repair, "the port is there", func() error { return hasPort(t, first, "vlan10", true) })
		t.Logf("repaired after %v", time.Since(began).Round(time.Millisecond))
		a.Reaches(t, right10.ip)
	})
	t.Run("migration with a running ping", func(t *testing.T) {
		pings := a.Pings(t, right10.ip)
		for _, action := range []string{"migrate", "unmigrate"} {
			users.Do(t, http.MethodPost, "/vm/"+right10.name+"/node", "action", action, "wait", "True")
			a.Reaches(t, right10.ip)
		}
		if at := b.Host(t); at != second {
			t.Errorf("the guest is on %s", at.Name)
		}
		sent, gap := pings.End(t)
		t.Logf("%d pings, at most %v without an answer", sent, gap)
		if gap > 5*time.Second { // the guest itself stands still for a part of it
			t.Errorf("%v without an answer", gap)
		}
	})
}

// network makes a bridged network. A host says at first that it has no such bridge, until
// its Open vSwitch runs.
func network(t *testing.T, vni string) {
	t.Helper()
	lab.Within(t, deadline, "network "+vni+" is made", func() error {
		status, body := users.Ask(t, http.MethodPost, "/network", "vni", vni, "description", "net"+vni, "nettype", "bridged")
		if status != http.StatusOK {
			return errors.New(body)
		}
		return nil
	})
}

// removed removes a network and waits until its ports are gone; others stay.
func removed(t *testing.T, vni string) {
	t.Helper()
	users.Do(t, http.MethodDelete, "/network/"+vni)
	for _, h := range users.Cluster.Hosts() {
		lab.Within(t, repair, "the port is gone on "+h.Name, func() error { return hasPort(t, h, "vlan"+vni, false) })
		if out, err := h.Exec(t.Context(), "ip", "-o", "link"); err != nil || strings.Contains(out, "vmbr"+vni) || strings.Contains(out, "vlan"+vni) {
			t.Errorf("devices of %s: %s %v", h.Name, out, err)
		}
		lab.Must(t, hasPort(t, h, "vlan10", true))
		lab.Must(t, hasPort(t, h, "eth1", true))
	}
}

func vsctl(t *testing.T, h *host.Host, args ...string) string {
	t.Helper()
	out, err := h.Exec(t.Context(), append([]string{"ovs-vsctl", "--timeout=20"}, args...)...)
	lab.Must(t, err)
	return out
}

// hasPort is an error unless the bridge of the host has, or has not, a port.
func hasPort(t *testing.T, h *host.Host, port string, want bool) error {
	t.Helper()
	ports := strings.Fields(vsctl(t, h, "list-ports", testbed.TrunkBridge))
	if slices.Contains(ports, port) != want {
		return fmt.Errorf("%s of %s: wanted %v, the ports are %q", port, h.Name, want, ports)
	}
	return nil
}

// atSwitch looks at a port of the switch between the hosts.
func atSwitch(t *testing.T, port string) *frames.Watcher {
	t.Helper()
	pid, err := users.Cluster.Switch().PID()
	lab.Must(t, err)
	var file *os.File
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		ns, err := netns.GetFromPid(pid)
		if err == nil {
			defer ns.Close()
			if err = netns.Set(ns); err == nil {
				file, err = frames.Open(port)
			}
		}
		done <- err
	}()
	lab.Must(t, <-done)
	return frames.Watch(t, file)
}
