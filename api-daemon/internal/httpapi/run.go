package httpapi

import (
	"context"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/parallelvirtualcluster/pvc/api-daemon/internal/auth"
	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// request is what a handler sees.
type request struct {
	*http.Request
	call   *call
	path   map[string]string // elements of the path, decoded
	values values
}

// run takes a request through its steps.
func (a *API) run(c *call, r *http.Request, b *bound) *reply {
	given, readErr := b.body.readSources(r)
	req := &request{Request: r, call: c}
	p, err := a.answer(req, b, given, readErr)
	if err != nil {
		if errs.KindOf(err) == errs.Internal {
			a.o.Log.Error("request failed", "request", c.id, "route", b.path, "err", err)
		}
		p = failure(c, err)
	}
	if b.changes() {
		a.audit(req, b, given, p, err)
	}
	return p
}

// answer checks and handles. Who asks is settled first: nobody else learns what is
// wrong with a request.
func (a *API) answer(req *request, b *bound, given *sources, readErr error) (*reply, error) {
	if err := a.admit(req, b, given); err != nil {
		return nil, err
	}
	if readErr != nil {
		return nil, readErr
	}
	var err error
	if req.path, err = pathValues(req.Request); err != nil {
		return nil, err
	}
	if req.values, err = decodeValues(b.values, given); err != nil {
		return nil, err
	}
	if b.cluster {
		if err := a.fresh(req, b.changes()); err != nil {
			return nil, err
		}
	}
	if b.changes() {
		ctx, cancel := workContext(req, b.waits)
		defer cancel()
		req.Request = req.WithContext(ctx)
	}
	return b.handle(a, req)
}

// admit says who asks, and whether a browser may have been made to.
func (a *API) admit(req *request, b *bound, given *sources) error {
	if b.access == open || b.access == metrics && a.o.MetricsOpen {
		return nil
	}
	value := ""
	texts, isGiven := given.lookup(token.name)
	if isGiven {
		value = texts[0]
	}
	who, err := a.o.Auth.Identify(req.Request, value, isGiven)
	if err != nil {
		return err
	}
	req.call.who = who.Name
	if b.changes() {
		return a.o.Auth.CheckOrigin(req.Request, who)
	}
	return nil
}

// fresh refuses what cannot be answered from the view, and marks what is old.
func (a *API) fresh(req *request, change bool) error {
	if !a.o.Mirror.Ready() {
		return errs.Unavailablef("the state of the cluster is not loaded from ZooKeeper yet")
	}
	age, stale := a.o.Mirror.Stale()
	if !stale {
		return nil
	}
	seconds := int(math.Ceil(age.Seconds()))
	req.call.Header().Set("X-PVC-Stale", strconv.Itoa(seconds))
	if change {
		return errs.Unavailablef("nothing was changed: ZooKeeper has not answered for %d s", seconds)
	}
	return nil
}

// changeTimeout bounds a change that does not wait for its end on request.
const changeTimeout = 2 * time.Minute

// workContext is the context of a change. A client that hangs up does not stop it
// half-way, unless it had asked to wait: then the waiting ends. A route that always waits
// sees to the former itself. The read deadline of the connection is over, so that a long
// wait is not taken for a slow request.
func workContext(req *request, waits bool) (context.Context, context.CancelFunc) {
	_ = http.NewResponseController(req.call).SetReadDeadline(time.Time{}) // a test's recorder has none
	if waits || req.values.flag(wait.name) {
		return context.WithCancel(req.Context())
	}
	return context.WithTimeout(context.WithoutCancel(req.Context()), changeTimeout)
}

// audit leaves a line about a change: who, what, outcome.
func (a *API) audit(req *request, b *bound, given *sources, p *reply, err error) {
	attrs := []slog.Attr{
		slog.String("request", req.call.id), slog.String("who", req.call.who), slog.String("address", req.RemoteAddr),
		slog.String("method", b.method), slog.String("route", b.path),
		slog.Any("object", req.path), slog.Any("values", auditValues(b, given)),
		slog.Int("status", max(p.status, http.StatusOK)),
	}
	if err != nil {
		attrs = append(attrs, slog.String("err", err.Error()))
	}
	a.o.Log.LogAttrs(req.Context(), slog.LevelInfo, "audit", attrs...)
}

// auditValues are the given values; of documents only the size, of tokens nothing.
func auditValues(b *bound, given *sources) map[string]string {
	out := make(map[string]string)
	for i := range b.values {
		for _, name := range b.values[i].spellings() {
			texts, ok := given.lookup(name)
			switch {
			case !ok || name == token.name:
			case name == xml.name:
				out[name] = strconv.Itoa(len(texts[0])) + " bytes"
			default:
				out[name] = model.Clip(texts[0])
			}
		}
	}
	return out
}

// noted logs a login or logout.
func (a *API) noted(req *request, what string, who auth.Identity) {
	req.call.who = who.Name
	a.o.Log.Info("audit", "request", req.call.id, "who", who.Name, "address", req.RemoteAddr, "method", req.Method, "route", what)
}
