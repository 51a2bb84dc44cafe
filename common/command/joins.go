package command

import "github.com/parallelvirtualcluster/pvc/common/view"

// Joins reports whether Submit would not make a command of the request, as there is one
// already: the same, which it joins, or another one with its key. Such a request is not to be
// checked against the state of the cluster, which may be what the command has made of it.
// Arguments that do not pass are errs.Invalid.
func (q *Queue) Joins(r Request) (joins bool, err error) {
	c, _, err := r.command()
	if err != nil {
		return false, err
	}
	q.view.Read(func(s *view.Snapshot) {
		old, there := s.Command(c.ID)
		joins = there && (!old.Finished() || c.Key != "")
	})
	return joins, nil
}
