package dhcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/vishvananda/netlink"
)

func netlinkDown(l netlink.Link) error { return netlink.LinkSetDown(l) }

// call is a call of the hook as a dnsmasq of that network makes it.
func call(socket, vni string, args ...string) (status int, stdout, stderr string) {
	env := map[string]string{envSocket: socket, envNetwork: vni, envExpires: "2000"}
	var out, problem bytes.Buffer
	status = Hook(args, func(name string) string { return env[name] }, &out, &problem)
	return status, out.String(), problem.String()
}

func TestHookFailsIfTheDaemonDoesNotTakeIt(t *testing.T) {
	t.Parallel()
	h := newHost(t, newRecord(lease(mac1, "10.77.0.10", "")))
	h.must(t, hasAddr("vmbr100", gateway4))
	h.serve(t, network4())
	socket := h.dir + "/hook.sock"
	for _, tt := range []struct {
		socket, vni, args string
		status            int
		stdout, stderr    string
	}{
		{socket, "100", "add " + mac2 + " 10.77.0.20", 0, "", ""},
		{socket, "100", "del " + mac3 + " 10.77.0.30", 0, "", ""},
		{socket, "100", "tftp 1 2 3", 0, "", ""},
		{socket + "x", "100", "tftp 1 2 3", 0, "", ""},
		{socket, "100", "add " + mac2 + " 10.77.0", 1, "", "10.77.0"},
		{socket, "101", "add " + mac2 + " 10.77.0.20", 1, "", "network 101"},
		{socket, "101", "init", 1, "", "network 101"},
		{socket, "", "init", 1, "", `network ""`},
		{socket + "x", "100", "init", 1, "", "reach pvcd"},
		{socket + "x", "100", "add " + mac2 + " 10.77.0.20", 1, "", "reach pvcd"},
		{socket, "100", "", 1, "", "action"},
		{socket, "100", "add " + strings.Repeat("a", maxMessage) + " 10.77.0.20", 1, "", ""},
	} {
		status, stdout, stderr := call(tt.socket, tt.vni, strings.Fields(tt.args)...)
		if status != tt.status || stdout != tt.stdout || !strings.Contains(stderr, tt.stderr) || (status == 0) != (stderr == "") {
			t.Errorf("%.40s: status %d, %q, %.200q", tt.args, status, stdout, stderr)
		}
	}
	h.record.lasting(t, mac2, "10.77.0.20", "")
	status, stdout, _ := call(socket, "100", "init")
	if status != 0 || !strings.Contains(stdout, "2000 "+mac2+" 10.77.0.20 * *\n") {
		t.Errorf("init: %d, %q", status, stdout)
	}
}

// TestOnlyDnsmasqMayTell: whoever else finds the socket cannot connect, and could he, he
// would not be heard.
func TestOnlyDnsmasqMayTell(t *testing.T) {
	t.Parallel()
	h := newHost(t, newRecord())
	h.must(t, hasAddr("vmbr100", gateway4))
	h.serve(t, network4())
	as := func(uid uint32) string {
		cmd := exec.CommandContext(t.Context(), h.dir+"/run/"+HookName, "add", mac2, "10.77.0.20")
		cmd.Args[0] = HookName
		cmd.Env = []string{envSocket + "=" + h.dir + "/hook.sock", envNetwork + "=100", envExpires + "=2000"}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: 65534}}
		out, err := cmd.CombinedOutput()
		return fmt.Sprint(err, " ", string(out))
	}
	if got := as(65534); !strings.Contains(got, "permission denied") {
		t.Errorf("as nobody: %s", got)
	}
	if err := os.Chmod(h.dir+"/hook.sock", 0o666); err != nil {
		t.Fatal(err)
	}
	if got := as(65534); !strings.Contains(got, "user 65534 is not the one of dnsmasq") {
		t.Errorf("as nobody, with an open socket: %s", got)
	}
	if n := len(h.record.snapshot()); n != 0 {
		t.Errorf("%d leases", n)
	}
	if got := as(h.user.uid); got != "<nil> " {
		t.Errorf("as dnsmasq's user: %s", got)
	}
	h.record.lasting(t, mac2, "10.77.0.20", "")
}

// TestHookThatSaysNothingDelaysTheOthersOnly: it is let go.
func TestHookThatSaysNothingDelaysTheOthersOnly(t *testing.T) {
	t.Parallel()
	h := newHost(t, newRecord())
	h.must(t, hasAddr("vmbr100", gateway4))
	h.serve(t, network4())
	conn, err := net.Dial("unix", h.dir+"/hook.sock")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if status, _, stderr := call(h.dir+"/hook.sock", "100", "add", mac2, "10.77.0.20"); status != 0 {
		t.Errorf("status %d: %s", status, stderr)
	}
}

// TestChangeOfAHookThatHasGivenUpIsTaken: while the daemon was stopped, say. What it has
// said is in the socket.
func TestChangeOfAHookThatHasGivenUpIsTaken(t *testing.T) {
	t.Parallel()
	h := newHost(t, newRecord())
	h.must(t, hasAddr("vmbr100", gateway4))
	h.serve(t, network4())
	conn, err := net.Dial("unix", h.dir+"/hook.sock")
	if err != nil {
		t.Fatal(err)
	}
	q := request{Network: "100", Args: []string{actionAdd, mac2, "10.77.0.20"}, Env: map[string]string{envExpires: "2000"}}
	if err := errors.Join(json.NewEncoder(conn).Encode(q), conn.Close()); err != nil {
		t.Fatal(err)
	}
	h.record.lasting(t, mac2, "10.77.0.20", "")
}

// daemon serves one network until it is killed.
func daemon(dir string) int {
	o := options(dir, newRecord())
	o.Log = slog.Default()
	s, err := New(o)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(context.Background()) }()
	if problems := s.Apply(context.Background(), []Network{network4()}); len(problems) != 0 {
		fmt.Fprintln(os.Stderr, problems)
		return 1
	}
	fmt.Println("serving")
	fmt.Fprintln(os.Stderr, <-ended)
	return 1
}

func TestServerDiesWithTheDaemon(t *testing.T) {
	t.Parallel()
	host := newSpace(t)
	dir := folder(t)
	path := program(t, dir)
	cmd := exec.CommandContext(t.Context(), path)
	cmd.Env = []string{daemonEnv + "=" + dir}
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	host.must(t, isUp("lo"), bridge("vmbr100"), isUp("vmbr100"), hasAddr("vmbr100", gateway4), cmd.Start)
	line := make([]byte, 8)
	if n, err := out.Read(line); err != nil || string(line[:n]) != "serving\n" {
		t.Fatalf("%q, %v", line[:n], err)
	}
	pid := dnsmasq("--conf-file=" + filepath.Join(dir, "run/100.conf"))
	if pid == 0 {
		t.Fatal("no dnsmasq runs")
	}
	t.Cleanup(func() {
		if alive(pid) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	eventually(t, "dnsmasq is gone too", func() bool { return !alive(pid) })
}
