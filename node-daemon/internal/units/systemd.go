package units

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/run"
)

// Systemd asks the systemd of this host through systemctl.
type Systemd struct {
	Run run.Runner
	// Timeout bounds one request; 0 means DefaultTimeout.
	Timeout time.Duration
}

var _ Units = Systemd{}

// DefaultTimeout is longer than systemd waits for a process that does not end before it
// kills it (DefaultTimeoutStopSec, 90 s).
const DefaultTimeout = 2 * time.Minute

// Start implements Units.
func (s Systemd) Start(ctx context.Context, unit string) error {
	now, err := s.state(ctx, unit)
	if err != nil {
		return fmt.Errorf("start %s: %w", unit, err)
	}
	if now.load == "not-found" {
		return errs.NotFoundf("start %s: systemd has no such unit", unit)
	}
	if now.active == "failed" {
		// Ceph's units may be started three times in half an hour. It failed for reasons of
		// an earlier time, and these starts do not count for ours.
		if err := s.ask(ctx, "reset-failed", unit); err != nil {
			return err
		}
	}
	return s.ask(ctx, "start", unit)
}

// Stop implements Units. systemctl returns when the process is gone; systemd kills one
// that does not end.
func (s Systemd) Stop(ctx context.Context, unit string) error {
	now, err := s.state(ctx, unit)
	if err != nil {
		return fmt.Errorf("stop %s: %w", unit, err)
	}
	if now.load == "not-found" && !now.running() {
		return nil
	}
	return s.ask(ctx, "stop", unit)
}

// Enable implements Units.
func (s Systemd) Enable(ctx context.Context, unit string) error { return s.ask(ctx, "enable", unit) }

// Disable implements Units.
func (s Systemd) Disable(ctx context.Context, unit string) error { return s.ask(ctx, "disable", unit) }

// Active implements Units.
func (s Systemd) Active(ctx context.Context, unit string) (bool, error) {
	now, err := s.state(ctx, unit)
	if err != nil {
		return false, fmt.Errorf("look at %s: %w", unit, err)
	}
	return now.running(), nil
}

// state is what systemd knows of a unit, in its own words (systemctl(1)).
type state struct{ load, active string }

// running: one that is being stopped still has a process. One that waits for its next
// start is "activating" without one, and is taken for running: it will be.
func (s state) running() bool { return s.active != "inactive" && s.active != "failed" }

func (s Systemd) state(ctx context.Context, unit string) (state, error) {
	out, err := s.systemctl(ctx, "show", "--property=LoadState", "--property=ActiveState", unit)
	if err != nil {
		return state{}, err
	}
	return parseState(string(out.Stdout))
}

func parseState(text string) (state, error) {
	var s state
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch key {
		case "LoadState":
			s.load = value
		case "ActiveState":
			s.active = value
		}
	}
	if s.load == "" || s.active == "" {
		return s, errs.New(errs.Internal, "systemctl does not tell the state of the unit: %q", text)
	}
	return s, nil
}

// ask makes a request that changes something.
func (s Systemd) ask(ctx context.Context, verb, unit string) error {
	if _, err := s.systemctl(ctx, verb, unit); err != nil {
		return fmt.Errorf("%s %s: %w", verb, unit, err)
	}
	return nil
}

// systemctl runs it. The unit is the last argument.
func (s Systemd) systemctl(ctx context.Context, args ...string) (run.Result, error) {
	if err := Check(args[len(args)-1]); err != nil {
		return run.Result{}, err
	}
	timeout := s.Timeout
	if timeout == 0 {
		timeout = DefaultTimeout
	}
	return s.Run.Run(ctx, run.Command{Argv: append([]string{"systemctl", "--no-ask-password", "--no-pager"}, args...), Timeout: timeout})
}
