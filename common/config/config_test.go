package config

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// decision: coordinators
func TestEndpointHasAHostAndAPort(t *testing.T) {
	for text, want := range map[string]string{
		"hv1": "hv1:2181", "HV1.example.net:2182": "hv1.example.net:2182", "192.0.2.1": "192.0.2.1:2181",
		"2001:db8::1": "[2001:db8::1]:2181", "[2001:db8::1]": "[2001:db8::1]:2181", "[2001:DB8::1]:99": "[2001:db8::1]:99",
		"": "", "hv1:": "", "hv1:0": "", "hv1:+5": "", "hv1:65536": "", "hv1/a": "", "[hv1": "", ":2181": "", "a:b:c": "", "-a": "",
	} {
		e, ok := parseEndpoint(text)
		if ok != (want != "") || ok && e.String() != want {
			t.Errorf("parseEndpoint(%q) = %v, %v; want %q", text, e, ok, want)
		}
	}
}

// decision: between hosts
func TestPeerIsNamedByTheDomainOfTheClusterNetwork(t *testing.T) {
	for _, tt := range []struct{ domain, template, want string }{
		{"pvc.local", "qemu+tls://{node}.{domain}/system", "qemu+tls://hv2.pvc.local/system"},
		{"", "qemu+tls://{node}.{domain}/system", "qemu+tls://hv2/system"},
		{"pvc.local", "qemu+tcp://{node}:16510/system", "qemu+tcp://hv2:16510/system"},
		{"pvc.local", "qemu+tls://{node}-mig.{domain}/system", "qemu+tls://hv2-mig.pvc.local/system"},
	} {
		c := &Node{Migration: Migration{PeerTemplate: tt.template}}
		c.Cluster.Internal.Domain = tt.domain
		if got := c.PeerURI("hv2"); got != tt.want {
			t.Errorf("domain %q, template %q: %q, want %q", tt.domain, tt.template, got, tt.want)
		}
	}
}

// decision: coordinators
func TestCoordinatorIsKnownByItsNameOrFirstLabel(t *testing.T) {
	c := &Node{Cluster: Cluster{Coordinators: []Endpoint{{"hv1", 1}, {"hv2.example.net", 1}, {"10.0.0.3", 1}}}}
	for name, want := range map[string]bool{"hv1": true, "hv2": true, "hv3": false, "10": false} {
		if c.Name = name; c.IsCoordinator() != want {
			t.Errorf("%s: coordinator %v, want %v", name, !want, want)
		}
	}
}

func TestAddressByIDCountsFromTheStartOfTheNetwork(t *testing.T) {
	for _, tt := range []struct{ network, node, want string }{
		{"10.0.0.0/24", "hv2", "10.0.0.2/24"},
		{"10.0.0.0/24", "rack3-hv12a", "10.0.0.12/24"},
		{"10.0.0.0/24", "alpha", "10.0.0.1/24"},
		{"10.0.0.0/22", "hv300", "10.0.1.44/22"},
		{"2001:db8::/64", "hv70000", "2001:db8::1:1170/64"},
		{"10.0.0.0/24", "hv255", ""},
		{"10.0.0.0/24", "hv0", ""},
		{"10.0.0.0/24", "hv300", ""},
		{"255.255.255.0/24", "hv4294967295", ""},
		{"10.0.0.0/24", "hv99999999999", ""},
	} {
		got, err := ownAddress{byID: true}.resolve(netip.MustParsePrefix(tt.network), tt.node)
		if tt.want == "" {
			if err == nil {
				t.Errorf("%s in %s: %v; an error was expected", tt.node, tt.network, got)
			}
		} else if err != nil || got.String() != tt.want {
			t.Errorf("%s in %s: %v, %v; want %s", tt.node, tt.network, got, err, tt.want)
		}
	}
}

func TestAddressByIDOfAnUnusedNetworkIsNone(t *testing.T) {
	c, _, err := ParseNode("f", []byte(smallNode+"  system: {configuration: {networking: {cluster: {address: by-id}}}}\n"), "hv1")
	if err != nil || c.Networking.Cluster.Address.IsValid() {
		t.Errorf("%+v, %v", c, err)
	}
}

