package libvirt

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	lv "libvirt.org/go/libvirt"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor/conformance"
	"github.com/parallelvirtualcluster/pvc/testbed"
)

// TestOnRealHosts shares one start of the hosts.
func TestOnRealHosts(t *testing.T) {
	r := newRig(t)
	t.Run("LibvirtIsAHypervisor", func(t *testing.T) {
		conformance.Run(t, func(*testing.T) conformance.Harness { return r.harness() })
	})
	t.Run("StoppedLibvirtdHoldsUpNobody", r.stoppedLibvirtd)
	t.Run("SourceThatLostItsLibvirtdAtTheEndCanGoOn", r.undecidedSource)
	t.Run("TransferGoesOnWithoutItsClient", r.clientLess)
	t.Run("FinishThatIsNotAnsweredLeavesTheSourceRunning", r.lostFinish)
	t.Run("ConnectionsAreGivenBack", r.connections)
	t.Run("ConcurrentCallsOutliveTheirConnection", r.concurrent)
	t.Run("DeadPeerHoldsUpNobody", r.deadPeer)
	t.Run("SecretOfAnAdministratorIsTakenOver", r.adoptedSecret)
	t.Run("QEMUThatDoesNotComeUpHoldsUpNobody", r.stuckStart)
	t.Run("StuckQEMUDoesNotHoldUpTheList", r.stuckQEMU)
}

func (r *rig) stoppedLibvirtd(t *testing.T) {
	h, d := r.cluster.Host(1), r.drivers[0]
	uuid, _ := r.guest(t, false)
	must(t, h.Pause(t.Context(), testbed.Libvirtd))
	defer func() { must(t, h.Cont(context.WithoutCancel(t.Context()), testbed.Libvirtd)) }()
	for range 3 { // before and after the connection is given up
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		start := time.Now()
		_, err := d.Lookup(ctx, uuid)
		cancel()
		if !errs.Is(err, errs.Unavailable) {
			t.Errorf("lookup: %v, want unavailable", err)
		}
		if took := time.Since(start); took > 4*time.Second {
			t.Errorf("lookup took %v", took)
		}
	}
	must(t, h.Cont(t.Context(), testbed.Libvirtd))
	_, err := d.Lookup(t.Context(), uuid)
	must(t, err)
}

// inFinish makes a migration whose transfer is over while the target's libvirtd is
// stopped. The returned function lets it go on.
func (r *rig) inFinish(t *testing.T) (uuid string, outcome <-chan error) {
	t.Helper()
	uuid = r.running(t)
	outcome = r.send(t, r.drivers[0], uuid)
	within(t, "memory is on its way", func() bool { return r.sent(t, uuid) > 1<<20 })
	there := r.cluster.Host(2)
	must(t, there.Pause(t.Context(), testbed.Libvirtd))
	t.Cleanup(func() { must(t, there.Cont(context.WithoutCancel(t.Context()), testbed.Libvirtd)) })
	waitFor(t, r.drivers[0], uuid, "sent", func(d hypervisor.Domain) bool {
		return d.State == hypervisor.Paused && d.Pause == hypervisor.PausedOutgoing && d.Migrating
	})
	return uuid, outcome
}

// sent is how many bytes of memory have left the first host.
func (r *rig) sent(t *testing.T, uuid string) uint64 {
	t.Helper()
	n, err := onDomain(t.Context(), r.drivers[0], "test", uuid, reads, func(d *lv.Domain) (uint64, error) {
		stats, err := d.GetJobStats(0)
		if err != nil {
			return 0, err
		}
		return stats.MemProcessed, nil
	})
	must(t, err)
	return n
}

// running makes a heavy guest that executes on the first host, and ends it everywhere.
func (r *rig) running(t *testing.T) string {
	t.Helper()
	uuid, xml := r.guest(t, true)
	t.Cleanup(func() {
		for _, d := range r.drivers {
			must(t, d.Destroy(context.WithoutCancel(t.Context()), uuid))
		}
	})
	must(t, r.drivers[0].CreatePaused(t.Context(), xml))
	must(t, r.drivers[0].Resume(t.Context(), uuid))
	r.advances(t, uuid)
	return uuid
}

