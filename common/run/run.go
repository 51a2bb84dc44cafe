package run

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// MaxOutput bounds what is kept of standard output and of standard error, in bytes.
// The rest is read and dropped.
const MaxOutput = 1 << 20

// DefaultTimeout is the deadline of a command that sets none.
const DefaultTimeout = 30 * time.Second

// Command is a program to run.
type Command struct {
	// Argv is the program, looked up in PATH, and its arguments. Every local user can
	// read them: a secret goes into Env or Stdin.
	Argv []string
	// Env is added to the environment, as "NAME=value".
	Env   []string
	Stdin []byte
	// Timeout is how long it may take; 0 means DefaultTimeout.
	Timeout time.Duration
	// Redact are secrets that must not appear in an error.
	Redact []string
}

// Result is what a program that ran to its end has left.
type Result struct {
	Stdout, Stderr []byte
	Truncated      bool // either was longer than MaxOutput
	ExitCode       int
}

// Runner runs programs.
type Runner interface {
	// Run runs the command to its end. A program that ends with another status than
	// 0 is an *ExitError together with the result; one that is not there or was
	// killed because the context or its time ended is errs.Unavailable.
	Run(ctx context.Context, c Command) (Result, error)
}

// ExitError says that a program ended with a status other than 0 or by a signal. Its
// text names the program, the status and the last line of its standard error.
type ExitError struct {
	Program string
	Code    int    // -1 if it was ended by a signal
	Signal  string // its name, if so
	Line    string // last line of standard error, redacted and shortened
}

func (e *ExitError) Error() string {
	text := fmt.Sprintf("%s: exit status %d", e.Program, e.Code)
	if e.Signal != "" {
		text = fmt.Sprintf("%s: ended by signal %s", e.Program, e.Signal)
	}
	if e.Line != "" {
		text += ": " + e.Line
	}
	return text
}

func (c Command) check() error {
	if len(c.Argv) == 0 || c.Argv[0] == "" {
		return errs.New(errs.Internal, "run: no program given")
	}
	for _, s := range append(append([]string{}, c.Argv...), c.Env...) {
		if strings.IndexByte(s, 0) >= 0 {
			return errs.Invalidf("run %s: an argument holds a NUL byte", c.Argv[0])
		}
	}
	for _, secret := range c.Redact {
		for _, a := range c.Argv {
			if secret != "" && strings.Contains(a, secret) {
				return errs.New(errs.Internal, "run %s: a secret is among the arguments, where every user can read it", c.Argv[0])
			}
		}
	}
	return nil
}

func (c Command) timeout() time.Duration {
	if c.Timeout > 0 {
		return c.Timeout
	}
	return DefaultTimeout
}

const maxLine = 300

// lastLine is the last line of the output that is not blank, fit for a message.
func (c Command) lastLine(stderr []byte) string {
	lines := strings.Split(strings.TrimSpace(string(stderr)), "\n")
	line := strings.TrimSpace(lines[len(lines)-1])
	for _, secret := range c.Redact {
		if secret != "" {
			line = strings.ReplaceAll(line, secret, "(secret)")
		}
	}
	line = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(line, "?"))
	if len(line) > maxLine {
		line = strings.ToValidUTF8(line[:maxLine], "") + "…"
	}
	return line
}

// exit gives the result of a finished program its error.
func (c Command) exit(r Result, signal string) (Result, error) {
	if r.ExitCode == 0 && signal == "" {
		return r, nil
	}
	return r, &ExitError{Program: c.Argv[0], Code: r.ExitCode, Signal: signal, Line: c.lastLine(r.Stderr)}
}

// bounded keeps the first MaxOutput bytes that are written to it.
type bounded struct {
	data    []byte
	dropped bool
}

func (b *bounded) Write(p []byte) (int, error) {
	n := min(len(p), MaxOutput-len(b.data))
	b.data = append(b.data, p[:n]...)
	b.dropped = b.dropped || n < len(p)
	return len(p), nil
}

var _ io.Writer = (*bounded)(nil)
