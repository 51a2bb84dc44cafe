package command

import (
	"cmp"
	"fmt"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
	"github.com/parallelvirtualcluster/pvc/common/view"
)

// TaskState is how far a command is, in the words of the API's tasks.
type TaskState string

// The states of a task.
const (
	TaskPending TaskState = "PENDING" // no host has begun
	TaskRunning TaskState = "RUNNING"
	TaskSuccess TaskState = "SUCCESS"
	TaskFailure TaskState = "FAILURE"
)

// Task is a command as the API shows it.
type Task struct {
	ID     string
	Verb   Verb
	State  TaskState
	RunsOn string // host that executes it, or is asked to; empty if any may
	// Current of Total steps are done; Total is 0 where they are not counted.
	Current, Total int64
	// Status is what is being done or waited for, or the message at the end.
	Status string
	Result Result // of a success
	Err    error  // of a failure, with its kind
}

// Task looks at a command. It is errs.NotFound when there is none of that id (any more).
func (q *Queue) Task(id string) (t Task, err error) {
	q.view.Read(func(s *view.Snapshot) {
		c, ok := s.Command(id)
		if !ok {
			err = errs.NotFoundf("no task has the id %q: finished ones are kept for some minutes, with an idempotency key for an hour", model.Clip(id))
			return
		}
		t = taskOf(s, c)
	})
	return t, err
}

func taskOf(s *view.Snapshot, c *Command) Task {
	t := Task{ID: c.ID, Verb: Verb(c.Verb), State: TaskPending, RunsOn: c.Node}
	if c.Executor != nil {
		t.State, t.RunsOn = TaskRunning, cmp.Or(c.Executor.Node, c.Node)
	}
	if p := c.Progress; p != nil {
		t.Current, t.Total, t.Status = p.Current, p.Total, p.Status
	}
	if c.Result == nil {
		if t.Status == "" || c.By == "" {
			t.Status = waitsFor(s, c)
		}
		return t
	}
	t.Status, t.Err = c.Result.Message, failure(c.Result)
	t.State, t.Result = TaskSuccess, Result{Message: c.Result.Message, Data: c.Result.Data}
	if t.Err != nil {
		t.State, t.Result = TaskFailure, Result{}
	}
	return t
}

// waitsFor says why a command has not ended.
func waitsFor(s *view.Snapshot, c *Command) string {
	switch {
	case c.Executor != nil && c.By != "":
		return "host " + c.Executor.Node + " is executing it"
	case c.Executor != nil:
		return fmt.Sprintf("the daemon of host %s stopped executing it; before it is finished, %s makes sure that nothing of it goes on there", c.Executor.Node, whoMay(s, c))
	case c.Node == "":
		return "it waits for a host with storage"
	}
	return "it waits for " + whoMay(s, c)
}

// whoMay names who is to execute a command.
func whoMay(s *view.Snapshot, c *Command) string {
	switch {
	case c.Node == "", c.Any && !alive(s, c.Node):
		return "another host"
	case !alive(s, c.Node):
		return fmt.Sprintf("host %s, whose daemon is not connected", c.Node)
	}
	return "host " + c.Node
}

// alive reports whether the daemon of a node is connected.
func alive(s *view.Snapshot, node string) bool {
	n, ok := s.Node(node)
	return ok && n.Alive()
}
