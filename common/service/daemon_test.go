package service

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
)

type remark string

func (r remark) String() string { return string(r) }

// probe is a daemon that tells which file it was to read and whether it served.
func probe(read *string, served *bool) Daemon[string, remark] {
	return Daemon[string, remark]{
		Name: "probed", Env: "PVC_TEST_FILE", File: "/default",
		Load: func(path string) (string, []remark, error) {
			*read = path
			if path == "/broken" {
				return "", nil, errors.New("line 3: nonsense")
			}
			return "contents", []remark{"line 7: without effect"}, nil
		},
		Serve: func(_ context.Context, c string, _ io.Writer) error {
			*served = c == "contents"
			return nil
		},
	}
}

// decision: command line
func TestDaemonReadsTheFileOfTheFlagThenOfTheEnvironmentThenTheDefault(t *testing.T) {
	for _, tt := range []struct {
		env, want string
		args      []string
	}{
		{"", "/default", nil},
		{"/env", "/env", nil},
		{"/env", "/flag", []string{"--config", "/flag"}},
	} {
		t.Setenv("PVC_TEST_FILE", tt.env)
		var read string
		var served bool
		var stderr bytes.Buffer
		if err := probe(&read, &served).Program(t.Context(), tt.args, io.Discard, &stderr); err != nil || read != tt.want || !served {
			t.Errorf("env %q, %v: read %q, served %v, %v; want %q", tt.env, tt.args, read, served, err, tt.want)
		}
		if !strings.Contains(stderr.String(), "warning: line 7: without effect") {
			t.Errorf("the warning is not shown: %q", stderr.String())
		}
	}
}

// decision: command line
func TestDaemonOnlyChecksOrNamesItselfWhenAsked(t *testing.T) {
	for _, tt := range []struct {
		args    []string
		out     string
		failure string
		status  bool // a usage error
	}{
		{args: []string{"--version"}, out: "probed "},
		{args: []string{"--check"}, out: "/default: fine\n"},
		{args: []string{"--check", "--config", "/broken"}, failure: "line 3: nonsense"},
		{args: []string{"start"}, failure: "\"start\"", status: true},
		{args: []string{"--nonsense"}, failure: "nonsense", status: true},
	} {
		var read string
		var served bool
		var stdout bytes.Buffer
		err := probe(&read, &served).Program(t.Context(), tt.args, &stdout, io.Discard)
		if served {
			t.Errorf("%v: it served", tt.args)
		}
		if !strings.HasPrefix(stdout.String(), tt.out) {
			t.Errorf("%v: printed %q, want %q", tt.args, stdout.String(), tt.out)
		}
		if (err != nil) != (tt.failure != "") || err != nil && !strings.Contains(err.Error(), tt.failure) {
			t.Errorf("%v: error %v, want %q", tt.args, err, tt.failure)
		}
		var usage *usageError
		if errors.As(err, &usage) != tt.status {
			t.Errorf("%v: usage error: %v", tt.args, err)
		}
	}
}
