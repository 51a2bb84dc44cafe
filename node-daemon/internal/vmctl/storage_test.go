package vmctl

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
	cephfake "github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph/fake"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor/fake"
)

// labCeph is the storage of a lab: a cluster in memory, on which a guest that was created
// on a host, or arrives there, opens its images under an address of its own.
type labCeph struct {
	t     *testing.T
	world *cephfake.World
	admin *cephfake.Client

	mu     sync.Mutex
	images map[string]ceph.Image // by volume
	opened map[string][]string   // volumes that a guest opens, by its UUID
	nonce  int
	latest map[string]string // client by volume
	keys   map[string]int    // how often a host was given its key
	hosts  map[string]*labHost
	not    string // a host that does not look after storage
}

// labHost is the Storage of one host, whatever daemon it has.
type labHost struct {
	*cephfake.Client
	ceph    *labCeph
	name    string
	instead map[string]ceph.Image // what is said of a volume instead of the truth; guarded by ceph.mu
}

func (h *labHost) Image(ctx context.Context, pool, name string) (ceph.Image, error) {
	h.ceph.mu.Lock()
	i, ok := h.instead[name]
	h.ceph.mu.Unlock()
	if ok {
		return i, nil
	}
	return h.Client.Image(ctx, pool, name)
}

// says has the host be told of another image under a volume's name.
func (h *labHost) says(volume string, i ceph.Image) {
	h.ceph.mu.Lock()
	defer h.ceph.mu.Unlock()
	h.instead[volume] = i
}

func (h *labHost) Key(ctx context.Context) error {
	h.ceph.mu.Lock()
	defer h.ceph.mu.Unlock()
	h.ceph.keys[h.name]++
	return ctx.Err()
}

func (h *labHost) Ready(ctx context.Context) error {
	_, err := h.Flags(ctx)
	return err
}

func newLabCeph(t *testing.T, volumes ...string) *labCeph {
	t.Helper()
	c := &labCeph{t: t, world: cephfake.NewWorld(), images: map[string]ceph.Image{}, opened: map[string][]string{}, latest: map[string]string{}, keys: map[string]int{}, hosts: map[string]*labHost{}}
	c.admin = c.world.Connect()
	if _, err := c.admin.CreatePool(t.Context(), "vms", 8); err != nil {
		t.Fatal(err)
	}
	for _, v := range volumes {
		i, err := c.admin.CreateImage(t.Context(), "vms", v, 1<<30)
		if err != nil {
			t.Fatal(err)
		}
		c.images[v] = i
	}
	return c
}

