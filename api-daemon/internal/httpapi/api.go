package httpapi

import (
	"crypto/rand"
	"log/slog"
	"net/http"
	"time"

	"github.com/parallelvirtualcluster/pvc/api-daemon/internal/auth"
)

// Options wire the API.
type Options struct {
	Mirror  Mirror
	Changes Changes
	Auth    *auth.Auth
	Log     *slog.Logger
	// Metrics answers /metrics; nil answers that there are none.
	Metrics http.Handler
	// Observe is told of every request, with the path of its route ("" for an unknown
	// path), which keeps the number of series bounded; may be nil.
	Observe func(method, route string, status int, took time.Duration)
	// MetricsOpen shows /metrics without a token.
	MetricsOpen bool
	// Version is the version of the daemon, for messages.
	Version string
}

// API answers requests. It is safe for concurrent use and owns no goroutine.
type API struct {
	o       Options
	router  http.Handler
	shelves *shelves
}

// New returns the API.
func New(o Options) *API {
	if o.Observe == nil {
		o.Observe = func(string, string, int, time.Duration) {}
	}
	a := &API{o: o, shelves: newShelves(o.Mirror, rand.Text())}
	a.router = a.newRouter(table)
	return a
}

// Headers that all answers have; nobody changes them.
var (
	noSniff = []string{"nosniff"}
	noCache = []string{"private, no-cache"}
)

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := newCall(w, r)
	h := c.Header()
	h.Set("X-Request-Id", c.id)
	h["X-Content-Type-Options"], h["Cache-Control"] = noSniff, noCache
	begin := time.Now()
	defer func() { a.finish(c, r, begin) }()
	defer a.guardPanic(c, r)
	a.router.ServeHTTP(c, r)
}
