package config

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

const (
	smallNode = "pvc:\n  functions: {enable_hypervisor: True, enable_networking: False, enable_storage: False}\n  cluster: {coordinators: [hv1]}\n"
	smallAPI  = "pvc:\n  coordinators: [hv1]\n  api: {authentication: {enabled: False}}\n"
)

// decision: strictness
// decision: YAML
// decision: `pvc.functions.*`
func TestWrongNodeFileIsRefusedNamingLineKeyAndExpectation(t *testing.T) {
	tests := map[string]struct{ text, want string }{
		"empty":             {"", "f: the file is empty; a mapping with the key pvc was expected"},
		"only a comment":    {"# nothing\n", "f: the file is empty; a mapping with the key pvc was expected"},
		"no mapping":        {"- a\n", "f:1: a mapping with the key pvc was expected"},
		"not YAML":          {"pvc:\n  a: b: c\n", "f:2: not YAML: mapping values are not allowed in this context"},
		"two documents":     {smallNode + "---\na: b\n", "f:4: a second document; one was expected"},
		"alias":             {"pvc: *x\n", "f: not YAML: " + noAnchors},
		"anchor":            {"pvc:\n  node: &x a\n", "f:2: " + noAnchors},
		"no pvc":            {"{}\n", "f: pvc.functions.enable_hypervisor: missing; True or False was expected"},
		"unknown key":       {smallNode + "  nod: a\n", "f:4: pvc.nod: unknown key; one of cluster, coordinator, debug, functions, node, system was expected"},
		"unknown top key":   {smallNode + "pvd: a\n", "f:4: pvd: unknown key; one of debug, pvc was expected"},
		"dotted key":        {smallNode + "pvc.node: a\n", "f:4: pvc.node: unknown key; one of debug, pvc was expected"},
		"key twice":         {smallNode + "  node: a\n  node: b\n", "f:5: pvc.node: the key is there twice, first on line 4"},
		"section twice":     {smallNode + "pvc: {}\n", "f:4: pvc: the key is there twice, first on line 1"},
		"list as key":       {smallNode + "  [a]: b\n", "f:4: pvc.: unknown key; one of cluster, coordinator, debug, functions, node, system was expected"},
		"text as section":   {smallNode + "  system: a\n", "f:4: pvc.system: a section with the keys configuration, fencing, migration, secrets, storage, vm was expected"},
		"list as section":   {smallNode + "  system: []\n", "f:4: pvc.system: a section with the keys configuration, fencing, migration, secrets, storage, vm was expected"},
		"missing line":      {"pvc:\n  functions: {enable_hypervisor: True, enable_networking: False, enable_storage: False}\n", "f:1: pvc.cluster.coordinators: missing; a list, each element host or host:port was expected"},
		"null is missing":   {strings.Replace(smallNode, "[hv1]", "", 1), "f:3: pvc.cluster.coordinators: missing; a list, each element host or host:port was expected"},
		"no coordinators":   {strings.Replace(smallNode, "[hv1]", "[]", 1), "f:3: pvc.cluster.coordinators: the list is empty; at least one host was expected"},
		"coordinator twice": {strings.Replace(smallNode, "[hv1]", "[hv1, 'HV1:2181']", 1), "f:3: pvc.cluster.coordinators: hv1:2181 is there twice"},
		"coordinator port":  {strings.Replace(smallNode, "[hv1]", "[hv0, 'hv1:70000']", 1), `f:3: pvc.cluster.coordinators: element 2: "hv1:70000": host or host:port was expected`},
		"coordinator map":   {strings.Replace(smallNode, "[hv1]", "[{a: b}]", 1), "f:3: pvc.cluster.coordinators: element 1: a mapping: host or host:port was expected"},
		"coordinator text":  {strings.Replace(smallNode, "[hv1]", "hv1", 1), `f:3: pvc.cluster.coordinators: "hv1": a list was expected`},
		"node name":         {smallNode + "  node: a_b\n", `f:4: pvc.node: node name "a_b": 1 to 63 lower-case letters, digits or '-' are needed`},
		"list as text":      {smallNode + "  node: [a]\n", "f:4: pvc.node: a list: a text of one line was expected"},
		"binary":            {smallNode + "  node: !!binary aGk=\n", `f:4: pvc.node: "aGk=": a text of one line was expected`},
		"foreign tag":       {smallNode + "  node: !python/name:os.system a\n", `f:4: pvc.node: "a": a text of one line was expected`},
		"boolean":           {smallNode + "  debug: maybe\n", `f:4: pvc.debug: "maybe": True or False was expected`},
		"boolean number":    {smallNode + "  debug: 1\n", `f:4: pvc.debug: "1": True or False was expected`},
		"number":            {smallNode + "  coordinator: {dns: {port: x}}\n", `f:4: pvc.coordinator.dns.port: "x": a whole number from 1 to 65535 was expected`},
		"number range":      {smallNode + "  coordinator: {dns: {port: 0}}\n", `f:4: pvc.coordinator.dns.port: "0": a whole number from 1 to 65535 was expected`},
		"octal":             {smallNode + "  coordinator: {dns: {port: 010}}\n", `f:4: pvc.coordinator.dns.port: "010": a whole number from 1 to 65535 was expected`},
		"fraction":          {smallNode + "  coordinator: {dns: {port: 1.5}}\n", `f:4: pvc.coordinator.dns.port: "1.5": a whole number from 1 to 65535 was expected`},
		"seconds":           {smallNode + "  system: {vm: {shutdown_timeout: .nan}}\n", `f:4: pvc.system.vm.shutdown_timeout: ".nan": a number of seconds from 1 to 86400 was expected`},
		"seconds unit":      {smallNode + "  system: {vm: {shutdown_timeout: 90s}}\n", `f:4: pvc.system.vm.shutdown_timeout: "90s": a number of seconds from 1 to 86400 was expected`},
		"word":              {smallNode + "  system: {migration: {target_selector: luck}}\n", `f:4: pvc.system.migration.target_selector: "luck": one of mem, vcpus, load, vms was expected`},
		"bridge device":     {smallNode + "  system: {configuration: {networking: {bridge_device: eth0/1}}}\n", `f:4: pvc.system.configuration.networking.bridge_device: "eth0/1": the name of a network device was expected`},
		"relative path":     {smallNode + "  system: {secrets: {key_file: key}}\n", `f:4: pvc.system.secrets.key_file: "key": an absolute path was expected`},
		"directory list":    {smallNode + "  system: {migration: {shared_directories: [/a, b]}}\n", `f:4: pvc.system.migration.shared_directories: element 2: "b": an absolute path was expected`},
		"listen address":    {smallNode + "  system: {migration: {listen_address: hv1}}\n", `f:4: pvc.system.migration.listen_address: "hv1": an IP address was expected`},
		"libvirt URI":       {smallNode + "  system: {migration: {libvirt_uri: 'lxc:///'}}\n", `f:4: pvc.system.migration.libvirt_uri: "lxc:///": a libvirt URI that begins with qemu was expected`},
		"peer without node": {smallNode + "  system: {migration: {peer_uri: 'qemu+tls://a/system'}}\n", `f:4: pvc.system.migration.peer_uri: "qemu+tls://a/system": a libvirt URI that begins with qemu and holds {node}, perhaps {domain} was expected`},
		"peer placeholder":  {smallNode + "  system: {migration: {peer_uri: 'qemu+tls://{node}.{dom}/system'}}\n", `f:4: pvc.system.migration.peer_uri: "qemu+tls://{node}.{dom}/system": a libvirt URI that begins with qemu and holds {node}, perhaps {domain} was expected`},
		"fence action":      {smallNode + "  system: {fencing: {actions: {failed_fence: []}}}\n", "f:4: pvc.system.fencing.actions.failed_fence: a list: migrate or None was expected"},
		"secret":            {smallNode + "  system: {fencing: {ipmi: {pass: [hunter2]}}}\n", "f:4: pvc.system.fencing.ipmi.pass: a text was expected (the value is not shown)"},
		"digest file":       {strings.Replace(smallNode, "[hv1]", "[hv1], zookeeper: {acl: digest}", 1), "f:3: pvc.cluster.zookeeper.digest_file: missing; an absolute path was expected"},
		"digest unused":     {strings.Replace(smallNode, "[hv1]", "[hv1], zookeeper: {digest_file: /a}", 1), "f:3: pvc.cluster.zookeeper.digest_file: a file is given but pvc.cluster.zookeeper.acl is open; digest was expected"},
		"acl":               {strings.Replace(smallNode, "[hv1]", "[hv1], zookeeper: {acl: sasl}", 1), `f:3: pvc.cluster.zookeeper.acl: "sasl": one of open, digest was expected`},
		"subnet":            {strings.Replace(smallNode, "[hv1]", "[hv1], networks: {storage: {network: 10.0.0.0}}", 1), `f:3: pvc.cluster.networks.storage.network: "10.0.0.0": a network as address/length was expected`},
		"domain":            {strings.Replace(smallNode, "[hv1]", "[hv1], networks: {cluster: {domain: a/b}}", 1), `f:3: pvc.cluster.networks.cluster.domain: "a/b": a domain name was expected`},
		"floating":          {strings.Replace(smallNode, "[hv1]", "[hv1], networks: {storage: {network: 10.0.0.0/24, floating_ip: 10.0.0.255/24}}", 1), "f:3: pvc.cluster.networks.storage.floating_ip: 10.0.0.255/24 is not an address for a host of 10.0.0.0/24"},
		"gateway":           {strings.Replace(smallNode, "[hv1]", "[hv1], networks: {upstream: {network: 10.0.0.0/24, gateway: 10.0.1.1}}", 1), "f:3: pvc.cluster.networks.upstream.gateway: 10.0.1.1 is not an address for a host of 10.0.0.0/24"},
		"device":            {smallNode + "  system: {configuration: {networking: {cluster: {device: a/b}}}}\n", `f:4: pvc.system.configuration.networking.cluster.device: "a/b": the name of a network device was expected`},
		"own address":       {smallNode + "  system: {configuration: {networking: {cluster: {address: dhcp}}}}\n", `f:4: pvc.system.configuration.networking.cluster.address: "dhcp": by-id, None, or address/length was expected`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, _, err := ParseNode("f", []byte(tt.text), "hv1")
			checkFirst(t, c == nil, err, tt.want)
		})
	}
}

