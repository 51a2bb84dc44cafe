package dhcp

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// daemonEnv makes a copy of the test binary be a daemon with one server.
const daemonEnv = "PVC_TEST_DHCP_DIR"

func TestMain(m *testing.M) {
	if IsHook(os.Args[0]) {
		os.Exit(Hook(os.Args[1:], os.Getenv, os.Stdout, os.Stderr))
	}
	if dir := os.Getenv(daemonEnv); dir != "" {
		os.Exit(daemon(dir))
	}
	flag.Parse()
	// Most of the time is dnsmasq's: three seconds for a ping before each first offer.
	if err := flag.Set("test.parallel", "12"); err != nil {
		panic(err)
	}
	goleak.VerifyTestMain(m)
}

const patience = 20 * time.Second

func eventually(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// space is a network name space with a thread of its own.
type space struct {
	ns   netns.NsHandle
	todo chan func()
}

func newSpace(t testing.TB) *space {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a network name space needs root")
	}
	if _, err := os.Stat("/usr/sbin/dnsmasq"); err != nil {
		t.Skip("dnsmasq is not installed")
	}
	s := &space{todo: make(chan func())}
	ready, ended := make(chan error), make(chan struct{})
	go func() {
		defer close(ended)
		runtime.LockOSThread() // and never unlock: the thread ends with the goroutine
		var err error
		if s.ns, err = netns.New(); err != nil {
			ready <- err
			return
		}
		defer s.ns.Close()
		ready <- nil
		for f := range s.todo {
			f()
		}
	}()
	if err := <-ready; err != nil {
		<-ended
		t.Skipf("no network name space: %v", err)
	}
	t.Cleanup(func() { close(s.todo); <-ended })
	return s
}

