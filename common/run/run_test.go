package run

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// sh is a command of the system's shell; only tests have one.
func sh(script string) []string { return []string{"/bin/sh", "-c", script} }

func ctx(t *testing.T) context.Context {
	c, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	t.Cleanup(cancel)
	return c
}

// TestScriptAnswersAsTheSystemDoes is the suite that both runners pass.
func TestScriptAnswersAsTheSystemDoes(t *testing.T) {
	for name, tt := range map[string]struct {
		step   Step
		want   Result
		err    string
		code   int
		redact []string
	}{
		"success": {
			step: Step{Argv: sh("cat; echo warned >&2"), Stdin: "in", Stdout: "in", Stderr: "warned\n"},
			want: Result{Stdout: []byte("in"), Stderr: []byte("warned\n")},
		},
		"status": {
			step: Step{Argv: sh("echo out; echo one >&2; echo two >&2; exit 3"), Stdout: "out\n", Stderr: "one\ntwo\n", ExitCode: 3},
			want: Result{Stdout: []byte("out\n"), Stderr: []byte("one\ntwo\n"), ExitCode: 3},
			err:  "/bin/sh: exit status 3: two", code: 3,
		},
		"secret": {
			step:   Step{Argv: sh("cat >&2; exit 1"), Stdin: "bad password hunter2\n", Stderr: "bad password hunter2\n", ExitCode: 1},
			want:   Result{Stderr: []byte("bad password hunter2\n"), ExitCode: 1},
			err:    "/bin/sh: exit status 1: bad password (secret)",
			code:   1,
			redact: []string{"", "hunter2"},
		},
		"control characters": {
			step: Step{Argv: sh(`printf 'a\033[31mb\377\n' >&2; exit 1`), Stderr: "a\x1b[31mb\xff\n", ExitCode: 1},
			want: Result{Stderr: []byte("a\x1b[31mb\xff\n"), ExitCode: 1},
			err:  "/bin/sh: exit status 1: a [31mb?", code: 1,
		},
		"long line": {
			step: Step{Argv: sh(`printf '%0400d' 0 >&2; exit 1`), Stderr: strings.Repeat("0", 400), ExitCode: 1},
			want: Result{Stderr: bytes.Repeat([]byte("0"), 400), ExitCode: 1},
			err:  "/bin/sh: exit status 1: " + strings.Repeat("0", 300) + "…", code: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := Command{Argv: tt.step.Argv, Stdin: []byte(tt.step.Stdin), Redact: tt.redact}
			script := NewScript(tt.step)
			for _, r := range []Runner{System{}, script} {
				got, err := r.Run(ctx(t), c)
				checkExit(t, err, tt.err, tt.code)
				if d := cmp.Diff(tt.want, got, cmp.Transformer("text", func(b []byte) string { return string(b) })); d != "" {
					t.Errorf("%T: want (-), got (+):\n%s", r, d)
				}
			}
			if err := script.Left(); err != nil {
				t.Error(err)
			}
		})
	}
}

func checkExit(t *testing.T, err error, text string, code int) {
	t.Helper()
	if text == "" {
		if err != nil {
			t.Error(err)
		}
		return
	}
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Code != code || err.Error() != text {
		t.Errorf("error %v; %q with status %d was expected", err, text, code)
	}
}

func TestBadCommandsAreRefusedByBothRunners(t *testing.T) {
	for name, c := range map[string]Command{
		"no program": {},
		"NUL":        {Argv: []string{"true", "a\x00b"}},
		"secret":     {Argv: []string{"true", "--password=hunter2"}, Redact: []string{"hunter2"}},
	} {
		for _, r := range []Runner{System{}, NewScript(Step{Argv: c.Argv})} {
			if _, err := r.Run(ctx(t), c); err == nil || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s: %T: %v", name, r, err)
			}
		}
	}
}

func TestMissingProgramIsUnavailable(t *testing.T) {
	_, err := System{}.Run(ctx(t), Command{Argv: []string{"/nonexistent/program"}})
	if !errs.Is(err, errs.Unavailable) || !strings.Contains(err.Error(), "/nonexistent/program") {
		t.Error(err)
	}
}

