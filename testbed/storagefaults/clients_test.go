package storagefaults

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed"
)

// inOrder says that records and Ceph agree at once and that no half image is there.
func inOrder(t testing.TB) truth {
	t.Helper()
	now := ofCeph(t)
	if d := cmp.Diff(now, ofZooKeeper(t)); d != "" {
		t.Errorf("Ceph (-) and the records (+) do not agree when all have their answers:\n%s", d)
	}
	if loose := remains(t, pool); len(loose) > 0 {
		t.Errorf("half images: %v", loose)
	}
	return now
}

// volumes are the acts on volumes and snapshots.
func volumes(tag string) (list []act) {
	for _, a := range acts(tag) {
		if strings.HasPrefix(a.verb, "volume_") || strings.HasPrefix(a.verb, "snapshot_") {
			list = append(list, a)
		}
	}
	return list
}

// truthful are what a client may be told that repeats, without a key, what has been done.
var truthful = []string{"exists already", "no volume", "has no snapshot", "is named", "already has"}

// TestAnAPIKilledUnderItsClientsLosesNoAnswer kills the API while clients wait. They ask
// again, half of them without a key.
//
// decision: idempotency key
func TestAnAPIKilledUnderItsClientsLosesNoAnswer(t *testing.T) {
	ready(t)
	with, without := volumes("-apikey"), volumes("-api")
	list := append(with, without...)
	prepared(t, list)
	before := agree(t, reconciled)
	calls := keyed(list, "api")
	for i := range without {
		calls[len(with)+i].key = ""
	}
	h := primary(t)
	reached, release := gate(t, h, command.StepExecuted)
	wait := all(t, calls)
	reached()
	stand(t, calls[:len(with)], command.StepExecuted)
	must(t, h.Kill(bounded(t), testbed.PVCAPI))
	release()
	answers := wait()
	now := inOrder(t)
	for i, a := range list {
		if wrong := a.done(before, now); wrong != "" {
			t.Errorf("%v (key %q): %s", calls[i], calls[i].key, wrong)
		}
		got := answers[i]
		ok := got.status == http.StatusOK
		for _, words := range truthful {
			ok = ok || calls[i].key == "" && got.status == http.StatusNotExtended && strings.Contains(got.text, words)
		}
		if !ok {
			t.Errorf("%v (key %q): %d %s", calls[i], calls[i].key, got.status, got.text)
		}
	}
}

// TestTheDisksOfADeletedVMGoAlthoughTheAPIWasKilled kills the API as soon as the VM is gone,
// before any host has begun to remove its volumes.
//
// decision: `delete_disks`
func TestTheDisksOfADeletedVMGoAlthoughTheAPIWasKilled(t *testing.T) {
	ready(t)
	const uuid = "5f0f8e5e-91c2-4d53-9b6c-6b44d2c2a7f2"
	disks := ""
	for i, volume := range []string{"vm-disk0", "vm-disk1"} {
		add(volume, "8M").do(t)
		disks += fmt.Sprintf(`<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='rbd' name='%s/%s'><host name='192.0.2.1' port='6789'/></source><target dev='vd%c' bus='virtio'/></disk>`, pool, volume, 'a'+i)
	}
	xml := strings.NewReplacer("sf-guest", "sf-doomed", "5f0f8e5e-91c2-4d53-9b6c-6b44d2c2a7f1", uuid, "</devices>", disks+"</devices>").Replace(diskless)
	call{http.MethodPost, "/vm", []string{"xml", xml, "node", primary(t).Name}, ""}.do(t)
	h := primary(t)
	reached, release := gate(t, h, command.StepBeforeClaim)
	ctx, hangUp := context.WithCancel(bounded(t))
	defer hangUp()
	ended := make(chan error, 1)
	go func() { // received below
		_, err := call{http.MethodDelete, "/vm/sf-doomed", []string{"delete_disks", "true"}, ""}.once(ctx)
		ended <- err
	}()
	reached()
	if left := children(t, schema.VM(uuid)); len(left) > 0 {
		t.Errorf("removals have begun, and of the VM there is still %v", left)
	}
	must(t, h.Kill(bounded(t), testbed.PVCAPI))
	if err := <-ended; err == nil {
		t.Fatal("the client was answered")
	}
	release()
	within(t, deadline, "both volumes are gone", func() string {
		now := ofCeph(t).Images
		return gone(now, pool+"/vm-disk0") + gone(now, pool+"/vm-disk1")
	})
	ready(t)
	agree(t, reconciled)
}

