package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/parallelvirtualcluster/pvc/api-daemon/internal/auth"
	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// messageOf returns the message of an error or change.
func messageOf(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	var body struct{ Message *string }
	if err := json.Unmarshal(w.Body.Bytes(), &body); err != nil || body.Message == nil {
		t.Fatalf("%d %s: no message: %v", w.Code, w.Body, err)
	}
	return *body.Message
}

// decision: without a token
func TestOnlyOpenRoutesNeedNoToken(t *testing.T) {
	b := newBench(t)
	for i := range table {
		r := &table[i]
		req := newRequest(r, allPairs(r, rows[name(r)].good), "", "")
		req.Header.Del("X-Api-Key")
		w := b.serve(req)
		refused := w.Code == http.StatusUnauthorized
		if refused == (r.access == open) {
			t.Errorf("%s: %d %s", name(r), w.Code, w.Body)
		}
		if refused && (messageOf(t, w) != "Authentication required" || b.changes.take() != "") {
			t.Errorf("%s: %s", name(r), w.Body)
		}
	}
}

func TestNobodyLearnsWhatIsWrongWithoutAToken(t *testing.T) {
	b := newBench(t)
	r := httptest.NewRequest("POST", "/api/v1/vm/web1/state?state=nonsense", strings.NewReader("x"))
	r.Header.Set("Content-Type", "image/png")
	if w := b.serve(r); w.Code != 401 || messageOf(t, w) != "Authentication required" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// decision: token
func TestTokenIsTakenFromEveryPlace(t *testing.T) {
	b := newBench(t)
	form := func(contentType, body string) *http.Request {
		r := httptest.NewRequest("GET", "/api/v1/vm/web1/state", strings.NewReader(body))
		r.Header.Set("Content-Type", contentType)
		return r
	}
	bearer := httptest.NewRequest("GET", "/api/v1/vm", nil)
	bearer.Header.Set("Authorization", "Bearer "+testToken)
	for what, r := range map[string]*http.Request{
		"query":  httptest.NewRequest("GET", "/api/v1/vm?token="+testToken, nil),
		"form":   form("application/x-www-form-urlencoded", "token="+testToken),
		"JSON":   form("application/json", `{"token":"`+testToken+`"}`),
		"header": asked("GET", "/api/v1/vm"),
		"bearer": bearer,
	} {
		if w := b.serve(r); w.Code != 200 {
			t.Errorf("%s: %d %s", what, w.Code, w.Body)
		}
	}
	if w := b.serve(httptest.NewRequest("GET", "/api/v1/vm?token=wrong", nil)); w.Code != 401 || messageOf(t, w) != "Authentication failed" {
		t.Errorf("wrong token: %d %s", w.Code, w.Body)
	}
}

// decision: failed tokens
func TestTooManyFailuresAreAnswered429(t *testing.T) {
	b := newBench(t)
	for range 10 {
		b.serve(httptest.NewRequest("GET", "/api/v1/vm?token=wrong", nil))
	}
	w := b.serve(asked("GET", "/api/v1/vm"))
	if w.Code != http.StatusTooManyRequests || w.Header().Get("Retry-After") != "60" || !json.Valid(w.Body.Bytes()) {
		t.Errorf("%d %v %s", w.Code, w.Header(), w.Body)
	}
}

// decision: `/metrics`
func TestMetricsAreOpenOnlyIfConfigured(t *testing.T) {
	b := newBench(t)
	if w := b.serve(httptest.NewRequest("GET", "/metrics", nil)); w.Code != 401 {
		t.Errorf("%d", w.Code)
	}
	b.o.MetricsOpen = true
	if w := b.serve(httptest.NewRequest("GET", "/metrics", nil)); w.Code != 200 || w.Body.String() != "up 1\n" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// decision: login
// decision: browsers
func TestLoginAndLogout(t *testing.T) {
	b := newBench(t)
	post := func(target, accept string, cookies ...*http.Cookie) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", target, nil)
		r.Header.Set("Accept", accept)
		for _, c := range cookies {
			r.AddCookie(c)
		}
		return b.serve(r)
	}
	const browser = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8"
	w := post("/api/v1/auth/login?next=/api/v1/vm&token="+testToken, browser)
	if w.Code != 302 || w.Header().Get("Location") != "/api/v1/vm" {
		t.Errorf("browser: %d %v", w.Code, w.Header())
	}
	w = post("/api/v1/login?token="+testToken, "*/*")
	if w.Code != 200 || messageOf(t, w) != "logged in as tests" {
		t.Errorf("client: %d %s", w.Code, w.Body)
	}
	cookie := w.Result().Cookies()[0]
	withSession := httptest.NewRequest("GET", "/api/v1/vm", nil)
	withSession.AddCookie(cookie)
	if w = b.serve(withSession); w.Code != 200 {
		t.Errorf("with a session: %d", w.Code)
	}
	w = post("/api/v1/auth/logout", browser, cookie)
	if w.Code != 302 || w.Header().Get("Location") != "/api/v1" || w.Result().Cookies()[0].MaxAge >= 0 {
		t.Errorf("logout: %d %v", w.Code, w.Header())
	}
	for _, token := range []string{"wrong", "", testToken[:5]} {
		if w = post("/api/v1/auth/login?token="+token, browser); w.Code != 401 || len(w.Result().Cookies()) != 0 {
			t.Errorf("token %q: %d %v", token, w.Code, w.Header())
		}
	}
}

func TestLoginFormNeedsNoScript(t *testing.T) {
	b := newBench(t)
	w := b.serve(httptest.NewRequest("GET", `/api/v1/auth/login?next=/a%22%3E%3Cb`, nil))
	body := w.Body.String()
	if w.Code != 200 || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") || !strings.Contains(body, `name="token"`) ||
		!strings.Contains(body, `method="post"`) || strings.Contains(body, "<script") || strings.Contains(body, `"><b`) {
		t.Errorf("%d %v %s", w.Code, w.Header(), body)
	}
}

// decision: changes from other pages
func TestPagesOfOtherOriginsCannotUseASession(t *testing.T) {
	b := newBench(t)
	login := b.serve(httptest.NewRequest("POST", "/api/v1/login?token="+testToken, nil))
	r := httptest.NewRequest("POST", "/api/v1/vm/web1/state?state=stop", nil)
	r.AddCookie(login.Result().Cookies()[0])
	r.Header.Set("Origin", "https://evil.example")
	if w := b.serve(r); w.Code != 401 || b.changes.take() != "" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	r.Header.Set("Origin", "http://example.com") // the host of httptest's requests
	if w := b.serve(r); w.Code != 200 {
		t.Errorf("own page: %d %s", w.Code, w.Body)
	}
}

// decision: authentication off
func TestDisabledAuthenticationSaysSoInTheWordsOfTheManual(t *testing.T) {
	off, err := auth.New(auth.Options{})
	if err != nil {
		t.Fatal(err)
	}
	a := New(Options{Mirror: newPicture(), Changes: &recorder{}, Auth: off, Log: slog.New(slog.DiscardHandler)})
	for _, target := range []string{"GET /api/v1/auth/login", "POST /api/v1/auth/login?token=x", "GET /api/v1/auth/logout", "POST /api/v1/auth/logout"} {
		method, path, _ := strings.Cut(target, " ")
		w := httptest.NewRecorder()
		a.ServeHTTP(w, httptest.NewRequest(method, path, nil))
		if w.Code != 200 || messageOf(t, w) != "Authentiation is disabled" {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
	w := httptest.NewRecorder()
	a.ServeHTTP(w, httptest.NewRequest("GET", "/api/v1/vm", nil))
	if w.Code != 200 {
		t.Errorf("a list without a token: %d", w.Code)
	}
}

// decision: status codes
func TestKindsOfErrorsHaveTheirCodes(t *testing.T) {
	for kind, want := range map[errs.Kind]int{
		errs.Internal: 510, errs.NotFound: 510, errs.Invalid: 510, errs.Conflict: 510,
		errs.Denied: 401, errs.Unavailable: 503, errs.Unknown: 503,
	} {
		b := newBench(t)
		b.changes.err = fmt.Errorf("VM %s is odd%w", "web1", errs.New(kind, ""))
		w := b.serve(asked("DELETE", "/api/v1/vm/web1"))
		if w.Code != want || messageOf(t, w) != "VM web1 is odd" {
			t.Errorf("%v: %d %s", kind, w.Code, w.Body)
		}
	}
}

// decision: stale reads
// decision: `/readyz`
func TestStaleViewServesMarkedReadsAndRefusesChanges(t *testing.T) {
	b := newBench(t)
	b.picture.stale = 2500 * time.Millisecond
	for i := range table {
		r := &table[i]
		w := b.serve(newRequest(r, allPairs(r, rows[name(r)].good), "", ""))
		switch {
		case r.path == "/readyz", r.changes():
			if w.Code != 503 || w.Header().Get("X-PVC-Stale") != "3" || b.changes.take() != "" {
				t.Errorf("%s: %d %s", name(r), w.Code, w.Body)
			}
			if r.changes() && !strings.HasPrefix(messageOf(t, w), "nothing was changed") {
				t.Errorf("%s: %s", name(r), w.Body)
			}
		case r.cluster:
			if w.Code != 200 || w.Header().Get("X-PVC-Stale") != "3" {
				t.Errorf("%s: %d %v", name(r), w.Code, w.Header())
			}
		}
		b.changes.take()
	}
}

// decision: before the first picture
// decision: `/healthz`
// decision: `/readyz`
func TestNothingIsServedBeforeThePictureIsComplete(t *testing.T) {
	b := newBench(t)
	b.picture.loading = true
	for target, want := range map[string]int{"/healthz": 200, "/readyz": 503, "/api/v1": 209, "/api/v1/vm": 503, "/api/v1/network": 503} {
		if w := b.serve(asked("GET", target)); w.Code != want {
			t.Errorf("%s: %d %s", target, w.Code, w.Body)
		}
	}
}

// decision: abandoned calls
func TestClientThatHangsUpDoesNotStopAChange(t *testing.T) {
	for query, stopped := range map[string]bool{"state=start": false, "state=start&wait=True": true} {
		b := newBench(t)
		entered, release, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
		b.changes.do = func(ctx context.Context) {
			close(entered)
			<-release
			ended <- ctx.Err()
		}
		r := asked("POST", "/api/v1/vm/web1/state?"+query)
		ctx, hangUp := context.WithCancel(r.Context())
		done := make(chan struct{})
		go func() { b.serve(r.WithContext(ctx)); close(done) }()
		<-entered
		hangUp()
		close(release)
		if err := <-ended; (err != nil) != stopped {
			t.Errorf("%s: %v", query, err)
		}
		<-done
	}
}

func TestBodiesThatAreNotUnderstoodAreRefused(t *testing.T) {
	b := newBench(t)
	const target = "/api/v1/vm/web1/state?state=start"
	tests := []struct{ contentType, body, names string }{
		{"image/png", "x", "image/png"},
		{"", "x", "Content-Type"},
		{"a/b/c", "x", "a/b/c"},
		{"application/xml", "<domain/>", "application/xml"},
		{"application/json", `["state"]`, "JSON object"},
		{"application/json", `{"state":"start"} x`, "behind"},
		{"application/json", `{"state":{"a":1}}`, `"state"`},
		{"application/json", `{"state":"start"`, "damaged"},
		{"multipart/form-data", "x", "boundary"},
		{"multipart/form-data; boundary=b", "x", "damaged"},
		{"application/x-www-form-urlencoded", "state=%zz", `"state"`},
		{"application/x-www-form-urlencoded", "x=" + strings.Repeat("a", maxBody), "1048576"},
	}
	for _, tt := range tests {
		r := asked("POST", target)
		r.Body = io.NopCloser(strings.NewReader(tt.body))
		r.Header.Set("Content-Type", tt.contentType)
		w := b.serve(r)
		if w.Code != StatusFailed || !strings.Contains(messageOf(t, w), tt.names) || b.changes.take() != "" {
			t.Errorf("%s %.20q: %d %s", tt.contentType, tt.body, w.Code, w.Body)
		}
	}
}

// decision: JSON bodies
func TestJSONScalarsAreTakenAsTheirText(t *testing.T) {
	b := newBench(t)
	for body, want := range map[string]string{
		`{"state":"start","force":true,"wait":1}`:                   "{VM:web1 State:start Force:true Wait:true}",
		`{"state":"start","force":false,"wait":null}`:               "{VM:web1 State:start Force:false Wait:false}",
		`{"state":["start","stop"],"x":{"y":[1]}}`:                  "{VM:web1 State:start Force:false Wait:false}",
		`{"state":"start","state":"stop","force":"no","wait":"on"}`: "{VM:web1 State:start Force:false Wait:true}",
	} {
		r := httptest.NewRequest("POST", "/api/v1/vm/web1/state", strings.NewReader(body))
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Api-Key", testToken)
		if w := b.serve(r); w.Code != 200 {
			t.Errorf("%s: %d %s", body, w.Code, w.Body)
		}
		if got := b.changes.take(); got != want {
			t.Errorf("%s: %s", body, got)
		}
	}
}

// decision: modify
func TestRawXMLIsTheValueXML(t *testing.T) {
	b := newBench(t)
	for _, contentType := range []string{"application/xml", "text/xml; charset=utf-8", "text/plain", ""} {
		r := asked("PUT", "/api/v1/vm/web1?restart")
		r.Body = io.NopCloser(strings.NewReader("<domain a='b&amp;c'/>"))
		if contentType != "" {
			r.Header.Set("Content-Type", contentType)
		}
		w := b.serve(r)
		if got := b.changes.take(); w.Code != 200 || got != "{VM:web1 XML:<domain a='b&amp;c'/> Restart:true}" {
			t.Errorf("%q: %d %s", contentType, w.Code, got)
		}
	}
}

func TestOversizedRequestsGetAnAnswer(t *testing.T) {
	server := httptest.NewUnstartedServer(nil)
	server.Config = NewServer(newBench(t), nil)
	server.Start()
	defer server.Close()
	for what, r := range map[string]*http.Request{
		"body":  httptest.NewRequest("POST", server.URL+"/api/v1/vm", strings.NewReader("xml="+strings.Repeat("a", 10<<20))),
		"query": httptest.NewRequest("GET", server.URL+"/api/v1/vm?limit="+strings.Repeat("a", maxQuery), nil),
	} {
		r.RequestURI = ""
		r.Header.Set("X-Api-Key", testToken)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		res, err := server.Client().Do(r)
		if err != nil {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if res.StatusCode != StatusFailed || res.Header.Get("Content-Type") != mediaJSON {
			t.Errorf("%s: %d", what, res.StatusCode)
		}
		res.Body.Close()
	}
}

func TestLongWaitOutlivesTheReadTimeout(t *testing.T) {
	b := newBench(t)
	b.changes.do = func(ctx context.Context) {
		select {
		case <-ctx.Done():
			t.Errorf("the wait ended: %v", ctx.Err())
		case <-time.After(150 * time.Millisecond):
		}
	}
	server := httptest.NewUnstartedServer(nil)
	server.Config = NewServer(b, nil)
	server.Config.ReadTimeout = 50 * time.Millisecond
	server.Start()
	defer server.Close()
	res, err := server.Client().Post(server.URL+"/api/v1/vm/web1/state?state=start&wait=1&token="+testToken, "", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 {
		t.Errorf("%d", res.StatusCode)
	}
}