// of returns what a host has of it; without a cluster nothing.
func (c *labCeph) of(name string, host *fake.Host) Storage {
	if c == nil || c.not == name {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if h := c.hosts[name]; h != nil {
		return h
	}
	c.hosts[name] = &labHost{c.world.Connect(), c, name, map[string]ceph.Image{}}
	host.Before(fake.CreatePaused, func(uuid string) { c.open(uuid) })
	host.At(fake.StepTransfer, func(uuid string) error { c.open(uuid); return nil })
	return c.hosts[name]
}

// open has a guest open its images.
func (c *labCeph) open(uuid string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, v := range c.opened[uuid] {
		c.nonce++
		c.latest[v] = fmt.Sprintf("198.51.100.1:0/%d", c.nonce)
		if i := c.images[v]; !c.world.Watch("vms", i.ID, c.latest[v]) {
			c.t.Errorf("no image of volume %q", v)
		}
	}
}

// last is the client that opened a volume last.
func (c *labCeph) last(volume string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.latest[volume]
}

func (c *labCeph) watchers(volume string) []string {
	c.t.Helper()
	w, err := c.admin.Watchers(c.t.Context(), "vms", c.images[volume].ID)
	if err != nil {
		c.t.Fatal(err)
	}
	return w
}

// claimName is how an image stands in a claim.
func (c *labCeph) claimName(volume string) string { return "vms/" + c.images[volume].ID }

func rbdDisk(volume, dev string, extra ...string) string {
	return fmt.Sprintf("<disk type='network' device='disk'><source protocol='rbd' name='vms/%s'><host name='m'/></source><target dev='%s' bus='virtio'/>%s</disk>",
		volume, dev, strings.Join(extra, ""))
}

// record writes the records of the volumes as they are.
func (l *lab) recordVolumes() {
	l.t.Helper()
	txn := new(coord.Txn)
	for _, p := range []string{schema.Ceph, schema.CephVolumes, schema.PoolVolumes("vms")} {
		txn.Create(p, nil)
	}
	for v, i := range l.ceph.images {
		txn.Create(schema.Volume("vms", v), nil).Create(schema.Volume("vms", v, schema.StorageStats), volumeStats(v, i))
	}
	l.commit(txn)
}

func volumeStats(name string, i ceph.Image) []byte {
	return schema.EncodeVolumeStats(name, model.VolumeStats{ID: i.ID, Size: model.Size(i.Size), Features: i.Features})
}

// onCeph defines a VM with these volumes as vda, vdb, ….
func (l *lab) onCeph(name, node string, volumes ...string) string {
	l.t.Helper()
	var devices string
	for i, v := range volumes {
		devices += rbdDisk(v, "vd"+string(rune('a'+i)))
	}
	uuid := l.define(name, node, devices)
	l.ceph.mu.Lock()
	defer l.ceph.mu.Unlock()
	l.ceph.opened[uuid] = volumes
	return uuid
}

// forget removes a VM.
func (l *lab) forget(uuid string) {
	l.t.Helper()
	if _, err := l.rules.DeleteVM(context.WithoutCancel(l.t.Context()), cluster.DeleteVM{VM: uuid}); err != nil {
		l.t.Error(err)
	}
}

// onRecord checks that the client of a guest with one volume that came last is on record.
func (l *lab) onRecord(uuid, volume string) {
	l.t.Helper()
	c := l.claimOf(uuid)
	if last := l.ceph.last(volume); !c.Recorded || !slices.Contains(c.Owner.Clients, last) || slices.Contains(c.Owner.Before, last) {
		l.t.Errorf("claim %+v; the guest's client is %s", c, last)
	}
}

func (l *lab) claimOf(uuid string) model.Claim {
	l.t.Helper()
	data, _, err := l.conn.Get(l.t.Context(), schema.Claim(uuid))
	if err != nil {
		l.t.Fatal(err)
	}
	var c model.Claim
	if err := json.Unmarshal(data, &c); err != nil {
		l.t.Fatal(err)
	}
	return c
}

// safety 1, 2
func TestTheClientsOfAGuestAreOnRecordBeforeItRuns(t *testing.T) {
	l := newLabOn(t, newLabCeph(t, "a", "b"), "hv1")
	l.recordVolumes()
	l.ceph.world.Watch("vms", l.ceph.images["a"].ID, "203.0.113.9:0/77") // somebody else
	uuid := l.onCeph("web1", "hv1", "a", "b")
	var atResume model.Claim
	l.world.Host("hv1").Before(fake.Resume, func(string) { atResume = l.claimOf(uuid) })
	l.state("web1", "start")
	l.runsOn(uuid, "hv1")
	want := model.Claim{
		Recorded: true, Images: []string{l.ceph.claimName("a"), l.ceph.claimName("b")},
		Disks: []string{schema.EscapeDisk(l.ceph.claimName("a")), schema.EscapeDisk(l.ceph.claimName("b"))},
		Owner: atResume.Owner,
	}
	want.Owner.Before, want.Owner.Clients = []string{"203.0.113.9:0/77"}, []string{"198.51.100.1:0/1", "198.51.100.1:0/2"}
	if diff := cmp.Diff(want, atResume); diff != "" {
		t.Errorf("the claim when the guest was resumed (-want +got):\n%s", diff)
	}
	for _, v := range []string{"a", "b"} {
		if data, _, err := l.conn.Get(t.Context(), schema.ClaimDisk(l.ceph.claimName(v))); err != nil || string(data) != uuid {
			t.Errorf("claim of volume %s: %q, %v", v, data, err)
		}
	}
	l.state("web1", "stop")
	for _, p := range []string{schema.Claim(uuid), schema.ClaimDisk(l.ceph.claimName("a")), schema.ClaimDisk(l.ceph.claimName("b"))} {
		if _, there, err := l.conn.Exists(t.Context(), p); err != nil || there {
			t.Errorf("%s after the stop: %v, %v", p, there, err)
		}
	}
	if l.ceph.keys["hv1"] == 0 {
		t.Error("the hypervisor was never given the key")
	}
}

func TestAGuestThatDoesNotHaveItsImageOpenIsNotLetGo(t *testing.T) {
	l := newLabOn(t, newLabCeph(t, "a"), "hv1")
	l.recordVolumes()
	uuid := l.onCeph("web1", "hv1", "a")
	l.ceph.opened[uuid] = nil // it opens another image of that name
	l.world.Host("hv1").Before(fake.Resume, func(string) { t.Error("it was resumed") })
	_, err := l.rules.SetVMState(t.Context(), cluster.SetVMState{VM: "web1", State: "start", Wait: true})
	if err == nil || !strings.Contains(err.Error(), "clients are not known") || !strings.Contains(err.Error(), l.ceph.claimName("a")) {
		t.Errorf("err = %v", err)
	}
	l.until("nothing of it is left", func(s *view.Snapshot) bool {
		vm, _ := s.VM(uuid)
		d, err := l.world.Host("hv1").Lookup(t.Context(), uuid)
		return vm.State == model.VMFailed && vm.Claim == nil && err == nil && d.State == hypervisor.Absent
	})
}

func TestWhatCanNeverStartFailsWithCephsReason(t *testing.T) {
	l := newLabOn(t, newLabCeph(t, "a", "b"), "hv1")
	l.recordVolumes()
	l.onCeph("gone", "hv1", "a")
	l.onCeph("unlocked", "hv1", "b")
	if err := l.ceph.admin.RemoveImage(t.Context(), "vms", l.ceph.images["a"].ID, nil); err != nil {
		t.Fatal(err)
	}
	unlocked := l.ceph.images["b"]
	unlocked.Features = []string{"layering"}
	l.ceph.hosts["hv1"].says("b", unlocked)
	for name, want := range map[string]string{"gone": "ENOENT", "unlocked": "exclusive-lock"} {
		_, err := l.rules.SetVMState(t.Context(), cluster.SetVMState{VM: name, State: "start", Wait: true})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", name, err, want)
		}
	}
}

