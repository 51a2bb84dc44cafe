package rados

import (
	"context"
	"fmt"
	"slices"
	"strings"

	gorados "github.com/ceph/go-ceph/rados"

	"github.com/parallelvirtualcluster/pvc/node-daemon/internal/ceph"
)

// Status implements ceph.Calls. The monitor renders both forms, the text as the tool
// prints it.
func (c calls) Status(ctx context.Context) (ceph.Status, error) {
	return call(ctx, c, "read the status of Ceph", short, reads, func(_ *link, conn *gorados.Conn) (ceph.Status, error) {
		text, err := command{"prefix": "status", "format": "plain"}.send(conn, nil)
		if err != nil {
			return ceph.Status{}, err
		}
		cmd := command{"prefix": "status"}
		raw, err := cmd.send(conn, nil)
		if err != nil {
			return ceph.Status{}, err
		}
		var parsed struct {
			FSID   string
			Health struct{ Status string }
		}
		if err := cmd.decode(raw, &parsed); err != nil {
			return ceph.Status{}, err
		}
		return ceph.Status{FSID: parsed.FSID, Health: parsed.Health.Status, Text: string(text), JSON: raw}, nil
	})
}

// osdMap is what is read of the OSD map.
type osdMap struct {
	FlagsSet []string `json:"flags_set"`
	Pools    []struct {
		ID      int64  `json:"pool"`
		Name    string `json:"pool_name"`
		PGs     int    `json:"pg_num"`
		Size    int
		MinSize int                       `json:"min_size"`
		Apps    map[string]map[string]any `json:"application_metadata"`
	}
	OSDs []struct {
		OSD      int
		UUID     string
		Up, In   int
		Weight   float64 // reweight
		Affinity float64 `json:"primary_affinity"`
		UpFrom   int64   `json:"up_from"` // map in which it came up last; 0: never
	}
}

func readOSDMap(conn *gorados.Conn) (m osdMap, err error) {
	err = command{"prefix": "osd dump"}.ask(conn, &m)
	return m, err
}

// Flags implements ceph.Calls.
func (c calls) Flags(ctx context.Context) ([]string, error) {
	return call(ctx, c, "read the flags of Ceph", short, reads, func(_ *link, conn *gorados.Conn) ([]string, error) {
		m, err := readOSDMap(conn)
		return slices.Sorted(slices.Values(m.FlagsSet)), err
	})
}

// SetFlag implements ceph.Calls.
func (c calls) SetFlag(ctx context.Context, flag string, on bool) error {
	verb := "unset"
	if on {
		verb = "set"
	}
	return command{"prefix": "osd " + verb, "key": strings.ToLower(flag)}.do(ctx, c, fmt.Sprintf("%s flag %q of Ceph", verb, flag))
}
