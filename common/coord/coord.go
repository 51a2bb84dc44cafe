package coord

import (
	"context"
	"errors"
	"time"
)

// AnyVersion in a Set, Delete or Check accepts every version. A Check with
// AnyVersion asserts that the znode exists.
const AnyVersion int32 = -1

// MaxTxnBytes is the largest request that is sent: over 1 MiB a server drops the
// connection together with everybody else's requests on it.
const MaxTxnBytes = 768 << 10

// Stat is what ZooKeeper keeps about a znode. Zxids order all changes of the tree.
type Stat struct {
	Czxid, Mzxid, Pzxid int64 // transaction that created it, set its data, changed its children
	Version             int32 // of the data; a re-created znode starts at 0 again
	Owner               int64 // session of an ephemeral znode, else 0
	Mtime               time.Time
}

// EventKind says what a watch saw.
type EventKind uint8

const (
	// EventData: the znode was created, its data set, or it was deleted.
	EventData EventKind = iota + 1
	// EventChildren: a child was created or deleted, or the znode itself deleted.
	EventChildren
	// EventConnected and EventDisconnected tell of the connection, not of a znode.
	EventConnected
	EventDisconnected
	// EventExpired ends the session: every watch and ephemeral znode is gone.
	EventExpired
)

// Event is delivered to [Options.OnEvent]. A watch fires once.
type Event struct {
	Kind EventKind
	Path string // empty for connection events
}

// OpKind is the kind of one operation of a transaction.
type OpKind uint8

// The operations of a transaction.
const (
	OpCreate OpKind = iota + 1
	OpCreateEphemeral
	OpSet
	OpDelete
	OpCheck
)

// Op is one operation of a transaction.
type Op struct {
	Kind    OpKind
	Path    string
	Data    []byte
	Version int32
}

// Txn is a list of operations that happen together or not at all. Operations see
// the effects of those before them.
type Txn struct{ Ops []Op }

// Create makes a persistent znode; the transaction fails if it exists.
func (t *Txn) Create(path string, data []byte) *Txn {
	return t.add(Op{Kind: OpCreate, Path: path, Data: data})
}

// CreateEphemeral makes a znode that vanishes with the session.
func (t *Txn) CreateEphemeral(path string, data []byte) *Txn {
	return t.add(Op{Kind: OpCreateEphemeral, Path: path, Data: data})
}

// Set replaces the data of an existing znode.
func (t *Txn) Set(path string, data []byte, version int32) *Txn {
	return t.add(Op{Kind: OpSet, Path: path, Data: data, Version: version})
}

// Delete removes a znode without children.
func (t *Txn) Delete(path string, version int32) *Txn {
	return t.add(Op{Kind: OpDelete, Path: path, Version: version})
}

// Check asserts that a znode exists and has the version.
func (t *Txn) Check(path string, version int32) *Txn {
	return t.add(Op{Kind: OpCheck, Path: path, Version: version})
}

// Absent asserts that a znode does not exist (by creating and deleting it within
// the transaction). Its parent must exist.
func (t *Txn) Absent(path string) *Txn {
	return t.Create(path, nil).Delete(path, AnyVersion)
}

// Append adds the operations of another transaction.
func (t *Txn) Append(o Txn) *Txn {
	t.Ops = append(t.Ops, o.Ops...)
	return t
}

// Bytes is the size of the request, near enough for the limit.
func (t *Txn) Bytes() int {
	n := 0
	for _, op := range t.Ops {
		n += len(op.Path) + len(op.Data) + 32
	}
	return n
}

func (t *Txn) add(op Op) *Txn {
	t.Ops = append(t.Ops, op)
	return t
}

// Committed is the outcome of a transaction.
type Committed struct {
	Zxid  int64  // of the transaction; 0 if no operation reported one
	Stats []Stat // per operation; zero where the server reports none (create, delete, check)
}

// Reasons why an operation of a transaction, or a plain request, was refused.
var (
	ErrNodeExists = errors.New("znode exists")
	ErrNoNode     = errors.New("no such znode")
	ErrBadVersion = errors.New("znode was changed meanwhile")
	ErrNotEmpty   = errors.New("znode has children")
)

// TxnError says which operation made a transaction fail; nothing of it happened.
// Its kind is errs.Conflict and it wraps one of the reasons above.
type TxnError struct {
	Index int
	Op    Op
	Err   error
}

func (e *TxnError) Error() string { return e.Op.Path + ": " + e.Err.Error() }
func (e *TxnError) Unwrap() error { return e.Err }

// Conn makes requests. Every call ends with ctx: a read then fails as
// errs.Unavailable; a write that may have reached the server as errs.Unknown, one
// that has not as errs.Unavailable. A missing znode is ErrNoNode (errs.NotFound).
type Conn interface {
	Get(ctx context.Context, path string) ([]byte, Stat, error)
	// Children returns names, not paths, in no order.
	Children(ctx context.Context, path string) ([]string, Stat, error)
	Exists(ctx context.Context, path string) (Stat, bool, error)
	// Commit executes the transaction; a refusal is a *TxnError.
	Commit(ctx context.Context, txn Txn) (Committed, error)
	// CreateSequential makes an ephemeral child path+10-digit sequence and returns its path.
	CreateSequential(ctx context.Context, path string, data []byte) (string, error)
	// Sync waits until the server has seen all that was committed before the call.
	Sync(ctx context.Context, path string) error
}

// Client is one session and its watches.
type Client interface {
	Conn
	// GetW, ChildrenW and ExistsW also leave a one-shot watch whose event goes to
	// Options.OnEvent. GetW of a missing znode leaves none.
	GetW(ctx context.Context, path string) ([]byte, Stat, error)
	ChildrenW(ctx context.Context, path string) ([]string, Stat, error)
	ExistsW(ctx context.Context, path string) (Stat, bool, error)

	// SessionID is the server's number of the session.
	SessionID() int64
	// Timeout is the negotiated session timeout.
	Timeout() time.Duration
	// Connected reports whether requests can be sent now.
	Connected() bool
	// Lost is closed when the session has expired or the client was closed.
	Lost() <-chan struct{}
	Close()
}

// Options says how to open a session.
type Options struct {
	Servers []string      // host:port, all members of the ensemble
	Timeout time.Duration // requested session timeout; a shorter negotiated one is an error
	// OnEvent is called for every event, in order, from the connection's own
	// goroutine: it must not block and must not make requests. It is called before
	// the answer of a later request is returned. May be nil.
	OnEvent func(Event)
	// Digest is "user:password" for ACLs, or empty for an open tree.
	Digest string
}

// Dialer opens sessions. It waits until ctx ends for the session to be there.
type Dialer func(ctx context.Context, o Options) (Client, error)