// decision: `pvc.node`
// decision: warnings
func TestValuesOfANodeFileArrive(t *testing.T) {
	text := smallNode + `
  node: HV9.example.net
  system:
    fencing: {intervals: {keepalive_interval: 1.5}, actions: {successful_fence: nothing, failed_fence: migrate}, ipmi: {pass: None}}
    migration: {target_selector: None, parallel: "3", peer_uri: "qemu+tcp://{node}/system", shared_directories: [/srv/a/], listen_address: 10.0.0.1, encrypt_memory: yes}
    vm: {shutdown_timeout: '2', crash_window: 0.5e2}
    configuration: {networking: {bridge_device: br1}}
`
	c, warnings, err := ParseNode("f", []byte(text), "hv1")
	if err != nil {
		t.Fatal(err)
	}
	want := defaultNode("f", "hv9")
	want.Functions.Hypervisor = true
	want.Cluster.Coordinators = []Endpoint{{"hv1", 2181}}
	want.Fencing = Fencing{1500 * time.Millisecond, 6, FenceNone, FenceMigrate, IPMI{Password: NewSecret("None")}}
	want.Migration.Parallel, want.Migration.EncryptMemory = 3, true
	want.Migration.PeerTemplate = "qemu+tcp://{node}/system"
	want.Migration.SharedDirs = []string{"/srv/a"}
	want.Migration.ListenAddress = netip.MustParseAddr("10.0.0.1")
	want.Networking.BridgeDevice = "br1"
	want.VM.ShutdownTimeout, want.VM.CrashWindow = 2*time.Second, 50*time.Second
	if d := cmp.Diff(want, c, values); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	wantWarnings := []string{
		"f:5: pvc.node: the node is called hv9 although the host is called hv1",
		"f:7: pvc.system.fencing.actions.successful_fence: \"nothing\" is not migrate and means None",
		"f:7: pvc.system.fencing: fence_intervals, actions and ipmi are without effect yet: this release fences no host",
		"f:8: pvc.system.migration.peer_uri: plain TCP: who reaches the port commands the hypervisor; qemu+tls is the safe choice",
	}
	if d := cmp.Diff(wantWarnings, warningTexts(warnings)); d != "" {
		t.Errorf("warnings, want (-), got (+):\n%s", d)
	}
}

// decision: not set
func TestSuccessfulFenceNoneMeansNoneAlthoughTheDefaultIsMigrate(t *testing.T) {
	for text, want := range map[string]FenceAction{"None": FenceNone, "''": FenceNone, "": FenceNone, "migrate": FenceMigrate} {
		c, _, err := ParseNode("f", []byte(smallNode+"  system: {fencing: {actions: {successful_fence: "+text+"}}}\n"), "hv1")
		if err != nil || c.Fencing.OnSuccess != want {
			t.Errorf("%q: %v, %v; want %s", text, c, err, want)
		}
	}
}

func TestValuesOfAnAPIFileArrive(t *testing.T) {
	text := `
pvc:
  coordinators: [hv1, "[2001:db8::1]:2182"]
  zookeeper: {session_timeout: 2, acl: digest, digest_file: /etc/pvc/digest}
  api:
    listen_address: "::"
    listen_port: 80
    follow_primary: False
    vm_policy: unrestricted
    vm_file_directories: []
    metrics_without_token: True
    authentication:
      enabled: True
      secret_key: 0123456789abcdef0123456789abcdef
      tokens: [{description: a, token: 12345678}, {token: None}]
    ssl: {enabled: True, cert_file: /c, key_file: /k}
`
	c, warnings, err := ParseAPI("f", []byte(text), "hv1")
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	want := &API{
		File: "f", Name: "hv1", Coordinators: []Endpoint{{"hv1", 2181}, {"2001:db8::1", 2182}},
		ZooKeeper:     ZooKeeper{2 * time.Second, ACLDigest, "/etc/pvc/digest"},
		ListenAddress: "::", ListenPort: 80, VMPolicy: PolicyUnrestricted, MetricsWithoutToken: true,
		Auth: Auth{true, NewSecret("0123456789abcdef0123456789abcdef"), []Token{{"a", NewSecret("12345678")}, {"", NewSecret("None")}}},
		TLS:  TLS{true, "/c", "/k"},
	}
	if d := cmp.Diff(want, c, values); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
	if c.Listen() != "[::]:80" {
		t.Errorf("listens on %s", c.Listen())
	}
}

