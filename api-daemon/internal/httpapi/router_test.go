package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// decision: errors
func TestUnknownPathsAndMethodsAreAnsweredInJSON(t *testing.T) {
	b := newBench(t)
	tests := []struct {
		method, target string
		status         int
		allow          string
	}{
		{"GET", "/", 404, ""},
		{"GET", "/api/v2/vm", 404, ""},
		{"GET", "/api/v1/vm/", 404, ""},
		{"GET", "/api/v1/vm/web1/", 404, ""},
		{"GET", "/api/v1//vm", 404, ""},
		{"GET", "/api/v1/./vm", 404, ""},
		{"GET", "/api/v1/vm/web1/../db1", 404, ""},
		{"GET", "/api/v1/vm/web1%2Fstate", 200, ""}, // a name with a slash, of no VM
		{"GET", "/api/v1/%76m/web%31", 200, ""},
		{"DELETE", "/api/v1/vm", 405, "GET, HEAD, POST"},
		{"PATCH", "/api/v1/vm/web1", 405, "DELETE, GET, HEAD, POST, PUT"},
		{"OPTIONS", "/api/v1", 405, "GET, HEAD"},
		{"GET", "/api/v1/login", 405, "POST"},
	}
	for _, tt := range tests {
		w := b.serve(asked(tt.method, tt.target))
		if w.Code != tt.status || w.Header().Get("Allow") != tt.allow {
			t.Errorf("%s %s: %d, Allow %q", tt.method, tt.target, w.Code, w.Header().Get("Allow"))
		}
		if w.Header().Get("Content-Type") != mediaJSON || !json.Valid(w.Body.Bytes()) || w.Header().Get("Location") != "" {
			t.Errorf("%s %s: %v %s", tt.method, tt.target, w.Header(), w.Body)
		}
	}
}

// decision: paths
func TestPathElementsAreDecodedOnce(t *testing.T) {
	b := newBench(t)
	for _, tt := range []struct{ element, want string }{
		{"a%2Fb", "a/b"}, {"a%252Fb", "a%2Fb"}, {"a+b", "a+b"}, {"a%20b", "a b"}, {"%C3%A4", "ä"}, {"..", ".."}, {"%2e%2e", ".."},
	} {
		w := b.serve(asked("DELETE", "/api/v1/vm/"+tt.element))
		if got, want := b.changes.take(), "{VM:"+tt.want+" DeleteDisks:false}"; w.Code != 200 || got != want {
			t.Errorf("%s: %d, %s, want %s", tt.element, w.Code, got, want)
		}
	}
	for _, element := range []string{"a%00b", "a%FFb"} {
		if w := b.serve(asked("DELETE", "/api/v1/vm/"+element)); w.Code != StatusFailed || b.changes.take() != "" {
			t.Errorf("%s: %d %s", element, w.Code, w.Body)
		}
	}
}

// decision: paths
func TestHeadIsGetWithoutBody(t *testing.T) {
	server := httptest.NewServer(newBench(t))
	defer server.Close()
	r, err := http.NewRequest("HEAD", server.URL+"/api/v1/vm", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", testToken)
	res, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 || res.ContentLength < 100 {
		t.Errorf("%d, length %d", res.StatusCode, res.ContentLength)
	}
}

func TestRequestIDIsAcceptedOnlyIfSane(t *testing.T) {
	b := newBench(t)
	for given, kept := range map[string]bool{"abc-1.2_3": true, "": false, "a b": false, strings.Repeat("a", 65): false, "x\"y": false} {
		r := asked("GET", "/healthz")
		r.Header.Set("X-Request-Id", given)
		got := b.serve(r).Header().Get("X-Request-Id")
		if got == "" || (got == given) != kept {
			t.Errorf("%q became %q", given, got)
		}
	}
}

// decision: log
func TestTokensNeverReachTheLog(t *testing.T) {
	b := newBench(t)
	for _, query := range []string{"token=" + testToken, "t%6Fken=" + testToken, "limit=a&token=" + testToken, "%zz=" + testToken,
		"limit=" + strings.Repeat("a", 2000) + "&token=" + testToken, "token=" + strings.Repeat(testToken, 100)} {
		b.serve(httptest.NewRequest("GET", "/api/v1/vm?"+query, nil))
		b.serve(httptest.NewRequest("POST", "/api/v1/vm/web1/state?state=start&"+query, nil))
	}
	b.serve(newRequest(&route{method: "POST", path: "/api/v1/auth/login"}, nil, "application/x-www-form-urlencoded", "token="+testToken))
	log := b.log.String()
	if strings.Contains(log, testToken) {
		t.Errorf("the log tells the token:\n%s", log)
	}
	if !strings.Contains(log, "token=REDACTED") || !strings.Contains(log, "who=tests") {
		t.Errorf("the log lacks the request:\n%s", log)
	}
}

// decision: log
func TestEveryChangeLeavesAnAuditLine(t *testing.T) {
	for i := range table {
		r := &table[i]
		b := newBench(t)
		w := b.serve(newRequest(r, allPairs(r, rows[name(r)].good), "", ""))
		audited := strings.Contains(b.log.String(), "msg=audit request="+w.Header().Get("X-Request-Id")+" who=tests")
		if login := strings.Contains(r.path, "log"); !login && audited != r.changes() {
			t.Errorf("%s: audited %v", name(r), audited)
		}
	}
	b := newBench(t)
	b.serve(httptest.NewRequest("DELETE", "/api/v1/vm/web1", nil))
	if log := b.log.String(); !strings.Contains(log, "msg=audit") || !strings.Contains(log, "status=401") || !strings.Contains(log, "Authentication required") {
		t.Errorf("a refused change is not audited:\n%s", log)
	}
}

func TestAuditTellsTheSizeOfADocumentOnly(t *testing.T) {
	b := newBench(t)
	b.serve(asked("POST", "/api/v1/vm?xml=%3Cdomain%3Esecret%3C/domain%3E&node=hv1"))
	if log := b.log.String(); strings.Contains(log, "secret") || !strings.Contains(log, "23 bytes") || !strings.Contains(log, "node:hv1") {
		t.Errorf("log:\n%s", log)
	}
}

func TestPanicIsAnsweredWithTheRequestID(t *testing.T) {
	b := newBench(t)
	b.changes.do = func(context.Context) { panic("boom") }
	r := asked("POST", "/api/v1/vm/web1/state?state=start")
	r.Header.Set("X-Request-Id", "my-id")
	w := b.serve(r)
	if w.Code != StatusFailed || !strings.Contains(w.Body.String(), "my-id") || !json.Valid(w.Body.Bytes()) || strings.Contains(w.Body.String(), "boom") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if !strings.Contains(b.log.String(), "boom") {
		t.Error("the panic is not logged")
	}
}
