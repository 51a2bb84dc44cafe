package httpapi

import (
	"log/slog"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/parallelvirtualcluster/pvc/api-daemon/internal/auth"
	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// FuzzQuery compares with the standard library, which knows one separator more.
func FuzzQuery(f *testing.F) {
	for _, s := range []string{"", "limit=a", "limit=a&limit=b&x=y", "limit", "&&=&limit==&", "limit=%zz", "%6cimit=%20+", "limit=a;b", "limit=\xff%ff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		b := bodyReader{known: map[string]bool{"limit": true, "node": true}}
		got, err := b.parsePairs("query", s)
		if err != nil {
			if !errs.Is(err, errs.Invalid) {
				t.Errorf("error %v", err)
			}
			return
		}
		want, err := url.ParseQuery(s)
		if err != nil || strings.Contains(s, ";") {
			return
		}
		for name := range b.known {
			if diff := cmp.Diff(want[name], got[name]); diff != "" {
				t.Errorf("%q of %q: %s", name, s, diff)
			}
		}
	})
}

// FuzzRequest sends any query and body to a change: it succeeds or fails as it should,
// and what is asked of the cluster is what may be asked.
func FuzzRequest(f *testing.F) {
	f.Add("state=start", "application/x-www-form-urlencoded", "force=1&wait=no")
	f.Add("", "application/json", `{"state":"stop","force":true,"x":[1,{"y":null}]}`)
	f.Add("", "multipart/form-data; boundary=b", "--b\r\nContent-Disposition: form-data; name=state\r\n\r\nstart\r\n--b--\r\n")
	f.Add("state=start&state=stop", "text/xml", "<domain/>")
	f.Add("st%61te=\x00", "", "")
	off, err := auth.New(auth.Options{})
	if err != nil {
		f.Fatal(err)
	}
	b := newBench(f)
	b.o.Auth, b.o.Log = off, slog.New(slog.DiscardHandler)
	f.Fuzz(func(t *testing.T, query, contentType, body string) {
		r := httptest.NewRequest("POST", "/api/v1/vm/web1/state", strings.NewReader(body))
		r.URL.RawQuery = query
		r.Header["Content-Type"] = []string{contentType}
		r.Header.Set("Accept", contentType)
		w := b.serve(r)
		call := b.changes.take()
		switch w.Code {
		case 200:
			if !strings.HasPrefix(call, "{VM:web1 State:st") && !strings.HasPrefix(call, "{VM:web1 State:shutdown") && !strings.HasPrefix(call, "{VM:web1 State:restart") {
				t.Errorf("call %q", call)
			}
		case StatusFailed:
			if call != "" || messageOf(t, w) == "" {
				t.Errorf("%d %s, call %q", w.Code, w.Body, call)
			}
		default:
			t.Errorf("%d %s", w.Code, w.Body)
		}
	})
}

// FuzzNext: wherever a browser is sent after login, it stays on this server.
func FuzzNext(f *testing.F) {
	for _, s := range []string{"", "/api/v1", "//evil.example", `/\evil.example`, "/%2f/evil", "https://evil.example", "/\t/evil.example", "/a?b=c#d"} {
		f.Add(s)
	}
	base := &url.URL{Scheme: "https", Host: "pvc.example", Path: "/api/v1/auth/login"}
	f.Fuzz(func(t *testing.T, s string) {
		to, err := localPath(s)
		if err != nil {
			return
		}
		u, err := base.Parse(strings.ReplaceAll(to, `\`, "/"))
		if err != nil || u.Host != base.Host || u.Scheme != base.Scheme || strings.HasPrefix(to, "//") || !strings.HasPrefix(to, "/") {
			t.Errorf("%q leads to %v, %v", s, u, err)
		}
	})
}
