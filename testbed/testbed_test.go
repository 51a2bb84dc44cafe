package testbed

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/config"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

func TestOptionsAreChecked(t *testing.T) {
	for name, c := range map[string]struct {
		options Options
		fault   string
	}{
		"defaults":       {Options{}, ""},
		"long prefix":    {Options{Prefix: "abcdefghi"}, `prefix "abcdefghi"`},
		"path as prefix": {Options{Prefix: "../x"}, `prefix "../x"`},
		"not a subnet":   {Options{Subnet: "10.1.0.0"}, `subnet "10.1.0.0"`},
		"wrong length":   {Options{Subnet: "10.1.0.0/16"}, `subnet "10.1.0.0/16"`},
		"IPv6":           {Options{Subnet: "fd00::/24"}, `subnet "fd00::/24"`},
		"negative hosts": {Options{Hosts: -1}, "-1 hosts"},
		"OSDs only":      {Options{OSDs: 1}, "1 OSDs"},
		"many OSDs":      {Options{OSDs: 100, Storage: true}, "100 OSDs"},
		"many disks":     {Options{Disks: 26}, "26 disks"},
		"hidden root":    {Options{Root: "/run/testbed"}, `"/run/testbed"`},
		"long root":      {Options{Root: "/" + strings.Repeat("x", 70)}, "at most 60"},
	} {
		_, err := c.options.withDefaults()
		if c.fault == "" && err != nil || c.fault != "" && (err == nil || !strings.Contains(err.Error(), c.fault)) {
			t.Errorf("%s: err = %v, want %q", name, err, c.fault)
		}
	}
}

