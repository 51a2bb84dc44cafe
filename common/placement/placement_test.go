package placement

import (
	"strings"
	"testing"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

var three = []Host{
	{Name: "hv3", FreeMiB: 100, AllocatedMiB: 10, VCPUs: 9, Load: 0.1, VMs: 2},
	{Name: "hv1", FreeMiB: 200, AllocatedMiB: 10, VCPUs: 4, Load: 0.5, VMs: 3},
	{Name: "hv2", FreeMiB: 300, AllocatedMiB: 20, VCPUs: 1, Load: 0.9, VMs: 1},
}

// decision: selector
func TestSelectTakesTheLeastAndTiesByName(t *testing.T) {
	tests := []struct {
		by   model.Selector
		mem  int
		want string
	}{
		{model.SelectMem, 50, "hv1"},
		{model.SelectMem, 250, "hv2"},
		{model.SelectVCPUs, 50, "hv2"},
		{model.SelectVCPUs, 0, "hv2"},
		{model.SelectLoad, 50, "hv3"},
		{model.SelectLoad, 150, "hv1"},
		{model.SelectVMs, 50, "hv2"},
	}
	for _, tt := range tests {
		got, err := Select(three, tt.by, tt.mem)
		if err != nil || got.Node != tt.want {
			t.Errorf("Select(%s, %d MiB) = %+v, %v; want %s", tt.by, tt.mem, got, err, tt.want)
		}
		if got.Why == "" {
			t.Errorf("Select(%s) gives no reason", tt.by)
		}
	}
}

// decision: target node
func TestSelectWithoutAnEligibleNodeNamesEachReason(t *testing.T) {
	hosts := append([]Host{{Name: "hv4", Unfit: "flushed", FreeMiB: 9999}}, three...)
	_, err := Select(hosts, model.SelectMem, 500)
	if !errs.Is(err, errs.Conflict) {
		t.Fatalf("err = %v, want a conflict", err)
	}
	for _, want := range []string{"hv1: 200 MiB free, 500 needed", "hv4: flushed"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %q", err, want)
		}
	}
}

func TestSelectWithoutAnyNodeSaysSo(t *testing.T) {
	if _, err := Select(nil, model.SelectMem, 1); err == nil || !strings.Contains(err.Error(), "no other node") {
		t.Errorf("err = %v", err)
	}
}
