package auth

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

const testKey = "0123456789abcdef0123456789abcdef"

func newAuth(t *testing.T, tokens ...Token) *Auth {
	t.Helper()
	a, err := New(Options{Enabled: true, Tokens: tokens, SecretKey: testKey})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func from(address string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "http://pvc.example/api/v1/vm", nil)
	r.RemoteAddr = address
	return r
}

// login returns the cookie of a new session.
func login(t *testing.T, a *Auth, token string) *http.Cookie {
	t.Helper()
	w := httptest.NewRecorder()
	if _, err := a.Login(w, from("192.0.2.1:1"), token); err != nil {
		t.Fatalf("login: %v", err)
	}
	cookies := w.Result().Cookies()
	if len(cookies) != 1 {
		t.Fatalf("login set %d cookies", len(cookies))
	}
	return cookies[0]
}

func withCookie(c *http.Cookie) *http.Request {
	r := from("192.0.2.1:1")
	r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	return r
}

// decision: authentication on
func TestNewRefusesWhatWouldLetAnybodyIn(t *testing.T) {
	one := []Token{{"ops", "secret"}}
	for name, o := range map[string]Options{
		"no secret key":    {Enabled: true, Tokens: one},
		"short secret key": {Enabled: true, Tokens: one, SecretKey: testKey[:31]},
		"no token":         {Enabled: true, SecretKey: testKey},
		"empty token":      {Enabled: true, SecretKey: testKey, Tokens: []Token{{"ops", ""}}},
		"repeated token":   {Enabled: true, SecretKey: testKey, Tokens: []Token{{"ops", "a"}, {"web", "a"}}},
	} {
		_, err := New(o)
		if !errs.Is(err, errs.Invalid) {
			t.Errorf("%s: error %v", name, err)
		} else if strings.Contains(err.Error(), testKey[:31]) || strings.Contains(err.Error(), `"a"`) {
			t.Errorf("%s: the error tells a secret: %v", name, err)
		}
	}
}

func TestIdentifyAcceptsAConfiguredTokenOnlyInFull(t *testing.T) {
	a := newAuth(t, Token{"ops", "correct horse"}, Token{"web", "battery staple"})
	header := func(key, value string) *http.Request {
		r := from("192.0.2.1:1")
		r.Header.Set(key, value)
		return r
	}
	tests := []struct {
		name    string
		r       *http.Request
		value   string
		given   bool
		want    string
		message string
	}{
		{"value", from("192.0.2.1:1"), "correct horse", true, "ops", ""},
		{"header", header("X-Api-Key", "battery staple"), "", false, "web", ""},
		{"bearer", header("Authorization", "bearer battery staple"), "", false, "web", ""},
		{"nothing", from("192.0.2.1:1"), "", false, "", MessageRequired},
		{"other scheme", header("Authorization", "Basic b3Bz"), "", false, "", MessageRequired},
		{"empty", from("192.0.2.1:1"), "", true, "", MessageFailed},
		{"empty header", header("X-Api-Key", ""), "", false, "", MessageFailed},
		{"part", from("192.0.2.1:1"), "correct", true, "", MessageFailed},
		{"more", from("192.0.2.1:1"), "correct horse!", true, "", MessageFailed},
		{"value before header", header("X-Api-Key", "battery staple"), "wrong", true, "", MessageFailed},
	}
	for _, tt := range tests {
		who, err := a.Identify(tt.r, tt.value, tt.given)
		switch {
		case tt.message == "" && (err != nil || who.Name != tt.want || who.ByCookie):
			t.Errorf("%s: %+v, %v", tt.name, who, err)
		case tt.message != "" && (!errs.Is(err, errs.Denied) || err.Error() != tt.message):
			t.Errorf("%s: error %v, want %s", tt.name, err, tt.message)
		}
	}
}

func TestDisabledAuthenticationLetsEverybodyIn(t *testing.T) {
	a, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if who, err := a.Identify(from("192.0.2.1:1"), "", false); err != nil || who.Name != "anonymous" {
		t.Errorf("%+v, %v", who, err)
	}
}

// decision: sessions
func TestSessionSurvivesTakeOverAndEndsWithItsToken(t *testing.T) {
	ops, web := Token{"ops", "one"}, Token{"web", "two"}
	cookie := login(t, newAuth(t, ops, web), "two")
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteLaxMode || cookie.Secure || cookie.Name != "session" {
		t.Errorf("cookie %+v", cookie)
	}
	if strings.Contains(cookie.Value, "two") {
		t.Error("the cookie tells the token")
	}
	other := newAuth(t, web) // another coordinator, tokens in another order
	who, err := other.Identify(withCookie(cookie), "", false)
	if err != nil || who != (Identity{Name: "web", ByCookie: true}) {
		t.Errorf("after a take-over: %+v, %v", who, err)
	}
	if who, err = other.Identify(withCookie(cookie), "wrong", true); err != nil || who.Name != "web" {
		t.Errorf("a token beside a valid session is looked at: %+v, %v", who, err)
	}
	if _, err = newAuth(t, ops).Identify(withCookie(cookie), "", false); !errs.Is(err, errs.Denied) {
		t.Errorf("the session outlives its token: %v", err)
	}
	rekeyed, err := New(Options{Enabled: true, Tokens: []Token{web}, SecretKey: strings.ToUpper(testKey)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err = rekeyed.Identify(withCookie(cookie), "", false); !errs.Is(err, errs.Denied) {
		t.Errorf("the session outlives the secret key: %v", err)
	}
}

func TestSessionCookieIsSecureUnderTLS(t *testing.T) {
	a, err := New(Options{Enabled: true, Tokens: []Token{{"ops", "one"}}, SecretKey: testKey, Secure: true})
	if err != nil {
		t.Fatal(err)
	}
	if !login(t, a, "one").Secure {
		t.Error("the cookie may travel without TLS")
	}
}

func TestSessionExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuth(t, Token{"ops", "one"})
		cookie := login(t, a, "one")
		time.Sleep(SessionLife - time.Minute)
		if _, err := a.Identify(withCookie(cookie), "", false); err != nil {
			t.Errorf("before its end: %v", err)
		}
		time.Sleep(2 * time.Minute)
		if _, err := a.Identify(withCookie(cookie), "", false); !errs.Is(err, errs.Denied) {
			t.Errorf("after its end: %v", err)
		}
	})
}

