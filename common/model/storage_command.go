package model

import "encoding/json"

// Command is something that a host is to do with Ceph, /commands/<id>. It is immutable
// once published.
type Command struct {
	ID string `json:"-"` // from the idempotency key, or from the request itself
	// Seq orders commands: that of a later one is larger.
	Seq int64 `json:"-"`

	Verb     string          `json:"verb"`
	Args     json.RawMessage `json:"args"`              // a JSON object
	Node     string          `json:"node,omitempty"`    // that is to execute it; empty: whoever is first
	Any      bool            `json:"any,omitempty"`     // others may when Node is gone
	Request  string          `json:"request,omitempty"` // id of the request that asked for it
	Key      string          `json:"key,omitempty"`     // given by the client, for its retries
	Identity string          `json:"identity"`          // hash of what was asked for
	Nonce    string          `json:"nonce"`             // another one whenever a command is made

	Executor *CommandExecutor `json:"-"` // nil before it is claimed
	// By is the random part of the executor's ephemeral child; empty when there is none
	// (any more).
	By       string           `json:"-"`
	Progress *CommandProgress `json:"-"`
	Note     json.RawMessage  `json:"-"` // what an attempt has written down for the next
	Result   *CommandResult   `json:"-"` // nil before the end
	Cancel   string           `json:"-"` // why nobody is to go on with it; empty if nobody said so
	// Lost are earlier executors of which nobody knows yet that their processes can send
	// nothing to Ceph any more. What cannot be read of one is empty.
	Lost     []CommandExecutor `json:"-"`
	Children []string          `json:"-"` // names below the command

	// ResultSeq is the transaction that wrote the result together with the records.
	ResultSeq       int64 `json:"-"`
	ExecutorVersion int32 `json:"-"`
}

// Finished reports whether the command has come to its end.
func (c *Command) Finished() bool { return c.Result != nil }

// CommandExecutor is who has claimed a command, /commands/<id>/executor.
type CommandExecutor struct {
	Node     string `json:"node"`
	Instance string `json:"instance"` // of its daemon
	Client   string `json:"client"`   // its Ceph client, IP:0/NONCE
	By       string `json:"by"`       // random part of its ephemeral child
	Attempt  int    `json:"attempt"`  // counted from 1
}

// CommandProgress is how far an executor is, /commands/<id>/progress.
type CommandProgress struct {
	Current int64  `json:"current"`
	Total   int64  `json:"total"` // 0 if it is not known
	Status  string `json:"status,omitempty"`
}

// CommandResult is how a command ended, /commands/<id>/result.
type CommandResult struct {
	OK      bool            `json:"ok"`
	Message string          `json:"message"`        // what was done, or why it failed
	Kind    string          `json:"kind,omitempty"` // of the error, in the words of errs.Kind
	Data    json.RawMessage `json:"data,omitempty"`
	By      string          `json:"by,omitempty"` // of the executor that wrote it
	// Set and Below are the records that were changed with it: paths whose data was set,
	// and paths below which records came or went. All is set if they are too many to name.
	Set   []string `json:"set,omitempty"`
	Below []string `json:"below,omitempty"`
	All   bool     `json:"all,omitempty"`
}
