package cluster

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/domxml"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// A document that names a volume and a command that takes the volume away exclude each other.
// Whoever defines or changes a VM looks at the commands, whoever begins such a command at the
// documents; each of the two transactions fails if the other was committed after the look: a document
// sets the data of /domains, which the command checks, and the command that of the volume's
// record (or of what holds those of its pool), which the document checks. They have no content.

// takenAway is the record whose version such a command sets; empty if it is another command.
func takenAway(args command.Args) string {
	switch a := args.(type) {
	case command.VolumeRemove:
		return schema.Volume(a.Pool, a.Volume)
	case command.VolumeRename:
		return schema.Volume(a.Pool, a.Volume)
	case command.VolumeResize:
		if a.Shrink {
			return schema.Volume(a.Pool, a.Volume)
		}
	case command.PoolRemove:
		return schema.PoolVolumes(a.Pool)
	}
	return ""
}

// takesAway reports whether a command takes a volume away, or a part of it.
func takesAway(args command.Args, full string) bool {
	pool, name, _ := strings.Cut(full, "/")
	record := takenAway(args)
	return record != "" && (record == schema.Volume(pool, name) || record == schema.PoolVolumes(pool))
}

// namedSince are the operations of a command that takes something away, given the version
// of /domains with all of whose documents it was looked at.
func namedSince(record string, since int32) (txn coord.Txn) {
	txn.Check(schema.Domains, since)
	txn.Set(record, nil, coord.AnyVersion)
	return txn
}

// settled refuses a document with a volume that is about to get another name or to go.
func settled(s *view.Snapshot, spec *domxml.Spec) error {
	names := domxml.RBDList(spec)
	if len(names) == 0 {
		return nil
	}
	for _, c := range s.Commands() {
		if c.Finished() {
			continue
		}
		args, err := command.ParseArgs(c)
		if err != nil {
			continue // no host executes it
		}
		if i := slices.IndexFunc(names, func(name string) bool { return takesAway(args, name) }); i >= 0 {
			return errs.Conflictf("volume %q cannot be used: %s of it is under way", names[i], c.Verb)
		}
	}
	return nil
}

// submit checks a request and puts it into the queue. What takes a volume away is checked
// again when a document was committed meanwhile; from the second time on no other is let
// through by this API.
func (c *Cluster) submit(ctx context.Context, r command.Request, check func(s *view.Snapshot) (place, error)) (h command.Handle, on string, err error) {
	record := takenAway(r.Args)
	for n := range attempts {
		if record != "" {
			since, err := c.allDefined(ctx)
			if err != nil {
				return h, "", err
			}
			r.With = namedSince(record, since)
		}
		var where place
		c.o.View.Read(func(s *view.Snapshot) { where, err = check(s) })
		if err != nil {
			return h, "", err
		}
		r.Node, r.Any = where.node, where.any
		h, err = c.commands.Submit(ctx, r)
		var collided *coord.TxnError
		if !errors.As(err, &collided) {
			return h, r.Node, err
		}
		if n == 0 {
			release, err := c.defineAlone(ctx)
			if err != nil {
				return h, "", fmt.Errorf("nothing was changed: %w", err)
			}
			defer release()
		}
	}
	return h, "", errs.Conflictf("nothing was changed: VMs are defined and changed faster than this call: %w", err)
}

// defineAlone lets nobody else define a VM through this API until it is released.
func (c *Cluster) defineAlone(ctx context.Context) (release func(), err error) {
	select {
	case c.defining <- struct{}{}:
		return func() { <-c.defining }, nil
	case <-ctx.Done():
		return nil, errs.Unavailablef("others are defining VMs: %w", ctx.Err())
	}
}
