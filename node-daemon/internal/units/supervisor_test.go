package units_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/units"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/units/conformance"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// deafScript ignores SIGTERM; what it waits for is named so that the test finds it.
const deafScript = `trap "" TERM; exec sleep "$0"`

func TestSupervisorConforms(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("hosts are namespaces: root is needed")
	}
	if missing := host.MissingTools(); len(missing) > 0 {
		t.Skip("missing programs:", missing)
	}
	dir, err := os.MkdirTemp("/var/tmp", "pvc-units-") // t.TempDir is too long for sockets
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	mark := conformance.NewMark()
	name := fmt.Sprintf("ou%d", os.Getpid()%10000)
	sw := &host.Switch{Name: name + "sw", Subnet: netip.MustParsePrefix(fmt.Sprintf("10.92.%d.0/24", 1+os.Getpid()%250)), Dir: filepath.Join(dir, "switch")}
	must(t, sw.PowerOn(t.Context()))
	t.Cleanup(func() { must(t, sw.PowerOff(context.Background())) })
	h := &host.Host{Name: name, Index: 1, Switch: sw, Dir: filepath.Join(dir, "h"),
		Etc: []host.File{{Name: "machine-id", Content: strings.Repeat("a", 32) + "\n"}},
		Services: []host.Service{
			{Name: "probe@", Argv: []string{"/bin/sleep", mark + "%i"}, Log: "/var/log/probe"},
			{Name: "deaf@", Argv: []string{"/bin/sh", "-c", deafScript, mark + "%i"}, Log: "/var/log/deaf"},
		}}
	must(t, h.PowerOn(t.Context()))
	t.Cleanup(func() { must(t, h.PowerCut()) })
	conformance.Run(t, conformance.Harness{
		Units: units.Supervisor{Socket: h.Path(host.ControlSocket), Timeout: 2 * time.Second},
		Probe: "probe@", Deaf: "deaf@", Mark: mark,
		Reboot: func() {
			must(t, h.PowerCut())
			must(t, h.PowerOn(t.Context()))
		},
	})
}

func TestSilentSupervisorIsUnavailable(t *testing.T) {
	s := units.Supervisor{Socket: filepath.Join(t.TempDir(), "nobody")}
	if err := s.Start(t.Context(), "ceph-osd@1.service"); !errs.Is(err, errs.Unavailable) {
		t.Error(err)
	}
}