func TestAHostWithoutStorageRunsNoGuestOnCeph(t *testing.T) {
	l := newLab(t, "hv1")
	l.commit(new(coord.Txn).Create(schema.Ceph, nil).Create(schema.CephVolumes, nil).Create(schema.PoolVolumes("vms"), nil).Create(schema.Volume("vms", "a"), nil))
	l.define("web1", "hv1", rbdDisk("a", "vda"))
	_, err := l.rules.SetVMState(t.Context(), cluster.SetVMState{VM: "web1", State: "start", Wait: true})
	if err == nil || !strings.Contains(err.Error(), "enable_storage") {
		t.Errorf("err = %v", err)
	}
}

func TestACephThatHangsDelaysOnlyGuestsThatNeedIt(t *testing.T) {
	l := newLabOn(t, newLabCeph(t, "a", "b", "c", "d", "e"), "hv1", "hv2")
	l.recordVolumes()
	var waiting []string
	for _, v := range []string{"a", "b", "c", "d", "e"} { // more than start at a time
		waiting = append(waiting, l.onCeph("vm-"+v, "hv1", v))
	}
	l.ceph.world.Stop()
	for _, uuid := range waiting {
		if _, err := l.rules.SetVMState(t.Context(), cluster.SetVMState{VM: uuid, State: "start"}); err != nil {
			t.Fatal(err)
		}
	}
	free := l.define("free", "hv1", "")
	l.state("free", "start")
	l.runsOn(free, "hv1")
	if _, err := l.rules.SetVMNode(t.Context(), cluster.SetVMNode{VM: "free", Action: "migrate", Node: "hv2", Wait: true}); err != nil {
		t.Error(err)
	}
	l.runsOn(free, "hv2")
	l.state("free", "stop")
	l.until("one says what it waits for", func(s *view.Snapshot) bool {
		return slices.ContainsFunc(waiting, func(uuid string) bool {
			vm, _ := s.VM(uuid)
			return strings.HasPrefix(vm.FailedReason, notStarted) && vm.State == model.VMStart && vm.Claim == nil
		})
	})
	l.ceph.world.Cont()
	for _, uuid := range waiting {
		l.runsOn(uuid, "hv1")
	}
	l.until("the reasons are cleared", func(s *view.Snapshot) bool {
		return !slices.ContainsFunc(s.VMs(), func(vm *model.VM) bool { return vm.FailedReason != "" })
	})
}

