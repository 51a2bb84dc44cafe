package demo_test

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/testbed"
	"github.com/parallelvirtualcluster/pvc/testbed/ceph"
	"github.com/parallelvirtualcluster/pvc/testbed/demo"
	"github.com/parallelvirtualcluster/pvc/testbed/ensemble"
	"github.com/parallelvirtualcluster/pvc/testbed/host"
)

const deadline = 6 * time.Minute // the machine may be busy

func TestDemoShowsTheMainJobAndItsLinesCanBePasted(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("hosts are namespaces: root is needed")
	}
	if missing := host.MissingTools(); len(missing) > 0 || ensemble.Missing() != "" || ceph.Missing() != "" {
		t.Skip("missing programs:", missing, ensemble.Missing(), ceph.Missing())
	}
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	bin := t.TempDir()
	must(t, testbed.BuildDaemons(ctx, bin))
	c, err := testbed.Up(ctx, testbed.Options{Prefix: "de", Binaries: bin, Networking: true, Storage: true})
	must(t, err)
	t.Cleanup(func() { must(t, c.Down(context.Background())) })
	var out bytes.Buffer
	if err := demo.Run(ctx, c, &out); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	for _, shown := range []string{"the counter went on", "it went on writing", "DISK vda 65536", "HEALTH_", "make demo-down"} {
		if !strings.Contains(out.String(), shown) {
			t.Errorf("the demonstration does not show %q:\n%s", shown, out.String())
		}
	}
	// Lines with GET change nothing, so that they can be tried again.
	lines := regexp.MustCompile(`(?m)^\$ (curl .*/api/v1\S*)$`).FindAllStringSubmatch(out.String(), -1)
	pasted := 0
	for _, l := range lines {
		if strings.Contains(l[1], " -d ") {
			continue
		}
		pasted++
		if b, err := exec.CommandContext(ctx, "/bin/sh", "-c", l[1]).CombinedOutput(); err != nil {
			t.Errorf("%s: %v\n%s", l[1], err, b)
		}
	}
	if pasted == 0 {
		t.Errorf("no line to paste in\n%s", out.String())
	}
	followReadme(ctx, t, c)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
