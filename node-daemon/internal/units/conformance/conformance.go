package conformance

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/units"
)

// deadline bounds each test of the suite.
const deadline = 30 * time.Second

// Harness is an implementation with a host under it. The host has two templates of units:
// Probe, an idle process, and Deaf, one that takes no notice of SIGTERM. The last argument
// of their processes ends with Mark followed by the unit's instance.
type Harness struct {
	Units       units.Units
	Probe, Deaf string // with the @
	Mark        string
	// Reboot gives the host a new life; enabled units start. It returns when units can be
	// asked for again.
	Reboot func()
}

// NewMark draws a Mark that no other process of the machine has: a number of seconds for
// sleep(1), without its last digit.
func NewMark() string { return strconv.Itoa(1e6 + os.Getpid()) }

// Run runs the suite; the tests share the host.
func Run(t *testing.T, h Harness) {
	for name, test := range map[string]func(*testing.T, rig){
		"StartedUnitHasOneProcessHoweverOftenItIsStarted": startedOnce,
		"StoppedUnitHasNoProcessWhenStopReturns":          stopped,
		"UnitThatDoesNotEndIsKilled":                      killed,
		"UnitWithoutTemplateIsNotFound":                   missing,
		"NamesThatAreNoInstancesAreInvalid":               invalid,
		"EnabledUnitsStartAtTheNextBootOnly":              boots,
	} {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), deadline)
			defer cancel()
			test(t, rig{h, ctx})
		})
	}
}

type rig struct {
	Harness
	ctx context.Context
}

func (r rig) probe(instance int) string { return fmt.Sprintf("%s%d.service", r.Probe, instance) }

// processes counts those of an instance, as the machine sees them.
func (r rig) processes(t *testing.T, instance int) (n int) {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must(t, err)
	want := []byte(fmt.Sprintf("%s%d\x00", r.Mark, instance))
	for _, f := range files {
		if line, err := os.ReadFile(f); err == nil && bytes.HasSuffix(line, want) {
			n++
		}
	}
	return n
}

// started waits for the processes of an instance.
func (r rig) started(t *testing.T, instance, n int) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for r.processes(t, instance) != n {
		select {
		case <-tick.C:
		case <-r.ctx.Done():
			t.Fatalf("instance %d has %d processes; %d were expected", instance, r.processes(t, instance), n)
		}
	}
}

func (r rig) active(t *testing.T, unit string, want bool) {
	t.Helper()
	got, err := r.Units.Active(r.ctx, unit)
	must(t, err)
	if got != want {
		t.Errorf("%s is active: %v", unit, got)
	}
}

func startedOnce(t *testing.T, r rig) {
	unit := r.probe(1)
	r.active(t, unit, false)
	for range 3 {
		must(t, r.Units.Start(r.ctx, unit))
		r.active(t, unit, true)
	}
	r.started(t, 1, 1)
	must(t, r.Units.Stop(r.ctx, unit))
	must(t, r.Units.Start(r.ctx, unit))
	r.started(t, 1, 1)
}

func stopped(t *testing.T, r rig) {
	unit, other := r.probe(2), r.probe(3)
	must(t, r.Units.Start(r.ctx, unit))
	must(t, r.Units.Start(r.ctx, other))
	r.started(t, 2, 1)
	r.started(t, 3, 1)
	for range 2 {
		must(t, r.Units.Stop(r.ctx, unit))
		if n := r.processes(t, 2); n != 0 {
			t.Errorf("%d processes are left", n)
		}
		r.active(t, unit, false)
	}
	must(t, r.Units.Stop(r.ctx, r.probe(9))) // never started
	r.started(t, 3, 1)
	r.active(t, other, true)
}

func killed(t *testing.T, r rig) {
	unit := fmt.Sprintf("%s%d.service", r.Deaf, 4)
	must(t, r.Units.Start(r.ctx, unit))
	r.started(t, 4, 1)
	must(t, r.Units.Stop(r.ctx, unit))
	if n := r.processes(t, 4); n != 0 {
		t.Errorf("%d processes are left", n)
	}
	r.active(t, unit, false)
}

func missing(t *testing.T, r rig) {
	const unit = "pvc-no-such-thing@1.service"
	if err := r.Units.Start(r.ctx, unit); !errs.Is(err, errs.NotFound) {
		t.Errorf("start: %v", err)
	}
	if err := r.Units.Enable(r.ctx, unit); err == nil {
		t.Error("it is enabled")
	}
	r.active(t, unit, false)
	if err := r.Units.Stop(r.ctx, unit); err != nil {
		t.Errorf("stop: %v", err)
	}
}

func invalid(t *testing.T, r rig) {
	for _, unit := range []string{"", "ceph-osd", "ceph-osd@1", "--all", "ceph-osd@.service", "ceph-osd@*.service", "a@1.service b@1.service", "a@1.target", "../a@1.service", "a@1\n.service"} {
		_, err := r.Units.Active(r.ctx, unit)
		for verb, err := range map[string]error{
			"start": r.Units.Start(r.ctx, unit), "stop": r.Units.Stop(r.ctx, unit), "enable": r.Units.Enable(r.ctx, unit),
			"disable": r.Units.Disable(r.ctx, unit), "active": err,
		} {
			if !errs.Is(err, errs.Invalid) {
				t.Errorf("%s %q: %v", verb, unit, err)
			}
		}
	}
}

func boots(t *testing.T, r rig) {
	enabled, disabled, started := r.probe(5), r.probe(6), r.probe(7)
	for range 2 {
		must(t, r.Units.Enable(r.ctx, enabled))
		must(t, r.Units.Enable(r.ctx, disabled))
	}
	if n := r.processes(t, 5); n != 0 {
		t.Errorf("enabling has started %d processes", n)
	}
	for range 2 {
		must(t, r.Units.Disable(r.ctx, disabled))
	}
	must(t, r.Units.Start(r.ctx, started))
	r.started(t, 7, 1)
	r.Reboot()
	r.started(t, 5, 1)
	r.active(t, enabled, true)
	r.active(t, disabled, false)
	r.active(t, started, false)
	if n := r.processes(t, 6) + r.processes(t, 7); n != 0 {
		t.Errorf("%d units have started that are not enabled", n)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
