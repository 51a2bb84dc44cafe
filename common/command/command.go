package command

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// Command is a command as everybody sees it.
type Command = model.Command

// maxCommand is the size of a command's record in bytes.
const maxCommand = 64 << 10

// Request is what a client asks for.
type Request struct {
	Args Args
	// Node is the host that is to execute it; empty: whichever is first, which has all of
	// them try.
	Node string
	// Any lets another host execute it when Node is gone.
	Any bool
	// Key is the client's name for this request and all its repetitions; may be empty.
	Key string
	// RequestID is for logs.
	RequestID string
	// With are operations that happen with the command, or neither does. They are left out
	// when the request joins another.
	With coord.Txn
}

// command is the request as a record, with an identity of its own.
func (r Request) command() (*Command, []byte, error) {
	if err := r.Args.Validate(); err != nil {
		return nil, nil, err
	}
	args, err := json.Marshal(r.Args)
	if err != nil {
		return nil, nil, errs.New(errs.Internal, "encode the arguments of %s: %w", r.Args.Verb(), err)
	}
	same, err := json.Marshal(r.Args.Identity())
	if err != nil {
		return nil, nil, errs.New(errs.Internal, "encode the arguments of %s: %w", r.Args.Verb(), err)
	}
	c := &Command{
		Verb: string(r.Args.Verb()), Args: args, Node: r.Node, Any: r.Any || r.Node == "", Request: r.RequestID, Key: r.Key,
		Identity: hash(string(r.Args.Verb()) + "\n" + string(same)), Nonce: model.NewID(),
	}
	c.ID = "r-" + c.Identity
	if r.Key != "" {
		c.ID = "k-" + hash(r.Key)
	}
	data := schema.EncodeCommand(c)
	if len(data) > maxCommand {
		return nil, nil, errs.Invalidf("the command is %d bytes long, %d are possible", len(data), maxCommand)
	}
	return c, data, nil
}

func hash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// Failure is the result of a command that failed, as opposed to a failure of those who
// ask. Its text is the executor's and it has the executor's kind.
type Failure struct{ err error }

func (f *Failure) Error() string { return f.err.Error() }

// Unwrap returns the error with its kind.
func (f *Failure) Unwrap() error { return f.err }

// failure is the error that a result stands for, nil if it went well.
func failure(r *model.CommandResult) error {
	if r.OK {
		return nil
	}
	return &Failure{errs.New(kindOf(r.Kind), "%s", r.Message)}
}

// kindOf is the kind of error of that name; what is unknown is errs.Internal.
func kindOf(name string) errs.Kind {
	for k := errs.Internal; k <= errs.Unknown; k++ {
		if k.String() == name {
			return k
		}
	}
	return errs.Internal
}
