package zk

import (
	"context"
	"time"

	"github.com/go-zookeeper/zk"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// The results of a request are handed over in a value of its own, never written
// into the caller's frame: the caller may have given up by then.
type reply struct {
	data     []byte
	names    []string
	stat     *zk.Stat
	there    bool
	path     string
	response []zk.MultiResponse
}

func (c *Client) ask(ctx context.Context, write bool, request func(*reply) error) (reply, error) {
	answer := make(chan reply, 1)
	err := c.do(ctx, write, func() error {
		var r reply
		err := request(&r)
		answer <- r
		return err
	})
	select {
	case r := <-answer:
		return r, err
	default:
		return reply{}, err
	}
}

// Get returns the value of a znode.
func (c *Client) Get(ctx context.Context, path string) ([]byte, coord.Stat, error) {
	r, err := c.ask(ctx, false, func(r *reply) (err error) {
		r.data, r.stat, err = c.conn.Get(path)
		return err
	})
	return r.data, stat(r.stat), at(path, err)
}

// GetW is Get and leaves a watch.
func (c *Client) GetW(ctx context.Context, path string) ([]byte, coord.Stat, error) {
	r, err := c.ask(ctx, false, func(r *reply) (err error) {
		r.data, r.stat, _, err = c.conn.GetW(path)
		return err
	})
	return r.data, stat(r.stat), at(path, err)
}

// Children returns the names below a znode.
func (c *Client) Children(ctx context.Context, path string) ([]string, coord.Stat, error) {
	r, err := c.ask(ctx, false, func(r *reply) (err error) {
		r.names, r.stat, err = c.conn.Children(path)
		return err
	})
	return r.names, stat(r.stat), at(path, err)
}

// ChildrenW is Children and leaves a watch.
func (c *Client) ChildrenW(ctx context.Context, path string) ([]string, coord.Stat, error) {
	r, err := c.ask(ctx, false, func(r *reply) (err error) {
		r.names, r.stat, _, err = c.conn.ChildrenW(path)
		return err
	})
	return r.names, stat(r.stat), at(path, err)
}

// Exists returns what ZooKeeper keeps about a znode.
func (c *Client) Exists(ctx context.Context, path string) (coord.Stat, bool, error) {
	r, err := c.ask(ctx, false, func(r *reply) (err error) {
		r.there, r.stat, err = c.conn.Exists(path)
		return err
	})
	return stat(r.stat), r.there, at(path, err)
}

// ExistsW is Exists and leaves a watch, on a missing znode too.
func (c *Client) ExistsW(ctx context.Context, path string) (coord.Stat, bool, error) {
	r, err := c.ask(ctx, false, func(r *reply) (err error) {
		r.there, r.stat, _, err = c.conn.ExistsW(path)
		return err
	})
	return stat(r.stat), r.there, at(path, err)
}

// CreateSequential makes an ephemeral sequential znode.
func (c *Client) CreateSequential(ctx context.Context, path string, data []byte) (string, error) {
	if data == nil {
		data = []byte{}
	}
	r, err := c.ask(ctx, true, func(r *reply) (err error) {
		r.path, err = c.conn.Create(path, data, zk.FlagEphemeral|zk.FlagSequence, c.acl)
		return err
	})
	return r.path, at(path, err)
}

// Sync waits until the server has seen all that was committed before.
func (c *Client) Sync(ctx context.Context, path string) error {
	_, err := c.ask(ctx, false, func(*reply) error {
		_, err := c.conn.Sync(path)
		return err
	})
	return at(path, err)
}

// Commit executes a transaction.
func (c *Client) Commit(ctx context.Context, txn coord.Txn) (coord.Committed, error) {
	if n := txn.Bytes(); n > coord.MaxTxnBytes {
		return coord.Committed{}, errs.Invalidf("the change is %d bytes long, %d are possible in one transaction", n, coord.MaxTxnBytes)
	}
	ops := make([]any, len(txn.Ops))
	for i, op := range txn.Ops {
		ops[i] = c.request(op)
	}
	r, err := c.ask(ctx, true, func(r *reply) (err error) {
		r.response, err = c.conn.Multi(ops...)
		return err
	})
	if terr := refusal(txn, r.response); terr != nil {
		return coord.Committed{}, terr
	}
	if err != nil {
		return coord.Committed{}, err
	}
	if len(r.response) != len(txn.Ops) {
		return coord.Committed{}, errs.New(errs.Unknown, "ZooKeeper answered %d of %d operations", len(r.response), len(txn.Ops))
	}
	return committed(r.response), nil
}

func (c *Client) request(op coord.Op) any {
	if op.Data == nil {
		op.Data = []byte{} // the library writes nil as "no data", which old clients cannot read as text
	}
	switch op.Kind {
	case coord.OpCreate:
		return &zk.CreateRequest{Path: op.Path, Data: op.Data, Acl: c.acl}
	case coord.OpCreateEphemeral:
		return &zk.CreateRequest{Path: op.Path, Data: op.Data, Acl: c.acl, Flags: zk.FlagEphemeral}
	case coord.OpSet:
		return &zk.SetDataRequest{Path: op.Path, Data: op.Data, Version: op.Version}
	case coord.OpDelete:
		return &zk.DeleteRequest{Path: op.Path, Version: op.Version}
	default:
		return &zk.CheckVersionRequest{Path: op.Path, Version: op.Version}
	}
}

// refusal finds the operation that made a transaction fail: the others of it report
// no error or that they were rolled back.
func refusal(txn coord.Txn, responses []zk.MultiResponse) error {
	for i, r := range responses {
		if why := reason(r.Error); why != nil && i < len(txn.Ops) {
			return errs.New(errs.Conflict, "%w", &coord.TxnError{Index: i, Op: txn.Ops[i], Err: why})
		}
	}
	return nil
}

func committed(responses []zk.MultiResponse) coord.Committed {
	out := coord.Committed{Stats: make([]coord.Stat, len(responses))}
	for i, r := range responses {
		if r.Stat != nil && r.Stat.Mzxid != 0 {
			out.Stats[i] = stat(r.Stat)
			out.Zxid = r.Stat.Mzxid
		}
	}
	return out
}

func stat(s *zk.Stat) coord.Stat {
	if s == nil {
		return coord.Stat{}
	}
	return coord.Stat{
		Czxid: s.Czxid, Mzxid: s.Mzxid, Pzxid: s.Pzxid,
		Version: s.Version, Owner: s.EphemeralOwner, Mtime: time.UnixMilli(s.Mtime),
	}
}

func at(path string, err error) error {
	if err == nil {
		return nil
	}
	return errs.New(errs.KindOf(err), "%s: %w", path, err)
}
