package app

import (
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/config"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor/fake"
)

// decision: device of bridged networks
func TestBridgedNetworksUseTheClusterDeviceUnlessAnotherIsConfigured(t *testing.T) {
	n := config.Networking{Cluster: config.Interface{Device: "ens5"}}
	if u := underlay(n); u.BridgedDevice != "ens5" || u.Device != "ens5" {
		t.Errorf("%+v", u)
	}
	n.BridgeDevice = "br1"
	if u := underlay(n); u.BridgedDevice != "br1" || u.Device != "ens5" {
		t.Errorf("%+v", u)
	}
}

// TestTheFactsFollowTheDeviceOfBridgedNetworks: Open vSwitch may make it later.
func TestTheFactsFollowTheDeviceOfBridgedNetworks(t *testing.T) {
	d := newDaemon(t)
	d.hypervisor = fake.NewWorld().Host("hv1")
	for device, want := range map[string]string{"pvc-no-such": `device "pvc-no-such" for bridged networks does not exist`, "lo": ""} {
		c, _, err := config.ParseNode("pvcd.yaml", []byte(strings.ReplaceAll(withNetworks, "eth9", device)), "hv2")
		if err != nil {
			t.Fatal(err)
		}
		d.config = c
		if d.networks, err = d.newNetworks(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(d.networks.links.Close)
		facts, err := d.facts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		found := strings.HasPrefix(facts.NoBridged, want) && len(facts.Health) == 1 && strings.HasSuffix(facts.Health[0], facts.NoBridged)
		if want != "" && !found || want == "" && strings.Contains(facts.NoBridged, "does not exist") {
			t.Errorf("%s: %q, health %q", device, facts.NoBridged, facts.Health)
		}
	}
}