// checkFirst wants the first of the problems to read so.
func checkFirst(t *testing.T, none bool, err error, want string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || !errs.Is(err, errs.Invalid) || !none {
		t.Fatalf("error %v; an *Error of kind invalid and no configuration were expected", err)
	}
	if d := cmp.Diff(want, e.Problems[0].String()); d != "" {
		t.Errorf("first problem, want (-), got (+):\n%s", d)
	}
}

// decision: strictness
// decision: authentication on
func TestWrongAPIFileIsRefusedNamingLineKeyAndExpectation(t *testing.T) {
	const key32 = "0123456789abcdef0123456789abcdef"
	auth := func(s string) string {
		return "pvc:\n  coordinators: [hv1]\n  api:\n    authentication:\n      enabled: True\n" + s
	}
	const tokens = "f:7: pvc.api.authentication.tokens: "
	tests := map[string]struct{ text, want string }{
		"no authentication": {"pvc: {coordinators: [hv1]}\n", "f:1: pvc.api.authentication.enabled: missing; True or False was expected"},
		"no secret":         {auth("      tokens: [{token: hunter2}]\n"), "f:4: pvc.api.authentication.secret_key: 0 characters; with authentication at least 32 were expected"},
		"empty secret":      {auth("      secret_key: ''\n      tokens: [{token: hunter2}]\n"), "f:6: pvc.api.authentication.secret_key: 0 characters; with authentication at least 32 were expected"},
		"short secret":      {auth("      secret_key: hunter2\n      tokens: [{token: hunter2}]\n"), "f:6: pvc.api.authentication.secret_key: 7 characters; with authentication at least 32 were expected"},
		"secret as list":    {auth("      secret_key: [hunter2]\n      tokens: [{token: hunter2}]\n"), "f:6: pvc.api.authentication.secret_key: a text was expected (the value is not shown)"},
		"secret as alias":   {auth("      secret_key: *hunter2\n"), "f: not YAML: " + noAnchors},
		"no tokens":         {auth("      secret_key: " + key32 + "\n      tokens: []\n"), tokens + "no token; with authentication at least one was expected"},
		"tokens as text":    {auth("      secret_key: " + key32 + "\n      tokens: hunter2\n"), tokens + "a list of mappings with the keys description and token was expected"},
		"token as text":     {auth("      secret_key: " + key32 + "\n      tokens: [hunter2]\n"), tokens + "element 1 (line 7): a mapping with the keys description and token was expected"},
		"token as key":      {auth("      secret_key: " + key32 + "\n      tokens: [{hunter2: a}]\n"), tokens + "element 1 (line 7): a key that is unknown or there twice; description and token were expected"},
		"token key twice":   {auth("      secret_key: " + key32 + "\n      tokens: [{token: a, token: hunter2}]\n"), tokens + "element 1 (line 7): a key that is unknown or there twice; description and token were expected"},
		"token as list":     {auth("      secret_key: " + key32 + "\n      tokens: [{token: [hunter2]}]\n"), tokens + "element 1 (line 7): token: a text of one line was expected (the value is not shown)"},
		"empty token":       {auth("      secret_key: " + key32 + "\n      tokens: [{token: hunter2}, {description: b, token: }]\n"), tokens + `element 2 ("b") has an empty token`},
		"no token":          {auth("      secret_key: " + key32 + "\n      tokens: [{description: b}]\n"), tokens + `element 1 ("b") has an empty token`},
		"same token":        {auth("      secret_key: " + key32 + "\n      tokens: [{token: a}, {token: hunter2}, {token: hunter2}]\n"), tokens + "elements 2 and 3 have the same token"},
		"listen address":    {strings.Replace(smallAPI, "api: {", "api: {listen_address: 'a b', ", 1), `f:3: pvc.api.listen_address: "a b": an IP address or a host name was expected`},
		"listen port":       {strings.Replace(smallAPI, "api: {", "api: {listen_port: 70000, ", 1), `f:3: pvc.api.listen_port: "70000": a whole number from 1 to 65535 was expected`},
		"policy":            {strings.Replace(smallAPI, "api: {", "api: {vm_policy: lax, ", 1), `f:3: pvc.api.vm_policy: "lax": one of restricted, unrestricted was expected`},
		"node":              {smallAPI + "  node: ä\n", `f:4: pvc.node: node name "ä": 1 to 63 lower-case letters, digits or '-' are needed`},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			c, _, err := ParseAPI("f", []byte(tt.text), "hv1")
			checkFirst(t, c == nil, err, tt.want)
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

func TestTLSWithoutFilesIsRefusedNamingBoth(t *testing.T) {
	_, _, err := ParseAPI("f", []byte(strings.Replace(smallAPI, "api: {", "api: {ssl: {enabled: True}, ", 1)), "hv1")
	want := "f:3: pvc.api.ssl.cert_file: missing; an absolute path was expected\n" +
		"f:3: pvc.api.ssl.key_file: missing; an absolute path was expected"
	if err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

func TestAllProblemsOfAFileAreReportedInTheOrderOfLines(t *testing.T) {
	_, _, err := ParseNode("f", []byte("pvc:\n  node: [a]\n  debug: x\n  cluster:\n    coordinators: []\n  extra: 1\n"), "hv1")
	var e *Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	var got []string
	for _, p := range e.Problems {
		got = append(got, p.Key)
	}
	want := []string{
		"pvc.functions.enable_hypervisor", "pvc.functions.enable_networking", "pvc.functions.enable_storage",
		"pvc.node", "pvc.debug", "pvc.cluster.coordinators", "pvc.extra",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
}

func TestNetworkingNeedsItsSections(t *testing.T) {
	on := strings.Replace(smallNode, "enable_networking: False", "enable_networking: True", 1)
	_, _, err := ParseNode("f", []byte(on), "hv1")
	var e *Error
	if !errors.As(err, &e) {
		t.Fatal(err)
	}
	var got []string
	for _, p := range e.Problems {
		got = append(got, p.Key)
	}
	const n, i = "pvc.cluster.networks.", "pvc.system.configuration.networking."
	want := []string{
		i + "upstream.device", i + "cluster.device",
		n + "upstream.domain", n + "upstream.network", n + "upstream.floating_ip",
		n + "cluster.domain", n + "cluster.network", n + "cluster.floating_ip",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("want (-), got (+):\n%s", d)
	}
}