// Ceph goes away between the creation of the guest and the look at its clients.
func TestAGuestWhoseClientsCannotBeListedWaitsForCephWithoutRunning(t *testing.T) {
	l := newLabOn(t, newLabCeph(t, "a"), "hv1")
	l.recordVolumes()
	uuid := l.onCeph("web1", "hv1", "a")
	away := ceph.Refused(syscall.ETIMEDOUT, "no monitor")
	host := l.ceph.hosts["hv1"]
	l.world.Host("hv1").Before(fake.CreatePaused, func(uuid string) {
		l.ceph.open(uuid)
		host.Fail(cephfake.Watchers, away)
		host.Fail(cephfake.Flags, away)
	})
	if _, err := l.rules.SetVMState(t.Context(), cluster.SetVMState{VM: "web1", State: "start"}); err != nil {
		t.Fatal(err)
	}
	l.until("it is given up, and waits", func(s *view.Snapshot) bool {
		vm, _ := s.VM(uuid)
		return vm.State == model.VMStart && vm.Claim == nil && strings.HasPrefix(vm.FailedReason, notStarted) && strings.Contains(vm.FailedReason, "no monitor")
	})
	if l.world.Host("hv1").Calls(fake.Resume) > 0 {
		t.Error("it was resumed")
	}
	l.world.Host("hv1").Before(fake.CreatePaused, l.ceph.open)
	host.Fail(cephfake.Watchers, nil)
	host.Fail(cephfake.Flags, nil)
	l.runsOn(uuid, "hv1")
}

// The monitors hang after the claim was taken: QEMU does not come up.
func TestAGuestThatDoesNotGetToItsImageIsGivenUpAndWaits(t *testing.T) {
	l := newLabOn(t, newLabCeph(t, "a"), "hv1")
	l.recordVolumes()
	uuid := l.onCeph("web1", "hv1", "a")
	host := l.ceph.hosts["hv1"]
	l.world.Host("hv1").Before(fake.CreatePaused, func(string) { host.Fail(cephfake.Flags, errs.Unavailablef("no monitor")) })
	if _, err := l.rules.SetVMState(t.Context(), cluster.SetVMState{VM: "web1", State: "start"}); err != nil {
		t.Fatal(err)
	}
	l.until("it is given up, and waits", func(s *view.Snapshot) bool {
		vm, _ := s.VM(uuid)
		return vm.State == model.VMStart && vm.Claim == nil && strings.HasPrefix(vm.FailedReason, notStarted) && strings.Contains(vm.FailedReason, "no monitor")
	})
	l.world.Host("hv1").Before(fake.CreatePaused, l.ceph.open)
	host.Fail(cephfake.Flags, nil)
	l.runsOn(uuid, "hv1")
}

// safety 3
func TestTheTargetsClientsAreOnRecordBeforeItMayRun(t *testing.T) {
	l := newLabOn(t, newLabCeph(t, "a"), "hv1", "hv2")
	l.recordVolumes()
	uuid := l.onCeph("web1", "hv1", "a")
	l.state("web1", "start")
	l.runsOn(uuid, "hv1")
	var atArrival, atResume model.Claim
	l.nodes["hv1"].onStep(func(_ string, a Action) {
		if a.Step == WriteGone {
			atArrival = l.claimOf(uuid)
		}
	})
	l.world.Host("hv2").Before(fake.Resume, func(string) { atResume = l.claimOf(uuid) })
	if _, err := l.rules.SetVMNode(t.Context(), cluster.SetVMNode{VM: "web1", Action: "migrate", Node: "hv2", Wait: true}); err != nil {
		t.Fatal(err)
	}
	l.runsOn(uuid, "hv2")
	l.neverTwice()
	watchers := l.ceph.watchers("a")
	if got := atArrival.Owner.Clients; !slices.Equal(got, watchers[:1]) {
		t.Errorf("the source's clients: %v, want %v", got, watchers[:1])
	}
	if got := atResume.Owner; got.Node != "hv2" || !slices.Equal(got.Clients, watchers[1:]) || !slices.Equal(got.Before, watchers[:1]) || !atResume.Recorded {
		t.Errorf("when the target resumed: %+v; watchers %v", atResume, watchers)
	}
	if l.ceph.keys["hv2"] == 0 {
		t.Error("the target's hypervisor was never given the key")
	}
}