func TestOutputBeyondTheLimitIsDroppedAndSaid(t *testing.T) {
	r, err := System{}.Run(ctx(t), Command{Argv: []string{"head", "-c", strconv.Itoa(MaxOutput + 1), "/dev/zero"}})
	if err != nil || len(r.Stdout) != MaxOutput || !r.Truncated {
		t.Errorf("%d bytes, truncated %v, %v", len(r.Stdout), r.Truncated, err)
	}
	r, err = System{}.Run(ctx(t), Command{Argv: []string{"head", "-c", strconv.Itoa(MaxOutput), "/dev/zero"}})
	if err != nil || len(r.Stdout) != MaxOutput || r.Truncated {
		t.Errorf("%d bytes, truncated %v, %v", len(r.Stdout), r.Truncated, err)
	}
}

func TestEnvironmentIsAdded(t *testing.T) {
	t.Setenv("PVC_TEST_A", "a")
	r, err := System{}.Run(ctx(t), Command{Argv: sh(`echo "$PVC_TEST_A$PVC_TEST_B"`), Env: []string{"PVC_TEST_B=b"}})
	if err != nil || string(r.Stdout) != "ab\n" {
		t.Errorf("%q, %v", r.Stdout, err)
	}
}

func TestProgramIsKilledWithItsChildrenAtTheDeadline(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	script := `sleep 600 & echo $! $$ > ` + pids + `; wait`
	c, cancel := context.WithCancel(ctx(t))
	done := make(chan error, 1)
	go func() {
		_, err := System{}.Run(c, Command{Argv: sh(script), Timeout: time.Hour})
		done <- err
	}()
	var running []int
	eventually(t, "the pids are written", func() bool {
		data, err := os.ReadFile(pids)
		if err != nil || !bytes.HasSuffix(data, []byte("\n")) {
			return false
		}
		for _, f := range strings.Fields(string(data)) {
			pid, err := strconv.Atoi(f)
			if err != nil {
				t.Fatal(err)
			}
			running = append(running, pid)
		}
		return true
	})
	cancel()
	if err := <-done; !errs.Is(err, errs.Unavailable) || !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	for _, pid := range running {
		eventually(t, "the process is gone", func() bool { return !alive(pid) })
	}
}

// alive reports whether the process runs; one that nobody has waited for does not.
func alive(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return false
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err == nil && !bytes.Contains(stat, []byte(") Z "))
}

func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(10 * time.Second)
	for !cond() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("not within 10 s: %s", what)
		}
	}
}

func TestTimeoutSaysSoInBothRunners(t *testing.T) {
	argv := []string{"sleep", "600"}
	for _, r := range []Runner{System{}, NewScript(Step{Argv: argv, Block: make(chan struct{})})} {
		_, err := r.Run(ctx(t), Command{Argv: argv, Timeout: 20 * time.Millisecond})
		if !errs.Is(err, errs.Unavailable) || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "sleep: killed after 20ms") {
			t.Errorf("%T: %v", r, err)
		}
	}
}

func TestSignalIsNamed(t *testing.T) {
	_, err := System{}.Run(ctx(t), Command{Argv: sh("kill -TERM $$")})
	var exit *ExitError
	if !errors.As(err, &exit) || exit.Signal != "terminated" || err.Error() != "/bin/sh: ended by signal terminated" {
		t.Error(err)
	}
}

func TestChildThatKeepsTheOutputOpenDoesNotHoldTheCaller(t *testing.T) {
	r, err := System{}.Run(ctx(t), Command{Argv: sh("sleep 600 & echo $!"), Timeout: time.Hour})
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(r.Stdout)))
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Error(err)
	}
}

func TestScriptRefusesWhatItDoesNotExpect(t *testing.T) {
	s := NewScript(Step{Argv: []string{"a"}, Stdin: "x"}, Step{Argv: []string{"b"}, AnyStdin: true})
	for _, c := range []Command{{Argv: []string{"b"}}, {Argv: []string{"a"}, Stdin: []byte("y")}} {
		if _, err := s.Run(ctx(t), c); err == nil {
			t.Errorf("%v was played", c.Argv)
		}
	}
	if err := s.Left(); err == nil || err.Error() != "script: not run: a; b" {
		t.Error(err)
	}
	for _, c := range []Command{{Argv: []string{"a"}, Stdin: []byte("x")}, {Argv: []string{"b"}, Stdin: []byte("z")}} {
		if _, err := s.Run(ctx(t), c); err != nil {
			t.Error(err)
		}
	}
	if _, err := s.Run(ctx(t), Command{Argv: []string{"b"}}); err == nil {
		t.Error("a step was played twice")
	}
	if n := len(s.Calls()); n != 5 {
		t.Errorf("%d calls recorded, 5 were made", n)
	}
}
