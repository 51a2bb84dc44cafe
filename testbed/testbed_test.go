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