// send begins a migration of about three seconds.
func (r *rig) send(t *testing.T, d *Driver, uuid string) <-chan error {
	outcome := make(chan error, 1)
	ctx := t.Context()
	go func() {
		outcome <- d.MigratePaused(ctx, uuid, hypervisor.MigrateOptions{URI: r.cluster.PeerURI(2), BandwidthMiB: 12})
	}()
	return outcome
}

func arrived(d hypervisor.Domain) bool {
	return d.State == hypervisor.Paused && d.Pause == hypervisor.PausedByRequest
}

// longForm leaves a test to the long form: it measures what libvirt itself does when it
// is broken at the end of a migration, which our code does not rely on.
func longForm(t *testing.T) {
	t.Helper()
	if os.Getenv("PVC_TEST_LONG") == "" {
		t.Skip("a measurement of libvirt itself, only with PVC_TEST_LONG=1")
	}
}

func (r *rig) undecidedSource(t *testing.T) {
	longForm(t)
	uuid, outcome := r.inFinish(t)
	must(t, r.cluster.Host(1).Kill(t.Context(), testbed.Libvirtd))
	if err := <-outcome; !errs.Is(err, errs.Unknown) {
		t.Errorf("migrate: %v, want an unknown outcome", err)
	}
	must(t, r.cluster.Host(2).Cont(t.Context(), testbed.Libvirtd))
	// What the target's libvirtd sees first when it goes on, the end of the transfer or
	// that of the connection, is chance.
	waitFor(t, r.drivers[1], uuid, "arrived or ended", func(d hypervisor.Domain) bool { return arrived(d) || d.State == hypervisor.Absent })
	// So is what the source's libvirtd had noted when it was killed: nearly always that
	// the transfer was over, and then nobody decides; else it has taken the guest back.
	waitFor(t, r.drivers[0], uuid, "undecided or taken back", func(d hypervisor.Domain) bool {
		return !d.Migrating && (d.State == hypervisor.Running || d.State == hypervisor.Paused && d.Pause == hypervisor.PausedOutgoing)
	})
	must(t, r.drivers[0].Resume(t.Context(), uuid)) // it could as well be destroyed
	r.advances(t, uuid)
}

func (r *rig) lostFinish(t *testing.T) {
	longForm(t)
	uuid, outcome := r.inFinish(t)
	if err := r.drivers[0].AbortJob(t.Context(), uuid); err != nil {
		t.Errorf("abort after the transfer: %v", err)
	}
	must(t, r.cluster.Host(2).CutLink(t.Context()))
	defer func() { must(t, r.cluster.Host(2).HealLink(context.WithoutCancel(t.Context()))) }()
	must(t, r.cluster.Host(2).Cont(t.Context(), testbed.Libvirtd))
	if err := <-outcome; err == nil {
		t.Error("the migration has succeeded")
	}
	waitFor(t, r.drivers[0], uuid, "running", func(d hypervisor.Domain) bool { return d.State == hypervisor.Running && !d.Migrating })
	// The target's libvirtd sees the end of the transfer first, or that of the
	// connection: the guest stays there as if it had arrived, or is ended. It never runs.
	waitFor(t, r.drivers[1], uuid, "arrived or ended", func(d hypervisor.Domain) bool { return arrived(d) || d.State == hypervisor.Absent })
}

