package fake

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// Clients implements ceph.Calls.
func (c calls) Clients(ctx context.Context) (clients []string, err error) {
	err = c.do(ctx, Clients, "", reads, func(*World) error {
		clients = slices.Clone(c.client.clients)
		return nil
	})
	return clients, err
}

// Status implements ceph.Calls. Text and JSON have the form of the real ones and little
// of their content.
func (c calls) Status(ctx context.Context) (s ceph.Status, err error) {
	err = c.do(ctx, Status, "", asks, func(w *World) error {
		up := 0
		for _, o := range w.osds {
			if o.Up {
				up++
			}
		}
		s = ceph.Status{FSID: fsid, Health: "HEALTH_OK"}
		if up < len(w.osds) {
			s.Health = "HEALTH_WARN"
		}
		s.Text = fmt.Sprintf("  cluster:\n    id:     %s\n    health: %s\n \n  services:\n    osd: %d osds: %d up\n \n", fsid, s.Health, len(w.osds), up)
		s.JSON, err = json.Marshal(map[string]any{
			"fsid": fsid, "health": map[string]any{"status": s.Health},
			"osdmap": map[string]any{"num_osds": len(w.osds), "num_up_osds": up},
		})
		return err
	})
	return s, err
}

// DF implements ceph.Calls.
func (c calls) DF(ctx context.Context) (d ceph.DF, err error) {
	err = c.do(ctx, DF, "", asks, func(w *World) error {
		pools := []any{}
		var text strings.Builder
		text.WriteString("POOL_NAME  USED  OBJECTS\n")
		for _, name := range sortedKeys(w.pools) {
			p := w.pools[name]
			fmt.Fprintf(&text, "%s  %d  %d\n", name, p.Stats.UsedBytes, p.Stats.Objects)
			pools = append(pools, map[string]any{"name": name, "id": p.ID, "size_bytes": p.Stats.UsedBytes, "num_objects": p.Stats.Objects})
		}
		d.Text = text.String()
		d.JSON, err = json.Marshal(map[string]any{"pools": pools})
		return err
	})
	return d, err
}

// Flags implements ceph.Calls.
func (c calls) Flags(ctx context.Context) (flags []string, err error) {
	err = c.do(ctx, Flags, "", asks, func(w *World) error {
		flags = slices.Sorted(maps.Keys(w.flags))
		return nil
	})
	return flags, err
}

// settable are the flags that can be set and cleared.
var settable = []string{
	"full", "pause", "noup", "nodown", "noout", "noin", "nobackfill", "norebalance", "norecover", "noscrub",
	"nodeep-scrub", "notieragent", "nosnaptrim", "noautoscale",
}

// SetFlag implements ceph.Calls.
func (c calls) SetFlag(ctx context.Context, flag string, on bool) error {
	return c.toMonitor(ctx, SetFlag, flag, func(*World) error {
		if !slices.Contains(settable, flag) {
			return ceph.Refused(syscall.EINVAL, fmt.Sprintf("invalid command: %s not in %s", flag, strings.Join(settable, "|")))
		}
		return nil
	}, func(w *World) {
		flags := []string{flag}
		if flag == "pause" {
			flags = []string{"pauserd", "pausewr"}
		}
		for _, f := range flags {
			if delete(w.flags, f); on {
				w.flags[f] = true
			}
		}
	})
}

// Fence implements ceph.Calls.
func (c calls) Fence(ctx context.Context, clients []string) error {
	if err := ceph.CheckClients(clients); err != nil {
		return fmt.Errorf("%s: %w", Fence, err)
	}
	return c.do(ctx, Fence, strings.Join(clients, ","), commands, func(w *World) error {
		for _, a := range clients {
			if life, in := w.blocklist[a]; in && life < ceph.FenceTime {
				return errs.Conflictf("client %q is blocklisted already, for %v only", a, life)
			}
			w.blocklist[a] = ceph.FenceTime
		}
		return nil
	})
}

// RemoveFence implements ceph.Calls.
func (c calls) RemoveFence(ctx context.Context, clients []string) error {
	if err := ceph.CheckClients(clients); err != nil {
		return fmt.Errorf("%s: %w", RemoveFence, err)
	}
	return c.do(ctx, RemoveFence, strings.Join(clients, ","), commands, func(w *World) error {
		for _, a := range clients {
			delete(w.blocklist, a)
		}
		return nil
	})
}