func TestLogoutEndsTheSession(t *testing.T) {
	a := newAuth(t, Token{"ops", "one"})
	cookie := login(t, a, "one")
	w := httptest.NewRecorder()
	if err := a.Logout(w, withCookie(cookie)); err != nil {
		t.Fatal(err)
	}
	after := w.Result().Cookies()[0]
	if after.MaxAge >= 0 {
		t.Errorf("the browser keeps the cookie: %+v", after)
	}
	if _, err := a.Identify(withCookie(after), "", false); !errs.Is(err, errs.Denied) {
		t.Errorf("the new cookie is a session: %v", err)
	}
}

func TestForgedCookieIsNoSession(t *testing.T) {
	a := newAuth(t, Token{"ops", "one"})
	cookie := login(t, a, "one")
	for _, value := range []string{"", "x", strings.Repeat("A", 5000), cookie.Value[:len(cookie.Value)-2] + "AA"} {
		cookie.Value = value
		if _, err := a.Identify(withCookie(cookie), "", false); !errs.Is(err, errs.Denied) {
			t.Errorf("cookie %.20q: %v", value, err)
		}
	}
}

func TestGuessingIsSlowedDownPerAddress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuth(t, Token{"ops", "one"})
		cookie := login(t, a, "one")
		try := func(address, token string) error {
			_, err := a.Identify(from(address), token, true)
			return err
		}
		for i := range maxFailures {
			if err := try("192.0.2.7:1", fmt.Sprint(i)); !errs.Is(err, errs.Denied) {
				t.Fatalf("failure %d: %v", i, err)
			}
		}
		var many *TooManyError
		if err := try("192.0.2.7:2", "one"); !errors.As(err, &many) || many.RetryAfter != time.Minute {
			t.Errorf("the right token after %d failures: %v", maxFailures, err)
		}
		if err := try("192.0.2.8:1", "one"); err != nil {
			t.Errorf("another address: %v", err)
		}
		r := withCookie(cookie)
		r.RemoteAddr = "192.0.2.7:3"
		if _, err := a.Identify(r, "", false); err != nil {
			t.Errorf("a session from that address: %v", err)
		}
		time.Sleep(time.Minute)
		if err := try("192.0.2.7:1", "one"); err != nil {
			t.Errorf("after a minute: %v", err)
		}
	})
}

func TestFailuresSpreadOverTimeDoNotBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuth(t, Token{"ops", "one"})
		for i := range 3 * maxFailures {
			if _, err := a.Identify(from("192.0.2.7:1"), "x", true); !errs.Is(err, errs.Denied) {
				t.Fatalf("failure %d: %v", i, err)
			}
			time.Sleep(10 * time.Second)
		}
	})
}

func TestTableOfAddressesIsBounded(t *testing.T) {
	g := newGuard()
	for i := range maxAddresses + 100 {
		r := from(fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255))
		g.failed(peer(r))
	}
	if len(g.table) != maxAddresses {
		t.Errorf("%d addresses", len(g.table))
	}
}

// decision: failed tokens
func TestOneIPv6NetworkIsOneAddress(t *testing.T) {
	if a, b := peer(from("[2001:db8::1]:1")), peer(from("[2001:db8::2:3]:9")); a != b {
		t.Errorf("%v and %v", a, b)
	}
	if a, b := peer(from("192.0.2.1:1")), peer(from("[::ffff:192.0.2.1]:1")); a != b {
		t.Errorf("%v and %v", a, b)
	}
	if peer(from("192.0.2.1:1")) == peer(from("192.0.2.2:1")) {
		t.Error("two IPv4 addresses are one")
	}
}

func TestCheckOriginStopsOtherSitesOnly(t *testing.T) {
	a := newAuth(t, Token{"ops", "one"})
	cross := from("192.0.2.1:1")
	cross.Header.Set("Sec-Fetch-Site", "cross-site")
	if err := a.CheckOrigin(cross, Identity{ByCookie: true}); !errs.Is(err, errs.Denied) {
		t.Errorf("cross-site by cookie: %v", err)
	}
	if err := a.CheckOrigin(cross, Identity{}); err != nil {
		t.Errorf("cross-site by token: %v", err)
	}
	if err := a.CheckOrigin(from("192.0.2.1:1"), Identity{ByCookie: true}); err != nil {
		t.Errorf("no browser: %v", err)
	}
	if _, err := a.Login(httptest.NewRecorder(), cross, "one"); !errs.Is(err, errs.Denied) {
		t.Errorf("cross-site login: %v", err)
	}
}
