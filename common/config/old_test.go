package config

import (
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// values compares what has unexported fields.
var values = cmp.Options{
	cmp.Comparer(func(a, b Secret) bool { return a.text == b.text }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
}

func warningTexts(warnings []Warning) []string {
	out := []string{}
	for _, w := range warnings {
		out = append(out, w.String())
	}
	return out
}

// decision: old configuration files
// decision: not there yet
func TestOldNodeFileIsValid(t *testing.T) {
	data, err := os.ReadFile("testdata/old-pvcd.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, warnings, err := ParseNode("pvcd.yaml", data, "PVC-HV2.example.net")
	if err != nil {
		t.Fatal(err)
	}
	want := defaultNode("pvcd.yaml", "pvc-hv2")
	want.Functions = Functions{Hypervisor: true, Networking: true, Storage: true}
	want.Cluster.Coordinators = []Endpoint{{"pvc-hv1", 2181}, {"pvc-hv2", 2181}, {"pvc-hv3", 2181}}
	want.Cluster.Upstream = Network{
		"mydomain.net", netip.MustParsePrefix("1.1.1.0/24"), netip.MustParsePrefix("1.1.1.10/24"), netip.MustParseAddr("1.1.1.1"),
	}
	want.Cluster.Internal = Network{
		Domain: "pvc.local", Network: netip.MustParsePrefix("10.255.0.0/24"), Floating: netip.MustParsePrefix("10.255.0.254/24"),
	}
	want.Cluster.Storage = Network{
		Domain: "pvc.storage", Network: netip.MustParsePrefix("10.254.0.0/24"), Floating: netip.MustParsePrefix("10.254.0.254/24"),
	}
	want.Fencing = Fencing{5 * time.Second, 6, FenceMigrate, FenceNone, IPMI{"pvc-hv2-lom", "admin", NewSecret("Passw0rd")}}
	want.Migration.Selector = model.SelectMem
	want.Logging.File = true
	want.Networking = Networking{
		Upstream: Interface{"ens4", 1500, netip.Prefix{}},
		Cluster:  Interface{"ens4", 1500, netip.MustParsePrefix("10.255.0.2/24")},
		Storage:  Interface{"ens4", 9000, netip.MustParsePrefix("10.254.0.7/24")},
	}
	if d := cmp.Diff(want, c, values); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	if !c.IsCoordinator() {
		t.Error("pvc-hv2 is not a coordinator")
	}
	wantWarnings := []string{
		"pvcd.yaml:10: pvc.functions.enable_api: without effect: pvc-api is a service of its own and follows the primary by itself",
		"pvcd.yaml:33: pvc.coordinator.dns.database.host: without effect: the aggregated DNS has no database",
		"pvcd.yaml:34: pvc.coordinator.dns.database.port: without effect: the aggregated DNS has no database",
		"pvcd.yaml:35: pvc.coordinator.dns.database.name: without effect: the aggregated DNS has no database",
		"pvcd.yaml:36: pvc.coordinator.dns.database.user: without effect: the aggregated DNS has no database",
		"pvcd.yaml:37: pvc.coordinator.dns.database.pass: without effect: the aggregated DNS has no database",
		"pvcd.yaml:39: pvc.system.fencing: fence_intervals, actions and ipmi are without effect yet: this release fences no host",
		"pvcd.yaml:43: pvc.system.fencing.intervals.suicide_intervals: without effect: a host does not fence itself",
		"pvcd.yaml:61: pvc.system.configuration.logging.log_colours: without effect: the log has no colours",
		"pvcd.yaml:63: pvc.system.configuration.logging.log_keepalives: without effect: keepalives are not logged; see the metrics",
		"pvcd.yaml:64: pvc.system.configuration.logging.log_keepalive_cluster_details: without effect: keepalives are not logged; see the metrics",
		"pvcd.yaml:65: pvc.system.configuration.logging.log_keepalive_storage_details: without effect: keepalives are not logged; see the metrics",
	}
	if d := cmp.Diff(wantWarnings, warningTexts(warnings)); d != "" {
		t.Errorf("warnings, want (-), got (+):\n%s", d)
	}
}

// decision: old configuration files
// decision: debug
func TestOldAPIFileIsValid(t *testing.T) {
	data, err := os.ReadFile("testdata/old-pvc-api.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, warnings, err := ParseAPI("pvc-api.yaml", data, "pvc-hv1")
	if err != nil {
		t.Fatal(err)
	}
	want := defaultAPI("pvc-api.yaml", "pvc-hv1")
	want.Debug = true
	want.Coordinators = []Endpoint{{"pvc-hv1", 2181}, {"pvc-hv2", 2181}, {"pvc-hv3", 2181}}
	want.Auth.Tokens = []Token{{Description: "testing"}}
	if d := cmp.Diff(want, c, values); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	wantWarnings := []string{"pvc-api.yaml:4: pvc.debug: the log is verbose; there is no development server, and TLS stays as configured"}
	if d := cmp.Diff(wantWarnings, warningTexts(warnings)); d != "" {
		t.Errorf("warnings, want (-), got (+):\n%s", d)
	}
}
