package run

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// Step is a call that a Script expects and what it answers.
type Step struct {
	Argv     []string
	Stdin    string // compared unless AnyStdin
	AnyStdin bool
	Stdout   string
	Stderr   string
	ExitCode int
	Err      error         // returned instead of a result
	Block    chan struct{} // if not nil, answered when it is closed or the time is over
}

// Script is a Runner that plays a list of steps, in their order, and records what
// was asked. A call that is not the next step is an error. It is safe for
// concurrent use.
type Script struct {
	mu    sync.Mutex
	steps []Step
	calls []Command
}

// NewScript returns a Runner that expects the steps.
func NewScript(steps ...Step) *Script { return &Script{steps: steps} }

// Run implements Runner.
func (s *Script) Run(ctx context.Context, c Command) (Result, error) {
	if err := c.check(); err != nil {
		return Result{}, err
	}
	step, err := s.next(c)
	if err != nil {
		return Result{}, err
	}
	limited, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	if step.Block != nil {
		select {
		case <-step.Block:
		case <-limited.Done():
		}
	}
	if limited.Err() != nil {
		return Result{}, c.interrupted(ctx, limited)
	}
	if step.Err != nil {
		return Result{}, errs.Unavailablef("run %s: %w", c.Argv[0], step.Err)
	}
	return c.exit(Result{Stdout: []byte(step.Stdout), Stderr: []byte(step.Stderr), ExitCode: step.ExitCode}, "")
}

func (s *Script) next(c Command) (Step, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, c)
	if len(s.steps) == 0 {
		return Step{}, fmt.Errorf("script: unexpected %q after the last step", c.Argv)
	}
	step := s.steps[0]
	if !slices.Equal(step.Argv, c.Argv) {
		return Step{}, fmt.Errorf("script: unexpected %q; %q was expected", c.Argv, step.Argv)
	}
	if !step.AnyStdin && step.Stdin != string(c.Stdin) {
		return Step{}, fmt.Errorf("script: %s got the input %q; %q was expected", c.Argv[0], c.Stdin, step.Stdin)
	}
	s.steps = s.steps[1:]
	return step, nil
}

// Calls returns what was asked so far.
func (s *Script) Calls() []Command {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Left returns an error that names the steps nobody asked for, nil if there is none.
func (s *Script) Left() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.steps) == 0 {
		return nil
	}
	names := make([]string, len(s.steps))
	for i, step := range s.steps {
		names[i] = strings.Join(step.Argv, " ")
	}
	return fmt.Errorf("script: not run: %s", strings.Join(names, "; "))
}
