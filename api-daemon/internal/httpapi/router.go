package httpapi

import (
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gorilla/mux"

	"github.com/parallelvirtualcluster/pvc/common/errs"
	"github.com/parallelvirtualcluster/pvc/common/model"
)

// endpoint is all routes of one path.
type endpoint struct {
	api     *API
	path    string
	allow   string
	methods map[string]*bound
}

// bound is a route with what is derived from it.
type bound struct {
	*route
	body bodyReader
}

// newRouter decides on encoded paths: a %2F in a name is part of the name. Nothing is
// redirected; a path with another slash is another path.
func (a *API) newRouter(rows []route) http.Handler {
	m := mux.NewRouter().SkipClean(true).UseEncodedPath()
	m.NotFoundHandler = http.HandlerFunc(notFound)
	endpoints := make(map[string]*endpoint)
	for i := range rows {
		row := &rows[i]
		e := endpoints[row.path]
		if e == nil {
			e = &endpoint{api: a, path: row.path, methods: make(map[string]*bound)}
			endpoints[row.path] = e
			m.MatcherFunc(beginsLike(row.path)).Path(row.path).Handler(e)
		}
		b := &bound{route: row, body: bodyReader{known: knownNames(row), rawXML: row.rawXML}}
		e.methods[row.method] = b
		if row.method == http.MethodGet {
			e.methods[http.MethodHead] = b
		}
	}
	for _, e := range endpoints {
		var names []string
		for name := range e.methods {
			names = append(names, name)
		}
		slices.Sort(names)
		e.allow = strings.Join(names, ", ")
	}
	return normalized(m)
}

// beginsLike spares the path's regular expression for requests that cannot match it:
// the router asks one route after the other.
func beginsLike(path string) mux.MatcherFunc {
	fixed, _, _ := strings.Cut(path, "{")
	return func(r *http.Request, _ *mux.RouteMatch) bool {
		raw := r.URL.RawPath
		if raw == "" {
			raw = r.URL.Path
		}
		return strings.HasPrefix(raw, fixed)
	}
}

// knownNames are the spellings a route looks at, and the token.
func knownNames(r *route) map[string]bool {
	known := map[string]bool{token.name: true}
	for i := range r.values {
		for _, name := range r.values[i].spellings() {
			known[name] = true
		}
	}
	return known
}

// normalized writes an encoded path in one way only, so that /api/v1/%76m is
// /api/v1/vm.
func normalized(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.RawPath == "" {
			next.ServeHTTP(w, r)
			return
		}
		elements := strings.Split(r.URL.EscapedPath(), "/")
		for i, element := range elements {
			if plain, err := url.PathUnescape(element); err == nil {
				elements[i] = url.PathEscape(plain)
			}
		}
		u := *r.URL
		u.RawPath = strings.Join(elements, "/")
		copied := *r
		copied.URL = &u
		next.ServeHTTP(w, &copied)
	})
}

func notFound(w http.ResponseWriter, r *http.Request) {
	withStatus(http.StatusNotFound, "no such path: "+model.Clip(r.URL.EscapedPath())).send(w, r)
}

// ServeHTTP runs the route of the method.
func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := w.(*call) // API.ServeHTTP is the only caller
	c.route = e.path
	b := e.methods[r.Method]
	if b == nil {
		c.Header().Set("Allow", e.allow)
		withStatus(http.StatusMethodNotAllowed, "method "+model.Clip(r.Method)+" is not allowed here, only "+e.allow).send(c, r)
		return
	}
	e.api.run(c, r, b).send(c, r)
}

// pathValues decodes the elements of the path once.
func pathValues(r *http.Request) (map[string]string, error) {
	vars := mux.Vars(r)
	for name, raw := range vars {
		plain, err := url.PathUnescape(raw)
		if err != nil {
			return nil, errs.Invalidf("path element <%s>: %w", name, err)
		}
		if !utf8.ValidString(plain) || strings.IndexByte(plain, 0) >= 0 {
			return nil, errs.Invalidf("path element <%s> is not valid text", name)
		}
		vars[name] = plain
	}
	return vars, nil
}
