package units_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/run"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/units"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/units/conformance"
)

const systemdProgram = "/lib/systemd/systemd"

// machine is a real systemd in namespaces of its own, with the units of the suite only.
type machine struct {
	t      *testing.T
	dir    string // its files; /etc/systemd/system is a folder of it
	group  string // its control group
	script string
	pid    int // of systemd, as this machine sees it; 0: off
	kill   func()
}

const script = `set -e
mount --make-rprivate /
mount -t tmpfs none /sys/fs/cgroup
if [ "$2" = named ]; then
	mkdir /sys/fs/cgroup/systemd
	mount -t cgroup -o none,name=systemd none /sys/fs/cgroup/systemd
else
	mount -t cgroup2 none /sys/fs/cgroup
fi
mount -t tmpfs none /run
mount --bind "$1" /etc/systemd/system
exec env -i container=test PATH="$PATH" ` + systemdProgram + ` --system --unit=mini.target --log-target=null --show-status=no
`

const unitHead = "[Unit]\nDefaultDependencies=no\n[Install]\nWantedBy=mini.target\n[Service]\n"

func newMachine(t *testing.T, mark string) *machine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("systemd runs in namespaces here: root is needed")
	}
	for _, program := range []string{systemdProgram, "systemctl", "unshare", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skip("no systemd to try:", err)
		}
	}
	m := &machine{t: t, dir: t.TempDir(), group: "/sys/fs/cgroup/systemd", script: "named"}
	if _, err := os.Stat(m.group); errors.Is(err, os.ErrNotExist) {
		m.group, m.script = "/sys/fs/cgroup", "unified"
	}
	m.group = filepath.Join(m.group, "pvc-units-"+strconv.Itoa(os.Getpid()))
	if err := os.Mkdir(m.group, 0o755); err != nil {
		t.Skip("no control groups for systemd:", err)
	}
	t.Cleanup(m.removeGroup)
	for name, text := range map[string]string{
		"mini.target":    "[Unit]\nDefaultDependencies=no\nAllowIsolate=yes\n",
		"probe@.service": unitHead + "ExecStart=/bin/sleep " + mark + "%i\n",
		"deaf@.service":  unitHead + "TimeoutStopSec=1\nExecStart=/bin/sh -c '" + strings.ReplaceAll(deafScript, "$0", mark+"%i") + "'\n",
		"broken@.service": unitHead + "ExecStart=/bin/false\nRestart=on-failure\nRestartSec=1ms\n" +
			"[Unit]\nStartLimitBurst=2\nStartLimitIntervalSec=1h\n",
	} {
		must(t, os.WriteFile(filepath.Join(m.dir, name), []byte(text), 0o644))
	}
	t.Cleanup(m.off)
	m.on()
	return m
}

// on boots it. It dies with the test process, however that ends.
func (m *machine) on() {
	m.t.Helper()
	cmd := exec.Command("/bin/sh", "-c", `echo $$ > "$0"/cgroup.procs && exec unshare -m -p -f -u -i -n --cgroup --mount-proc --kill-child=KILL /bin/sh -c "$1" sh "$2" "$3"`,
		m.group, script, m.dir, m.script)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started, ended := make(chan error), make(chan struct{})
	go func() { // its thread is the parent, for the death signal; off waits for it
		runtime.LockOSThread()
		defer close(ended)
		started <- cmd.Start()
		_ = cmd.Wait() // it is killed
	}()
	must(m.t, <-started)
	m.kill = func() {
		_ = syscall.Kill(m.pid, syscall.SIGKILL) // it may have ended
		<-ended
	}
	m.within("systemd answers", func() bool {
		m.pid = child(cmd.Process.Pid)
		if m.pid == 0 {
			return false
		}
		_, err := m.Run(m.t.Context(), run.Command{Argv: []string{"systemctl", "is-active", "mini.target"}})
		return err == nil
	})
}

func (m *machine) off() {
	if m.pid != 0 {
		m.kill()
		m.pid = 0
	}
}

