package firewall

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	rules "github.com/parallelvirtualcluster/pvc/common/firewall"
	"github.com/parallelvirtualcluster/pvc/common/run"
)

// inNamespace gives the test's goroutine a network of its own. The thread ends with the
// goroutine.
func inNamespace(t testing.TB) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a network namespace needs root")
	}
	if _, err := exec.LookPath("nft"); err != nil {
		t.Skip("nft is not installed")
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Skipf("no network namespace: %v", err)
	}
}

func nft(t testing.TB, stdin string, args ...string) string {
	t.Helper()
	r, err := run.System{}.Run(t.Context(), run.Command{Argv: append([]string{"nft"}, args...), Stdin: []byte(stdin), Timeout: rules.Timeout})
	if err != nil {
		t.Fatalf("nft %s: %v\n%s\n%s", strings.Join(args, " "), err, r.Stderr, stdin)
	}
	return string(r.Stdout)
}

// listing is our table, or one chain of it, without the values of its counters.
func listing(t testing.TB, chain ...string) string {
	t.Helper()
	if len(chain) > 0 {
		return nft(t, "", "-s", "list", "chain", "inet", "pvc", chain[0])
	}
	return nft(t, "", "-s", "list", "table", "inet", "pvc")
}

func exists(t testing.TB) bool {
	t.Helper()
	_, there, err := baseDigest()
	if err != nil {
		t.Fatal(err)
	}
	return there
}

func digestOf(t testing.TB, vni int) digest {
	t.Helper()
	d, err := networkDigest(vni)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// rig is a Firewall in the namespace of the test.
type rig struct {
	testing.TB
	*Firewall
	calls  int                       // of nft
	before func(c run.Command) error // may fail a call
	after  func(c run.Command)       // runs after a call
}

func newRig(t testing.TB) *rig {
	r := &rig{TB: t}
	r.Firewall = New(r, slog.New(slog.DiscardHandler))
	return r
}

// Run implements run.Runner.
func (r *rig) Run(ctx context.Context, c run.Command) (run.Result, error) {
	r.calls++
	if r.before != nil {
		if err := r.before(c); err != nil {
			return run.Result{}, err
		}
	}
	result, err := run.System{}.Run(ctx, c)
	if r.after != nil {
		r.after(c)
	}
	return result, err
}

// mustHold wants no error of an Apply.
func mustHold(t testing.TB, failed map[int]error) {
	t.Helper()
	for vni, err := range failed {
		t.Errorf("network %d: %v", vni, err)
	}
}

// mustFail wants an error for exactly one network, or for the whole host.
func mustFail(t testing.TB, failed map[int]error, vni int, text string) {
	t.Helper()
	if len(failed) == 0 || len(failed) > 1 && failed[WholeHost] == nil || failed[vni] == nil || !strings.Contains(fmt.Sprint(failed[vni]), text) {
		t.Errorf("got %v, want an error of network %d with %q", failed, vni, text)
	}
}
