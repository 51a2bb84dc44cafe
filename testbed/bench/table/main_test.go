package main

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFiguresAreCopiedWithTheirMachine(t *testing.T) {
	in := `goos: linux
BenchmarkRead/VMs=10/list-2   	       1	 37.76 KiB	 0.6903 ratio	 120 B/op	 3 allocs/op
    read_test.go:17: AMD EPYC, 2 processors, go1.26.8, load 1.00, 2026-03-04 05:06
    scale_test.go:48: one minute of changes
PASS
`
	want := `| benchmark | figure | value |
|---|---|---:|
| Read/VMs=10/list | KiB | 37.76 |
| Read/VMs=10/list | ratio | 0.6903 |


The run above: AMD EPYC, 2 processors, go1.26.8, load 1.00, 2026-03-04 05:06.

`
	var out strings.Builder
	if err := run(strings.NewReader(in), &out); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, out.String()); d != "" {
		t.Error(d)
	}
}

func TestAFailedRunIsNoTable(t *testing.T) {
	for _, in := range []string{"", "--- FAIL: BenchmarkRead\nFAIL\n", "BenchmarkX-2 1 12 KiB 13\n"} {
		if err := run(strings.NewReader(in), new(strings.Builder)); err == nil {
			t.Errorf("%q is taken for results", in)
		}
	}
}
