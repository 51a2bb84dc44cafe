package main

import (
	"bytes"
	"strings"
	"testing"
)

func TestBadCommandLinesAreRefusedByName(t *testing.T) {
	root := t.TempDir()
	for _, c := range []struct {
		args  []string
		fault string
	}{
		{nil, "a command is missing"},
		{[]string{"fly"}, `unknown command "fly"`},
		{[]string{"crash"}, "usage: pvc-testbed crash N"},
		{[]string{"kill", "pvcd"}, "usage: pvc-testbed kill SERVICE N"},
		{[]string{"-root", root, "-prefix", "zz", "crash", "1"}, "open testbed zz"},
		{[]string{"-root", "/run/x", "up"}, `root folder "/run/x"`},
	} {
		var out bytes.Buffer
		err := run(t.Context(), c.args, &out)
		if err == nil || !strings.Contains(err.Error(), c.fault) {
			t.Errorf("%q: err = %v, want %q", c.args, err, c.fault)
		}
	}
}

func TestUsageNamesEveryCommand(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-h"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, c := range commands {
		if !strings.Contains(out.String(), "  "+c.name+" ") || c.help == "" {
			t.Errorf("usage does not tell of %s:\n%s", c.name, out.String())
		}
	}
}

func TestDownOfNoClusterIsNoError(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-root", t.TempDir(), "-prefix", "zz", "down"}, &out); err != nil {
		t.Error(err)
	}
}
