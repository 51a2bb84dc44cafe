package nets

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// within waits until check returns no error and fails with its last one otherwise.
func within(t testing.TB, limit time.Duration, what string, check func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), limit)
	defer cancel()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for {
		last := check()
		if last == nil {
			return
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %v: %v", what, limit, last)
		}
	}
}

// ask calls the API of the primary; while none answers, or says that nothing was changed,
// it asks again.
func ask(t testing.TB, method, path string, values ...string) (status int, body string) {
	t.Helper()
	v := url.Values{}
	for i := 0; i+1 < len(values); i += 2 {
		v.Add(values[i], values[i+1])
	}
	within(t, deadline, method+" "+path, func() error {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), deadline)
		defer cancel()
		api, err := cluster.API(ctx)
		if err != nil {
			return err
		}
		code, b, err := api.Call(ctx, method, "/api/v1"+path, v)
		if err == nil && code == http.StatusServiceUnavailable {
			err = errors.New(string(b))
		}
		status, body = code, string(b)
		return err
	})
	return status, body
}

// do is ask for what must succeed.
func do(t testing.TB, method, path string, values ...string) string {
	t.Helper()
	status, body := ask(t, method, path, values...)
	if status != http.StatusOK {
		t.Fatalf("%s %s %v: %d %s", method, path, values, status, body)
	}
	return body
}

// list is a GET of a list.
func list[T any](t testing.TB, path string) (out []T) {
	t.Helper()
	must(t, json.Unmarshal([]byte(do(t, http.MethodGet, path)), &out))
	return out
}

// machine is a running Linux guest.
type machine struct {
	name   string
	typing *os.File // see keyboard
	pid    int
}

// start defines a guest with a card in a network on a host and starts it.
func start(t testing.TB, name, bridge string, on *host.Host, mac, args string) *machine {
	t.Helper()
	xml := guest.Linux(guest.Options{Name: name, Images: images, Bridge: bridge, MAC: mac, Args: "host=" + name + " " + args})
	do(t, http.MethodPost, "/vm", "xml", xml, "node", on.Name)
	m := &machine{name: name}
	t.Cleanup(func() {
		do(t, http.MethodPost, "/vm/"+name+"/state", "state", "stop", "wait", "True")
		do(t, http.MethodDelete, "/vm/"+name)
	})
	do(t, http.MethodPost, "/vm/"+name+"/state", "state", "start", "wait", "True")
	within(t, deadline, name+" boots", func() error {
		if !strings.Contains(m.console(t), "READY") {
			return errors.New("no READY on its console")
		}
		return nil
	})
	return m
}

// host is where the guest is now.
func (m *machine) host(t testing.TB) *host.Host {
	t.Helper()
	vms := list[struct{ Node string }](t, "/vm/"+m.name)
	for _, h := range cluster.Hosts() {
		if len(vms) == 1 && h.Name == vms[0].Node {
			return h
		}
	}
	t.Fatalf("%s is nowhere: %v", m.name, vms)
	return nil
}

