package liveness

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/coord/watch"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// requestTimeout bounds a single request to ZooKeeper.
const requestTimeout = 5 * time.Second

// root is a znode of the layout and what it holds when it is made.
type root struct{ path, data string }

// oldRoots are what the old system's initialisation makes, in its order.
var oldRoots = []root{
	{schema.Nodes, ""}, {schema.Primary, schema.NoPrimary}, {schema.Domains, ""}, {schema.Networks, ""},
	{schema.Ceph, ""}, {schema.Ceph + "/osds", ""}, {schema.Ceph + "/pools", ""},
	{schema.Ceph + "/volumes", ""}, {schema.Ceph + "/snapshots", ""},
}

// newRoots are additive. The version comes last: where it is, everything is.
var newRoots = []root{
	{schema.Claims, ""}, {schema.ClaimDisks, ""}, {schema.Fences, ""}, {schema.Commands, ""}, {schema.Config, ""},
	{schema.Version, strconv.Itoa(schema.SchemaVersion)},
}

// Layout makes sure that the tree is there. A coordinator creates what is missing, in
// one transaction and deleting nothing: all of it in an empty ensemble, the additive
// roots in a tree of the old system. Others wait for a coordinator until ctx ends. A
// tree of a newer release is errs.Invalid.
func Layout(ctx context.Context, client coord.Client, hub *watch.Hub, coordinator bool) error {
	set := hub.NewSet(client)
	defer set.Close()
	for {
		done, err := layoutOnce(ctx, client, set, coordinator)
		if err != nil {
			return fmt.Errorf("prepare the layout: %w", err)
		}
		if done {
			return nil
		}
		if coordinator {
			continue // another one was faster: look again
		}
		select {
		case <-set.Changed():
		case <-client.Lost():
			return errs.Unavailablef("the ZooKeeper session ended while waiting for a coordinator to create the layout")
		case <-ctx.Done():
			return errs.Unavailablef("no coordinator has created the layout yet: %w", ctx.Err())
		}
	}
}

func layoutOnce(ctx context.Context, client coord.Client, set *watch.Set, coordinator bool) (done bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	data, _, there, err := set.Value(ctx, schema.Version)
	if err != nil {
		return false, err
	}
	if there {
		if err := checkVersion(string(data)); err != nil {
			return false, err
		}
	}
	if !coordinator {
		return there, nil
	}
	txn, err := missingRoots(ctx, client)
	if err != nil || len(txn.Ops) == 0 {
		return err == nil, err
	}
	if _, err = client.Commit(ctx, txn); errors.Is(err, coord.ErrNodeExists) {
		return false, nil
	}
	return err == nil, err
}

func checkVersion(text string) error {
	v, err := strconv.Atoi(text)
	if err != nil || v < 1 {
		return errs.Invalidf("%s holds %q, a version number is expected", schema.Version, text)
	}
	if v > schema.SchemaVersion {
		return errs.Invalidf("the tree in ZooKeeper has version %d, this release knows versions up to %d: upgrade this host", v, schema.SchemaVersion)
	}
	return nil
}

func missingRoots(ctx context.Context, conn coord.Conn) (txn coord.Txn, err error) {
	for _, roots := range [][]root{oldRoots, newRoots} {
		for _, r := range roots {
			_, there, err := conn.Exists(ctx, r.path)
			if err != nil {
				return txn, err
			}
			if !there {
				txn.Create(r.path, []byte(r.data))
			}
		}
	}
	return txn, nil
}
