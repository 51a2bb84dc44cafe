package bench

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/zk"
	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/node-daemon/fleet"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
)

func startZooKeeper(b *testing.B, servers int) *ensemble.Ensemble {
	b.Helper()
	return ensemble.Start(b, ensemble.Options{Servers: servers, FSync: true, HeapMiB: 768})
}

func dial(b *testing.B, servers []string) coord.Client {
	b.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := zk.Dial(ctx, coord.Options{Servers: servers, Timeout: 30 * time.Second})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(c.Close)
	return c
}

// layout makes the roots and nodes that are registered and alive for as long as the
// session of c, without a daemon.
func layout(b *testing.B, c coord.Conn, nodes int) {
	b.Helper()
	txn := new(coord.Txn)
	for _, p := range []string{schema.Nodes, schema.Domains, schema.Networks, schema.Claims, schema.ClaimDisks, schema.Config, schema.Fences} {
		txn.Create(p, nil)
	}
	txn.Create(schema.Primary, []byte(schema.NoPrimary))
	for i := range nodes {
		name := fleet.Name(i)
		txn.Create(schema.Node(name), []byte("coordinator"))
		for key, value := range map[string]string{
			schema.NodeDaemonMode: "coordinator", schema.NodeDaemonState: "run", schema.NodeRouterState: "secondary",
			schema.NodeDomainState: "ready", schema.NodeMemTotal: "4000000", schema.NodeMemFree: "4000000",
			schema.NodeSession: "{}", schema.NodeVMs: "", schema.NodeDoorbell: "",
		} {
			txn.Create(schema.Node(name, key), []byte(value))
		}
		txn.CreateEphemeral(schema.Node(name, schema.NodeSession, "session-"+name), nil)
	}
	if _, err := c.Commit(context.Background(), *txn); err != nil {
		b.Fatal(err)
	}
}

// vmName and vmUUID are those of VM number i.
func vmName(i int) string { return fmt.Sprintf("vm%05d", i) }
func vmUUID(i int) string { return fmt.Sprintf("5e1f0000-0000-4000-8000-%012x", i) }

