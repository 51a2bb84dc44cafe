package cluster

import (
	"context"
	"errors"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/command"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// Caller is who asks for a storage command.
type Caller struct {
	// Key names this request and its repetitions (the header Idempotency-Key), which then
	// all get the result of the first for an hour; may be empty.
	Key     string
	Request string // id of the request, for logs
	// part tells several commands of one request apart.
	part string
}

// maxKey is the length of an idempotency key in bytes.
const maxKey = 200

func (c Caller) check() error {
	if len(c.Key) > maxKey || strings.ContainsFunc(c.Key, func(r rune) bool { return r < ' ' || r > '~' }) {
		return errs.Invalidf("header %q: %q is not a key of at most %d printable ASCII characters", "Idempotency-Key", model.Clip(c.Key), maxKey)
	}
	return nil
}

// step is the caller of one of several commands of a request.
func (c Caller) step(name string) Caller {
	c.part = name
	return c
}

// key is the key of the command.
func (c Caller) key() string {
	if c.Key == "" || c.part == "" {
		return c.Key
	}
	return c.Key + "\n" + c.part // no client's key contains a line end
}

// Begun is a storage command that is on its way, whoever waits for it.
type Begun struct {
	Handle command.Handle
	Verb   command.Verb
	Node   string // host that executes it, or is asked to first
}

// place says which host executes a command.
type place struct {
	node string
	any  bool // others do when that one is gone
}

// begin checks a request against the cluster and puts it into the queue. A request that
// is on its way already, or has ended with the same key, is joined without a check. What
// is begun is begun completely, also when ctx ends.
func (c *Cluster) begin(ctx context.Context, by Caller, args command.Args, check func(s *view.Snapshot) (place, error)) (Begun, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), c.o.CommitTimeout)
	defer cancel()
	r := command.Request{Args: args, Key: by.key(), RequestID: by.Request}
	joins, err := c.commands.Joins(r)
	if err != nil {
		return Begun{}, err
	}
	var h command.Handle
	var on string
	if joins {
		h, err = c.commands.Submit(ctx, r)
	} else {
		h, on, err = c.submit(ctx, r, check)
	}
	if err != nil {
		return Begun{}, err
	}
	b := Begun{Handle: h, Verb: args.Verb(), Node: on}
	if t, err := c.commands.Task(h.ID); err == nil && t.RunsOn != "" {
		b.Node = t.RunsOn
	}
	return b, nil
}

// WaitFor waits for the end of a command. Its failure is the executor's, with its text.
// When ctx ends first only the waiting does: errs.Unavailable that names the command; when the
// time for waiting ends, errs.Conflict that says what it waits for.
func (c *Cluster) WaitFor(ctx context.Context, b Begun) (Answer, error) {
	limited, cancel := context.WithTimeout(ctx, c.o.WaitTimeout)
	defer cancel()
	result, err := c.commands.Wait(limited, b.Handle)
	var failed *command.Failure
	switch {
	case errors.As(err, &failed):
		return Answer{}, executorsError(failed)
	case err != nil && ctx.Err() == nil && limited.Err() != nil:
		return Answer{}, errs.New(errs.Conflict, "it has not ended after %v: %w", c.o.WaitTimeout, err)
	case err != nil:
		return Answer{}, err
	}
	return Answer{result.Message}, nil
}

// executorsError is a failure of Ceph, or of the host that asked it: that Ceph does not
// answer or does not allow something is no outage of the API and no matter of its tokens.
func executorsError(f *command.Failure) error {
	switch errs.KindOf(f) {
	case errs.Unavailable, errs.Denied:
		return errs.New(errs.Conflict, "%w", f)
	}
	return f
}

// command has a command executed and waits for its end.
func (c *Cluster) command(ctx context.Context, by Caller, args command.Args, check func(s *view.Snapshot) (place, error)) (Answer, error) {
	if err := by.check(); err != nil {
		return Answer{}, err
	}
	b, err := c.begin(ctx, by, args, check)
	if err != nil {
		return Answer{}, err
	}
	return c.WaitFor(ctx, b)
}

// Task tells how far a command is; errs.NotFound if there is none of that id (any more).
func (c *Cluster) Task(id string) (command.Task, error) { return c.commands.Task(id) }
