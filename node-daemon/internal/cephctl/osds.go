package cephctl

import (
	"context"
	"fmt"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/view"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/cephctl/osd"
)

// osdAdd makes an OSD of a device of this host.
func (t *task) osdAdd(ctx context.Context, a command.OSDAdd) (command.Outcome, error) {
	if err := t.Begin(ctx); err != nil {
		return command.Outcome{}, err
	}
	added, err := t.executor.OSDs.Add(ctx, t, a, t.Number, t.Progress)
	out := command.Outcome{Message: added.Message}
	if o := added.OSD; o != nil {
		out.Data = map[string]int{"osd": o.ID}
		out.Records = build(func(e *edit) { e.recordOSD(*o, a.Node, a.Device) })
	}
	return out, err
}

// osdRemove takes an OSD of this host out of the cluster.
func (t *task) osdRemove(ctx context.Context, a command.OSDRemove) (command.Outcome, error) {
	r := osd.Removal{
		Tell: t.Progress,
		Keep: func(ctx context.Context, n osd.Noted) error { return t.remember(ctx, note{OSD: &n}) },
	}
	t.executor.View.Read(func(s *view.Snapshot) {
		if o, there := s.OSD(a.OSD); there {
			r.Record = o
		}
		r.Presence = func(name string) osd.Presence {
			switch n, there := s.Node(name); {
			case !there:
				return osd.Foreign
			case !n.Alive():
				return osd.Away
			}
			return osd.Connected
		}
	})
	if t.note != nil {
		r.Noted = t.note.OSD
	}
	removed, err := t.executor.OSDs.Remove(ctx, t, a, r)
	out := command.Outcome{Message: removed.Message}
	if err == nil && !removed.Reused {
		out.Records = build(func(e *edit) { e.dropOSD(a.OSD) })
	}
	return out, err
}

// osdMark has an OSD hold data, or none. It may be repeated.
func (t *task) osdMark(ctx context.Context, id int, in bool) (command.Outcome, error) {
	word := "out"
	if in {
		word = "in"
	}
	if err := t.Begin(ctx); err != nil {
		return command.Outcome{}, err
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
	if err := t.Begin(ctx); err != nil {
		return command.Outcome{}, err
	}
	if err := t.SetFlag(ctx, flag, on); err != nil {
		return command.Outcome{}, err
	}
	if on {
		return command.Outcome{Message: fmt.Sprintf("option %s is set", flag)}, nil
	}
	return command.Outcome{Message: fmt.Sprintf("option %s is unset", flag)}, nil
}
