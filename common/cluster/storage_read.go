package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/schema"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// StorageText is something that Ceph has to say, as the primary published it last.
type StorageText struct {
	Text string          // as Ceph's tool prints it
	JSON json.RawMessage // the same as a JSON object; nil if none is published
}

// StorageStatus returns what "ceph status" prints. While Ceph does not answer, or nothing
// was published yet, that is errs.Conflict.
func (c *Cluster) StorageStatus(ctx context.Context) (StorageText, error) {
	return c.storageText(ctx, schema.Ceph, schema.CephStatus)
}

// StorageUsage returns what "rados df" prints; see StorageStatus.
func (c *Cluster) StorageUsage(ctx context.Context) (StorageText, error) {
	return c.storageText(ctx, schema.CephRadosDF, schema.CephUsage)
}

func (c *Cluster) storageText(ctx context.Context, text, object string) (t StorageText, err error) {
	c.o.View.Read(func(s *view.Snapshot) { err = storageOn(s) })
	if err != nil {
		return t, err
	}
	if t.Text, err = c.published(ctx, text); err != nil {
		return t, err
	}
	if t.Text == "" {
		return t, errs.Conflictf("nothing is known of Ceph yet: the primary has not published it")
	}
	if strings.HasPrefix(t.Text, schema.CephSilent) {
		return t, errs.Conflictf("%s", t.Text)
	}
	raw, err := c.published(ctx, object)
	if err == nil && strings.HasPrefix(raw, "{") && json.Valid([]byte(raw)) {
		t.JSON = json.RawMessage(raw)
	}
	return t, err
}

// published reads a text that the view does not hold; it is empty if there is none.
func (c *Cluster) published(ctx context.Context, path string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, c.o.CommitTimeout)
	defer cancel()
	data, err := c.o.View.Fetch(ctx, path)
	if errors.Is(err, coord.ErrNoNode) {
		return "", nil
	}
	return strings.TrimRight(schema.Text(string(data)), " \t\r\n"), err
}

// StorageKnown says whether the records of storage can be shown: errs.Conflict where no
// host has storage, or nothing was ever published.
func (c *Cluster) StorageKnown(ctx context.Context) (err error) {
	recorded := false
	c.o.View.Read(func(s *view.Snapshot) {
		err, recorded = storageOn(s), len(s.OSDs())+len(s.Pools()) > 0
	})
	if err != nil || recorded {
		return err
	}
	text, err := c.published(ctx, schema.Ceph)
	if err == nil && text == "" {
		err = errs.Conflictf("nothing is known of Ceph yet: the primary has not published it")
	}
	return err
}