// must executes steps in the name space; the first error ends the test.
func (s *space) must(t testing.TB, steps ...func() error) {
	t.Helper()
	done := make(chan error)
	s.todo <- func() {
		for i, step := range steps {
			if err := step(); err != nil {
				done <- fmt.Errorf("step %d: %w", i, err)
				return
			}
		}
		done <- nil
	}
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func attrs(name string) netlink.LinkAttrs {
	a := netlink.NewLinkAttrs()
	a.Name = name
	return a
}

func on(name string, change func(netlink.Link) error) func() error {
	return func() error {
		dev, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		return change(dev)
	}
}

func isUp(name string) func() error { return on(name, netlink.LinkSetUp) }

func bridge(name string) func() error {
	return func() error { return netlink.LinkAdd(&netlink.Bridge{LinkAttrs: attrs(name)}) }
}

func inBridge(name, bridge string) func() error {
	return on(name, func(l netlink.Link) error {
		b, err := netlink.LinkByName(bridge)
		if err != nil {
			return err
		}
		return netlink.LinkSetMaster(l, b)
	})
}

func address(prefix string) *netlink.Addr {
	a, err := netlink.ParseAddr(prefix)
	if err != nil {
		panic(err)
	}
	a.Flags = unix.IFA_F_NODAD
	return a
}

func hasAddr(name, prefix string) func() error {
	return on(name, func(l netlink.Link) error { return netlink.AddrAdd(l, address(prefix)) })
}

func lacksAddr(name, prefix string) func() error {
	return on(name, func(l netlink.Link) error { return netlink.AddrDel(l, address(prefix)) })
}

func cable(name, peer string, there *space) func() error {
	return func() error {
		return netlink.LinkAdd(&netlink.Veth{LinkAttrs: attrs(name), PeerName: peer, PeerNamespace: netlink.NsFd(there.ns)})
	}
}

// noDAD lets link-local addresses be used at once, as the bridges of a host do.
func noDAD(device string) func() error {
	return func() error {
		return os.WriteFile("/proc/sys/net/ipv6/conf/"+device+"/accept_dad", []byte("0"), 0)
	}
}

// host has bridges and DHCP servers.
type host struct {
	*space
	dir    string
	record *record
	*Servers
	stop func()
}

// folder is one that dnsmasq's user can enter, as those of the system are.
func folder(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "pvc-dhcp-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	return dir
}

// program is a copy of this program that dnsmasq's user can execute.
func program(t testing.TB, dir string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(dir, "pvcd")
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func options(dir string, r *record) Options {
	return Options{
		Dir: dir + "/run", LogDir: dir + "/log", HookSocket: dir + "/hook.sock", Self: dir + "/pvcd",
		Leases: r, Log: slog.New(slog.DiscardHandler),
	}
}

// newHost makes a host with a bridge vmbr100 and starts its Servers.
func newHost(t testing.TB, r *record) *host {
	t.Helper()
	h := &host{space: newSpace(t), dir: folder(t), record: r}
	t.Cleanup(func() {
		if t.Failed() {
			t.Log(h.logs())
		}
	})
	program(t, h.dir)
	h.must(t, isUp("lo"), bridge("vmbr100"), noDAD("vmbr100"), isUp("vmbr100"))
	h.begin(t, options(h.dir, r))
	return h
}

func (h *host) begin(t testing.TB, o Options) {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.starter.inside = func() error { return netns.Set(h.ns) }
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	stopped := false
	h.Servers, h.stop = s, func() {
		if cancel(); stopped {
			return
		}
		stopped = true
		if err := <-ended; err != nil {
			t.Errorf("DHCP ended: %v", err)
		}
	}
	t.Cleanup(h.stop)
}

// serve applies and demands that nothing is wrong.
func (h *host) serve(t testing.TB, networks ...Network) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if problems := h.Apply(ctx, networks); len(problems) != 0 {
		t.Fatalf("problems: %v\n%s", problems, h.logs())
	}
}

func (h *host) logs() string {
	var all strings.Builder
	logs, _ := filepath.Glob(h.dir + "/log/*")
	for _, path := range logs {
		text, _ := os.ReadFile(path)
		fmt.Fprintf(&all, "%s:\n%s", path, text)
	}
	return all.String()
}

// pid is the one of a network's dnsmasq, found without its keeper; 0 if there is none.
func (h *host) pid(vni int) int {
	return dnsmasq(fmt.Sprintf("--conf-file=%s/run/%d.conf", h.dir, vni))
}

// dnsmasq finds the dnsmasq with that argument that was started by no other dnsmasq.
func dnsmasq(argument string) int {
	lines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	found := 0
	for _, path := range lines {
		text, _ := os.ReadFile(path)
		if !strings.HasPrefix(string(text), "/usr/sbin/dnsmasq\x00"+argument+"\x00") {
			continue
		}
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		if found == 0 || pid < found { // its helper came later
			found = pid
		}
	}
	return found
}

func alive(pid int) bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err == nil && !strings.Contains(string(text), ") Z ")
}

// guest is a machine at a bridge of a host.
type guest struct {
	*space
	mac net.HardwareAddr
}

func newGuest(t testing.TB, h *host, bridge, tap, mac string) *guest {
	t.Helper()
	g := &guest{space: newSpace(t)}
	var err error
	if g.mac, err = net.ParseMAC(mac); err != nil {
		t.Fatal(err)
	}
	h.must(t, cable(tap, "eth0", g.space), inBridge(tap, bridge), isUp(tap))
	g.must(t, isUp("lo"), noDAD("eth0"), on("eth0", func(l netlink.Link) error { return netlink.LinkSetHardwareAddr(l, g.mac) }), isUp("eth0"))
	return g
}

// run executes a program in the guest and returns what it prints.
func (g *guest) run(t testing.TB, argv ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var out []byte
	g.must(t, func() (err error) {
		if out, err = exec.CommandContext(ctx, argv[0], argv[1:]...).CombinedOutput(); err != nil {
			err = fmt.Errorf("%v: %w\n%s", argv, err, out)
		}
		return err
	})
	return string(out)
}

// network is the one of vmbr100.
func network4() Network {
	return Network{VNI: 100, Bridge: "vmbr100", Domain: "lab.local", MTU: 1450, IP4: four()}
}

const gateway4 = "10.77.0.1/24"
