package schema

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// Keys below a command.
const (
	CommandExecutor  = "executor" // JSON model.CommandExecutor
	CommandProgress  = "progress" // JSON model.CommandProgress
	CommandNote      = "note"     // JSON, of the executor
	CommandResult    = "result"   // JSON model.CommandResult
	CommandCancel    = "cancel"   // text: why nobody is to go on with it
	CommandGenPrefix = "gen-"     // gen-<nonce>: identity child
	CommandByPrefix  = "by-"      // by-<rand>: ephemeral of the executor
	// CommandLostPrefix begins lost-<rand>: JSON model.CommandExecutor of an earlier executor
	// that may still send something to Ceph. What the command is about is reserved.
	CommandLostPrefix = "lost-"
)

// Command returns the path of a command or of a key below it.
func Command(id string, key ...string) string { return join(Commands, id, key) }

// CommandGen returns the path of a command's identity child.
func CommandGen(id, nonce string) string { return Command(id, CommandGenPrefix+nonce) }

// CommandBy returns the path of an executor's ephemeral child.
func CommandBy(id, by string) string { return Command(id, CommandByPrefix+by) }

// CommandLost returns the path of what is kept of an earlier executor.
func CommandLost(id, by string) string { return Command(id, CommandLostPrefix+by) }

// EncodeCommand is the data of a command's znode.
func EncodeCommand(c *model.Command) []byte { return encode(c) }

// EncodeExecutor, EncodeProgress and EncodeResult are the data of a command's children.
func EncodeExecutor(e model.CommandExecutor) []byte { return encode(e) }

// EncodeProgress: see EncodeExecutor.
func EncodeProgress(p model.CommandProgress) []byte { return encode(p) }

// EncodeResult: see EncodeExecutor. Data that is not JSON is left out.
func EncodeResult(r model.CommandResult) []byte {
	if !json.Valid(r.Data) {
		r.Data = nil
	}
	return encode(r)
}

// encode is for values that cannot fail to be encoded.
func encode(v any) []byte {
	data, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err))
	}
	return data
}

// DecodeCommand reads a command; ok is false if it does not exist, or is none. What is
// below it and cannot be read is reported: an executor then is one that cannot be fenced,
// a result one that failed.
func DecodeCommand(t Tree, id string) (c *model.Command, ok bool, err error) {
	data, _, ok := t.Data(Command(id))
	if !ok {
		return nil, false, nil
	}
	c = &model.Command{}
	if err := json.Unmarshal([]byte(data), c); err != nil {
		return nil, false, fmt.Errorf("%s: %w", Command(id), err)
	}
	if c.Verb == "" || c.Nonce == "" {
		return nil, false, fmt.Errorf("%s: a command without verb or nonce", Command(id))
	}
	c.ID, c.Children = id, append([]string(nil), t.Children(Command(id))...)
	there := false
	for _, child := range c.Children {
		if by, is := strings.CutPrefix(child, CommandByPrefix); is {
			c.By = by
		}
		there = there || child == CommandGenPrefix+c.Nonce
	}
	if !there {
		return nil, false, nil // half of one: its children come with the next reading
	}
	return c, true, decodeCommandState(t, c)
}

func decodeCommandState(t Tree, c *model.Command) error {
	var failures []error
	read := func(key string, into any) bool {
		data, version, ok := t.Data(Command(c.ID, key))
		if !ok {
			return false
		}
		if key == CommandExecutor {
			c.ExecutorVersion = version
		}
		if err := json.Unmarshal([]byte(data), into); err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", Command(c.ID, key), err))
		}
		return true
	}
	var executor model.CommandExecutor
	if read(CommandExecutor, &executor) {
		c.Executor = &executor
	}
	var progress model.CommandProgress
	if read(CommandProgress, &progress) {
		c.Progress = &progress
	}
	var result model.CommandResult
	if read(CommandResult, &result) {
		c.Result = &result
	}
	for _, child := range c.Children {
		if by, is := strings.CutPrefix(child, CommandLostPrefix); is {
			var lost model.CommandExecutor
			read(child, &lost)
			lost.By = by
			c.Lost = append(c.Lost, lost)
		}
	}
	if note, _, ok := t.Data(Command(c.ID, CommandNote)); ok && json.Valid([]byte(note)) {
		c.Note = json.RawMessage(note)
	}
	c.Cancel, _, _ = t.Data(Command(c.ID, CommandCancel))
	return errors.Join(failures...)
}
