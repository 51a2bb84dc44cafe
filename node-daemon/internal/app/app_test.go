package app

import (
	"io"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/config"
	"github.com/parallelvirtualcluster/pvc/common/obs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor/fake"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/liveness"
)

const sample = `
pvc:
  functions: {enable_hypervisor: True, enable_networking: False, enable_storage: False}
  cluster: {coordinators: [hv1]}
`

func newDaemon(t *testing.T) *daemon {
	t.Helper()
	c, _, err := config.ParseNode("pvcd.yaml", []byte(sample), "hv1")
	if err != nil {
		t.Fatal(err)
	}
	log, err := obs.NodeLog(c, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	return &daemon{config: c, log: log, host: liveness.Host{BootID: "b00", MachineID: "c0ffee"}, store: new(consoleStore)}
}

func TestTheFactsNameTheMachine(t *testing.T) {
	d := newDaemon(t)
	d.hypervisor = fake.NewWorld().Host("hv1")
	facts, err := d.facts(t.Context())
	if err != nil || facts.MachineID != "c0ffee" {
		t.Errorf("facts %+v, %v; the machine id is missing", facts, err)
	}
}

func TestTheConsoleLogsKnowTheBootOfTheHost(t *testing.T) {
	if o := newDaemon(t).consoleOptions(); o.BootID != "b00" || o.Node != "hv1" {
		t.Errorf("node %q, boot id %q: after a power cut the logs would be read from a place that is gone", o.Node, o.BootID)
	}
}

const withNetworks = `
pvc:
  functions: {enable_hypervisor: True, enable_networking: True, enable_storage: False}
  cluster:
    coordinators: [hv1]
    networks:
      upstream: {domain: example.net, network: 192.0.2.0/24, floating_ip: 192.0.2.10/24}
      cluster: {domain: pvc.test, network: 10.0.0.0/24, floating_ip: 10.0.0.250/24}
  system: {configuration: {networking: {upstream: {device: eth9}, cluster: {device: eth9, address: 10.0.0.2/24}}}}
`

func TestAHostThatIsNoCoordinatorHasOnlyTheDevicesOfNetworks(t *testing.T) {
	d := newDaemon(t)
	c, _, err := config.ParseNode("pvcd.yaml", []byte(withNetworks), "hv2")
	if err != nil {
		t.Fatal(err)
	}
	d.config = c
	n, err := d.newNetworks()
	if err != nil {
		t.Fatal(err)
	}
	if n.controller == nil || n.dns != nil || n.dhcp != nil {
		t.Errorf("%+v: it can serve names or addresses", n)
	}
}
