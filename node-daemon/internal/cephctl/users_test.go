package cephctl

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// electing is a ZooKeeper that does not serve for a while.
type electing struct {
	coord.Conn // nothing else is called
	refusals   int
}

func (e *electing) Sync(context.Context, string) error {
	if e.refusals > 0 {
		e.refusals--
		return errs.Unavailablef("no connection to ZooKeeper")
	}
	return nil
}

func (e *electing) Children(context.Context, string) ([]string, coord.Stat, error) {
	return nil, coord.Stat{}, nil
}

func TestAnElectionOfZooKeeperFailsNoCommand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		if users, err := Users(&electing{refusals: 3})(t.Context(), "vms", "a"); err != nil || len(users) > 0 {
			t.Errorf("%v, %v", users, err)
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Users(&electing{refusals: 3})(ctx, "vms", "a"); !errs.Is(err, errs.Unavailable) {
		t.Errorf("when the command is given up: %v", err)
	}
}

// TestOnlyTheVolumeThatIsMeantIsFound however its name is written in a document.
func TestOnlyTheVolumeThatIsMeantIsFound(t *testing.T) {
	document := func(names ...string) []byte {
		xml := "<domain type='qemu'><name>web1</name><memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type>hvm</type></os><devices>"
		for i, n := range names {
			xml += fmt.Sprintf("<disk type='network' device='disk'><source protocol='rbd' name='%s'/><target dev='vd%c'/></disk>", n, 'a'+i)
		}
		return []byte(xml + "</devices></domain>")
	}
	for _, tc := range []struct {
		xml  []byte
		name string
		want []string
	}{
		{document("vms/a"), "vms/a", []string{"a"}},
		{document("vms&#47;&#x61;"), "vms/a", []string{"a"}},
		{document("vms/ab", "vms2/a", "svms/a"), "vms/a", nil},
		{document("vms/ab", "vms/a", "vms/a"), "vms/a", []string{"a"}},
		{document("vms/b", "vms/a", "vms2/c"), "vms/", []string{"b", "a"}},
		{document("&#118;ms/b", "vms2/c"), "vms/", []string{"b"}},
		{document(), "vms/", nil},
	} {
		got, err := named(t.Context(), nil, "u", tc.name, tc.xml)
		if err != nil || !slices.Equal(got, tc.want) {
			t.Errorf("%s in %s: %v, %v, want %v", tc.name, tc.xml, got, err, tc.want)
		}
	}
}
