package lab

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// Machine is a running Linux guest.
type Machine struct {
	lab    *Lab
	name   string
	typing *os.File // see keyboard
	pid    int
}

// Start launches a guest and waits until it has booted.
func (l *Lab) Start(t testing.TB, name, bridge string, on *host.Host, mac, args string) *Machine {
	t.Helper()
	m := l.Launch(t, name, bridge, on, mac, args)
	m.Booted(t)
	return m
}

// Launch defines a guest with a card in a bridge on a host, with kernel arguments beside
// its name, and starts it. It goes with the test.
func (l *Lab) Launch(t testing.TB, name, bridge string, on *host.Host, mac, args string) *Machine {
	t.Helper()
	xml := guest.Linux(guest.Options{Name: name, Images: l.Images, Bridge: bridge, MAC: mac, Args: "host=" + name + " " + args})
	l.Do(t, http.MethodPost, "/vm", "xml", xml, "node", on.Name)
	t.Cleanup(func() {
		l.Do(t, http.MethodPost, "/vm/"+name+"/state", "state", "stop", "wait", "True")
		l.Do(t, http.MethodDelete, "/vm/"+name)
	})
	l.Do(t, http.MethodPost, "/vm/"+name+"/state", "state", "start", "wait", "True")
	return &Machine{lab: l, name: name}
}

// Booted waits until the guest takes commands.
func (m *Machine) Booted(t testing.TB) {
	t.Helper()
	Within(t, m.lab.Deadline, m.name+" boots", func() error {
		if !strings.Contains(m.Console(t), "READY") {
			return errors.New("no READY on its console")
		}
		return nil
	})
}

// Host is where the guest is now.
func (m *Machine) Host(t testing.TB) *host.Host {
	t.Helper()
	vms := List[struct{ Node string }](m.lab, t, "/vm/"+m.name)
	for _, h := range m.lab.Cluster.Hosts() {
		if len(vms) == 1 && h.Name == vms[0].Node {
			return h
		}
	}
	t.Fatalf("%s is nowhere: %v", m.name, vms)
	return nil
}

// Console is what the guest has written on its present host.
func (m *Machine) Console(t testing.TB) string {
	t.Helper()
	b, err := os.ReadFile(m.Host(t).Path("/var/log/libvirt/" + m.name + ".log"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return string(b)
}

// keyboard is the terminal of a guest's QEMU, open for as long as the process lives: QEMU
// looks only every second whether anybody is there. What comes out is read and dropped,
// or the guest would have to wait; it is in the console log too.
func (m *Machine) keyboard(t testing.TB) *os.File {
	t.Helper()
	h := m.Host(t)
	pid := qemu(t, m.name, h)
	if m.typing != nil && m.pid == pid {
		return m.typing
	}
	tty, err := h.Exec(t.Context(), "virsh", "-q", "ttyconsole", m.name)
	Must(t, err)
	f, err := os.OpenFile(fmt.Sprintf("/proc/%d/root%s", pid, strings.TrimSpace(tty)), os.O_RDWR|syscall.O_NOCTTY, 0)
	Must(t, err)
	go func() { _, _ = io.Copy(io.Discard, f) }() // ends with the process
	m.typing, m.pid = f, pid
	return f
}

// qemu is the process of a guest on a host, outside of it.
func qemu(t testing.TB, name string, h *host.Host) int {
	t.Helper()
	libvirtd, err := h.PID(t.Context(), testbed.Libvirtd)
	Must(t, err)
	there, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/uts", libvirtd))
	Must(t, err)
	for _, dir := range glob(t, "/proc/[0-9]*") {
		cmdline, err := os.ReadFile(dir + "/cmdline")
		if err != nil || !strings.Contains(string(cmdline), "guest="+name+",") {
			continue
		}
		if here, err := os.Readlink(dir + "/ns/uts"); err != nil || here != there {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(dir))
		Must(t, err)
		return pid
	}
	t.Fatalf("no process of %s on %s", name, h.Name)
	return 0
}

func glob(t testing.TB, pattern string) []string {
	t.Helper()
	found, err := filepath.Glob(pattern)
	Must(t, err)
	return found
}

var commands atomic.Int64

// Run runs a command inside the guest and returns its output and exit status. The marks
// are written in two halves, so that the console's echo of the line has none.
func (m *Machine) Run(t testing.TB, command string) (output string, ok bool) {
	t.Helper()
	id := commands.Add(1)
	_, err := fmt.Fprintf(m.keyboard(t), "echo BEG''IN-%d; %s; echo EN''D-%d-$?\n", id, command, id)
	Must(t, err)
	re := regexp.MustCompile(fmt.Sprintf(`(?s)BEGIN-%d\r?\n(.*)END-%d-(\d+)`, id, id))
	Within(t, m.lab.Deadline, command+" in "+m.name, func() error {
		found := re.FindStringSubmatch(m.Console(t))
		if found == nil {
			return errors.New("no end of it on the console")
		}
		output, ok = found[1], found[2] == "0"
		return nil
	})
	return output, ok
}

// Reaches fails unless the guest can ping the address, from the first packet on or after
// some tries.
func (m *Machine) Reaches(t testing.TB, address string) {
	t.Helper()
	if out, ok := m.Run(t, "ping -c 30 -i 0.2 -W 1 -A "+address+" >/dev/null || ping -c 5 "+address); !ok {
		t.Fatalf("%s does not reach %s:\n%s", m.name, address, out)
	}
}

// Address waits for the address that DHCP gives the guest.
func (m *Machine) Address(t testing.TB) string {
	t.Helper()
	re := regexp.MustCompile(`HB \d+ up=\S+ ip=(\d\S+)`)
	address := ""
	Within(t, m.lab.Deadline, m.name+" has an address", func() error {
		found := re.FindAllStringSubmatch(m.Console(t), -1)
		if len(found) == 0 {
			return errors.New("none on its console")
		}
		address = found[len(found)-1][1]
		return nil
	})
	return address
}