// clientLess: the client that has begun a migration goes away; it ends all the same.
func (r *rig) clientLess(t *testing.T) {
	uuid := r.running(t)
	client := New(Options{URI: r.cluster.LibvirtURI(1)})
	ctx, leave := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- client.Run(ctx) }()
	outcome := r.send(t, client, uuid)
	waitFor(t, r.drivers[0], uuid, "migrating", func(d hypervisor.Domain) bool { return d.Migrating })
	leave()
	must(t, <-ended)
	waitFor(t, r.drivers[0], uuid, "gone", func(d hypervisor.Domain) bool { return d.State == hypervisor.Absent })
	waitFor(t, r.drivers[1], uuid, "arrived", arrived)
	<-outcome
}

// connections: one that was lost is freed, with all its callbacks.
func (r *rig) connections(t *testing.T) {
	must(t, startEventLoop())
	conn, err := lv.NewConnect(r.cluster.LibvirtURI(1))
	must(t, err)
	must(t, conn.Ref())
	var subs subscribers
	s, err := newSession(conn, &subs)
	must(t, err)
	must(t, r.cluster.Host(1).Kill(t.Context(), testbed.Libvirtd))
	if why := s.watch(t.Context(), nil); why != errLost {
		t.Errorf("the session has ended because %v", why)
	}
	s.end()
	within(t, "the last reference is ours", func() bool {
		must(t, conn.Ref())
		left, err := conn.Close()
		must(t, err)
		return left == 1
	})
	closeConn(conn)
}

func (r *rig) deadPeer(t *testing.T) {
	p := NewPeer()
	uuid, _ := r.guest(t, false)
	for _, uri := range []string{
		"qemu+tcp://10.94.0.99/system",        // a host that is off
		"qemu+unix:///system?socket=/nowhere", // no libvirtd
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		start := time.Now()
		_, err := p.Lookup(ctx, uri, uuid)
		cancel()
		if took := time.Since(start); !errs.Is(err, errs.Unavailable) || took > 3*time.Second {
			t.Errorf("%s: %v after %v, want unavailable after at most a second", uri, err, took)
		}
	}
}

// stuckQEMU: a guest whose process is stopped answers no monitor command.
func (r *rig) stuckQEMU(t *testing.T) {
	stuck, xml := r.guest(t, false)
	must(t, r.drivers[0].CreatePaused(t.Context(), xml))
	t.Cleanup(func() { must(t, r.drivers[0].Destroy(context.WithoutCancel(t.Context()), stuck)) })
	for _, pid := range r.processes(t, stuck) {
		r.exec(t, "kill", "-STOP", strconv.Itoa(pid))
		defer r.exec(t, "kill", "-CONT", strconv.Itoa(pid)) // else it takes 15 s to destroy
	}
	other := r.running(t)
	list, err := r.drivers[0].List(t.Context())
	must(t, err)
	got := map[string]hypervisor.PauseReason{}
	for _, d := range list {
		got[d.UUID] = d.Pause
	}
	if diff := cmp.Diff(map[string]hypervisor.PauseReason{stuck: hypervisor.PausedOther, other: 0}, got); diff != "" {
		t.Errorf("pause reasons (-want +got):\n%s", diff)
	}
}

// concurrent: libvirt's client library has crashed when a connection with several
// calls under way was closed.
func (r *rig) concurrent(t *testing.T) {
	h, d := r.cluster.Host(1), r.drivers[0]
	uuid, _ := r.guest(t, false)
	_, err := d.Lookup(t.Context(), uuid)
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	var calls sync.WaitGroup
	for range 4 {
		calls.Go(func() {
			for ctx.Err() == nil {
				short, cancel := context.WithTimeout(ctx, 500*time.Millisecond)
				_, _ = d.Lookup(short, uuid) // it fails while libvirtd is away
				cancel()
			}
		})
	}
	resync := make(chan struct{}, 10)
	defer d.Subscribe(func(e hypervisor.Event) {
		if e.Kind == hypervisor.EventResync {
			resync <- struct{}{}
		}
	})()
	<-resync // the greeting
	must(t, h.Pause(t.Context(), testbed.Libvirtd))
	within(t, "the hung connection is given up", func() bool { s, _, _ := d.reference(); return given(s) })
	must(t, h.Cont(t.Context(), testbed.Libvirtd))
	<-resync
	for range 3 {
		must(t, h.Kill(t.Context(), testbed.Libvirtd))
		<-resync
	}
	stop()
	calls.Wait()
	_, err = d.Lookup(t.Context(), uuid)
	must(t, err)
}