// The target cannot list its clients from the transfer on: the source lets go all the same.
func TestAGuestThatHasArrivedWaitsUntilItsClientsAreKnown(t *testing.T) {
	l := newLabOn(t, newLabCeph(t, "a"), "hv1", "hv2")
	l.recordVolumes()
	uuid := l.onCeph("web1", "hv1", "a")
	l.state("web1", "start")
	l.runsOn(uuid, "hv1")
	there := l.ceph.hosts["hv2"]
	l.world.Host("hv1").At(fake.StepTransfer, func(uuid string) error {
		l.ceph.open(uuid)
		there.Fail(cephfake.Watchers, errs.Unavailablef("no monitor"))
		return nil
	})
	if _, err := l.rules.SetVMNode(t.Context(), cluster.SetVMNode{VM: "web1", Action: "migrate", Node: "hv2"}); err != nil {
		t.Fatal(err)
	}
	l.until("it waits at the target", func(s *view.Snapshot) bool {
		vm, _ := s.VM(uuid)
		return strings.HasPrefix(vm.FailedReason, notResumed) && vm.Claim.Owner.Node == "hv2" && len(l.world.Executing(uuid)) == 0
	})
	there.Fail(cephfake.Watchers, nil)
	l.runsOn(uuid, "hv2")
	if got, want := l.claimOf(uuid).Owner.Clients, l.ceph.watchers("a")[1:]; !slices.Equal(got, want) {
		t.Errorf("clients %v, want %v", got, want)
	}
	l.until("the reason is cleared", func(s *view.Snapshot) bool { vm, _ := s.VM(uuid); return vm.FailedReason == "" })
	l.neverTwice()
}

func TestATargetWithoutStorageDoesNotAgree(t *testing.T) {
	storage := newLabCeph(t, "a")
	storage.not = "hv2"
	l := newLabOn(t, storage, "hv1", "hv2")
	l.recordVolumes()
	uuid := l.onCeph("web1", "hv1", "a")
	l.state("web1", "start")
	l.runsOn(uuid, "hv1")
	var agreed atomic.Int32
	l.nodes["hv2"].onStep(func(_ string, a Action) {
		if a.Step == AcceptMigration {
			agreed.Add(1)
		}
	})
	_, err := l.rules.SetVMNode(t.Context(), cluster.SetVMNode{VM: "web1", Action: "migrate", Node: "hv2", Wait: true})
	if err == nil {
		t.Error("it has moved")
	}
	l.settled(uuid)
	l.runsOn(uuid, "hv1")
	if n := agreed.Load(); n < 1 || n > 20 {
		t.Errorf("the target tried %d times in 10 s", n)
	}
}

func TestADocumentThatChangesAfterTheClaimIsClaimedAnew(t *testing.T) {
	l := newLabOn(t, newLabCeph(t, "a", "b"), "hv1")
	l.recordVolumes()
	uuid := l.onCeph("web1", "hv1", "a")
	var once sync.Once
	l.ceph.hosts["hv1"].Before(cephfake.Image, func(string) {
		once.Do(func() { // while the image of the first document is looked up
			if _, err := l.rules.ModifyVM(context.Background(), cluster.ModifyVM{VM: "web1", XML: fmt.Sprintf(guestXML, "web1", uuid, rbdDisk("b", "vda"))}); err != nil {
				t.Error(err)
			}
			l.ceph.mu.Lock()
			l.ceph.opened[uuid] = []string{"b"}
			l.ceph.mu.Unlock()
		})
	})
	l.state("web1", "start")
	l.runsOn(uuid, "hv1")
	if got, want := l.claimOf(uuid).Images, []string{l.ceph.claimName("b")}; !slices.Equal(got, want) {
		t.Errorf("claimed images %v, want %v", got, want)
	}
}

func TestTwoVMsOfOneImageUnderTwoNamesDoNotBothRun(t *testing.T) {
	l := newLabOn(t, newLabCeph(t, "a", "b"), "hv1")
	l.recordVolumes()
	a := l.onCeph("one", "hv1", "a")
	l.onCeph("two", "hv1", "b")
	l.state("one", "start")
	l.runsOn(a, "hv1")
	l.ceph.hosts["hv1"].says("b", l.ceph.images["a"]) // renamed behind our back
	_, err := l.rules.SetVMState(t.Context(), cluster.SetVMState{VM: "two", State: "start", Wait: true})
	if err == nil || !strings.Contains(err.Error(), l.ceph.claimName("a")+" is in use") {
		t.Errorf("err = %v", err)
	}
}

