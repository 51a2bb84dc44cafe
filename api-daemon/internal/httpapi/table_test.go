package httpapi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// A row says how to call a route of the table: a good text for every value, a wrong
// one where there is any, and what then is asked of the cluster.
type row struct {
	good   map[string]string
	wrong  map[string]string // values that are not named take any text
	status int               // 0 is 200
	call   string            // with all values
	bare   string            // with the mandatory values only
	// cleared are the calls when a value is given empty that then takes away what is stored.
	cleared map[string]string
	// alone are the calls with the mandatory values and one other, where that is not the
	// call with all values.
	alone map[string]string
}

var rows = map[string]row{
	"GET /api/v1":              {status: 209},
	"GET /api/v1/":             {},
	"GET /healthz":             {},
	"GET /readyz":              {},
	"GET /metrics":             {},
	"GET /api/v1/metrics":      {},
	"GET /api/v1/auth/login":   {good: given("next", "/api/v1/vm"), wrong: given("next", "https://evil.example/")},
	"POST /api/v1/auth/login":  {good: given("token", testToken, "next", "/x"), wrong: given("next", "//evil.example")},
	"GET /api/v1/auth/logout":  {good: given("next", "/x"), wrong: given("next", `/\evil.example`)},
	"POST /api/v1/auth/logout": {good: given("next", "/x"), wrong: given("next", "evil")},
	"POST /api/v1/login":       {good: given("token", testToken, "next", "/x"), wrong: given("next", "/\tx")},
	"POST /api/v1/logout":      {good: given("next", "/x"), wrong: given("next", "javascript:alert(1)")},

	"GET /api/v1/status/primary_node": {},

	"GET /api/v1/node": {
		good:  given("limit", "^hv", "daemon_state", "run", "coordinator_state", "primary", "domain_state", "ready"),
		wrong: given("limit", "(?<x", "daemon_state", "Run", "coordinator_state", "first", "domain_state", "flushing"),
	},
	"GET /api/v1/node/{node}":                   {},
	"DELETE /api/v1/node/{node}":                {good: given("yes_i_really_mean_it", "yes"), wrong: given("yes_i_really_mean_it", "perhaps"), call: "remove hv1", status: 200, bare: "refused"},
	"GET /api/v1/node/{node}/daemon-state":      {},
	"GET /api/v1/node/{node}/coordinator-state": {},
	"POST /api/v1/node/{node}/coordinator-state": {
		good: given("coordinator-state", "primary", "wait", "1"), wrong: given("coordinator-state", "client", "wait", "2"),
		call: "{Node:hv1 State:primary Wait:true}", bare: "{Node:hv1 State:primary Wait:false}",
	},
	"GET /api/v1/node/{node}/domain-state": {},
	"POST /api/v1/node/{node}/domain-state": {
		good: given("domain-state", "flush", "wait", "yes"), wrong: given("domain-state", "flushed", "wait", "maybe"),
		call: "{Node:hv1 State:flush Wait:true}", bare: "{Node:hv1 State:flush Wait:false}",
	},

	"GET /api/v1/vm": {
		good:  given("limit", "web", "node", "hv1", "state", "start", "tag", "", "negate", "False"),
		wrong: given("limit", strings.Repeat("a", 257), "node", "hv9", "state", "START", "tag", "prod", "negate", "True"),
	},
	"POST /api/v1/vm": {
		good: given("xml", "<domain/>", "node", "hv2", "selector", "vcpus", "limit", "none", "autostart", "False",
			"migration_method", "none", "migration_max_downtime", "300", "user_tags", "", "protected_tags", ""),
		wrong: given("selector", "best", "limit", "hv1", "autostart", "True", "migration_method", "live",
			"migration_max_downtime", "500", "user_tags", "prod", "protected_tags", "prod"),
		call: "{XML:<domain/> Node:hv2 Selector:vcpus}", bare: "{XML:<domain/> Node: Selector:}",
	},
	"GET /api/v1/vm/{vm}":  {},
	"POST /api/v1/vm/{vm}": {status: 510},
	"PUT /api/v1/vm/{vm}": {
		good: given("xml", "<domain/>", "restart", "True"), wrong: given("restart", "later"),
		call: "{VM:web1 XML:<domain/> Restart:true}", bare: "{VM:web1 XML:<domain/> Restart:false}",
	},
	"DELETE /api/v1/vm/{vm}": {
		good: given("delete_disks", "on"), wrong: given("delete_disks", "all"),
		call: "{VM:web1 DeleteDisks:true}", bare: "{VM:web1 DeleteDisks:false}",
	},
	"GET /api/v1/vm/{vm}/state": {},
	"POST /api/v1/vm/{vm}/state": {
		good: given("state", "shutdown", "force", "TRUE", "wait", "1"), wrong: given("state", "disable", "force", "x", "wait", "tru"),
		call: "{VM:web1 State:shutdown Force:true Wait:true}", bare: "{VM:web1 State:shutdown Force:false Wait:false}",
	},
	"GET /api/v1/vm/{vm}/node": {},
	"POST /api/v1/vm/{vm}/node": {
		good:  given("action", "migrate", "node", "hv2", "selector", "mem", "permanent", "1", "force", "1", "force_live", "1", "wait", "1"),
		wrong: given("action", "teleport", "selector", "MEM", "permanent", "x", "force", "x", "force_live", "x", "wait", "x"),
		call:  "{VM:web1 Action:migrate Node:hv2 Selector:mem Permanent:true Force:true ForceLive:true Wait:true}",
		bare:  "{VM:web1 Action:migrate Node: Selector: Permanent:false Force:false ForceLive:false Wait:false}",
	},
	"GET /api/v1/vm/{vm}/dump":    {},
	"GET /api/v1/vm/{vm}/console": {good: given("lines", "7"), wrong: given("lines", "0"), call: "console " + web1 + " 7", bare: "console " + web1 + " 1000"},
}