// full are options with daemons.
func full(t *testing.T) Options {
	t.Helper()
	o, err := Options{Binaries: "/b", PVCDSettings: map[string]any{"pvc.system.vm.shutdown_timeout": 5}}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestGeneratedConfigurationIsAcceptedByOurDaemons(t *testing.T) {
	o := full(t)
	s := o.newSecrets()
	files, err := o.daemonFiles(2, s)
	if err != nil {
		t.Fatal(err)
	}
	node, _, err := config.ParseNode(files[0].Name, []byte(files[0].Content), "hv2")
	if err != nil {
		t.Fatal(err)
	}
	if node.VM.ShutdownTimeout.Seconds() != 5 || len(node.Cluster.Coordinators) != 3 || !node.Functions.Hypervisor {
		t.Errorf("pvcd: %+v", node)
	}
	api, _, err := config.ParseAPI(files[1].Name, []byte(files[1].Content), "hv2")
	if err != nil {
		t.Fatal(err)
	}
	if api.Listen() != "10.99.0.12:7370" || !api.Auth.Enabled {
		t.Errorf("pvc-api: %+v", api)
	}
	for _, f := range files {
		if f.Mode != 0o600 {
			t.Errorf("%s holds secrets and has mode %v", f.Name, f.Mode)
		}
	}
}

func TestHostsWithStorageAreConfiguredForIt(t *testing.T) {
	for _, networking := range []bool{false, true} {
		o, err := Options{Binaries: "/b", Storage: true, Networking: networking}.withDefaults()
		if err != nil {
			t.Fatal(err)
		}
		s := o.newSecrets()
		files, err := o.daemonFiles(2, s)
		if err != nil {
			t.Fatal(err)
		}
		node, _, err := config.ParseNode(files[0].Name, []byte(files[0].Content), "hv2")
		if err != nil {
			t.Fatal(err)
		}
		if node.Ceph.User != "pvc" || node.Ceph.SecretUUID != s.GuestSecret || s.GuestSecret == "" {
			t.Errorf("pvcd: %+v", node.Ceph)
		}
		if !node.Functions.Storage || networking && node.Networking.Storage.Address.String() != "10.99.0.12/24" {
			t.Errorf("pvcd: %+v", node)
		}
		files = o.cephFiles(2, s)
		if text := string(find(t, files, "ceph/ceph.conf")); !strings.Contains(text, "mon host = [v2:10.99.0.11:3300") {
			t.Errorf("ceph.conf:\n%s", text)
		}
		for _, user := range []string{"admin", "pvc", "libvirt"} {
			if text := string(find(t, files, "ceph/ceph.client."+user+".keyring")); strings.Count(text, "key = ") != 1 {
				t.Errorf("keyring of %s:\n%s", user, text)
			}
		}
		for _, f := range files {
			if strings.HasSuffix(f.Name, "keyring") && f.Mode != 0o600 {
				t.Errorf("%s holds a key and has mode %v", f.Name, f.Mode)
			}
		}
	}
}

func TestOSDsAreUnitsOfEveryHost(t *testing.T) {
	o, err := Options{Storage: true}.withDefaults()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range map[int]string{1: "ceph-mon ceph-mgr ceph-osd@", 3: "ceph-osd@"} {
		var names []string
		for _, s := range o.cephServices(i) {
			names = append(names, s.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("host %d: %q, want %q", i, got, want)
		}
	}
}

func TestTagsAreAddedToThoseOfTheEnvironment(t *testing.T) {
	for _, c := range []struct{ flags, usual, want string }{
		{"-race", "-tags=pacific", "-race"},
		{"-tags gates", "-tags=pacific", "-tags gates -tags=gates,pacific"},
		{"-race --tags=gates,x", "-mod=mod -tags pacific", "-race --tags=gates,x -tags=gates,x,pacific"},
		{"-tags=gates", "", "-tags=gates"},
		{"", "-tags=pacific", ""},
	} {
		got := strings.Join(addTags(strings.Fields(c.flags), tagsOf(strings.Fields(c.usual))), " ")
		if got != c.want {
			t.Errorf("%q beside GOFLAGS %q: %q, want %q", c.flags, c.usual, got, c.want)
		}
	}
}

func TestSettingsRefuseASectionInPlaceOfAValue(t *testing.T) {
	for _, over := range []map[string]any{{"a": 1, "a.b": 2}, {"a.b.c": 1, "a.b": 2}} {
		if text, err := settings(map[string]any{}, over); err == nil {
			t.Errorf("settings(%v) = %q", over, text)
		}
	}
}

func find(t *testing.T, files []host.File, name string) []byte {
	t.Helper()
	for _, f := range files {
		if f.Name == name {
			return []byte(f.Content)
		}
	}
	t.Fatalf("no file %s", name)
	return nil
}

// TestHostsOfOneClusterTrustEachOtherOnly shakes hands as libvirtds do: both
// sides show a certificate.
func TestHostsOfOneClusterTrustEachOtherOnly(t *testing.T) {
	files := func(a *authority, name, addr string) []host.File {
		f, err := pkiFiles(a, name, addr)
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	ours, err := newAuthority("hv")
	if err != nil {
		t.Fatal(err)
	}
	theirs, err := newAuthority("xx")
	if err != nil {
		t.Fatal(err)
	}
	server := files(ours, "hv2", "10.99.0.12")
	for name, c := range map[string]struct {
		client []host.File
		call   string
		ok     bool
	}{
		"by name":         {files(ours, "hv1", "10.99.0.11"), "hv2", true},
		"by address":      {files(ours, "hv1", "10.99.0.11"), "10.99.0.12", true},
		"wrong name":      {files(ours, "hv1", "10.99.0.11"), "hv3", false},
		"another cluster": {files(theirs, "hv1", "10.99.0.11"), "hv2", false},
	} {
		if err := shakeHands(t, server, c.client, c.call); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func shakeHands(t *testing.T, server, client []host.File, name string) error {
	t.Helper()
	settings := func(files []host.File, role string) *tls.Config {
		pair, err := tls.X509KeyPair(find(t, files, "pki/libvirt/"+role+"cert.pem"), find(t, files, "pki/libvirt/private/"+role+"key.pem"))
		if err != nil {
			t.Fatal(err)
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(find(t, files, "pki/CA/cacert.pem")) {
			t.Fatal("no CA certificate")
		}
		return &tls.Config{Certificates: []tls.Certificate{pair}, RootCAs: pool, ClientCAs: pool,
			ClientAuth: tls.RequireAndVerifyClientCert, ServerName: name}
	}
	a, b := net.Pipe()
	defer a.Close()
	served := make(chan error, 1)
	go func() { // received below
		served <- tls.Server(b, settings(server, "server")).HandshakeContext(t.Context())
		b.Close()
	}()
	err := tls.Client(a, settings(client, "client")).HandshakeContext(t.Context())
	a.Close()
	return errors.Join(err, <-served)
}

func TestSecondClusterOfANameWaitsAndSaysWhy(t *testing.T) {
	o := Options{Prefix: "zz", Root: t.TempDir()}
	first, err := o.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer first.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if f, err := o.lock(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "is up") {
		t.Errorf("second lock: %v, %v", f, err)
	}
	first.Close()
	second, err := o.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second.Close()
}

func TestOpenOfNoClusterSaysSo(t *testing.T) {
	if _, err := Open(t.TempDir(), "zz"); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("err = %v", err)
	}
}
