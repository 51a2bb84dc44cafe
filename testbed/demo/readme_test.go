package demo_test

import (
	"context"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/testbed"
)

const readme = "../../README.md"

var shellBlock = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// firstSteps are the commands of that chapter of the README, for another cluster than
// that of "make demo". A call that the API refuses ends them.
func firstSteps(t *testing.T, c *testbed.Cluster, url string) string {
	t.Helper()
	text, err := os.ReadFile(readme)
	must(t, err)
	_, chapter, ok := strings.Cut(string(text), "\n## First steps\n")
	chapter, _, _ = strings.Cut(chapter, "\n## ")
	blocks := shellBlock.FindAllStringSubmatch(chapter, -1)
	if !ok || len(blocks) < 3 {
		t.Fatalf("%s: %d blocks of commands in the chapter First steps", readme, len(blocks))
	}
	script := "set -eu\ncurl() { command curl --fail-with-body \"$@\"; }\n"
	for _, b := range blocks {
		script += b[1]
	}
	onFirst, err := c.Host(1).Command(t.Context())
	must(t, err)
	prefix := strings.TrimSuffix(c.Host(1).Name, "1")
	for from, to := range map[string]string{
		"bin/pvc-testbed status":               "echo 'API: " + url + " on primary'",
		"/var/tmp/pvc-testbed/hv/shared":       c.SharedDir(),
		"/var/tmp/pvc-testbed/hv/token-header": c.TokenHeaderFile(),
		"/tmp/second.xml":                      t.TempDir() + "/second.xml",
		"bin/pvc-testbed exec hv1":             strings.Join(onFirst.Args, " "),
	} {
		if !strings.Contains(script, from) {
			t.Errorf("%s: the first steps do not contain %s", readme, from)
		}
		script = strings.ReplaceAll(script, from, to)
	}
	return regexp.MustCompile(`\bhv([123])\b`).ReplaceAllString(script, prefix+"$1")
}

// followReadme does what a new user would after the demonstration.
func followReadme(ctx context.Context, t *testing.T, c *testbed.Cluster) {
	t.Helper()
	api, err := c.API(ctx)
	must(t, err)
	script := firstSteps(t, c, api.URL)
	out, err := exec.CommandContext(ctx, "/bin/sh", "-c", script).CombinedOutput()
	if err != nil {
		t.Fatalf("the first steps of %s: %v\n%s\n%s", readme, err, script, out)
	}
	for _, want := range []string{`VM \"second\": starting on`, `migrating from`, "is being flushed", "takes VMs again", `VM \"second\" is removed`,
		"volume vms/data of 1024M is made", "data@monday", "volume vms/data is removed", `"class"`} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the first steps of %s do not answer %q:\n%s", readme, want, out)
		}
	}
}
