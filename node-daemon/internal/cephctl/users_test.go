package cephctl

import (
	"context"
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
