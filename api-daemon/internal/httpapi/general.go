package httpapi

import (
	"bytes"
	"net/http"
	"strconv"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// getRoot is what clients look for to see that the API is there.
func (a *API) getRoot(*request) (*reply, error) {
	return withStatus(StatusRoot, "PVC API version 1"), nil
}

func (a *API) getVersion(*request) (*reply, error) {
	return jsonReply(map[string]string{"message": "PVC API version 1.0", "version": a.o.Version}), nil
}

// getHealth says that the daemon answers at all.
func (a *API) getHealth(*request) (*reply, error) { return message("alive"), nil }

// getReadiness says whether requests can be served: the state of the cluster is
// complete and follows ZooKeeper.
func (a *API) getReadiness(r *request) (*reply, error) {
	if err := a.fresh(r, false); err != nil {
		return nil, err
	}
	if age, stale := a.o.Mirror.Stale(); stale {
		return nil, errs.Unavailablef("ZooKeeper has not answered for %s s, only reads are served", strconv.Itoa(int(age.Seconds())))
	}
	return message("ready"), nil
}

func (a *API) getPrimaryNode(*request) (*reply, error) {
	var name string
	a.o.Mirror.Read(func(p Picture) { name = p.PrimaryNode() })
	return jsonReply(map[string]string{"primary_node": name}), nil
}

func (a *API) getMetrics(r *request) (*reply, error) {
	if a.o.Metrics == nil {
		return nil, errs.Conflictf("this daemon collects no metrics")
	}
	w := &buffer{header: make(http.Header)}
	in := r.Clone(r.Context())
	in.Header.Del("Accept-Encoding")
	a.o.Metrics.ServeHTTP(w, in)
	if w.status >= http.StatusBadRequest {
		return nil, errs.New(errs.Internal, "collect metrics: %s", bytes.TrimSpace(w.body.Bytes()))
	}
	return &reply{media: w.header.Get("Content-Type"), body: [][]byte{w.body.Bytes()}}, nil
}

// buffer is a response that is kept.
type buffer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (b *buffer) Header() http.Header         { return b.header }
func (b *buffer) WriteHeader(status int)      { b.status = status }
func (b *buffer) Write(p []byte) (int, error) { return b.body.Write(p) }
