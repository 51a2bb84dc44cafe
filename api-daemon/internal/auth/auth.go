package auth

import (
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gorilla/sessions"

	"github.com/parallelvirtualcluster/pvc/common/errs"
)

// MinSecretKey is the least length of the key that sessions are made with.
const MinSecretKey = 32

// SessionLife is how long a login lasts.
const SessionLife = 12 * time.Hour

// CookieName is the name of the session cookie.
const CookieName = "session"

// Messages of the manual.
const (
	MessageRequired = "Authentication required"
	MessageFailed   = "Authentication failed"
	// MessageDisabled is spelled as in the manual; clients compare it.
	MessageDisabled = "Authentiation is disabled"
)

// Options configure authentication. All coordinators need the same SecretKey, so
// that a session survives a take-over.
type Options struct {
	Enabled   bool
	Tokens    []Token
	SecretKey string
	// Secure makes browsers send the cookie over TLS only.
	Secure bool
}

// Auth checks requests. It is safe for concurrent use.
type Auth struct {
	enabled  bool
	tokens   tokenTable
	key      []byte // of the references in sessions
	cookies  *sessions.CookieStore
	failures *guard
	origins  *http.CrossOriginProtection
}

// Identity says who makes a request.
type Identity struct {
	// Name is the description of the token, or "anonymous" if authentication is off.
	Name string
	// ByCookie is true if a browser may have sent the request on somebody else's
	// behalf: such a request must come from our own pages to change something.
	ByCookie bool
}

// TooManyError refuses an address that failed too often.
type TooManyError struct{ RetryAfter time.Duration }

func (e *TooManyError) Error() string {
	return fmt.Sprintf("too many failed tokens from this address, try again in %.0f s", e.RetryAfter.Seconds())
}

// New returns the checker. With authentication enabled it is an error to have no
// token, an empty or repeated one, or a SecretKey shorter than MinSecretKey.
func New(o Options) (*Auth, error) {
	a := &Auth{enabled: o.Enabled, failures: newGuard(), origins: http.NewCrossOriginProtection()}
	if !o.Enabled {
		return a, nil
	}
	if err := check(o); err != nil {
		return nil, err
	}
	sign, err1 := derive(o.SecretKey, "pvc session signature", 64)
	seal, err2 := derive(o.SecretKey, "pvc session encryption", 32)
	refer, err3 := derive(o.SecretKey, "pvc session token reference", 32)
	if err := firstOf(err1, err2, err3); err != nil {
		return nil, fmt.Errorf("derive session keys: %w", err)
	}
	a.key = refer
	a.tokens = newTokenTable(o.Tokens, refer)
	a.cookies = sessions.NewCookieStore(sign, seal)
	a.cookies.MaxAge(int(SessionLife.Seconds()))
	a.cookies.Options.Path = "/"
	a.cookies.Options.HttpOnly = true
	a.cookies.Options.Secure = o.Secure
	a.cookies.Options.SameSite = http.SameSiteLaxMode
	return a, nil
}

func check(o Options) error {
	if len(o.SecretKey) < MinSecretKey {
		return errs.Invalidf("authentication: secret_key has %d characters, at least %d are needed", len(o.SecretKey), MinSecretKey)
	}
	if len(o.Tokens) == 0 {
		return errs.Invalidf("authentication is enabled without a token")
	}
	seen := make(map[string]string)
	for _, t := range o.Tokens {
		if t.Secret == "" {
			return errs.Invalidf("authentication: the token of %q is empty", t.Description)
		}
		if other, twice := seen[t.Secret]; twice {
			return errs.Invalidf("authentication: %q and %q have the same token", other, t.Description)
		}
		seen[t.Secret] = t.Description
	}
	return nil
}

func derive(secret, purpose string, n int) ([]byte, error) {
	return hkdf.Key(sha256.New, []byte(secret), nil, purpose, n)
}

func firstOf(all ...error) error {
	for _, err := range all {
		if err != nil {
			return err
		}
	}
	return nil
}

// Enabled reports whether requests need a token.
func (a *Auth) Enabled() bool { return a.enabled }

// Identify says who makes the request. A valid session decides; otherwise the value
// token (if given), the header X-Api-Key or Authorization: Bearer does. Errors are
// errs.Denied with a message of the manual, or a *TooManyError.
func (a *Auth) Identify(r *http.Request, value string, given bool) (Identity, error) {
	if !a.enabled {
		return Identity{Name: "anonymous", ByCookie: true}, nil
	}
	if i := a.session(r); i >= 0 {
		return Identity{Name: a.tokens.names[i], ByCookie: true}, nil
	}
	token, given := tokenOf(r, value, given)
	if !given {
		return Identity{}, errs.Deniedf(MessageRequired)
	}
	i, err := a.try(r, token)
	if err != nil {
		return Identity{}, err
	}
	return Identity{Name: a.tokens.names[i]}, nil
}

// try compares a token and counts failures.
func (a *Auth) try(r *http.Request, token string) (int, error) {
	from := peer(r)
	if wait := a.failures.blocked(from); wait > 0 {
		return 0, &TooManyError{RetryAfter: wait}
	}
	i := a.tokens.bySecret(token)
	if i < 0 {
		a.failures.failed(from)
		return 0, errs.Deniedf(MessageFailed)
	}
	return i, nil
}

func tokenOf(r *http.Request, value string, given bool) (string, bool) {
	if given {
		return value, true
	}
	if keys := r.Header.Values("X-Api-Key"); len(keys) > 0 {
		return keys[0], true
	}
	scheme, token, found := strings.Cut(r.Header.Get("Authorization"), " ")
	if found && strings.EqualFold(scheme, "Bearer") {
		return strings.TrimSpace(token), true
	}
	return "", false
}

// CheckOrigin refuses a change that a page of another origin made a browser send.
// The error is errs.Denied.
func (a *Auth) CheckOrigin(r *http.Request, who Identity) error {
	if !who.ByCookie {
		return nil
	}
	if err := a.origins.Check(r); err != nil {
		return errs.Deniedf("a page of another origin asked for this change: %w", err)
	}
	return nil
}
