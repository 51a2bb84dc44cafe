package link

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"

	"github.com/parallelvirtualcluster/pvc/common/coord/coordtest"
	"github.com/parallelvirtualcluster/pvc/common/run"
)

const switchSchema = "/usr/share/openvswitch/vswitch.ovsschema"

// counted counts the programs that are run.
type counted struct {
	run.Runner
	calls atomic.Int64
}

func (c *counted) Run(ctx context.Context, command run.Command) (run.Result, error) {
	c.calls.Add(1)
	return c.Runner.Run(ctx, command)
}

// switchMachine is a host with Open vSwitch: its database server and its daemon, with the
// datapath in user space, and a bridge br1 that has eth1.
type switchMachine struct {
	*machine
	dir     string
	asked   *counted
	servers map[string]*exec.Cmd
}

// switchCluster makes hosts whose eth1 are at one switch that does not look at tags.
func switchCluster(t *testing.T, hosts int) (out []*switchMachine) {
	t.Helper()
	for _, needed := range []string{"ovs-vsctl", "ovsdb-tool", "ovsdb-server", "ovs-vswitchd"} {
		if _, err := exec.LookPath(needed); err != nil {
			t.Skipf("Open vSwitch (package openvswitch-switch) is not installed: %v", err)
		}
	}
	sw := newSpace(t)
	sw.must(t, func() error { return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs("sw")}) }, isUp("sw"))
	for i := 1; i <= hosts; i++ {
		m := &switchMachine{machine: &machine{space: newSpace(t)}, asked: &counted{Runner: run.System{}}, servers: map[string]*exec.Cmd{}}
		port := fmt.Sprintf("port%d", i)
		sw.must(t, cable(port, "eth1", m.space), inBridge(port, "sw"), isUp(port))
		m.must(t, isUp("lo"), isUp("eth1"))
		m.install(t)
		m.links = New(Underlay{BridgedDevice: "br1", SwitchDB: m.db()}, slog.New(slog.NewTextHandler(t.Output(), nil)))
		m.links.ovs.runner = m.asked
		t.Cleanup(m.links.Close)
		out = append(out, m)
	}
	return out
}

func (m *switchMachine) db() string { return "unix:" + filepath.Join(m.dir, "db.sock") }

// install starts Open vSwitch and makes the bridge.
func (m *switchMachine) install(t *testing.T) {
	t.Helper()
	dir, err := os.MkdirTemp("", "pvc-ovs-") // the test's own folder has too long a name for sockets
	if err != nil {
		t.Fatal(err)
	}
	m.dir = dir
	t.Cleanup(func() {
		for name := range m.servers {
			m.kill(t, name)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	m.must(t, func() error {
		_, err := run.System{}.Run(t.Context(), run.Command{Argv: []string{"ovsdb-tool", "create", filepath.Join(dir, "conf.db"), switchSchema}})
		return err
	})
	m.startDB(t)
	m.vsctl(t, "--no-wait", "init")
	m.startDaemon(t)
	m.vsctl(t, "add-br", "br1", "--", "set", "Bridge", "br1", "datapath_type=netdev", "--", "add-port", "br1", "eth1")
}

func (m *switchMachine) startDB(t *testing.T) {
	t.Helper()
	socket := filepath.Join(m.dir, "db.sock")
	_ = os.Remove(socket) // of one that was killed
	m.start(t, "ovsdb-server", "--remote=p"+m.db(), "--unixctl="+filepath.Join(m.dir, "db.ctl"), "-vsyslog:off", filepath.Join(m.dir, "conf.db"))
	coordtest.Eventually(t, "the database of Open vSwitch listens", func() bool { _, err := os.Stat(socket); return err == nil })
}

func (m *switchMachine) startDaemon(t *testing.T) {
	t.Helper()
	m.start(t, "ovs-vswitchd", "--unixctl="+filepath.Join(m.dir, "switch.ctl"), "-vsyslog:off", m.db())
}

// start begins a program in the name space, whose thread takes it along when it ends.
func (m *switchMachine) start(t *testing.T, name string, args ...string) {
	t.Helper()
	m.must(t, func() error {
		log, err := os.OpenFile(filepath.Join(m.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			return err
		}
		defer log.Close()
		cmd := exec.Command(name, args...)
		cmd.Env = append(os.Environ(), "OVS_RUNDIR="+m.dir)
		cmd.Stdout, cmd.Stderr = log, log
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		m.servers[name] = cmd
		return cmd.Start()
	})
}

// kill ends a program without a last word.
func (m *switchMachine) kill(t *testing.T, name string) {
	t.Helper()
	cmd := m.servers[name]
	delete(m.servers, name)
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
}

// vsctl is somebody else's word to Open vSwitch.
func (m *switchMachine) vsctl(t *testing.T, args ...string) string {
	t.Helper()
	argv := append([]string{"ovs-vsctl", "--timeout=20", "--db=" + m.db()}, args...)
	r, err := run.System{}.Run(t.Context(), run.Command{Argv: argv})
	if err != nil {
		t.Fatal(err)
	}
	return string(r.Stdout)
}
