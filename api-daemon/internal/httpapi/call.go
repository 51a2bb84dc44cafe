package httpapi

import (
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"runtime/debug"
	"strings"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/model"
)

// call is one request on its way: it records what is written and who asked.
type call struct {
	http.ResponseWriter
	id     string
	who    string // description of the token; empty if not known
	route  string // path of the route; empty if there is none
	status int
	bytes  int
}

var saneID = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)

func newCall(w http.ResponseWriter, r *http.Request) *call {
	id := r.Header.Get("X-Request-Id")
	if !saneID.MatchString(id) {
		id = rand.Text()
	}
	return &call{ResponseWriter: w, id: id}
}

// WriteHeader notes the code.
func (c *call) WriteHeader(status int) {
	if c.status == 0 {
		c.status = status
	}
	c.ResponseWriter.WriteHeader(status)
}

// Write counts the bytes.
func (c *call) Write(b []byte) (int, error) {
	if c.status == 0 {
		c.status = http.StatusOK
	}
	n, err := c.ResponseWriter.Write(b)
	c.bytes += n
	return n, err
}

// Unwrap lets http.ResponseController find the connection.
func (c *call) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// finish measures and logs a request. Reads that succeed are no news: clients poll.
func (a *API) finish(c *call, r *http.Request, begin time.Time) {
	took := time.Since(begin)
	a.o.Observe(r.Method, c.route, c.status, took)
	level := slog.LevelInfo
	if (r.Method == http.MethodGet || r.Method == http.MethodHead) && c.status < http.StatusBadRequest {
		level = slog.LevelDebug
	}
	if !a.o.Log.Enabled(r.Context(), level) {
		return
	}
	a.o.Log.LogAttrs(r.Context(), level, "request",
		slog.String("request", c.id), slog.String("method", model.Clip(r.Method)), slog.String("url", redacted(r.URL)),
		slog.Int("status", c.status), slog.Int("bytes", c.bytes), slog.Duration("took", took),
		slog.String("address", r.RemoteAddr), slog.String("who", c.who))
}

// guardPanic answers a request whose handler panicked.
func (a *API) guardPanic(c *call, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler {
		panic(v)
	}
	a.o.Log.Error("a request handler panicked", "request", c.id, "err", v, "stack", string(debug.Stack()))
	if c.status != 0 {
		panic(http.ErrAbortHandler) // the answer has begun: break it off visibly
	}
	withStatus(StatusFailed, "internal error, request "+c.id+": see the log of the API daemon").send(c, r)
}

const maxLoggedURL = 512

// redacted is the path and query for a log: without the token and documents, however
// their names are written, and not longer than a line.
func redacted(u *url.URL) string {
	s := u.EscapedPath()
	if u.RawQuery != "" {
		s += "?" + redactQuery(u.RawQuery)
	}
	if len(s) > maxLoggedURL {
		s = s[:maxLoggedURL] + "…"
	}
	return s
}

func redactQuery(query string) string {
	if len(query) > maxLoggedURL {
		if i := strings.LastIndexByte(query[:maxLoggedURL], '&'); i > 0 {
			query = query[:i] + "&…"
		} else {
			query = query[:maxLoggedURL]
		}
	}
	parts := strings.Split(query, "&")
	for i, part := range parts {
		raw, _, given := strings.Cut(part, "=")
		name, err := url.QueryUnescape(raw)
		if given && (err != nil || strings.EqualFold(name, token.name) || name == xml.name) {
			parts[i] = raw + "=REDACTED"
		}
	}
	return strings.Join(parts, "&")
}
