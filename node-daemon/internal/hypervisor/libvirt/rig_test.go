package libvirt

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor/conformance"
	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// rig is two hosts with a libvirtd each and a driver for either.
type rig struct {
	cluster *testbed.Cluster
	images  guest.Images
	drivers [2]*Driver
}

// newRig boots hosts in a subnet that only this package uses.
func newRig(t *testing.T) *rig {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("hosts are namespaces: root is needed")
	}
	missing := host.MissingTools()
	for _, file := range []string{"/usr/sbin/libvirtd", "/usr/bin/virsh", "/usr/bin/qemu-system-x86_64"} {
		if _, err := os.Stat(file); err != nil {
			missing = append(missing, file)
		}
	}
	if len(missing) > 0 {
		t.Skip("missing programs:", missing)
	}
	c, err := testbed.Up(t.Context(), testbed.Options{Prefix: "hc", Subnet: "10.94.0.0/24", Hosts: 2, NoZooKeeper: true})
	must(t, err)
	t.Cleanup(func() { must(t, c.Down(context.Background())) })
	r := &rig{cluster: c}
	r.images, err = guest.Build(t.Context(), testbed.GuestCache(testbed.DefaultRoot()), nil)
	must(t, err)
	ballast := make([]byte, 40<<20) // random, or QEMU would send pages of zeros for nothing
	_, _ = rand.Read(ballast)
	must(t, os.WriteFile(r.ballast(), ballast, 0o644))
	for i := range r.drivers {
		r.drivers[i] = startDriver(t, c.LibvirtURI(i+1))
	}
	return r
}

// startDriver runs a driver until the test ends.
func startDriver(t *testing.T, uri string) *Driver {
	t.Helper()
	d := New(Options{URI: uri, Logger: slog.New(slog.NewTextHandler(t.Output(), nil))})
	ended := make(chan error, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() { cancel(); must(t, <-ended) })
	return d
}

func (r *rig) ballast() string { return filepath.Join(r.cluster.SharedDir(), "ballast") }
func (r *rig) console(uuid string) string {
	return filepath.Join(r.cluster.SharedDir(), uuid+".log")
}

func (r *rig) harness() conformance.Harness {
	return conformance.Harness{
		Here: r.drivers[0], There: r.drivers[1], ThereURI: r.cluster.PeerURI(2), PeerURI: r.cluster.LibvirtURI(2), Peer: NewPeer(),
		Guest: r.guest, Advances: r.advances, AddDisk: r.addDisk, Secret: r.secret,
		Executed: func(t *testing.T, uuid string) bool { return r.ticks(t, uuid) != "" },
		PowerOff: func(t *testing.T, uuid string) {
			tty := r.exec(t, "virsh", "-q", "ttyconsole", uuid)
			// QEMU takes input only while somebody has the terminal open.
			r.exec(t, "sh", "-c", "exec 3<>"+tty+"; printf q >&3; timeout 20 cat <&3; true")
		},
		Kill: func(t *testing.T, uuid string) {
			for _, pid := range r.processes(t, uuid) {
				r.exec(t, "kill", "-KILL", strconv.Itoa(pid))
			}
		},
		Define: func(t *testing.T, xml string) {
			file := filepath.Join(r.cluster.SharedDir(), "define.xml")
			must(t, os.WriteFile(file, []byte(xml), 0o644))
			r.exec(t, "virsh", "-q", "define", file)
			_, rest, _ := strings.Cut(xml, "<uuid>")
			uuid, _, _ := strings.Cut(rest, "</uuid>")
			r.exec(t, "virsh", "-q", "autostart", uuid)
		},
		Restart: func(t *testing.T) { must(t, r.cluster.Host(1).Kill(t.Context(), testbed.Libvirtd)) },
		Gone:    func(t *testing.T, uuid string) bool { return len(r.processes(t, uuid)) == 0 },
	}
}

// guest is a tiny one; a heavy one is made so by an initial RAM disk that it never
// looks at.
func (r *rig) guest(_ *testing.T, heavy bool) (uuid, xml string) {
	uuid = host.RandomUUID()
	xml = guest.Tick(guest.Options{Name: "g" + uuid[:8], UUID: uuid, Images: r.images, Log: r.console(uuid)})
	if heavy {
		xml = strings.Replace(xml, "<memory unit='MiB'>8<", "<memory unit='MiB'>96<", 1)
		xml = strings.Replace(xml, "</kernel>", "</kernel><initrd>"+r.ballast()+"</initrd>", 1)
	}
	return uuid, xml
}

// addDisk makes a file the disk of a guest.
func (r *rig) addDisk(t *testing.T, xml string) string {
	t.Helper()
	file := filepath.Join(r.cluster.SharedDir(), host.RandomUUID()+".img")
	must(t, guest.MakeDisk(file, 1<<20))
	disk := "<disk type='file' device='disk'><driver name='qemu' type='raw'/><source file='" + file + "'/><target dev='vda' bus='virtio'/></disk>"
	return strings.Replace(xml, "</devices>", disk+"</devices>", 1)
}

// secret looks for one in the list, and tries to read it.
func (r *rig) secret(t *testing.T, uuid string) bool {
	t.Helper()
	if !strings.Contains(r.exec(t, "virsh", "-q", "secret-list"), uuid) {
		return false
	}
	if out, err := r.cluster.Host(1).Exec(t.Context(), "virsh", "-q", "secret-get-value", uuid); err == nil {
		t.Errorf("its key can be read: %q", out)
	}
	return true
}

// ticks is the last line of the guest's console.
func (r *rig) ticks(t *testing.T, uuid string) string {
	t.Helper()
	b, err := os.ReadFile(r.console(uuid))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	return lines[len(lines)-1]
}

func (r *rig) advances(t *testing.T, uuid string) {
	t.Helper()
	before := r.ticks(t, uuid)
	within(t, "the guest's next line", func() bool { return r.ticks(t, uuid) != before })
}

// processes are those of a guest on the first host, by the host's own process list.
func (r *rig) processes(t *testing.T, uuid string) []int {
	t.Helper()
	libvirtd, err := r.cluster.Host(1).PID(t.Context(), testbed.Libvirtd)
	must(t, err)
	pids, err := hypervisor.Processes{Proc: fmt.Sprintf("/proc/%d/root/proc", libvirtd)}.Find(uuid)
	must(t, err)
	return pids
}

// exec runs a program on the first host.
func (r *rig) exec(t *testing.T, argv ...string) string {
	t.Helper()
	out, err := r.cluster.Host(1).Exec(t.Context(), argv...)
	must(t, err)
	return strings.TrimSpace(out)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func within(t *testing.T, what string, f func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), conformance.Patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatalf("%s: not within %v", what, conformance.Patience)
		}
	}
}

// waitFor waits until the domain is as wanted.
func waitFor(t *testing.T, d *Driver, uuid, what string, ok func(hypervisor.Domain) bool) {
	t.Helper()
	var last string
	defer func() { t.Logf("%s: %s", what, last) }()
	within(t, what, func() bool {
		dom, err := d.Lookup(t.Context(), uuid)
		last = fmt.Sprintf("%+v, %v", dom, err)
		return err == nil && ok(dom)
	})
}