// given gives a reference back and reports whether there was none.
func given(s *session) bool {
	if s != nil {
		closeConn(s.conn)
	}
	return s == nil
}

// stuckStart creates a guest whose disk is a server that takes connections and says
// nothing, as a Ceph cluster does whose monitors hang.
func (r *rig) stuckStart(t *testing.T) {
	socket := filepath.Join(r.cluster.SharedDir(), "silent.sock")
	silent, err := net.Listen("unix", socket)
	must(t, err)
	defer silent.Close()
	must(t, os.Chmod(socket, 0o666))
	uuid, xml := r.guest(t, false)
	disk := "<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='nbd' name='x'><host transport='unix' socket='" + socket +
		"'/></source><target dev='vda' bus='virtio'/></disk>"
	d := r.drivers[0]
	created := make(chan error, 1)
	go func() {
		created <- d.CreatePaused(context.WithoutCancel(t.Context()), strings.Replace(xml, "</devices>", disk+"</devices>", 1))
	}()
	conn, err := silent.Accept() // QEMU has begun
	must(t, err)
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	dom, err := d.Lookup(ctx, uuid)
	if err != nil || dom.State != hypervisor.Paused || dom.Pause != hypervisor.PausedStart {
		t.Errorf("a guest that does not come up: %+v, %v", dom, err)
	}
	if _, err := d.List(ctx); err != nil {
		t.Errorf("the list: %v", err)
	}
	must(t, d.Destroy(t.Context(), uuid))
	select {
	case err := <-created:
		if err == nil {
			t.Error("it was created after all")
		}
	case <-time.After(conformance.Patience):
		t.Error("the request to create it is not answered although it was destroyed")
	}
	waitFor(t, d, uuid, "absent", func(d hypervisor.Domain) bool { return d.State == hypervisor.Absent })
}

// adoptedSecret: one that stands in a file already, under another name.
func (r *rig) adoptedSecret(t *testing.T) {
	const ours, other = "0f1c1b5e-3c0e-4d0a-9a55-0d8a4f6f00ab", "0f1c1b5e-3c0e-4d0a-9a55-0d8a4f6f00ac"
	define := func(uuid, usage string) {
		file := filepath.Join(r.cluster.SharedDir(), "secret.xml")
		must(t, os.WriteFile(file, []byte("<secret ephemeral='no' private='no'><uuid>"+uuid+"</uuid>"+usage+"</secret>"), 0o644))
		r.exec(t, "virsh", "-q", "secret-define", file)
		t.Cleanup(func() {
			_, err := r.cluster.Host(1).Exec(context.WithoutCancel(t.Context()), "virsh", "-q", "secret-undefine", uuid)
			must(t, err)
		})
	}
	define(ours, "<usage type='ceph'><name>by hand</name></usage>")
	define(other, "<usage type='volume'><volume>/dev/x</volume></usage>")
	s := hypervisor.Secret{UUID: ours, User: "libvirt", Key: []byte("hush")}
	must(t, r.drivers[0].SetSecret(t.Context(), s))
	if !r.secret(t, ours) {
		t.Error("it is not there")
	}
	if files := r.exec(t, "sh", "-c", "ls /etc/libvirt/secrets; grep -l "+ours+" /etc/libvirt/secrets/*"+" || true"); strings.Contains(files, ours) {
		t.Errorf("it is still in a file:\n%s", files)
	}
	s.UUID = other
	if err := r.drivers[0].SetSecret(t.Context(), s); !errs.Is(err, errs.Conflict) || strings.Contains(err.Error(), "hush") {
		t.Errorf("a secret of another kind: %v, want a conflict", err)
	}
}
