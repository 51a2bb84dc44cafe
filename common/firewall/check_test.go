package firewall

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/run"
)

// inNamespace gives the test's goroutine a network of its own, with a rule set that has
// what hostile rules would like to reach. The thread ends with the goroutine.
func inNamespace(t *testing.T) {
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
	nft(t, `
		table inet pvc-check {
			chain rules { counter accept; }
		}
		table inet pvc-200 {
			counter x { packets 0 bytes 0; }
			set blocked { type ipv4_addr; elements = { 10.9.9.9 }; }
			set s { type ipv4_addr; flags dynamic; }
			chain vxlan200-in { drop; }
			chain forward { type filter hook forward priority filter; ip daddr 10.2.0.0/24 jump vxlan200-in; }
		}
`, "-f", "-")
}

func nft(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	r, err := run.System{}.Run(t.Context(), run.Command{Argv: append([]string{"nft"}, args...), Stdin: []byte(stdin), Timeout: Timeout})
	if err != nil {
		t.Fatalf("nft %s: %v\n%s\n%s", strings.Join(args, " "), err, r.Stderr, stdin)
	}
	return string(r.Stdout)
}

// decision: what a rule may say
func TestHostileRulesAreRefusedAndChangeNothing(t *testing.T) {
	inNamespace(t)
	before := nft(t, "", "list", "ruleset")
	for _, rule := range hostile {
		if err := Check(t.Context(), rule); !errs.Is(err, errs.Invalid) {
			t.Errorf("%.80q: %v", rule, err)
		}
		if after := nft(t, "", "list", "ruleset"); after != before {
			t.Fatalf("after %.80q: want (-), got (+):\n%s", rule, cmp.Diff(before, after))
		}
	}
	if len(hostile) < 60 {
		t.Errorf("only %d hostile rules", len(hostile))
	}
}

func TestGoodRulesPassAndChangeNothing(t *testing.T) {
	inNamespace(t)
	before := nft(t, "", "list", "ruleset")
	for _, rule := range good {
		if err := Check(t.Context(), rule); err != nil {
			t.Error(err)
		}
	}
	if after := nft(t, "", "list", "ruleset"); after != before {
		t.Errorf("want (-), got (+):\n%s", cmp.Diff(before, after))
	}
	if len(good) < 40 {
		t.Errorf("only %d good rules", len(good))
	}
}

// TestACheckedRuleIsOneRuleWhenItIsLoaded: what nft makes of a file with the good rules
// is one rule for each, in their order, and nothing else.
func TestACheckedRuleIsOneRuleWhenItIsLoaded(t *testing.T) {
	inNamespace(t)
	nft(t, "", "flush", "ruleset")
	var text strings.Builder
	for i, rule := range good {
		fmt.Fprintf(&text, "table inet pvc-1 {\n\tchain c%d {\n\t\tcounter %s\n\t}\n}\n", i, rule)
	}
	nft(t, text.String(), "-f", "-")
	objects, rules := listed(t)
	want := map[string]int{"metainfo": 1, "table": 1, "chain": len(good), "rule": len(good)}
	if d := cmp.Diff(want, objects); d != "" {
		t.Errorf("objects: want (-), got (+):\n%s", d)
	}
	for i, rule := range good {
		if n := rules[fmt.Sprintf("c%d", i)]; n != 1 {
			t.Errorf("%q became %d rules", rule, n)
		}
	}
}

func TestWhatOnlyNftKnowsIsRefusedWithItsReason(t *testing.T) {
	inNamespace(t)
	for rule, want := range map[string]string{
		`tcp dport nosuchservice accept`:                                 ``,
		`tcp dport 65536 accept`:                                         `rule "tcp dport 65536 accept" is refused by nft: Service out of range`,
		`ip saddr 10.0.0.1 ip6 saddr ::1 drop`:                           ``,
		`icmp type nonsense drop`:                                        ``,
		`ip saddr ::1 drop`:                                              ``,
		`tcp dport 90-80 drop`:                                           ``,
		`tcp dport dnat`:                                                 ``,
		`log prefix "` + strings.Repeat("a", 200) + `"`:                  ``,
		`tcp dport 80 accept comment "` + strings.Repeat("a", 300) + `"`: ``,
	} {
		err := Check(t.Context(), rule)
		if !errs.Is(err, errs.Invalid) || want != "" && err.Error() != want {
			t.Errorf("%q: %v", rule, err)
		} else if !strings.Contains(err.Error(), "is refused by nft: ") {
			t.Errorf("%v does not come from nft", err)
		}
	}
}

// wrapped runs every program below another.
type wrapped []string

func (w wrapped) Run(ctx context.Context, c run.Command) (run.Result, error) {
	c.Argv = append(append([]string{}, w...), c.Argv...)
	return run.System{}.Run(ctx, c)
}

func TestWithoutNftNoRulePasses(t *testing.T) {
	t.Run("not installed", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		if err := Check(t.Context(), "accept"); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "nft") {
			t.Error(err)
		}
	})
	t.Run("not permitted", func(t *testing.T) {
		inNamespace(t)
		c := Checker{Run: wrapped{"setpriv", "--reuid", "65534", "--clear-groups"}}
		if err := c.Check(t.Context(), "tcp dport 22 accept"); !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "not permitted") {
			t.Error(err)
		}
	})
	t.Run("does not answer", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := Check(ctx, "accept"); !errs.Is(err, errs.Unavailable) {
			t.Error(err)
		}
	})
}

func TestARuleThatNftRefusesIsTriedAgainstOneThatIsRight(t *testing.T) {
	failing := run.Step{Argv: []string{"nft", "-c", "-f", "-"}, AnyStdin: true, ExitCode: 1, Stderr: "/dev/stdin:3:1-2: Error: no\n"}
	fine := failing
	fine.ExitCode, fine.Stderr = 0, ""
	for name, tt := range map[string]struct {
		second run.Step
		kind   errs.Kind
	}{"right passes": {fine, errs.Invalid}, "right fails too": {failing, errs.Unavailable}} {
		script := run.NewScript(failing, tt.second)
		if err := (Checker{Run: script}).Check(t.Context(), "tcp dport 1 accept"); !errs.Is(err, tt.kind) {
			t.Errorf("%s: %v", name, err)
		}
		if err := script.Left(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}