// console is what the guest has written on its present host.
func (m *machine) console(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(m.host(t).Path("/var/log/libvirt/" + m.name + ".log"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

// keyboard is the terminal of a guest's QEMU, open for as long as the process lives: QEMU
// looks only every second whether anybody is there. What comes out is read and dropped,
// or the guest would have to wait; it is in the console log too.
func (m *machine) keyboard(t testing.TB) *os.File {
	t.Helper()
	h := m.host(t)
	pid := qemu(t, m.name, h)
	if m.typing != nil && m.pid == pid {
		return m.typing
	}
	tty, err := h.Exec(t.Context(), "virsh", "-q", "ttyconsole", m.name)
	must(t, err)
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/root%s", pid, strings.TrimSpace(tty)), os.O_RDWR|syscall.O_NOCTTY, 0)
	must(t, err)
	go func() { _, _ = io.Copy(io.Discard, f) }() // ends with the process
	m.typing, m.pid = f, pid
	return f
}

// qemu is the process of a guest on a host, outside of it.
func qemu(t testing.TB, name string, h *host.Host) int {
	t.Helper()
	libvirtd, err := h.PID(t.Context(), testbed.Libvirtd)
	must(t, err)
	there, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/uts", libvirtd))
	must(t, err)
	for _, dir := range glob(t, "/proc/[0-9]*") {
		cmdline, err := os.ReadFile(dir + "/cmdline")
		if err != nil || !strings.Contains(string(cmdline), "guest="+name+",") {
			continue
		}
		if here, err := os.Readlink(dir + "/ns/uts"); err != nil || here != there {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		must(t, err)
		return pid
	}
	t.Fatalf("no process of %s on %s", name, h.Name)
	return 0
}

func glob(t testing.TB, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	must(t, err)
	return found
}

var commands atomic.Int64

// run runs a command inside the guest and returns its output and exit status. The marks
// are written in two halves, so that the console's echo of the line has none.
func (m *machine) run(t testing.TB, command string) (output string, ok bool) {
	t.Helper()
	id := commands.Add(1)
	_, err := fmt.Fprintf(m.keyboard(t), "echo BEG''IN-%d; %s; echo EN''D-%d-$?\n", id, command, id)
	must(t, err)
	re := regexp.MustCompile(fmt.Sprintf(`(?s)BEGIN-%d\r?\n(.*)END-%d-(\d+)`, id, id))
	within(t, deadline, command+" in "+m.name, func() error {
		found := re.FindStringSubmatch(m.console(t))
		if found == nil {
			return errors.New("no end of it on the console")
		}
		output, ok = found[1], found[2] == "0"
		return nil
	})
	return output, ok
}

// reaches fails unless the guest can ping the address, from the first packet on or after
// some tries.
func (m *machine) reaches(t testing.TB, address string) {
	t.Helper()
	if out, ok := m.run(t, "ping -c 30 -i 0.2 -W 1 -A "+address+" >/dev/null || ping -c 5 "+address); !ok {
		t.Fatalf("%s does not reach %s:\n%s", m.name, address, out)
	}
}

// address waits for the address that DHCP gives the guest.
func (m *machine) address(t testing.TB) string {
	t.Helper()
	re := regexp.MustCompile(`HB \d+ up=\S+ ip=(\d\S+)`)
	address := ""
	within(t, deadline, m.name+" has an address", func() error {
		found := re.FindAllStringSubmatch(m.console(t), -1)
		if len(found) == 0 {
			return errors.New("none on its console")
		}
		address = found[len(found)-1][1]
		return nil
	})
	return address
}

// primary waits for a primary.
func primary(t testing.TB) (p *host.Host) {
	t.Helper()
	within(t, deadline, "a primary", func() error {
		p = nil
		if h := holder(t); h != nil {
			p = h
			return nil
		}
		return errors.New("there is none")
	})
	return p
}

// holder is the primary now, nil if there is none.
func holder(t testing.TB) *host.Host {
	t.Helper()
	var answer struct {
		Primary string `json:"primary_node"`
	}
	must(t, json.Unmarshal([]byte(do(t, http.MethodGet, "/status/primary_node")), &answer))
	for _, h := range cluster.Hosts() {
		if h.Name == answer.Primary {
			return h
		}
	}
	return nil
}

func secondary(t testing.TB) *host.Host {
	t.Helper()
	p := primary(t)
	return cluster.Host(p.Index%len(cluster.Coordinators()) + 1)
}

// network makes a managed network that the test removes.
func network(t testing.TB, vni, description string, values ...string) {
	t.Helper()
	do(t, http.MethodPost, "/network", append([]string{"vni", vni, "description", description, "nettype", "managed"}, values...)...)
	t.Cleanup(func() { do(t, http.MethodDelete, "/network/"+vni) })
}

// allRun waits until every daemon runs.
func allRun(t testing.TB) {
	t.Helper()
	within(t, deadline, "all hosts run", func() error {
		for _, n := range list[struct {
			Name  string `json:"name"`
			State string `json:"daemon_state"`
		}](t, "/node") {
			if n.State != "run" {
				return fmt.Errorf("%s is in state %s", n.Name, n.State)
			}
		}
		return nil
	})
}
