package httpapi

import (
	"net/http"
	"strings"

	"github.com/parallelvirtualcluster/pvc/common/cluster"
	"github.com/parallelvirtualcluster/pvc/common/command"
)

// taskBegun is the answer to who does not wait.
type taskBegun struct {
	ID   string `json:"task_id"`
	Name string `json:"task_name"`
	Node string `json:"run_on"`
}

// taskJSON is how far a task is.
type taskJSON struct {
	taskBegun
	State   string `json:"state"`
	Current int64  `json:"current"`
	Total   int64  `json:"total"` // at least 1, as clients divide by it
	Status  string `json:"status"`
}

// asTask reports whether the client wants a task instead of waiting. The public client
// does not say so, but cannot do anything else.
func asTask(r *request) bool {
	if strings.HasPrefix(r.UserAgent(), "pvc-client-cli/") {
		return true
	}
	for _, header := range r.Header.Values("Prefer") { // RFC 7240
		for preference := range strings.SplitSeq(header, ",") {
			name, _, _ := strings.Cut(preference, ";")
			if strings.EqualFold(strings.TrimSpace(name), "respond-async") {
				return true
			}
		}
	}
	return false
}

// begun answers a command that has begun: at once with its task, or at its end.
func (a *API) begun(r *request) func(cluster.Begun, error) (*reply, error) {
	return func(b cluster.Begun, err error) (*reply, error) {
		if err != nil {
			return nil, err
		}
		if !asTask(r) {
			return answered(a.o.Changes.WaitFor(r.Context(), b))
		}
		p := jsonReply(taskBegun{b.Handle.ID, taskName(b.Verb), b.Node})
		p.status, p.location = http.StatusAccepted, "/api/v1/tasks/"+b.Handle.ID
		return p, nil
	}
}

// taskName is a verb in the words of the public client: "osd.add".
func taskName(v command.Verb) string { return strings.Replace(string(v), "_", ".", 1) }

func (a *API) getTask(r *request) (*reply, error) {
	t, err := a.o.Changes.Task(r.path["task"])
	if err != nil {
		return nil, err
	}
	out := taskJSON{taskBegun{t.ID, taskName(t.Verb), t.RunsOn}, string(t.State), t.Current, max(t.Total, 1), t.Status}
	if t.State == command.TaskSuccess {
		out.Current = out.Total
	}
	return jsonReply(out), nil
}
