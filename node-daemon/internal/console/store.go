package console

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/coord"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// Position says up to where the text covers a console file. It is the JSON value of
// /domains/<uuid>/consolepos.
type Position struct {
	Node   string `json:"node"`            // whose file it is
	Boot   string `json:"boot,omitempty"`  // the host's boot id when it was read
	Run    string `json:"run"`             // the run of the guest that is followed
	Offset int64  `json:"offset"`          // bytes of the file that the text covers
	Inode  uint64 `json:"inode,omitempty"` // of the file
	// Tail is output before Offset that is not in the text: the beginning of a character.
	Tail []byte `json:"tail,omitempty"`
	// Cut is set before the first so many bytes of the file are cut. If the file is
	// shorter than Offset, it was done, and Offset is to be read as so much less.
	Cut int64 `json:"cut,omitempty"`
}

// Saved is a console log as it is stored.
type Saved struct {
	Text string
	At   Position // the zero value if there is none
	Rev  Revision
}

// Revision is the state of the stored log that a change was made to.
type Revision struct{ Text, At int32 }

// noKey is the revision of a key that does not exist.
const noKey int32 = -1

// Store keeps console logs by VM.
type Store interface {
	// Load returns the present log, empty if there is none.
	Load(ctx context.Context, uuid string) (Saved, error)
	// Save replaces text and position, both or neither, if both are still at s.Rev, and
	// returns the new state. errs.Conflict: they are not; errs.NotFound: the VM is gone.
	Save(ctx context.Context, uuid string, s Saved) (Saved, error)
}

type (
	// CommitFunc executes a transaction about a VM; a refusal is a *coord.TxnError.
	CommitFunc = func(ctx context.Context, uuid string, txn coord.Txn) error
	// GetFunc reads a znode; a missing one is coord.ErrNoNode.
	GetFunc = func(ctx context.Context, path string) ([]byte, coord.Stat, error)
)

type zkStore struct {
	commit CommitFunc
	get    GetFunc
}

// NewZKStore returns the Store in ZooKeeper.
func NewZKStore(commit CommitFunc, get GetFunc) Store { return &zkStore{commit, get} }

func (z *zkStore) Load(ctx context.Context, uuid string) (Saved, error) {
	var s Saved
	text, rev, err := z.read(ctx, schema.VM(uuid, schema.VMConsoleLog))
	if err != nil {
		return s, err
	}
	s.Text, s.Rev.Text = schema.Text(string(text)), rev
	at, rev, err := z.read(ctx, schema.VM(uuid, schema.VMConsolePos))
	if err != nil {
		return s, err
	}
	s.Rev.At = rev
	if json.Unmarshal(at, &s.At) != nil || s.At.Offset < 0 || s.At.Cut < 0 {
		s.At = Position{} // of nobody: whoever follows the guest now begins anew
	}
	return s, nil
}

func (z *zkStore) read(ctx context.Context, path string) ([]byte, int32, error) {
	data, stat, err := z.get(ctx, path)
	if errors.Is(err, coord.ErrNoNode) {
		return nil, noKey, nil
	}
	if err != nil {
		return nil, 0, fmt.Errorf("read console log: %w", err)
	}
	return data, stat.Version, nil
}

func (z *zkStore) Save(ctx context.Context, uuid string, s Saved) (Saved, error) {
	at, err := json.Marshal(s.At)
	if err != nil {
		return s, fmt.Errorf("encode console position: %w", err)
	}
	var txn coord.Txn
	s.Text = strings.ToValidUTF8(s.Text, "\uFFFD")
	if s.Rev.Text == noKey || s.Rev.At == noKey {
		complete(&txn, uuid)
	}
	s.Rev.Text = put(&txn, schema.VM(uuid, schema.VMConsoleLog), []byte(s.Text), s.Rev.Text)
	s.Rev.At = put(&txn, schema.VM(uuid, schema.VMConsolePos), at, s.Rev.At)
	if err := z.commit(ctx, uuid, txn); err != nil {
		return s, saveError(uuid, err)
	}
	return s, nil
}

// complete makes a transaction fail on a VM that an old client is deleting key by key:
// one made anew would keep it from deleting the VM itself.
func complete(txn *coord.Txn, uuid string) {
	for _, key := range []string{schema.VMState, schema.VMNode, schema.VMLastNode, schema.VMFailedReason, schema.VMRBDList, schema.VMXML} {
		txn.Check(schema.VM(uuid, key), coord.AnyVersion)
	}
}

// put writes a key and returns the version it has then: every Set counts by one.
func put(txn *coord.Txn, path string, data []byte, version int32) int32 {
	if version == noKey {
		txn.Create(path, data)
	} else {
		txn.Set(path, data, version)
	}
	return version + 1
}

// saveError tells a VM that is gone from a log that somebody else has changed.
func saveError(uuid string, err error) error {
	var refused *coord.TxnError
	if errors.As(err, &refused) && refused.Op.Kind != coord.OpSet && errors.Is(err, coord.ErrNoNode) &&
		schema.Parent(refused.Op.Path) == schema.VM(uuid) {
		return errs.NotFoundf("save console log: the VM %s is gone: %w", uuid, err)
	}
	return fmt.Errorf("save console log: %w", err)
}
