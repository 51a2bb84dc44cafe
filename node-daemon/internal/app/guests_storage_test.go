package app

import (
	"context"
	"encoding/base64"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/config"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
	cephfake "github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph/fake"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/hypervisor/fake"
)

const secretUUID = "6f1c1b5e-3c0e-4d0a-9a55-0d8a4f6f00aa"

// keyring writes one with the key of client.libvirt and another's before it.
func keyring(t *testing.T, file, key string) {
	t.Helper()
	text := "[client.other]\n\tkey = b3RoZXI=\n# a remark\n[client.libvirt]\n\tcaps mon = \"profile rbd\"\n\tkey = " + base64.StdEncoding.EncodeToString([]byte(key)) + "\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func guestsOf(t *testing.T, host *fake.Host) (g *guestStorage, file string, log *strings.Builder) {
	t.Helper()
	file, log = filepath.Join(t.TempDir(), "keyring"), new(strings.Builder)
	return &guestStorage{hypervisor: host, log: slog.New(slog.NewTextHandler(log, nil)),
		config: config.Ceph{GuestUser: "libvirt", GuestKeyring: file, SecretUUID: secretUUID}}, file, log
}

func TestTheHypervisorHasTheKeyAgainAfterItWasAway(t *testing.T) {
	host := fake.NewWorld().Host("hv1")
	g, file, log := guestsOf(t, host)
	keyring(t, file, "first")
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error, 1)
		go func() { ended <- g.Run(ctx) }()
		has := func(want string) {
			t.Helper()
			synctest.Wait()
			if diff := cmp.Diff(hypervisor.Secret{UUID: secretUUID, User: "libvirt", Key: []byte(want)}, host.Secrets()[secretUUID]); diff != "" {
				t.Errorf("secret (-want +got):\n%s", diff)
			}
		}
		has("first")
		host.Disconnect()
		keyring(t, file, "second")
		host.Reconnect()
		has("second")
		host.Fail(fake.SetSecret, errs.Unavailablef("hangup"))
		host.Disconnect()
		host.Reconnect()
		synctest.Wait()
		if len(host.Secrets()) > 0 {
			t.Error("a key is there although it was refused")
		}
		host.Fail(fake.SetSecret, nil)
		time.Sleep(keyRetry)
		has("second")
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	if text := log.String(); !strings.Contains(text, "hangup") || strings.Contains(text, "second") || strings.Contains(text, base64.StdEncoding.EncodeToString([]byte("second"))) {
		t.Errorf("the log: %s", text)
	}
}

func TestAHangingMonitorIsNamedAndPasses(t *testing.T) {
	world := cephfake.NewWorld()
	client := world.Connect()
	g := &guestStorage{Calls: client}
	if err := g.Ready(t.Context()); err != nil {
		t.Error(err)
	}
	client.Fail(cephfake.Flags, ceph.Refused(syscall.ETIMEDOUT, "timed out"))
	if err := g.Ready(t.Context()); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "monitors") {
		t.Errorf("err = %v", err)
	}
}

func TestAHostWhoseSecretsAreTheAdministratorsSetsNone(t *testing.T) {
	host := fake.NewWorld().Host("hv1")
	g, _, _ := guestsOf(t, host)
	g.config.SecretUUID = ""
	if err := g.Key(t.Context()); err != nil || host.Calls(fake.SetSecret) > 0 {
		t.Errorf("err = %v, %d calls", err, host.Calls(fake.SetSecret))
	}
}

func TestAKeyringIsReadAndNeverTold(t *testing.T) {
	const good = "QVFEYWRh"
	for text, want := range map[string]errs.Kind{
		"":                                    errs.NotFound,
		"[client.other]\nkey = " + good:       errs.NotFound,
		"[client.libvirt]\nkey = !hush!":      errs.Invalid,
		"[client.libvirt]\nkey =":             errs.Invalid,
		"key = " + good:                       errs.NotFound,
		"[client.libvirt]\nkeys = " + good:    errs.NotFound,
		"[client.libvirt2]\n key = " + good:   errs.NotFound,
		"[client.libvirt\n" + "caps=x\n" + "": errs.NotFound,
	} {
		_, err := keyOf([]byte(text), "client.libvirt")
		if !errs.Is(err, want) || strings.Contains(err.Error(), "hush") {
			t.Errorf("%q: %v, want %v", text, err, want)
		}
	}
	for _, text := range []string{"[client.libvirt]\nkey = " + good, "[client.libvirt]\r\n\tkey=\"" + good + "\"\r\n", "[ client.libvirt ]\n  key  =  " + good + "  "} {
		key, err := keyOf([]byte(text), "client.libvirt")
		if err != nil || string(key) != "AQDada" {
			t.Errorf("%q: %q, %v", text, key, err)
		}
	}
}

func FuzzKeyring(f *testing.F) {
	f.Add("[client.libvirt]\n\tkey = QVFEYWRh\n")
	f.Add("[client.libvirt]\nkey = x\n[a]\nkey = QVFEYWRh")
	f.Fuzz(func(t *testing.T, text string) {
		key, err := keyOf([]byte(text), "client.libvirt")
		if (err == nil) != (len(key) > 0) {
			t.Errorf("%q: key %q, %v", text, key, err)
		}
	})
}
