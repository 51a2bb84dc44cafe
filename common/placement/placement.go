// Package placement chooses a node for a VM. It is pure: the caller says what each
// node has allocated, planned placements included, and gets a node and a reason.
package placement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// Host is a candidate.
type Host struct {
	Name         string
	Unfit        string  // why it takes no VM at all, empty if it does
	FreeMiB      int     // memory a new guest can have
	AllocatedMiB int     // memory of all VMs assigned to it
	VCPUs        int     // of the same VMs
	Load         float64 // 1-minute average
	VMs          int     // number of the same VMs
}

// Choice is a node and why it was chosen.
type Choice struct{ Node, Why string }

// Fits says why a host cannot take a guest of that much memory, empty if it can.
func (h Host) Fits(memoryMiB int) string {
	if h.Unfit != "" {
		return h.Unfit
	}
	if h.FreeMiB < memoryMiB {
		return fmt.Sprintf("%d MiB free, %d needed", h.FreeMiB, memoryMiB)
	}
	return ""
}

// Select returns the best of the hosts for a guest: the least of what the selector
// names, ties by name. If no host is eligible the error says why for each of them
// (errs.Conflict).
func Select(hosts []Host, by model.Selector, memoryMiB int) (Choice, error) {
	var fit []Host
	var why []string
	for _, h := range hosts {
		if reason := h.Fits(memoryMiB); reason != "" {
			why = append(why, h.Name+": "+reason)
			continue
		}
		fit = append(fit, h)
	}
	if len(fit) == 0 {
		if len(why) == 0 {
			why = []string{"there is no other node"}
		}
		slices.Sort(why)
		return Choice{}, errs.Conflictf("no node can take the VM (%s)", strings.Join(why, "; "))
	}
	best := slices.MinFunc(fit, func(a, b Host) int {
		return cmp.Or(cmp.Compare(measure(a, by), measure(b, by)), strings.Compare(a.Name, b.Name))
	})
	return Choice{best.Name, describe(best, by)}, nil
}

func measure(h Host, by model.Selector) float64 {
	switch by {
	case model.SelectVCPUs:
		return float64(h.VCPUs)
	case model.SelectLoad:
		return h.Load
	case model.SelectVMs:
		return float64(h.VMs)
	default:
		return float64(h.AllocatedMiB)
	}
}

func describe(h Host, by model.Selector) string {
	switch by {
	case model.SelectVCPUs:
		return fmt.Sprintf("least allocated vCPUs: %d", h.VCPUs)
	case model.SelectLoad:
		return fmt.Sprintf("least load: %.2f", h.Load)
	case model.SelectVMs:
		return fmt.Sprintf("fewest VMs: %d", h.VMs)
	default:
		return fmt.Sprintf("least allocated memory: %d MiB", h.AllocatedMiB)
	}
}