// decision: volumes that grow
func TestAVolumeThatGrowsReachesTheRunningGuestAndNothingShrinks(t *testing.T) {
	l := newLabOn(t, newLabCeph(t, "a"), "hv1")
	l.recordVolumes()
	host := l.world.Host("hv1")
	uuid := l.onCeph("web1", "hv1", "a")
	host.Before(fake.Resume, func(string) { host.SetDiskSize(uuid, "vda", 1<<30) })
	l.state("web1", "start")
	l.runsOn(uuid, "hv1")
	image := l.ceph.images["a"]
	record := func(size uint64) {
		i := image
		i.Size = size
		l.commit(new(coord.Txn).Set(schema.Volume("vms", "a", schema.StorageStats), volumeStats("a", i), coord.AnyVersion))
	}
	sees := func(want uint64) {
		t.Helper()
		l.until(fmt.Sprint("the guest sees ", want), func(*view.Snapshot) bool {
			got, err := host.DiskSize(t.Context(), uuid, "vda")
			return err == nil && got == want
		})
	}
	if err := l.ceph.admin.ResizeImage(t.Context(), "vms", image.ID, 3<<30, false); err != nil {
		t.Fatal(err)
	}
	record(2 << 30) // out of date already: the image is asked
	sees(3 << 30)
	record(1 << 30)
	l.until("that was looked at", func(*view.Snapshot) bool { return l.checked(uuid) == 1<<30 })
	sees(3 << 30)
	// A daemon that was away for it sees it when it is back.
	l.nodes["hv1"].kill()
	if err := l.ceph.admin.ResizeImage(t.Context(), "vms", image.ID, 5<<30+100, false); err != nil {
		t.Fatal(err)
	}
	record(5<<30 + 100)
	l.nodes["hv1"].start()
	sees(5<<30 + 512) // whole sectors
	if n := host.Calls(fake.ResizeDisk); n != 2 {
		t.Errorf("the disk was resized %d times, want 2", n)
	}
}

// checked is the recorded size that the host has looked at last.
func (l *lab) checked(uuid string) (size model.Size) {
	l.nodes["hv1"].c.memory.with(uuid, func(g *guest) {
		for _, d := range g.disks.list {
			size = d.checked
		}
	})
	return size
}

func TestVolumesOfGuestsThatHaveLeftAreNotFollowed(t *testing.T) {
	l := newLabOn(t, newLabCeph(t, "a"), "hv1")
	l.recordVolumes()
	uuid := l.onCeph("web1", "hv1", "a")
	host := l.world.Host("hv1")
	host.Before(fake.Resume, func(string) { host.SetDiskSize(uuid, "vda", 1<<30) })
	following := func() []string {
		_, s, ok := l.nodes["hv1"].c.current()
		if !ok {
			return nil
		}
		return s.writers("vms/a")
	}
	l.state("web1", "start")
	l.until("it is followed", func(*view.Snapshot) bool { return slices.Equal(following(), []string{uuid}) })
	l.state("web1", "stop")
	l.until("it is not followed any more", func(*view.Snapshot) bool { return len(following()) == 0 })
}

func TestMediaOfADocument(t *testing.T) {
	shared, readonly := "<shareable/>", "<readonly/>"
	file := func(extra string) string {
		return "<disk type='file' device='disk'><source file='/srv/f.img'/><target dev='vdz'/>" + extra + "</disk>"
	}
	for _, c := range []struct {
		name, devices string
		want          string
	}{
		{"nothing", "", "own [] shared [] rbd [] key false"},
		{"a file", file(""), "own [file%3A%2Fsrv%2Ff.img] shared [] rbd [] key false"},
		{"a shared file", file(shared), "own [] shared [file%3A%2Fsrv%2Ff.img] rbd [] key false"},
		{"a volume", rbdDisk("a", "vda"), "own [] shared [] rbd [vms/a] key true"},
		{"a volume twice", rbdDisk("a", "vda") + rbdDisk("a", "vdb"), "own [] shared [] rbd [vms/a] key true"},
		{"a volume to read", rbdDisk("a", "vda", readonly), "own [] shared [] rbd [] key true"},
		{"both", rbdDisk("a", "vda", shared) + file(""), "own [file%3A%2Fsrv%2Ff.img] shared [] rbd [vms/a] key true"},
	} {
		m, err := mediaOf(fmt.Sprintf(guestXML, "g", model.NewUUID(), c.devices))
		if err != nil {
			t.Fatal(err)
		}
		rbd := []string{}
		for _, i := range m.rbd {
			rbd = append(rbd, i.Name)
		}
		if got := fmt.Sprintf("own %v shared %v rbd %v key %v", m.own, m.shared, rbd, m.key); got != c.want {
			t.Errorf("%s: %s, want %s", c.name, got, c.want)
		}
	}
}