// TestCommandsGoOnUnderAnotherLeader kills ZooKeeper's leader when results are about to
// be written.
func TestCommandsGoOnUnderAnotherLeader(t *testing.T) {
	ready(t)
	list := volumes("-leader")
	prepared(t, list)
	before := agree(t, reconciled)
	calls := keyed(list, "leader")
	h := primary(t)
	reached, release := gate(t, h, command.StepBeforeResult)
	wait := all(t, calls)
	reached()
	stand(t, calls, command.StepBeforeResult)
	leader := cluster.ZooKeeperLeader(bounded(t))
	if leader == 0 {
		t.Fatal("ZooKeeper has no leader")
	}
	must(t, cluster.Host(leader).Kill(bounded(t), testbed.ZooKeeper))
	release()
	answers := wait()
	now := inOrder(t)
	for i, a := range list {
		judge(t, a, calls[i], answers[i], before, now)
	}
}

// TestFiftyClientsMakeFiftyVolumesAtOnce also sends one request twice at the same time,
// with a key and without.
func TestFiftyClientsMakeFiftyVolumesAtOnce(t *testing.T) {
	ready(t)
	reached, release := gate(t, primary(t), command.StepClaimed)
	var calls []call
	for n := range 50 {
		calls = append(calls, add(fmt.Sprintf("fifty-%d", n), "8M"))
	}
	twice := add("twice-key", "8M")
	twice.key = "twice"
	calls = append(calls, twice, twice, add("twice", "8M"), add("twice", "8M"))
	wait := all(t, calls)
	reached()
	within(t, deadline, "all 52 are in the queue", func() string {
		n := 0
		for _, c := range children(t, "/commands") {
			if data := znode(t, "/commands/"+c); strings.Contains(data, "fifty-") || strings.Contains(data, "twice") {
				n++
			}
		}
		return same("commands", fmt.Sprint(n), "52")
	})
	release()
	for i, got := range wait() {
		// The second of the two without a key may have come when the first was done.
		if got.status != http.StatusOK && (calls[i].values[3] != "twice" || !strings.Contains(got.text, "exists already")) {
			t.Errorf("%v %v: %d %s", calls[i], calls[i].values, got.status, got.text)
		}
	}
	n := 0
	for name := range inOrder(t).Images {
		if strings.Contains(name, "/fifty-") || strings.Contains(name, "/twice") {
			n++
		}
	}
	if n != 52 {
		t.Errorf("%d volumes, 52 were asked for", n)
	}
}

// TestAClientThatHangsUpNeitherUndoesNorRepeatsAnything goes away while the command is
// under way.
//
// decision: abandoned calls
func TestAClientThatHangsUpNeitherUndoesNorRepeatsAnything(t *testing.T) {
	ready(t)
	c := add("hung-up", "8M")
	c.key = "hung-up"
	reached, release := gate(t, primary(t), command.StepClaimed)
	ctx, hangUp := context.WithCancel(bounded(t))
	defer hangUp()
	ended := make(chan error, 1)
	go func() {
		_, err := c.once(ctx)
		ended <- err
	}()
	reached()
	hangUp()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Fatalf("the client was answered: %v", err)
	}
	release()
	if r := result(t, c); !r.OK {
		t.Errorf("%+v", r)
	}
	made := inOrder(t).Images[pool+"/hung-up"]
	c.do(t)
	if now := inOrder(t).Images[pool+"/hung-up"]; made == "" || now != made {
		t.Errorf("asked again: image %q, before %q", now, made)
	}
}