// fill makes VMs from..to-1, VM i on node i modulo nodes, in the state that state says.
func fill(b *testing.B, c coord.Conn, from, to, nodes int, state func(i int) model.VMState) {
	b.Helper()
	const batch, writers = 20, 8
	var g errgroup.Group
	g.SetLimit(writers)
	for at := from; at < to; at += batch {
		g.Go(func() error {
			txn := new(coord.Txn)
			for i := at; i < min(at+batch, to); i++ {
				addVM(txn, i, fleet.Name(i%nodes), state(i))
			}
			_, err := c.Commit(context.Background(), *txn)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		b.Fatal(err)
	}
}

// addVM writes what POST /vm writes.
func addVM(t *coord.Txn, i int, node string, state model.VMState) {
	uuid := vmUUID(i)
	t.Create(schema.VM(uuid), []byte(vmName(i)))
	for key, value := range map[string]string{
		schema.VMGenPrefix + model.NewID(): "", schema.VMState: string(state), schema.VMNode: node, schema.VMLastNode: "",
		schema.VMFailedReason: "", schema.VMConsoleLog: "", schema.VMXML: vmXML(i),
		schema.VMRBDList: fmt.Sprintf("vms/%s_root,vms/%s_data", vmName(i), vmName(i)),
	} {
		t.Create(schema.VM(uuid, key), []byte(value))
	}
	t.Create(schema.NodeVM(node, uuid), nil)
}

func stopped(int) model.VMState { return model.VMStop }

// vmXML is a document of the usual size: two images in Ceph, three networks, a console.
func vmXML(i int) string {
	r := strings.NewReplacer("@NAME@", vmName(i), "@UUID@", vmUUID(i), "@MAC@", fmt.Sprintf("%02x:%02x:%02x", i>>16&255, i>>8&255, i&255))
	return r.Replace(document)
}

const document = `<domain type='qemu'>
  <name>@NAME@</name>
  <uuid>@UUID@</uuid>
  <description>Application server of the accounting department, profile standard</description>
  <memory unit='MiB'>2048</memory>
  <currentMemory unit='MiB'>2048</currentMemory>
  <vcpu placement='static'>2</vcpu>
  <os>
    <type arch='x86_64' machine='pc-i440fx-7.2'>hvm</type>
    <boot dev='hd'/>
    <bootmenu enable='yes' timeout='1000'/>
  </os>
  <features>
    <acpi/>
    <apic/>
    <pae/>
  </features>
  <cpu mode='custom' match='exact' check='none'>
    <model fallback='allow'>qemu64</model>
    <topology sockets='1' cores='2' threads='1'/>
  </cpu>
  <clock offset='utc'>
    <timer name='rtc' tickpolicy='catchup'/>
    <timer name='pit' tickpolicy='delay'/>
    <timer name='hpet' present='no'/>
  </clock>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>restart</on_reboot>
  <on_crash>restart</on_crash>
  <devices>
    <emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='network' device='disk'>
      <driver name='qemu' type='raw' cache='none' discard='unmap'/>
      <auth username='libvirt'>
        <secret type='ceph' uuid='d4a3c2b1-1111-4222-8333-444455556666'/>
      </auth>
      <source protocol='rbd' name='vms/@NAME@_root'>
        <host name='hv1' port='6789'/>
        <host name='hv2' port='6789'/>
        <host name='hv3' port='6789'/>
      </source>
      <target dev='sda' bus='scsi'/>
      <address type='drive' controller='0' bus='0' target='0' unit='0'/>
    </disk>
    <disk type='network' device='disk'>
      <driver name='qemu' type='raw' cache='none' discard='unmap'/>
      <auth username='libvirt'>
        <secret type='ceph' uuid='d4a3c2b1-1111-4222-8333-444455556666'/>
      </auth>
      <source protocol='rbd' name='vms/@NAME@_data'>
        <host name='hv1' port='6789'/>
        <host name='hv2' port='6789'/>
        <host name='hv3' port='6789'/>
      </source>
      <target dev='sdb' bus='scsi'/>
      <address type='drive' controller='0' bus='0' target='0' unit='1'/>
    </disk>
    <controller type='usb' index='0' model='none'/>
    <controller type='scsi' index='0' model='virtio-scsi'/>
    <interface type='bridge'>
      <mac address='52:54:00:@MAC@'/>
      <source bridge='vmbr100'/>
      <model type='virtio'/>
    </interface>
    <interface type='bridge'>
      <mac address='52:54:01:@MAC@'/>
      <source bridge='vmbr200'/>
      <model type='virtio'/>
    </interface>
    <serial type='pty'>
      <target type='isa-serial' port='0'/>
    </serial>
    <console type='pty'>
      <target type='serial' port='0'/>
    </console>
    <interface type='bridge'>
      <mac address='52:54:02:@MAC@'/>
      <source bridge='vmbr300'/>
      <model type='virtio'/>
    </interface>
    <channel type='unix'>
      <target type='virtio' name='org.qemu.guest_agent.0'/>
    </channel>
    <video>
      <model type='cirrus' vram='16384' heads='1' primary='yes'/>
    </video>
    <rng model='virtio'>
      <rate period='1000' bytes='2048'/>
      <backend model='random'>/dev/urandom</backend>
    </rng>
    <memballoon model='virtio'/>
  </devices>
</domain>
`

func TestTheDocumentOfTheBenchmarksIsOneThatWouldBeAccepted(t *testing.T) {
	text := vmXML(4711)
	if len(text) < 2<<10 || len(text) > 4<<10 {
		t.Errorf("the document has %d bytes, 2 to 4 KiB are usual", len(text))
	}
	spec, err := domxml.Parse(text)
	if err != nil || spec.Name != vmName(4711) || spec.UUID != vmUUID(4711) || spec.MemoryMiB != 2048 || len(spec.Disks) != 2 {
		t.Errorf("%+v, %v", spec, err)
	}
	if err := (domxml.Policy{}).Check(text); err != nil {
		t.Errorf("policy: %v", err)
	}
}