func given(pairs ...string) map[string]string {
	out := make(map[string]string)
	for i := 0; i < len(pairs); i += 2 {
		out[pairs[i]] = pairs[i+1]
	}
	return out
}

// pair is one name and text of a request, in order.
type pair struct{ name, text string }

// transports are the ways values travel.
var transports = map[string]func(*testing.T, *route, []pair) *http.Request{
	"query": func(_ *testing.T, r *route, in []pair) *http.Request { return newRequest(r, in, "", "") },
	"form": func(_ *testing.T, r *route, in []pair) *http.Request {
		return newRequest(r, nil, "application/x-www-form-urlencoded; charset=utf-8", urlencoded(in))
	},
	"multipart": func(t *testing.T, r *route, in []pair) *http.Request {
		var b bytes.Buffer
		w := multipart.NewWriter(&b)
		for _, p := range in {
			if err := w.WriteField(p.name, p.text); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return newRequest(r, nil, w.FormDataContentType(), b.String())
	},
	"JSON": func(t *testing.T, r *route, in []pair) *http.Request {
		var fields []string
		for _, p := range in {
			name, err := json.Marshal(p.name)
			if err != nil {
				t.Fatal(err)
			}
			fields = append(fields, string(name)+":"+jsonString(p.text))
		}
		return newRequest(r, nil, "application/json", "{"+strings.Join(fields, ",")+"}")
	},
	"mixed": func(_ *testing.T, r *route, in []pair) *http.Request {
		var query, form []pair
		side := make(map[string]bool)
		for _, p := range in {
			if _, seen := side[p.name]; !seen {
				side[p.name] = len(side)%2 == 0
			}
			if side[p.name] {
				query = append(query, p)
			} else {
				form = append(form, p)
			}
		}
		return newRequest(r, query, "application/x-www-form-urlencoded", urlencoded(form))
	},
}

// jsonString quotes a text and leaves bytes that are not UTF-8 in it.
func jsonString(s string) string {
	s = strings.ReplaceAll(s, `\`, `\\`)
	s = strings.ReplaceAll(s, `"`, `\"`)
	s = strings.ReplaceAll(s, "\t", `\t`)
	return `"` + strings.ReplaceAll(s, "\x00", `\u0000`) + `"`
}

func urlencoded(in []pair) string {
	var out []string
	for _, p := range in {
		out = append(out, url.QueryEscape(p.name)+"="+url.QueryEscape(p.text))
	}
	return strings.Join(out, "&")
}

var lastPeer int

// newRequest calls a route; every request comes from another address, because wrong
// tokens slow down an address.
func newRequest(r *route, query []pair, contentType, body string) *http.Request {
	target := strings.NewReplacer("{vm}", "web1", "{node}", "hv1", "{network}", "office", "{lease}", "52:54:00:00:00:02", "{acl}", "ssh",
		"{osd}", "osd.3", "{pool}", "vms", "{volume}", "disk0", "{snapshot}", "s1", "{task}", "k-1").Replace(r.path)
	if len(query) > 0 {
		target += "?" + urlencoded(query)
	}
	var req *http.Request
	if contentType == "" {
		req = httptest.NewRequest(r.method, target, nil)
	} else {
		req = httptest.NewRequest(r.method, target, strings.NewReader(body))
		req.Header.Set("Content-Type", contentType)
	}
	lastPeer++
	req.RemoteAddr = fmt.Sprintf("10.%d.%d.%d:1", lastPeer>>16, lastPeer>>8&255, lastPeer&255)
	req.Header.Set("X-Api-Key", testToken)
	req.Header.Set("X-Request-Id", testRequest)
	return req
}

func name(r *route) string { return r.method + " " + r.path }

func TestEveryRouteHasARow(t *testing.T) {
	for i := range table {
		r := &table[i]
		row, ok := rows[name(r)]
		if !ok {
			t.Errorf("%s has no row", name(r))
			continue
		}
		if len(row.good) != len(r.values) {
			t.Errorf("%s: %d values, the row has %d", name(r), len(r.values), len(row.good))
		}
		for _, v := range r.values {
			if _, ok := row.good[v.name]; !ok {
				t.Errorf("%s: value %s has no good text", name(r), v.name)
			}
			if _, ok := row.cleared[v.name]; ok != (v.clears || v.kind == toggle) {
				t.Errorf("%s: value %s has an empty meaning: %v, the row says otherwise", name(r), v.name, !ok)
			}
			if _, ok := row.wrong[v.name]; !ok && v.kind != text && v.kind != secret && v.kind != list {
				t.Errorf("%s: value %s has no wrong text", name(r), v.name)
			}
		}
	}
	if len(rows) != len(table) {
		t.Errorf("%d rows, %d routes", len(rows), len(table))
	}
}

// exam is one request of the table test and what has to come of it.
type exam struct {
	what  string
	in    []pair
	fails string // the value that the message has to name; empty if it succeeds
	call  string // on success
}

// decision: values
// decision: unknown values
// decision: two spellings
// decision: a name twice
// decision: `limit`
// decision: removal
func TestValuesMeanTheSameInEveryTransport(t *testing.T) {
	b := newBench(t)
	for i := range table {
		r := &table[i]
		row := rows[name(r)]
		for transport, build := range transports {
			for _, e := range examsOf(r, row) {
				w := b.serve(build(t, r, e.in))
				e.judge(t, name(r)+" "+transport+" "+e.what, row, w, b.changes.take())
			}
		}
	}
}

func (e exam) judge(t *testing.T, what string, row row, w *httptest.ResponseRecorder, call string) {
	t.Helper()
	if e.fails == "" {
		want := max(row.status, http.StatusOK)
		if e.call == "refused" {
			want, e.call = StatusFailed, ""
		}
		if w.Code != want || call != e.call {
			t.Errorf("%s: %d %s, call %q; want %d, %q", what, w.Code, w.Body, call, want, e.call)
		}
		return
	}
	var body struct{ Message string }
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil {
		t.Errorf("%s: the error is no JSON object: %v: %s", what, err, w.Body)
		return
	}
	if w.Code != StatusFailed || !strings.Contains(body.Message, e.fails) || call != "" {
		t.Errorf("%s: %d %q, call %q; want 510 naming %s and no call", what, w.Code, body.Message, call, e.fails)
	}
}

// examsOf derives the requests of a route.
func examsOf(r *route, row row) []exam {
	all := []exam{{what: "all values", in: allPairs(r, row.good), call: row.call}}
	bare := row.bare
	if bare == "" {
		bare = row.call
	}
	all = append(all, exam{what: "mandatory values", in: allPairs(r, needed(r, row.good)), call: bare},
		exam{what: "an unknown value", in: append(allPairs(r, row.good), pair{"no_such_value", "\xff"}), call: row.call})
	for i := range r.values {
		all = append(all, examsOfValue(r, row, &r.values[i], bare)...)
	}
	return all
}

func examsOfValue(r *route, row row, v *value, bare string) []exam {
	good, only := row.good[v.name], needed(r, row.good)
	delete(only, v.name)
	with := func(texts ...string) []pair {
		in := allPairs(r, only)
		for _, s := range texts {
			in = append(in, pair{v.name, s})
		}
		return in
	}
	alone := func(what, call string, texts ...string) exam {
		return exam{v.name + " " + what, with(texts...), "", call}
	}
	fails := func(what string, texts ...string) exam { return exam{v.name + " " + what, with(texts...), v.name, ""} }

	var out []exam
	if v.need {
		out = append(out, fails("missing"))
		if v.name != token.name { // an empty token is a wrong token
			out = append(out, fails("empty", ""))
		}
		out = append(out, alone("twice", bare, good, "\x00"))
	} else {
		out = append(out, alone("missing", bare))
		if empty, ok := row.cleared[v.name]; ok {
			out = append(out, alone("empty", empty, ""))
		} else if v.kind != flag {
			out = append(out, alone("empty", bare, ""))
		}
	}
	if v.name != token.name {
		out = append(out, fails("not UTF-8", "a\xffb"), fails("NUL", "a\x00b"))
	}
	if wrong, ok := row.wrong[v.name]; ok {
		out = append(out, fails("wrong", wrong), fails("wrong first", wrong, good))
		if v.kind == idle {
			out = append(out, fails("wrong second", good, wrong))
		}
	}
	for _, other := range v.also {
		out = append(out, exam{v.name + " as " + other, append(allPairs(r, only), pair{other, good}), "", aliasCall(row, v, bare)},
			exam{v.name + " twice as " + other, append(with(good), pair{other, good}), "", aliasCall(row, v, bare)},
			exam{v.name + " differs from " + other, append(with(good), pair{other, otherText(v, good)}), other, ""})
	}
	return out
}

// aliasCall is the call when a value with another spelling is given.
func aliasCall(row row, v *value, bare string) string {
	if alone, ok := row.alone[v.name]; ok {
		return alone
	}
	if v.need {
		return bare
	}
	return row.call
}

func otherText(v *value, good string) string {
	if v.kind == flag {
		return "no"
	}
	for _, w := range v.words {
		if w != good {
			return w
		}
	}
	return good + "x"
}

func needed(r *route, good map[string]string) map[string]string {
	out := make(map[string]string)
	for _, v := range r.values {
		if v.need {
			out[v.name] = good[v.name]
		}
	}
	return out
}

// allPairs lists texts in the order of the table.
func allPairs(r *route, texts map[string]string) []pair {
	var out []pair
	for _, v := range r.values {
		if s, ok := texts[v.name]; ok {
			out = append(out, pair{v.name, s})
		}
	}
	return out
}

// decision: values
func TestQueryWinsOverBody(t *testing.T) {
	b := newBench(t)
	for i := range table {
		r := &table[i]
		row := rows[name(r)]
		for _, v := range r.values {
			wrong, ok := row.wrong[v.name]
			if !ok {
				continue
			}
			body := urlencoded([]pair{{v.name, wrong}})
			w := b.serve(newRequest(r, allPairs(r, row.good), "application/x-www-form-urlencoded", body))
			exam{call: row.call}.judge(t, name(r)+" "+v.name, row, w, b.changes.take())
		}
	}
}

// decision: flags
func TestFlagsAreReadByTheirData(t *testing.T) {
	b := newBench(t)
	for _, tt := range []struct{ query, want string }{
		{"delete_disks", "{VM:web1 DeleteDisks:true}"},
		{"delete_disks=", "{VM:web1 DeleteDisks:true}"},
		{"delete_disks=True", "{VM:web1 DeleteDisks:true}"},
		{"delete_disks=False", "{VM:web1 DeleteDisks:false}"},
		{"delete_disks=off", "{VM:web1 DeleteDisks:false}"},
		{"delete_disks=none", "{VM:web1 DeleteDisks:false}"},
		{"delete_disks=0&delete_disks=1", "{VM:web1 DeleteDisks:false}"},
		{"", "{VM:web1 DeleteDisks:false}"},
	} {
		w := b.serve(asked("DELETE", "/api/v1/vm/web1?"+tt.query))
		if got := b.changes.take(); w.Code != 200 || got != tt.want {
			t.Errorf("%s: %d, %s", tt.query, w.Code, got)
		}
	}
}
