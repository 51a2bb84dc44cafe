package view

import (
	"cmp"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/schema"
)

// wantCommand is the scope of commands, given the path's elements below /commands. The
// names of identity and executor say all of them.
func wantCommand(below []string) Interest {
	switch len(below) {
	case 0:
		return Interest{Children: true}
	case 1:
		return Interest{Data: true, Children: true}
	case 2:
		return Interest{Data: !strings.HasPrefix(below[1], schema.CommandGenPrefix) && !strings.HasPrefix(below[1], schema.CommandByPrefix)}
	}
	return Interest{}
}

// groupCommand returns the id if a group is a command.
func groupCommand(group string) (string, bool) { return strings.CutPrefix(group, schema.Commands+"/") }

func (t *tables) updateCommand(tr schema.Tree, id string, log *slog.Logger) {
	c, ok, err := schema.DecodeCommand(tr, id)
	if err != nil {
		log.Warn("a command has an unreadable value", "command", id, "err", err)
	}
	if ok {
		// A command's data is never set again, so that this is when it was made.
		c.Seq = zxidOf(tr, schema.Command(id))
		c.ResultSeq = zxidOf(tr, schema.Command(id, schema.CommandResult))
	}
	t.commandGeneration++
	t.commandOrder.list = nil
	put(t.commands, id, c, ok)
}

// zxidOf is the transaction that last set the data of a mirrored znode.
func zxidOf(tr schema.Tree, path string) int64 {
	if t, ok := tr.(tree); ok {
		if e := t.m.entries[path]; e != nil {
			return e.mzxid
		}
	}
	return 0
}

// CommandGeneration changes with every change of a command.
func (s *Snapshot) CommandGeneration() uint64 { return s.t.commandGeneration }

// commandOrder is the list of all commands, nil when it has to be made.
type commandOrder struct {
	mu   sync.Mutex // of those who read at the same time
	list []*model.Command
}

// Commands returns all commands in the order in which they were made. The slice is shared and
// never changed: neither by the view, nor by who gets it.
func (s *Snapshot) Commands() []*model.Command {
	o := &s.t.commandOrder
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.list == nil {
		o.list = make([]*model.Command, 0, len(s.t.commands))
		for _, c := range s.t.commands {
			o.list = append(o.list, c)
		}
		slices.SortFunc(o.list, func(a, b *model.Command) int {
			return cmp.Or(cmp.Compare(a.Seq, b.Seq), strings.Compare(a.ID, b.ID))
		})
	}
	return o.list
}

// Command returns the command of that id.
func (s *Snapshot) Command(id string) (*model.Command, bool) {
	c, ok := s.t.commands[id]
	return c, ok
}

// UnfinishedCommands counts the commands without a result.
func (s *Snapshot) UnfinishedCommands() (n int) {
	for _, c := range s.t.commands {
		if !c.Finished() {
			n++
		}
	}
	return n
}