// decision: warnings
func TestOpenAPIForEverybodyIsWarnedAbout(t *testing.T) {
	for address, warned := range map[string]bool{"127.0.0.1": false, "'::1'": false, "0.0.0.0": true, "hv1": true} {
		_, warnings, err := ParseAPI("f", []byte(strings.Replace(smallAPI, "api: {", "api: {listen_address: "+address+", ", 1)), "hv1")
		if err != nil || (len(warnings) == 1) != warned {
			t.Errorf("%s: %v, %v", address, warnings, err)
		}
	}
}

// decision: warnings
func TestFileIsReadOnceAndBounded(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "pvc-api.yaml")
	write := func(text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, mode); err != nil {
			t.Fatal(err)
		}
	}
	if _, _, err := LoadAPI(file); err == nil || !strings.Contains(err.Error(), file) {
		t.Errorf("a missing file: %v", err)
	}
	write(smallAPI+"#"+strings.Repeat("x", MaxBytes), 0o600)
	if _, _, err := LoadAPI(file); !errs.Is(err, errs.Invalid) || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a file over the limit: %v", err)
	}
	write(strings.Replace(smallAPI, "False", "True, secret_key: "+strings.Repeat("k", 32)+", tokens: [{token: a}]", 1)+"  node: a\n", 0o644)
	c, warnings, err := LoadAPI(file)
	if err != nil || c.File != file {
		t.Fatal(c, err)
	}
	if n := len(warnings); n == 0 || !strings.Contains(warnings[n-1].String(), "may be read by everyone (mode 0644") {
		t.Errorf("warnings %v", warnings)
	}
	write(smallNode, 0o600)
	if n, _, err := LoadNode(file); err != nil || n.File != file {
		t.Error(n, err)
	}
}

func TestSecretIsShownNowhere(t *testing.T) {
	const text = "hunter2"
	v := struct{ S Secret }{NewSecret(text)}
	js, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("m", "s", v.S, "v", v)
	slog.New(slog.NewJSONHandler(&log, nil)).Info("m", "s", v.S, "v", v)
	all := string(js) + log.String() + fmt.Sprintf("%v %+v %#v %s %q %x %d", v, v, v, v.S, v.S, v.S, v)
	if strings.Contains(all, text) || strings.Contains(all, fmt.Sprintf("%x", text)) {
		t.Errorf("shown in %s", all)
	}
	if v.S.Reveal() != text {
		t.Error("not revealed")
	}
}

// decision: ZooKeeper access
func TestDigestComesFromAFileThatOthersCannotRead(t *testing.T) {
	file := filepath.Join(t.TempDir(), "digest")
	for _, tt := range []struct {
		text string
		mode os.FileMode
		want string // empty: refused
	}{
		{"pvc:pass:word\n", 0o640, "pvc:pass:word"},
		{"pvc:hunter2", 0o644, ""},
		{"hunter2", 0o600, ""},
		{":hunter2", 0o600, ""},
		{" \n", 0o600, ""},
		{strings.Repeat("a", maxSecretFile) + ":b", 0o600, ""},
	} {
		if err := os.WriteFile(file, []byte(tt.text), tt.mode); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(file, tt.mode); err != nil {
			t.Fatal(err)
		}
		got, err := ZooKeeper{ACL: ACLDigest, DigestFile: file}.Digest()
		if got.Reveal() != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%.20q mode %o: %v", tt.text, tt.mode, err)
		}
		if err != nil && strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the error shows the secret: %v", err)
		}
	}
	if got, err := (ZooKeeper{ACL: ACLOpen}).Digest(); err != nil || !got.Empty() {
		t.Error(got, err)
	}
}
