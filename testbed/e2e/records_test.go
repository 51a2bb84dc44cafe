package e2e

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/guest"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

// dump writes the XML of a VM to where all hosts see it and returns the file.
func dump(t testing.TB, vm string) string {
	t.Helper()
	a := call(t, http.MethodGet, "/vm/"+vm+"/dump")
	file := filepath.Join(cluster.SharedDir(), vm+".xml")
	must(t, os.WriteFile(file, a.body, 0o644))
	return file
}

// decision: guests without a claim
func TestGuestStartedBehindOurBackIsDestroyedAndReported(t *testing.T) {
	t.Parallel()
	const vm = "eestray"
	startTick(t, 1, vm)
	file := dump(t, vm)
	stray := func(i int) {
		t.Helper()
		h := cluster.Host(i)
		// virsh fails if the guest is destroyed before it has asked for its state.
		_, err := h.Exec(t.Context(), "virsh", "-q", "create", file)
		within(t, deadline, "end of the stray guest on "+h.Name, func() string {
			if out := execute(t, h, "virsh", "-q", "list", "--name"); strings.Contains(out, vm) {
				return out
			}
			log, rerr := os.ReadFile(h.Path("/var/log/pvcd.log"))
			if rerr != nil || !strings.Contains(string(log), "runs here without a claim and is destroyed\" vm="+vm) {
				return fmt.Sprintf("not reported (virsh: %v, log: %v)", err, rerr)
			}
			return ""
		})
	}
	before := waitTicks(t, vm, 2)
	stray(2) // a second one beside the true one
	goesOn(t, vm, before)
	do(t, post, "/vm/"+vm+"/state", "state=stop", "wait=True")
	stray(1) // on its own host, but it is to be off
	if v := waitState(t, vm, "stop"); v.Node != cluster.Host(1).Name {
		t.Errorf("%+v", v)
	}
}

// TestPersistentDefinitionIsRemovedAndTheGuestGoesOn has libvirtd restarted, so that
// the daemon looks at everything again.
//
// decision: guests without a claim
func TestPersistentDefinitionIsRemovedAndTheGuestGoesOn(t *testing.T) {
	const vm = "eepersistent"
	startTick(t, 2, vm)
	h := cluster.Host(2)
	execute(t, h, "virsh", "-q", "define", dump(t, vm))
	execute(t, h, "virsh", "-q", "autostart", vm)
	before := waitTicks(t, vm, 2)
	must(t, h.Kill(t.Context(), testbed.Libvirtd))
	within(t, deadline, "end of the definition", func() string {
		out, err := h.Exec(t.Context(), "virsh", "-q", "list", "--persistent", "--name")
		if err != nil {
			return err.Error()
		}
		return strings.TrimSpace(out)
	})
	if out := execute(t, h, "virsh", "-q", "list", "--autostart", "--name"); strings.Contains(out, vm) {
		t.Errorf("starts by itself: %s", out)
	}
	goesOn(t, vm, before)
}

func TestManyDefinitionsAtOnceAllSucceed(t *testing.T) {
	t.Parallel()
	var vms []string
	for i := range 12 {
		vms = append(vms, fmt.Sprintf("eemany%d", i))
	}
	all(t, vms, func(vm string) { defineTick(t, 1, vm) })
}

// decision: delete
func TestDeleteWaitsUntilTheGuestIsGone(t *testing.T) {
	t.Parallel()
	const vm = "eedelete"
	startTick(t, 3, vm)
	v, _ := getVM(t, vm)
	do(t, del, "/vm/"+vm)
	if pids := qemus(vm); len(pids) > 0 {
		t.Errorf("removed, but the processes %v live", pids)
	}
	for _, path := range []string{schema.VM(v.UUID), schema.Claim(v.UUID), schema.NodeVM(v.Node, v.UUID)} {
		if onRecord(t, path) {
			t.Errorf("%s is still there", path)
		}
	}
}

// writeAsOldClient defines a VM the way an old client does, by writing to ZooKeeper.
func writeAsOldClient(t testing.TB, uuid, name, node, rbdlist, xml string) {
	t.Helper()
	txn := new(coord.Txn)
	txn.Create("/domains/"+uuid, []byte(name))
	for key, value := range map[string]string{"state": "stop", "node": node, "lastnode": "", "failedreason": "", "consolelog": "", "rbdlist": rbdlist, "xml": xml} {
		txn.Create("/domains/"+uuid+"/"+key, []byte(value))
	}
	_, err := zookeep.Commit(t.Context(), *txn)
	must(t, err)
	within(t, deadline, "VM "+name+" of an old client", func() string {
		if _, there := getVM(t, name); !there {
			return "not shown"
		}
		return ""
	})
	t.Cleanup(func() { remove(t, name) })
}

const rbdDisk = `<disk type='network' device='disk'><driver name='qemu' type='raw'/><source protocol='rbd' name='vms/eerbd_disk0'>` +
	`<host name='ceph' port='6789'/></source><target dev='sda' bus='scsi'/></disk></devices>`

// decision: `delete_disks`
func TestVolumesThatAreNotOnRecordAreNamedNotIgnored(t *testing.T) {
	t.Parallel()
	const vm = "eerbd"
	uuid := host.RandomUUID()
	xml := guest.Tick(guest.Options{Name: vm, UUID: uuid, Images: images})
	writeAsOldClient(t, uuid, vm, cluster.Host(1).Name, "vms/eerbd_disk0", strings.Replace(xml, "</devices>", rbdDisk, 1))
	if answer := do(t, del, "/vm/"+vm, "delete_disks=True"); !strings.Contains(string(answer), "vms/eerbd_disk0") || !strings.Contains(string(answer), "left") {
		t.Errorf("the volume that was left is not named: %s", answer)
	}
	if _, there := getVM(t, vm); there {
		t.Error("not removed")
	}
}

// decision: shared images
func TestTwoVMsOfOneImageNeverRunTogether(t *testing.T) {
	t.Parallel()
	disk := filepath.Join(cluster.SharedDir(), "eetwice.img")
	must(t, guest.MakeDisk(disk, 1<<20))
	with := func(name, uuid string) string {
		xml := guest.Tick(guest.Options{Name: name, UUID: uuid, Images: images})
		return strings.Replace(xml, "</devices>", "<disk type='file' device='disk'><driver name='qemu' type='raw' cache='none'/><source file='"+
			disk+"'/><target dev='vda' bus='virtio'/></disk></devices>", 1)
	}
	define(t, 1, "eetwice1", with("eetwice1", ""))
	refused(t, "eetwice.img", post, "/vm", "xml="+with("eetwice2", ""))
	uuid := host.RandomUUID()
	writeAsOldClient(t, uuid, "eetwice2", cluster.Host(2).Name, "", with("eetwice2", uuid))
	do(t, post, "/vm/eetwice1/state", "state=start", "wait=True")
	refused(t, "eetwice.img", post, "/vm/eetwice2/state", "state=start", "wait=True")
	waitState(t, "eetwice2", "failed")
	waitState(t, "eetwice1", "start")
	do(t, post, "/vm/eetwice1/state", "state=stop", "wait=True")
	do(t, post, "/vm/eetwice2/state", "state=start", "wait=True")
	waitState(t, "eetwice2", "start")
}