// Run implements run.Runner inside.
func (m *machine) Run(ctx context.Context, c run.Command) (run.Result, error) {
	c.Argv = append([]string{"nsenter", "-t", strconv.Itoa(m.pid), "-m", "-p", "--"}, c.Argv...)
	return run.System{}.Run(ctx, c)
}

func (m *machine) removeGroup() {
	var dirs []string
	must(m.t, filepath.WalkDir(m.group, func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append([]string{path}, dirs...)
		}
		return err
	}))
	for _, d := range dirs { // the innermost first
		m.within("the control groups are empty", func() bool { return os.Remove(d) == nil })
	}
}

func (m *machine) within(what string, done func() bool) {
	m.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.After(20 * time.Second)
	for !done() {
		select {
		case <-tick.C:
		case <-end:
			m.t.Fatalf("not within 20 s: %s", what)
		}
	}
}

// child is the only child of a process, 0 if it has none.
func child(pid int) int {
	list, err := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", pid))
	if err != nil {
		return 0
	}
	n, _ := strconv.Atoi(strings.TrimSpace(string(list)))
	return n
}

func TestSystemdConforms(t *testing.T) {
	mark := conformance.NewMark()
	m := newMachine(t, mark)
	conformance.Run(t, conformance.Harness{
		Units: units.Systemd{Run: m}, Probe: "probe@", Deaf: "deaf@", Mark: mark,
		Reboot: func() {
			m.off()
			m.on()
		},
	})
}

// TestFailedUnitsStartAgain: systemd itself refuses to start a unit that has failed too
// often.
func TestFailedUnitsStartAgain(t *testing.T) {
	m := newMachine(t, conformance.NewMark())
	s := units.Systemd{Run: m}
	const unit = "broken@1.service"
	failed := func() bool {
		out, err := m.Run(t.Context(), run.Command{Argv: []string{"systemctl", "show", "--property=ActiveState", unit}})
		return err == nil && strings.Contains(string(out.Stdout), "=failed")
	}
	must(t, s.Start(t.Context(), unit))
	m.within("it has failed for good", failed)
	if _, err := m.Run(t.Context(), run.Command{Argv: []string{"systemctl", "start", unit}}); err == nil {
		t.Fatal("systemd starts it as often as one likes: nothing is tried here")
	}
	must(t, s.Start(t.Context(), unit))
	must(t, s.Stop(t.Context(), unit))
}

func TestSystemdIsAskedWithoutAShellOrAPassword(t *testing.T) {
	show := []string{"systemctl", "--no-ask-password", "--no-pager", "show", "--property=LoadState", "--property=ActiveState", "ceph-osd@3.service"}
	start := []string{"systemctl", "--no-ask-password", "--no-pager", "start", "ceph-osd@3.service"}
	script := run.NewScript(run.Step{Argv: show, Stdout: "LoadState=loaded\nActiveState=inactive\n"}, run.Step{Argv: start})
	must(t, units.Systemd{Run: script}.Start(t.Context(), "ceph-osd@3.service"))
	must(t, script.Left())
}

func TestStatesOfSystemd(t *testing.T) {
	for state, want := range map[string]bool{
		"active": true, "reloading": true, "activating": true, "deactivating": true, "inactive": false, "failed": false,
	} {
		script := run.NewScript(run.Step{
			Argv:   []string{"systemctl", "--no-ask-password", "--no-pager", "show", "--property=LoadState", "--property=ActiveState", "a@1.service"},
			Stdout: "LoadState=loaded\nActiveState=" + state + "\n",
		})
		got, err := units.Systemd{Run: script}.Active(t.Context(), "a@1.service")
		if d := cmp.Diff(want, got); err != nil || d != "" {
			t.Errorf("%s: %v %s", state, err, d)
		}
	}
}

func TestSystemdThatDoesNotTellIsAnError(t *testing.T) {
	script := run.NewScript(run.Step{
		Argv: []string{"systemctl", "--no-ask-password", "--no-pager", "show", "--property=LoadState", "--property=ActiveState", "a@1.service"},
	})
	if _, err := (units.Systemd{Run: script}).Active(t.Context(), "a@1.service"); !errs.Is(err, errs.Internal) {
		t.Error(err)
	}
}
