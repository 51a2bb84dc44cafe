package cephctl

import (
	"context"
	"fmt"

	"github.com/parallelvirtualcluster/pvc/common/command"
)

// osdMark has an OSD hold data, or none. It may be repeated.
func (t *task) osdMark(ctx context.Context, id int, in bool) (command.Outcome, error) {
	word := "out"
	if in {
		word = "in"
	}
	if err := t.SetOSDIn(ctx, id, in); err != nil {
		return command.Outcome{}, err
	}
	return command.Outcome{
		Message: fmt.Sprintf("OSD %d is marked %s", id, word),
		Records: build(func(e *edit) {
			o, there := e.s.OSD(id)
			if !there || o.Stats == nil {
				return // with the next statistics
			}
			stats := *o.Stats
			stats.In = in
			if stats.Reweight = 0; in {
				stats.Reweight = 1
			}
			e.putOSDStats(id, o.Node, stats)
		}),
	}, nil
}

// flag sets a flag of the cluster, or takes it back. It may be repeated.
func (t *task) flag(ctx context.Context, flag string, on bool) (command.Outcome, error) {
	if err := t.SetFlag(ctx, flag, on); err != nil {
		return command.Outcome{}, err
	}
	if on {
		return command.Outcome{Message: fmt.Sprintf("option %s is set", flag)}, nil
	}
	return command.Outcome{Message: fmt.Sprintf("option %s is unset", flag)}, nil
}
