package cephctl

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// texts are what Ceph prints of itself, for people and for programs. Nobody else writes
// them; they are read once and remembered.
type texts struct {
	session Session
	known   map[string]text // nil: not read yet
	silent  bool            // that Ceph does not answer is published
	pending map[string]text
}

type text struct {
	data  string
	there bool
}

var textPaths = []string{schema.Ceph, schema.CephRadosDF, schema.CephStatus, schema.CephUsage}

// textsObject is the object of changes of texts.
const textsObject = "texts"

// changes returns what differs from what is published.
func (t *texts) changes(ctx context.Context, s *sight) ([]change, error) {
	return t.publish(ctx, map[string]string{
		schema.Ceph: s.status.Text, schema.CephRadosDF: s.df.Text, schema.CephStatus: string(s.status.JSON), schema.CephUsage: string(s.df.JSON),
	})
}

// unavailable is changes when there is nothing to say but that. The reason is that of the
// first time.
func (t *texts) unavailable(ctx context.Context, why error) ([]change, error) {
	if t.silent {
		return nil, nil
	}
	words := fmt.Sprintf(schema.CephSilent+"%v\n", why)
	return t.publish(ctx, map[string]string{schema.Ceph: words, schema.CephRadosDF: words, schema.CephStatus: "", schema.CephUsage: ""})
}

// tooLong leaves room for everything else in a transaction.
const tooLong = coord.MaxTxnBytes / 4

func (t *texts) publish(ctx context.Context, want map[string]string) ([]change, error) {
	if err := t.read(ctx); err != nil {
		return nil, err
	}
	t.pending = map[string]text{}
	c := change{object: textsObject}
	for _, path := range textPaths {
		data := want[path]
		if len(data) > tooLong { // JSON cannot be cut, and nobody reads a text of that length
			data = ""
		}
		have := t.known[path]
		if have.there && have.data == data {
			continue
		}
		if have.there {
			c.txn.Set(path, []byte(data), coord.AnyVersion)
		} else {
			c.txn.Create(path, []byte(data))
		}
		t.pending[path] = text{data, true}
	}
	if len(c.txn.Ops) == 0 {
		return nil, nil
	}
	return []change{c}, nil
}

func (t *texts) read(ctx context.Context) error {
	if t.known != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	known := map[string]text{}
	for _, path := range textPaths {
		data, _, err := t.session.Client().Get(ctx, path)
		if err != nil && !errors.Is(err, coord.ErrNoNode) {
			return fmt.Errorf("read what is published of Ceph: %w", err)
		}
		known[path] = text{string(data), err == nil}
	}
	t.known = known
	return nil
}

// wrote takes note of what was published; if it was not, it is read again.
func (t *texts) wrote(made []change) {
	if len(t.pending) == 0 {
		return
	}
	done := false
	for _, c := range made {
		done = done || c.object == textsObject
	}
	if !done {
		t.known = nil
		return
	}
	for path, now := range t.pending {
		t.known[path] = now
	}
	t.silent = strings.HasPrefix(t.known[schema.Ceph].data, schema.CephSilent)
	t.pending = nil
}
