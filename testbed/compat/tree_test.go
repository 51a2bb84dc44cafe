package compat_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/testbed/compat"
)

func TestTreesAreReadAsTheyStand(t *testing.T) {
	got, err := compat.ParseTree(strings.NewReader("# a remark\n\n/a =\n/a/b = None\n/a/c =  x = y \n/a/d = <one>\n|   <two/>\n| \n| </one>\n"))
	if err != nil {
		t.Fatal(err)
	}
	want := compat.Tree{"/a": "", "/a/b": "None", "/a/c": " x = y ", "/a/d": "<one>\n  <two/>\n\n</one>"}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("tree (-want +got):\n%s", d)
	}
	if d := cmp.Diff([]string{"b", "c", "d"}, got.Children("/a")); d != "" {
		t.Errorf("children (-want +got):\n%s", d)
	}
	if _, version, ok := got.Data("/a/c"); version != 2 || !ok {
		t.Errorf("version %d, %v, want 2", version, ok)
	}
}

func TestTreesWithAMistakeAreRefused(t *testing.T) {
	for name, text := range map[string]string{
		"no value": "/a", "no path": "a = b", "twice": "/a = 1\n/a = 2", "continuation of nothing": "| x",
	} {
		if _, err := compat.ParseTree(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), "line") {
			t.Errorf("%s: err = %v", name, err)
		}
	}
}
